"""API keys, their scopes, and the order in which Nateq refuses a request (Nateq: authentication)."""

import re
import secrets
from dataclasses import dataclass, field

from nateq_webhooks.protocol.api import LIVE_KEY_PREFIX, SCOPE, TEST_KEY_PREFIX, ErrorCode
from nateq_webhooks.sandbox.database import ORGANIZATION_ID
from nateq_webhooks.sandbox.sandbox_errors import SandboxError

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

    @classmethod
    def parse(cls, text: str) -> "Key":
        """Read `KEY`, `KEY@organization` or `KEY:scope,scope`, or all three.

        Without scopes a key has `webhooks:manage`, with a bare colon it has none; without an organization it belongs
        to `org_sandbox`. Raises `SandboxError` for a key that is no test key.
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
        if not key.isascii() or " " in key:
            raise SandboxError("A key can't contain spaces or non-ASCII characters, because it is sent in a header.")
        granted = frozenset(scope.strip() for scope in scopes.split(",") if scope.strip()) if colon else {SCOPE}
        return cls(text=key, scopes=frozenset(granted), organization=organization or ORGANIZATION_ID)

    @classmethod
    def generate(cls) -> "Key":
        """Make a key to use if none was given. It has the length that Nateq's own SDK requires (50 characters)."""
        return cls(text=TEST_KEY_PREFIX + secrets.token_hex(24))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not let in."""

    code: ErrorCode
    message: str


def authenticate(header: str | None, keys: tuple[Key, ...]) -> Key | Refusal:
    """Find the key that an `Authorization` header carries, or say what is wrong with it."""
    if not header:
        return Refusal(ErrorCode.MISSING_API_KEY, "Send your API key: Authorization: Bearer tg_test_...")
    scheme, _, text = header.partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or not text or " " in text:
        return Refusal(ErrorCode.INVALID_AUTH_FORMAT, "The header must read: Authorization: Bearer <key>")
    if not text.startswith((TEST_KEY_PREFIX, LIVE_KEY_PREFIX)):
        return Refusal(ErrorCode.INVALID_API_KEY_FORMAT, f"A key starts with {LIVE_KEY_PREFIX} or {TEST_KEY_PREFIX}")
    offered = text.encode("utf-8", "replace")
    for key in keys:
        if secrets.compare_digest(offered, key.text.encode()):
            return key
    if text.startswith(LIVE_KEY_PREFIX):
        return Refusal(ErrorCode.INVALID_API_KEY, "This is a sandbox: it has no live keys")
    return Refusal(ErrorCode.INVALID_API_KEY, "The API key does not exist or was revoked")
