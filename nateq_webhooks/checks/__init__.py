"""System checks: each message has an id, the value that is wrong, and what to do."""

from nateq_webhooks.checks import (
    api,
    encoding,
    keys,
    pools,
    processing,
    reachability,
    receiving,
    site,
    storage,
    tenants,
)

__all__ = ["api", "encoding", "keys", "pools", "processing", "reachability", "receiving", "site", "storage", "tenants"]
