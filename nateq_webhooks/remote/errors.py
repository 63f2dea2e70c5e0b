"""What can be in the way of a registration that is no failure of Nateq's API (those are `ApiError`)."""

from nateq_webhooks.errors import NateqWebhooksError


class RemoteError(NateqWebhooksError):
    """Something on this side, or between both, has to be decided or put right by a person first."""


class BusyError(RemoteError):
    """Another run is at work on this webhook: nothing was done."""


class NotSavedError(RemoteError):
    """The database did not take a step. Its own error is kept back: a secret is among the values in its frames."""


class ClaimLostError(RemoteError):
    """The run was taken for dead, and another one has gone on with its webhook."""
