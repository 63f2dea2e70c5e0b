"""Every error this package raises, under one base: what happened, with what value (never a secret), what to do."""


class NateqWebhooksError(Exception):
    """Base of every error of this package."""


class SecretError(NateqWebhooksError, ValueError):
    """A signing secret is empty, or is not in the encoding that the settings say. Never carries the secret."""


class ReceiverError(NateqWebhooksError, TypeError):
    """A receiver can't be connected: it has no stable name, would vanish, or its name belongs to another one."""


class StoreError(NateqWebhooksError):
    """A delivery could not be committed. The sender must be told to try again: nothing was acknowledged."""


class RetryLater(NateqWebhooksError):  # noqa: N818 - what a receiver raises to say something, not an error
    """A receiver raises this to be tried again after `seconds`, whatever its number of tries.

    Its database work is undone. Only the greatest age of a run (`RETRY_MAX_AGE`) ends it.
    """

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(reason or f"to be tried again after {seconds} s")
        self.seconds = seconds


class GiveUp(NateqWebhooksError):  # noqa: N818 - what a receiver raises to say something, not an error
    """A receiver raises this to never be tried again on this delivery. Its database work is undone."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the receiver gave up")


class TimedOutError(NateqWebhooksError):
    """A receiver ran for longer than `RUN_TIMEOUT`: the try counts as failed, and its late commit is refused."""


class RolledBackError(NateqWebhooksError):
    """A receiver returned, but the database has rolled back what it wrote: the run counts as failed."""


class RunLostError(NateqWebhooksError):
    """A worker no longer holds the run it is working on: what it did is undone, another one does it."""
