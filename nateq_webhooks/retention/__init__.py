"""Removing what is old enough (`RETENTION`): contents first, then whole deliveries; what is unfinished always stays.

`prune` walks the deliveries in the order of their keys and remembers how far it came. `removal` removes rows; erasure
uses it, too.
"""

from nateq_webhooks.retention.prune import prune
from nateq_webhooks.retention.report import LeftReason, PruneReport

__all__ = ["LeftReason", "PruneReport", "prune"]
