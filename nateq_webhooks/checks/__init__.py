"""System checks: what is wrong with the settings is said at start, with an id, the value and what to do."""

from nateq_webhooks.checks import pools, processing, reaching, receiving, site, storage

__all__ = ["pools", "processing", "reaching", "receiving", "site", "storage"]
from nateq_webhooks.checks import encoding, keys, tenants

__all__ = ["encoding", "keys", "pools", "processing", "receiving", "site", "storage", "tenants"]
