"""Allow-lists of networks: what an entry means, and which addresses are in it."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nateq_webhooks.protocol.networks import is_in, network_problem, read_address, read_network

NETWORKS = ["192.0.2.7", "198.51.100.0/24", "2001:db8::/32", "::ffff:203.0.113.0/120"]


@pytest.mark.parametrize(
    "address",
    [
        "192.0.2.7",
        "::ffff:192.0.2.7",
        "::ffff:c000:207",
        "198.51.100.0",
        "198.51.100.255",
        "2001:db8::1",
        "2001:DB8:0:0::1",
        "2001:db8::1%eth0",
        "203.0.113.5",
        "::ffff:203.0.113.5",
        "192.0.2.7:51234",
        "[2001:db8::1]:443",
        "[2001:db8::1]",
        "[::ffff:192.0.2.7]:443",
    ],
)
def test_these_addresses_are_in_the_networks(address: str) -> None:
    assert is_in(address, NETWORKS)


@pytest.mark.parametrize(
    "address",
    [
        *("192.0.2.8", "::1", "::c000:207", "2001:db9::1", "", " 192.0.2.7", "192.0.2.7, 192.0.2.7", "192.0.2.07"),
        *("192.0.2.7/24", "192.0.2.7:port", "192.0.2.7:123456", "[192.0.2.7", "unix:", "3221225991", "1" * 1000),
        *("\ud800", "\u0667"),
    ],
)
def test_these_are_not(address: str) -> None:
    assert not is_in(address, NETWORKS)


def test_no_address_is_in_no_network() -> None:
    assert not is_in(None, ["0.0.0.0/0", "::/0"])
    assert not is_in("192.0.2.7", [])
    assert not is_in("192.0.2.7", ["nonsense", 7, None])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("192.0.2.7/24", "'192.0.2.7/24' has bits set after its prefix; the network is 192.0.2.0/24"),
        ("2001:db8::1/32", "'2001:db8::1/32' has bits set after its prefix; the network is 2001:db8::/32"),
        ("192.0.2", "'192.0.2' is not an IP address or a network, such as 192.0.2.7 or 192.0.2.0/24"),
        ("shop.example", "'shop.example' is not an IP address or a network, such as 192.0.2.7 or 192.0.2.0/24"),
        (7, "'7' is not an IP address or a network, such as 192.0.2.7 or 192.0.2.0/24"),
    ],
)
def test_a_wrong_entry_is_named(entry: object, message: str) -> None:
    problem = network_problem(entry)

    assert problem is not None
    assert problem[0] % problem[1] == message


@pytest.mark.parametrize("entry", NETWORKS)
def test_a_right_entry_has_no_problem(entry: str) -> None:
    assert network_problem(entry) is None


@given(st.text() | st.ip_addresses().map(str))
def test_any_text_is_an_address_or_none(text: str) -> None:
    address = read_address(text)

    assert address is None or is_in(text, [str(address)])
    network_problem(text)


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_a_mapped_address_is_where_the_ipv4_address_is(
    base: ipaddress.IPv4Address, prefix: int, address: ipaddress.IPv4Address
) -> None:
    network = ipaddress.IPv4Network((base, prefix), strict=False)

    assert is_in(f"::ffff:{address}", [str(network)]) == (address in network)
    assert read_network(f"::ffff:{base}/{96 + prefix}") == network
