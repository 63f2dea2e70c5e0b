"""System checks: each message has an id, the value that is wrong, and what to do."""

from nateq_webhooks.checks import (
    api,
    content_rules,
    deployment,
    encoding,
    encryption,
    keys,
    pools,
    processing,
    reachability,
    receiving,
    replay_window,
    site,
    storage,
    tenants,
)

__all__ = [
    "api",
    "content_rules",
    "deployment",
    "encoding",
    "encryption",
    "keys",
    "pools",
    "processing",
    "reachability",
    "receiving",
    "replay_window",
    "site",
    "storage",
    "tenants",
]
