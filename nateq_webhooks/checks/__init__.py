"""System checks: what is wrong with the settings is said at start, with an id, the value and what to do."""

from nateq_webhooks.checks import processing, receiving, site, storage

__all__ = ["processing", "receiving", "site", "storage"]
