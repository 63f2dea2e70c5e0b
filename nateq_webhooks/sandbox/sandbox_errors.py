"""The exceptions of the sandbox, with the package's base class."""

from nateq_webhooks.errors import NateqWebhooksError


class SandboxError(NateqWebhooksError, ValueError):
    """An option, an event or a webhook is not valid."""


class NotDeliveredError(NateqWebhooksError, TimeoutError):
    """Not all accepted events were delivered in time, or one has no attempts left."""


class StoppedError(NateqWebhooksError):
    """The sandbox has stopped; interrupted attempts are repeated when it starts with the same file."""


class MissingExtraError(NateqWebhooksError, ImportError):
    """The sandbox needs what the extra `sandbox` installs."""

    def __init__(self, module: str) -> None:
        super().__init__(f'The sandbox needs {module}, which is not installed: pip install "nateq-webhooks[sandbox]"')


class InvalidError(SandboxError):
    """Some fields are not valid; `fields` maps their names to what is wrong."""

    def __init__(self, fields: dict[str, str]) -> None:
        self.fields = fields
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in fields.items()))
