"""API keys of a sandbox, with their scopes and organizations (Nateq: authentication)."""

import re
import secrets
from dataclasses import dataclass, field

from nateq_webhooks.protocol.api import NATEQ_SCOPES, SCOPE, TEST_KEY_PREFIX, is_api_key
from nateq_webhooks.sandbox.sandbox_errors import SandboxError
from nateq_webhooks.sandbox.webhooks import ORGANIZATION_ID

_ORGANIZATION = re.compile(r"[A-Za-z0-9_-]{1,200}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A key of the sandbox. Its repr never shows it whole."""

    text: str = field(repr=False)
    scopes: frozenset[str] = frozenset({SCOPE})
    organization: str = ORGANIZATION_ID
    """The organization that the key belongs to: it sees and changes that one's webhooks only."""

    @property
    def label(self) -> str:
        """The key as a screen may show it."""
        return f"{self.text[:12]}…"

    @property
    def scope_text(self) -> str:
        """The scopes as a screen shows them."""
        return ", ".join(sorted(self.scopes)) or "no scopes"

    @classmethod
    def parse(cls, text: str) -> "Key":
        """Read `KEY`, `KEY@organization` or `KEY:scope,scope`, or all three.

        Without scopes a key has `webhooks:manage`, with a bare colon it has none; without an organization it belongs
        to `org_sandbox`. Raises `SandboxError` for a key that is no test key, and for a scope that Nateq does not have.
        """
        left, colon, scopes = text.partition(":")
        key, at, organization = left.partition("@")
        if at and not _ORGANIZATION.fullmatch(organization):
            raise SandboxError("After @ comes the key's organization, such as tg_test_local@org_2.")
        if not key.startswith(TEST_KEY_PREFIX) or len(key) == len(TEST_KEY_PREFIX) or not key.isprintable():
            raise SandboxError(
                f"A key of the sandbox starts with {TEST_KEY_PREFIX} and goes on, like {TEST_KEY_PREFIX}local; "
                "it may be followed by scopes, like tg_test_local:webhooks:manage,tickets:read."
            )
        if not is_api_key(key):
            raise SandboxError("A key consists of ASCII letters, digits and . _ ~ + / -, without spaces (RFC 6750).")
        granted = frozenset(scope.strip() for scope in scopes.split(",") if scope.strip()) if colon else {SCOPE}
        if unknown := sorted(granted - NATEQ_SCOPES):
            raise SandboxError(
                f"{', '.join(unknown)}: Nateq has no such scope. Its scopes are {', '.join(sorted(NATEQ_SCOPES))}."
            )
        return cls(text=key, scopes=frozenset(granted), organization=organization or ORGANIZATION_ID)

    @classmethod
    def generate(cls) -> "Key":
        """Make a key to use if none was given. It has the length that Nateq's own SDK requires (50 characters)."""
        return cls(text=TEST_KEY_PREFIX + secrets.token_hex(24))
