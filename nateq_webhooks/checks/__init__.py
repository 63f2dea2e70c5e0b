"""System checks: each message has an id, the value that is wrong, and what to do."""

from nateq_webhooks.checks import encoding, keys, pools, processing, reachability, receiving, site, storage, tenants

__all__ = ["encoding", "keys", "pools", "processing", "reachability", "receiving", "site", "storage", "tenants"]
