"""System checks: what is wrong with the settings is said at start, with an id, the value and what to do."""

from nateq_webhooks.checks import encoding, keys, pools, processing, reaching, receiving, site, storage, tenants

__all__ = ["encoding", "keys", "pools", "processing", "reaching", "receiving", "site", "storage", "tenants"]
