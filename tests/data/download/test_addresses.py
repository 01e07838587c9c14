"""Which URLs may be asked, and where: by hand, after RFC 6890 and what clouds and attackers do."""

import asyncio
import socket
from ipaddress import ip_address
from typing import Any

import pytest

from tfpipe.data.download.addresses import Guard, Link, RefusedError, follow_link, is_public, parse_link

# Links


@pytest.mark.parametrize(
    ("text", "url", "host"),
    [
        ("http://Photos.Example.ORG:80/A b.jpg#top", "http://photos.example.org/A%20b.jpg", "photos.example.org"),
        (" https://h.org/x?y=1 \n", "https://h.org/x?y=1", "h.org"),
        ("http://münchen.de/ü.jpg", "http://xn--mnchen-3ya.de/%C3%BC.jpg", "xn--mnchen-3ya.de"),
        ("http://h.org.:8080/x", "http://h.org.:8080/x", "h.org"),
        ("http://[2001:4860:4860::8888]/x", "http://[2001:4860:4860::8888]/x", "2001:4860:4860::8888"),
        ("http://a_b.h.org/%2Fx", "http://a_b.h.org/%2Fx", "a_b.h.org"),
    ],
)
def test_a_link_has_one_canonical_form(text: str, url: str, host: str) -> None:
    assert parse_link(text) == Link(url, host)
    assert parse_link(url) == Link(url, host)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "photo.jpg",
        "//h.org/x",
        "http:///x",
        "http:/h.org/x",
        "ftp://h.org/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://h.org:99999/",
        "http://h.org:port/",
        "http://two words.org/",
        "http://h..org/",
        "http://" + "a" * 64 + ".org/",
        "http://h%00.org/",
        "http://h.org\\@127.0.0.1/",
    ],
)
def test_what_cannot_be_asked_for_is_no_link(text: str) -> None:
    assert parse_link(text) is None


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/b.jpg", "https://h.org/b.jpg"),
        ("c.jpg", "https://h.org/a/c.jpg"),
        ("//cdn.org/x", "https://cdn.org/x"),
        ("http://other.org/x#y", "http://other.org/x"),
        ("file:///etc/passwd", None),
        ("http://[", None),
    ],
)
def test_a_redirect_leads_where_a_browser_would_go(location: str, url: str | None) -> None:
    target = follow_link(Link("https://h.org/a/b", "h.org"), location)
    assert (target.url if target else None) == url


# Addresses

PUBLIC = ["8.8.8.8", "93.184.216.34", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
NOT_PUBLIC = {
    "this machine": ["127.0.0.1", "127.255.255.254", "0.0.0.0", "::1", "::", "::127.0.0.1", "::ffff:127.0.0.1"],
    "our network": ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fc00::1", "fec0::1", "::ffff:10.0.0.1"],
    "this wire": ["169.254.1.1", "fe80::1", "255.255.255.255"],
    "what clouds tell their machines": ["169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16"],
    "the same in IPv6": ["fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"],
    "many at once": ["224.0.0.1", "239.255.255.250", "ff02::1"],
    "reserved": ["240.0.0.1", "198.18.0.1", "192.0.2.1", "2001:db8::1"],
    "127.0.0.1 by 6to4 and NAT64": ["2002:7f00:1::1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1"],
    "127.0.0.1 by Teredo, its bits turned over": ["2001:0:4136:e378:8000:63bf:80ff:fffe"],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_the_open_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("what", NOT_PUBLIC)
def test_nothing_else_is(what: str) -> None:
    assert [address for address in NOT_PUBLIC[what] if is_public(ip_address(address))] == []


# The guard


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "2130706433", "0177.0.0.1", "0x7f000001", "127.1", "0", "0x7f.1", "fe80::1%25eth0"]
)
def test_a_number_that_leads_inside_is_refused_however_it_is_spelled(host: str) -> None:
    with pytest.raises(RefusedError):
        Guard(()).check_number(host)
    Guard((host,)).check_number(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "photos.example.org", "2001:4860:4860::8888", "1.example.org"])
def test_other_hosts_pass_until_they_are_looked_up(host: str) -> None:
    Guard(()).check_number(host)


def looked_up(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Let every name have these addresses; returns the names that were looked up."""
    names: list[str] = []

    def getaddrinfo(host: str, port: int, *_: Any) -> list[Any]:
        names.append(host)
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, port))
            for family, address in zip(families, addresses, strict=True)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return names


def resolve(name: str, *allow_hosts: str) -> list[str]:
    return [found["host"] for found in asyncio.run(Guard(allow_hosts).resolve(name, 80))]


def test_only_public_addresses_of_a_name_are_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up(monkeypatch, "10.0.0.1", "8.8.8.8", "::1")
    assert resolve("photos.example.org") == ["8.8.8.8"]


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback address"),
        ("::ffff:10.0.0.1", "private address"),
        ("169.254.169.254", "link-local address"),
        ("168.63.129.16", "reserved address"),
    ],
)
def test_a_name_that_leads_inside_is_refused_unless_it_is_allowed(
    monkeypatch: pytest.MonkeyPatch, address: str, kind: str
) -> None:
    looked_up(monkeypatch, address)
    with pytest.raises(RefusedError, match=f"^{kind}$"):
        resolve("intranet.example.org", "other.example.org")
    assert resolve("Intranet.example.org.", "intranet.EXAMPLE.org") == [address]


@pytest.mark.parametrize("name", ["photos.invalid", "invalid", "x.TEST", "x.test."])
def test_names_that_exist_nowhere_are_not_looked_up(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    names = looked_up(monkeypatch, "8.8.8.8")
    with pytest.raises(socket.gaierror):
        resolve(name)
    assert names == []
