"""Receive Nateq's webhooks in Django: verify, store, run receivers, browse."""

from nateq_webhooks.protocol.log_records import install

__version__ = "0.1.0"

install()
del install
