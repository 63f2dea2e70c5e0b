"""System checks: what is wrong with the settings is said at start, with an id, the value and what to do."""

from nateq_webhooks.checks import keys, processing, site, storage

__all__ = ["keys", "processing", "site", "storage"]
