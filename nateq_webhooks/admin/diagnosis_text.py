"""Texts for refused requests: the probable cause, and what to do about it."""

from typing import Any, Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from nateq_webhooks.admin import formatting
from nateq_webhooks.inbox.diagnosis import Cause, Hint
from nateq_webhooks.protocol.alterations import Alteration
from nateq_webhooks.protocol.secret_forms import Form
from nateq_webhooks.protocol.signatures import Reason

BRIEF: Final[dict[str, Any]] = {
    Cause.OTHER_WEBHOOK: gettext_lazy("another webhook's secret"),
    Cause.EXPIRED_SECRET: gettext_lazy("expired secret"),
    Cause.SECRET_FORM: gettext_lazy("secret read another way"),
    Cause.RENAMED_HEADER: gettext_lazy("signature in another header"),
    Cause.ALTERED_BODY: gettext_lazy("body changed on the way"),
    Cause.EMPTY_BODY: gettext_lazy("body lost on the way"),
    Cause.UNKNOWN_SECRET: gettext_lazy("unknown secret"),
}
"""The probable cause, for a list, if the reason does not say it already."""

CAUSES: Final[dict[str, Any]] = {
    Cause.OTHER_WEBHOOK: gettext_lazy(
        "It is signed with the secret of the webhook “{webhook}”. Its URL and this one were probably mixed up at "
        "Nateq: give each webhook there the URL shown on its page here."
    ),
    Cause.EXPIRED_SECRET: gettext_lazy(
        "It is signed with a secret ({secret}) that this webhook no longer accepts. If Nateq still uses it, add it "
        "again under this webhook's other signing secrets; if it was replaced there, this was a late retry."
    ),
    Cause.RENAMED_HEADER: gettext_lazy("It is genuine, but its signature does not come in the header expected."),
    Cause.MISSING_HEADER: gettext_lazy(
        "The header with the signature is not there. Something on the way drops it: let your proxy pass all headers "
        "on. If the request is not from Nateq, there is nothing to do."
    ),
    Cause.EMPTY_BODY: gettext_lazy(
        "It is signed, but its body arrived empty. Something on the way drops it: a redirect, a proxy that does not "
        "pass on chunked bodies, or a middleware that reads the request's stream first."
    ),
    Cause.UNKNOWN_SECRET: gettext_lazy(
        "None of the secrets known here made this signature, neither for the body as it came nor for the forms that "
        "it may have had before a proxy changed it. Compare the secret with the one at Nateq: if it was rotated "
        "there, enter the new one on this webhook's page. If the request is not from Nateq, there is nothing to do."
    ),
    Cause.NO_SECRET: gettext_lazy(
        "This webhook has no secret that could verify anything: each is empty, too short (fewer than 16 visible "
        'characters after whsec_) or not in NATEQ_WEBHOOKS["SECRET_ENCODING"]. Enter Nateq\'s on its page.'
    ),
    Cause.UNREADABLE_SIGNATURE: gettext_lazy(
        "The header holds no signature that can be read: 64 hex digits or base64 of 32 bytes, up to eight of them "
        "with commas between. If another service uses this header, name the right one on the webhook's page."
    ),
    Cause.OTHER_ORGANIZATION: gettext_lazy(
        "It is genuine, but of another organization than the one entered for this webhook. Correct or clear the "
        "organization on the webhook's page, or remove the webhook at that organization."
    ),
    Cause.TOO_LARGE: gettext_lazy(
        'Its body is larger than {limit} bytes. Raise NATEQ_WEBHOOKS["MAX_BODY_BYTES"] if Nateq really sends this much.'
    ),
    Cause.NO_LENGTH: gettext_lazy(
        "Where its body ends is not known: its Content-Length is not one number, or the body is chunked and this "
        "server does not say where such a body ends. Serve the site with gunicorn or uvicorn, or let the proxy buffer "
        "requests, so that they come with a Content-Length."
    ),
    Cause.INACTIVE: gettext_lazy(
        "This webhook is switched off here, so its requests are answered with 404. Switch it on (the box “active” on "
        "its page), or remove it at Nateq."
    ),
    Cause.UNKNOWN_URL: gettext_lazy(
        "No webhook here has the id in the URL, {id}. If Nateq sends to it, give it the URL shown on the webhook's "
        "page here. If the webhook was deleted here, remove it at Nateq."
    ),
    Cause.ADDRESS: gettext_lazy(
        'It came from {address}, which is in none of the networks in NATEQ_WEBHOOKS["ALLOWED_NETWORKS"]. If Nateq '
        "sends from there, add the address. If it does not, there is nothing to do."
    ),
    Cause.NO_ADDRESS: gettext_lazy(
        "The address that it came from is not known, because the server listens on a Unix socket. Let your proxy set "
        'X-Forwarded-For, and set NATEQ_WEBHOOKS["TRUSTED_PROXIES"] to the number of your proxies. With '
        "ALLOWED_NETWORKS, a request without an address is refused."
    ),
    Cause.UNREADABLE_ADDRESS: gettext_lazy(
        "X-Forwarded-For should have the sender's address, but has {address}, which is no IP address. Let your proxy "
        "write the address that it sees. If the proxy does not write this header, set "
        'NATEQ_WEBHOOKS["TRUSTED_PROXIES"] to 0.'
    ),
    Cause.STALE: gettext_lazy(
        'It is from Nateq, but its timestamp is older than NATEQ_WEBHOOKS["REPLAY_WINDOW"] allows, and no such '
        "delivery is stored. Somebody may have sent a copy of an old request. If it is a late retry of Nateq's, set "
        "a longer REPLAY_WINDOW: longer than Nateq goes on retrying."
    ),
    Cause.FUTURE: gettext_lazy(
        "It is from Nateq, but its timestamp is more than five minutes in the future. Compare the clock of this "
        'server with the time. Such deliveries are refused because NATEQ_WEBHOOKS["REPLAY_WINDOW"] is set.'
    ),
    Cause.NO_TIMESTAMP: gettext_lazy(
        "It is from Nateq, but it has no timestamp that can be read, so its age is not known. Such deliveries are "
        'refused because NATEQ_WEBHOOKS["REPLAY_WINDOW"] is set.'
    ),
    Cause.NOT_POST: gettext_lazy(
        "It came as a GET. A redirect on the way (from http to https, to another host name, to a final slash) turns "
        "a POST into a GET: give Nateq the URL exactly as the webhook's page shows it. If somebody opened the URL in "
        "a browser, there is nothing to do."
    ),
}
"""The probable cause, and what to do."""

FORMS: Final[dict[str, Any]] = {
    Form.TRIMMED: gettext_lazy(
        "It is signed with this webhook's secret without the white space around it. Enter the secret again without it."
    ),
    Form.WITHOUT_PREFIX: gettext_lazy(
        "It is signed with this webhook's secret without its prefix. Enter the secret again without “whsec_”."
    ),
    Form.WITH_PREFIX: gettext_lazy(
        "It is signed with this webhook's secret with a prefix. Enter the secret again with “whsec_” before it."
    ),
    Form.DECODED: gettext_lazy(
        "It is signed with this webhook's secret, decoded from base64. "
        'Set NATEQ_WEBHOOKS["SECRET_ENCODING"] to "base64".'
    ),
    Form.AS_SHOWN: gettext_lazy(
        "It is signed with this webhook's secret as it is shown, not decoded from base64. "
        'Set NATEQ_WEBHOOKS["SECRET_ENCODING"] to "utf-8".'
    ),
}
"""How the sender uses the secret, and what to do."""

ALTERATIONS: Final[dict[str, Any]] = {
    Alteration.LINE_ENDS: gettext_lazy("changed its line endings, or the white space around it"),
    Alteration.COMPRESSED: gettext_lazy("compressed it"),
    Alteration.DECOMPRESSED: gettext_lazy("decompressed it"),
    Alteration.RESERIALIZED: gettext_lazy("rewrote its JSON"),
}
"""What was done to a body on its way."""


def brief(hint: Hint) -> str:
    """Return the probable cause and how many more requests were refused, in a few words for a list."""
    more = _("and %(count)s more") % {"count": hint.dropped} if hint.dropped else ""
    return _(", ").join(filter(None, [str(BRIEF.get(hint.code, "")), more]))


def sentences(code: str, hint: Hint) -> list[SafeString]:
    """Return the probable cause of a refusal for the reason `code`, and what to do, as HTML."""
    parts = [_main(hint, code), _other_details(hint), _more(hint)]
    return [sentence for sentence in parts if sentence]


_DETAILS: Final = ("webhook", "secret", "limit", "id", "address")


def _main(hint: Hint, code: str) -> SafeString:
    if hint.code == Cause.SECRET_FORM:
        return format_html("{}", FORMS.get(str(hint.details.get("form")), ""))
    if hint.code == Cause.ALTERED_BODY:
        how = hint.details.get("how")
        done = _(", ").join(str(ALTERATIONS.get(name, name)) for name in (how if isinstance(how, list) else []))
        return format_html(
            _(
                "It is from Nateq, but something on the way (a proxy, a firewall, a middleware) changed its body: it "
                "{done}. Let it pass the body on byte by byte."
            ),
            done=done,
        )
    if sentence := CAUSES.get(hint.code):
        return format_html(sentence, **{key: _name(hint, key) for key in _DETAILS})
    return format_html("{}", _not_diagnosed() if code in set(Reason) else "")


def _name(hint: Hint, key: str) -> SafeString:
    """Return a detail as HTML that isolates its text direction; a question mark if there is none."""
    return formatting.text(str(hint.details.get(key, ""))) or SafeString("?")


def _other_details(hint: Hint) -> SafeString:
    similar = hint.details.get("similar")
    if "header" in hint.details:
        return format_html(
            _(
                "The signature comes in the header {header}. Enter that as the signature header on the webhook's page, "
                'or in NATEQ_WEBHOOKS["SIGNATURE_HEADER"] for all.'
            ),
            header=_name(hint, "header"),
        )
    if isinstance(similar, list):
        names = format_html_join(", ", "{}", ((formatting.text(str(name)),) for name in similar))
        return format_html(_("These headers hold something like a signature, but none of ours: {names}."), names=names)
    if "forwarded" in hint.details:
        text = _(
            "The number of addresses in X-Forwarded-For is {forwarded}, and TRUSTED_PROXIES is {proxies}. If all "
            "requests seem to come from one address, that is a proxy of yours: set TRUSTED_PROXIES to the number of "
            "proxies in front of Django."
        )
        return format_html(text, forwarded=_name(hint, "forwarded"), proxies=_name(hint, "proxies"))
    if "webhook" in hint.details and hint.code == Cause.OTHER_ORGANIZATION:
        text = _("The organization is that of the webhook “{webhook}”.")
        return format_html(text, webhook=_name(hint, "webhook"))
    return SafeString("")


def _more(hint: Hint) -> SafeString:
    if not hint.dropped:
        return SafeString("")
    text = ngettext(
        "{count} more request was refused about that time and is not listed.",
        "{count} more requests were refused about that time and are not listed.",
        hint.dropped,
    )
    return format_html(text, count=hint.dropped)


def _not_diagnosed() -> str:
    return _(
        "This request was not examined. For each webhook and reason, only one refused request a second is, and only "
        "if its body has at most 64 KiB. Look at other requests of the same time."
    )
