"""Every error this package raises, under one base: what happened, with what value (never a secret), what to do."""


class NateqWebhooksError(Exception):
    """Base of every error of this package."""


class SecretError(NateqWebhooksError, ValueError):
    """A signing secret is empty, or is not in the encoding that the settings say. Never carries the secret."""


class ReceiverError(NateqWebhooksError, TypeError):
    """A receiver can't be connected: it has no stable name, would vanish, or its name belongs to another one."""


class StoreError(NateqWebhooksError):
    """A delivery could not be committed. The sender must be told to try again: nothing was acknowledged."""


class RolledBackError(NateqWebhooksError):
    """A receiver returned, but the database has rolled back what it wrote: the run counts as failed."""


class RunLostError(NateqWebhooksError):
    """A worker no longer holds the run it is working on: what it did is undone, another one does it."""
