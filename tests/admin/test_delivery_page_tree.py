"""The payload on a delivery's page: as it came, cut where it is long, found in, and shown as bytes."""

import json
import re
from html import unescape
from typing import Any

import pytest
from django.test import Client

from nateq_webhooks.admin.deliveries import payload, tree, tree_search
from nateq_webhooks.models import Delivery
from nateq_webhooks.protocol.verbatim import load_verbatim
from tests.admin.pages import body_url, detail_url, payload_url, shown
from tests.conftest import Sender, envelope

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


def stored(sender: Sender, body: bytes | Any) -> Delivery:
    sender.post(body)
    return Delivery.objects.get()


def lines(html: str) -> list[str]:
    """The tree of a page as text, a line per value."""
    part = html.partition('<ul class="nateq-tree"')[2].partition(">")[2] or html
    part = re.split(r'<details class="nateq-raw"|<p class="nateq-paging"', part)[0]
    rows = re.findall(r"<li[^>]*>(.*?)(?=<li|</li>|<ul>)", part, re.DOTALL)
    return [" ".join(unescape(re.sub(r"<[^>]*>", " ", row)).split()) for row in rows]


def rest_of(html: str) -> str:
    """Where the first link to the rest leads."""
    return unescape(re.findall(r'class="nateq-rest"><a href="([^"]*)"', html)[0])


def read_on(client: Client, url: str) -> tuple[list[str], str]:
    """Follow the links to the next page; return the text of each page, and the last page."""
    texts, page = [], ""
    while url:
        page = shown(client, url)
        texts.append(unescape(re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)[0]))
        url = unescape("".join(re.findall(r'<a href="([^"]*)">Next', page)))
    return texts, page


def test_the_tree_shows_numbers_doubled_keys_and_their_order_as_they_came(boss: Client, sender: Sender) -> None:
    body = b'{"z": 1.0, "event": "ticket.created", "a": 1e22, "a": -0, "n": [NaN, 12345678901234567890123, true, null]}'

    shown_lines = lines(shown(boss, detail_url(stored(sender, body))))

    assert shown_lines == [
        "z 1.0",
        'event "ticket.created"',
        "a 1e22 duplicate key: receivers see the last one",
        "a -0",
        "n [] 4 values",
        "[0] NaN",
        "[1] 12345678901234567890123",
        "[2] true",
        "[3] null",
    ]


def test_the_tree_escapes_invisible_characters(boss: Client, sender: Sender) -> None:
    text = 'مرحبا 🙂 \u202egpj.exe \x00 \ud800 \u200b \\u0041 "quoted" \n'

    page = shown(boss, detail_url(stored(sender, envelope(data={"id": "tkt_1", "text": text, "a key": 1, "": {}}))))

    assert r'text "مرحبا 🙂 \u202egpj.exe \u0000 \ud800 \u200b \\u0041 \"quoted\" \n"' in lines(page)
    assert '"a key" 1' in lines(page)
    assert '"" {}' in lines(page)


def test_a_long_list_is_cut_and_its_rest_is_paged(boss: Client, sender: Sender) -> None:
    delivery = stored(sender, envelope(data={"lines": list(range(250)), "after": 1}))

    page = shown(boss, detail_url(delivery))
    assert "[99] 99" in lines(page)
    assert "[100] 100" not in lines(page)
    assert "Show the rest (150 values)" in lines(page)
    assert "after 1" in lines(page)

    second = shown(boss, rest_of(page))
    assert lines(second)[:2] == ["[100] 100", "[101] 101"]
    assert ">Previous<" in second
    third = shown(boss, rest_of(second))
    assert lines(third)[-1] == "[249] 249"
    assert 'class="nateq-rest"' not in third


def test_the_script_gets_the_rest_as_lines_only(boss: Client, sender: Sender) -> None:
    delivery = stored(sender, envelope(data=list(range(150))))

    part = shown(boss, payload_url(delivery), {"at": "3", "from": "100", "part": ""})

    assert part.startswith("<li>")
    assert "<html" not in part
    assert lines(part) == [f"[{n}] {n}" for n in range(100, 150)]


def test_deep_values_have_pages_of_their_own(boss: Client, sender: Sender) -> None:
    nested: Any = "the end"
    for _level in range(40):
        nested = {"in": nested}
    delivery = stored(sender, envelope(data=nested))

    page, pages = shown(boss, detail_url(delivery)), 0
    while "the end" not in " ".join(lines(page)):
        page, pages = shown(boss, rest_of(page)), pages + 1
        assert pages < 10

    assert pages == 3
    assert ">Payload</bdi></a>" in page


def test_a_long_text_is_cut_and_read_on_its_own_pages(boss: Client, sender: Sender) -> None:
    text = "".join(f"<{n}>" for n in range(12_000))
    delivery = stored(sender, envelope(data={"text": text}))

    page = shown(boss, detail_url(delivery))
    assert "<199>" in " ".join(lines(page))
    assert "<300>" not in " ".join(lines(page))
    texts, _last = read_on(boss, unescape(re.findall(r'<a href="([^"]*)">Show all of it', page)[0]))
    assert "".join(part.strip('"…') for part in texts) == text


def test_the_search_finds_keys_and_values_in_all_of_the_payload(boss: Client, sender: Sender) -> None:
    data = {"lines": [{"sku": f"A{n}"} for n in range(5000)], "Sku-note": 7, "big": "x" * 500 + "Needle" + "x" * 500}
    delivery = stored(sender, envelope(data=data))

    found = shown(boss, payload_url(delivery), {"find": "a4999"})
    (link,) = re.findall(
        r'<li><a href="([^"]*)">.*data\.lines\[4999]\.sku</bdi></a> <bdi class="nateq-value">&quot;A4999&quot;', found
    )
    assert "A4999" in " ".join(lines(shown(boss, unescape(link))))
    assert "Needle" in shown(boss, payload_url(delivery), {"find": "nEEdle"})
    assert "There may be more; these are the first." in shown(boss, payload_url(delivery), {"find": "sku"})
    assert "Not found in this payload." in shown(boss, payload_url(delivery), {"find": "nothing like it"})


def test_a_search_looks_at_a_bounded_number_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_search, "MAX_VALUES", 10)

    assert tree_search.find(load_verbatim(json.dumps(list(range(50))).encode()), "49").is_cut
    assert not tree_search.find(load_verbatim(b"[1, 2]"), "49").is_cut


def test_the_bytes_are_paged_without_cutting_a_character(boss: Client, sender: Sender) -> None:
    body = json.dumps(envelope(data={"text": "سلام" * 20_000}), ensure_ascii=False).encode()
    delivery = stored(sender, body)

    page = shown(boss, detail_url(delivery))
    raw = page.partition('<details class="nateq-raw">')[2].partition("</pre>")[0]
    texts, last = read_on(boss, unescape(re.findall(r'<a href="([^"]*bytes=[^"]*)">Show the rest', page)[0]))

    assert unescape(raw.partition('tabindex="0">')[2]) + "".join(texts) == body.decode()
    assert f"of {len(body)}" in last


def test_bytes_that_are_not_text_are_shown_as_escapes(boss: Client, sender: Sender) -> None:
    page = shown(boss, detail_url(stored(sender, b"caf\xe9 \x00\r\n\x1b[31m \xe2\x80\xae " + b"\x80" * 30_000)))

    assert "caf\\xe9 \\u0000\\u000d\n\\u001b[31m \\u202e \\x80" in page
    assert '<details class="nateq-raw" open>' in page
    assert len(page) < 400_000


@pytest.mark.parametrize(
    "query",
    [
        {"at": "9"},
        {"at": "3.0.0"},
        {"at": "-1"},
        {"at": "٣"},
        {"at": "x"},
        {"at": "1" * 12},
        {"from": "-1"},
        {"from": "x"},
        {"bytes": "1e3"},
        {"bytes": "9" * 400},
    ],
)
def test_an_address_that_leads_nowhere_is_not_found(boss: Client, sender: Sender, query: dict[str, str]) -> None:
    delivery = stored(sender, envelope(data=["one"]))

    assert boss.get(payload_url(delivery), query).status_code == 404


def test_an_address_beyond_the_end_is_an_empty_page(boss: Client, sender: Sender) -> None:
    delivery = stored(sender, envelope())

    assert lines(shown(boss, payload_url(delivery), {"from": "1000"})) == []
    assert "Bytes" in shown(boss, payload_url(delivery), {"bytes": "999999999"})


@pytest.mark.parametrize("body", [b"no json", b"7", b'"text"', b"{" * 2000])
def test_a_body_that_is_not_a_document_has_no_tree_and_no_search(boss: Client, sender: Sender, body: bytes) -> None:
    delivery = stored(sender, body)

    assert 'class="nateq-tree"' not in shown(boss, detail_url(delivery))
    assert boss.get(payload_url(delivery)).status_code == 404
    assert boss.get(payload_url(delivery), {"find": "a"}).status_code == 404
    assert boss.get(body_url(delivery)).content == body


def test_a_body_that_is_too_large_for_a_tree_is_shown_as_bytes(
    boss: Client, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload, "MAX_TREE_BYTES", 50)
    page = shown(boss, detail_url(stored(sender, envelope())))

    assert 'class="nateq-tree"' not in page
    assert '<details class="nateq-raw" open>' in page


@pytest.mark.parametrize("text", ["", "0", "3.12.0"])
def test_a_path_reads_as_it_was_written(text: str) -> None:
    assert tree.path_to_text(tree.path_from_text(text)) == text
