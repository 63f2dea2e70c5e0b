"""Erasing what concerns a person or an organization, in every table of this package.

`Erasure` does it in batches; each commits what it changed together with how far it got, so that a process that was
killed continues. Its steps:

1. Look through the deliveries, and through contents under the id of another delivery, for what identifies the person
   (`protocol.erasing`). The keys of the rows that told something new are remembered, never what they told.
2. Delete or blank the deliveries, apart from those rows; blank what other deliveries quote.
3. Blank the texts of other tables that quote the person (`tables`).
4. Delete or blank the rows of step 1, in one transaction.
"""

from nateq_webhooks.dispatch.erasure.criteria import Criteria
from nateq_webhooks.dispatch.erasure.erase import erase
from nateq_webhooks.dispatch.erasure.report import ErasureReport, TableReport
from nateq_webhooks.dispatch.erasure.steps import Erasure

__all__ = ["Criteria", "Erasure", "ErasureReport", "TableReport", "erase"]
