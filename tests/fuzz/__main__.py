"""`python -m tests.fuzz [seconds]`: feed what senders control to the parsers (needs `pip install atheris`).

The inputs are guided by coverage. Each parser takes any bytes and raises nothing but its own errors. What breaks that
is printed with the input, and the exit code is not 0. The test suite has property tests of the same parsers instead.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["nateq_webhooks.protocol"]):
    from nateq_webhooks.protocol.columns import is_column_json
    from nateq_webhooks.protocol.content_length import ContentLengthError, content_length
    from nateq_webhooks.protocol.envelope import content_hash, load_document, read, value_at
    from nateq_webhooks.protocol.networks import is_in
    from nateq_webhooks.protocol.redaction import Redaction, masked_body
    from nateq_webhooks.protocol.signatures import Match, digests, sign, verify

SECRET = "whsec_fuzz_0123456789abcdef"
REDACTION = Redaction([("data", "requester", "email"), ("data", "items", "*", "name")])


def try_body(body: bytes) -> None:
    """Read a body in each way in which a delivery's is read."""
    by_id, by_content = read(body), read(body, by_content=True)
    assert read(body) == by_id
    assert by_id.event == by_content.event
    value_at(body, "data.requester.email")
    content_hash(body)
    document = load_document(body)
    if document is not None:
        if is_column_json(body, document):
            json.dumps(document).encode()
        masked = masked_body(REDACTION, body)
        assert masked is None or load_document(masked) is not None


def try_headers(data: bytes) -> None:
    """Read the headers of a request."""
    text = data.decode("latin-1")
    digests(text)
    assert not isinstance(verify(b"{}", text, [SECRET]), Match) or sign(b"{}", SECRET)[7:] in text.lower()
    is_in(text, ["192.0.2.0/24", "2001:db8::/32"])
    try:
        length = content_length(text)
    except ContentLengthError:
        return
    assert length is None or length >= 0


def try_all(data: bytes) -> None:
    """Try an input: its first byte says as what."""
    (try_headers if data[:1] > b"\xc0" else try_body)(data[1:])


SEEDS: Sequence[bytes] = [
    b'\x00{"event":"ticket.created","timestamp":"2026-06-30T12:00:00Z","organization_id":"org_1","data":{"id":"tkt_1",'
    b'"requester":{"email":"a@b.example"},"items":[{"name":"\\ud800"}]},"metadata":{"delivery_id":"dlv_1","attempt":1}}',
    b"\xff" + sign(b"{}", SECRET).encode(),
]


def main() -> None:
    """Fuzz for some seconds, 60 if no number is given."""
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS):
            (Path(corpus) / str(number)).write_bytes(seed)
        options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=5"]
        atheris.Setup([sys.argv[0], corpus, *options], try_all)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
