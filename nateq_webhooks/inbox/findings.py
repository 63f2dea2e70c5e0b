"""What may be the matter with a refused request: a code and its details, which the admin turns into words."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Cause(StrEnum):
    """A likely cause of a refusal; certain only if a secret verified it (docs/how-to/rejections.md lists them)."""

    OTHER_WEBHOOK = "other_webhook"
    """Signed with the secret of another webhook of ours: `webhook` is its name."""
    EXPIRED_SECRET = "expired_secret"  # noqa: S105 - a cause, not a secret
    """Signed with a secret that this webhook no longer accepts: `secret` is its id."""
    SECRET_FORM = "secret_form"  # noqa: S105 - a cause, not a secret
    """Signed with our secret written another way: `form` says which (protocol.secret_forms)."""
    RENAMED_HEADER = "renamed_header"
    """Genuine, but its signature comes in the header `header`."""
    MISSING_HEADER = "missing_header"
    """No header holds a signature of ours; `similar` are those that hold something like one."""
    ALTERED_BODY = "altered_body"
    """Genuine before something on the way changed the body: `how` says in what (protocol.alterations)."""
    EMPTY_BODY = "empty_body"
    """Signed, but the body is empty."""
    UNKNOWN_SECRET = "unknown_secret"  # noqa: S105 - a cause, not a secret
    """None of our secrets made the signature, of the body as it came or as it may have been."""
    NO_SECRET = "no_secret"  # noqa: S105 - a cause, not a secret
    """The webhook has no secret that could verify anything."""
    UNREADABLE_SIGNATURE = "unreadable_signature"
    """The header holds no signature: `why` is the reason in full."""
    OTHER_ORGANIZATION = "other_organization"
    """Genuine, but of another organization; `webhook` is the one of ours that is set up for it, if any."""
    TOO_LARGE = "too_large"
    """The body is larger than `limit` bytes."""
    NO_LENGTH = "no_length"
    """A body whose end is not known: no readable Content-Length, or chunked under a server that does not say."""
    NOT_POST = "not_post"
    """A GET where a POST belongs: a redirect on the way."""


Detail = str | int | Sequence[str]


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause with what is to be known of it: names and ids of ours, names of headers; nothing of a body or secret.

    When the signature came in another header than it should, `header` is that one's name, whatever the cause.
    """

    code: Cause
    details: Mapping[str, Detail] = field(default_factory=dict)


def hint(finding: Finding | None, dropped: int = 0) -> str:
    """Return what the diary keeps: JSON text with `code`, `details` and `dropped`, each only if there is something.

    `dropped` counts further refusals that are not in the diary, up to this one.
    """
    parts: dict[str, object] = {}
    if finding is not None:
        parts = {"code": finding.code.value, "details": dict(finding.details)}
    if dropped:
        parts["dropped"] = dropped
    return json.dumps(parts, ensure_ascii=False) if parts else ""
