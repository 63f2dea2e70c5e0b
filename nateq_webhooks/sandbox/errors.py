"""What the sandbox raises, under the package's base: what happened, with what value, and what to do."""

from nateq_webhooks.errors import NateqWebhooksError


class SandboxError(NateqWebhooksError, ValueError):
    """The sandbox was given an option, an event or a webhook that it can't work with."""


class NotDeliveredError(NateqWebhooksError, TimeoutError):
    """What the sandbox accepted was not all delivered in time, or an event has used up its attempts."""


class StoreClosedError(NateqWebhooksError):
    """The sandbox has stopped; what was under way is taken up again when it starts on the same file."""


class MissingExtraError(NateqWebhooksError, ImportError):
    """The sandbox needs what the extra `sandbox` installs."""

    def __init__(self, module: str) -> None:
        super().__init__(f'The sandbox needs {module}, which is not installed: pip install "nateq-webhooks[sandbox]"')


class InvalidError(SandboxError):
    """A request's fields are not valid; `fields` says what is wrong with each of them by name."""

    def __init__(self, fields: dict[str, str]) -> None:
        self.fields = fields
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in fields.items()))
