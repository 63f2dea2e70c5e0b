"""Receive Nateq's webhooks in Django: verify, store, run receivers, browse."""

__version__ = "0.1.0"
