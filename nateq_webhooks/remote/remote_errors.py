"""What can prevent a registration other than a failure of Nateq's API (those are `ApiError`)."""

from nateq_webhooks.errors import NateqWebhooksError


class RemoteError(NateqWebhooksError):
    """A person has to decide or correct something first, here or at Nateq."""


class BusyError(RemoteError):
    """Another process is changing this webhook's registration: nothing was done."""


class NotSavedError(RemoteError):
    """The database did not save a step. Its own error is not chained: a secret is among the values in its frames."""


class ClaimLostError(RemoteError):
    """The claim of this run expired, and another run has continued with its webhook."""
