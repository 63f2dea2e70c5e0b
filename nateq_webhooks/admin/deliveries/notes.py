"""What was unusual about a delivery: a sentence for each `Note` of the protocol."""

from typing import Any, Final

from django.utils.translation import gettext_lazy as _

from nateq_webhooks.protocol.envelope import Note

SENTENCES: Final[dict[str, Any]] = {
    Note.NOT_UTF8: _("The body is not UTF-8 text, so it could not be read."),
    Note.NOT_JSON: _("The body is not JSON, so it could not be read."),
    Note.NOT_OBJECT: _("The body is JSON, but not an object, so there is no event in it."),
    Note.TOO_DEEP: _("The body is nested too deeply to be read."),
    Note.NUMBER_TOO_LONG: _("The body has a number with too many digits to be read."),
    Note.EVENT_UNUSABLE: _("It does not say which event it is; only receivers of every event got it."),
    Note.TIMESTAMP_UNUSABLE: _("It does not say when the event happened, or says it in a way that can't be read."),
    Note.TIMESTAMP_NAIVE: _("The time of the event has no time zone; UTC was assumed."),
    Note.ORGANIZATION_UNUSABLE: _("It does not say which organization it belongs to."),
    Note.DATA_MISSING: _("It has no data."),
    Note.METADATA_UNUSABLE: _("It has no metadata: no delivery id, attempt or version."),
    Note.DELIVERY_ID_UNUSABLE: _("It has no usable delivery id; a repeat is recognised by its content."),
    Note.ATTEMPT_UNUSABLE: _("It does not say which attempt of the sender it was."),
    Note.VERSION_UNUSABLE: _("It does not say which version of the format it has."),
    Note.PAYLOAD_NOT_QUERYABLE: _(
        "The database's JSON column can't hold this payload. Receivers get it from the stored bytes; "
        "queries over the payload don't find it."
    ),
    Note.CUT: _(
        "A value is too long for its column, or has a character that the database can't store. The body has all of it."
    ),
    Note.CONTENT_DIFFERS: _(
        "The sender used the delivery id again for different content. No receiver ran for that content; it is kept "
        "below."
    ),
}
"""The sentence of each note."""


def sentence(code: str) -> str:
    """Return the sentence of a note; the code itself if a newer version wrote it."""
    return str(SENTENCES.get(code, code))
