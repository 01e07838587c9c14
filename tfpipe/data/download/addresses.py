"""Which URLs may be asked, and at which addresses: no row may make us reach into our own network."""

import asyncio
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

SCHEMES = ("http", "https")
LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}$){LABEL}(?:\.{LABEL})*")
NOWHERE = ("invalid", "test")
"""Top-level names that exist nowhere (RFC 6761), so that no name server need be asked."""

TRANSLATED = ip_network("64:ff9b::/96")
"""IPv6 addresses that stand for the IPv4 address in their last 32 bits (RFC 6052)."""
SERVED_TO_MACHINES = (ip_network("168.63.129.16/32"), ip_network("192.0.0.0/24"))
"""Where clouds answer their own machines, though the addresses count as public."""

LOOKUPS_AT_A_TIME = 32
"""A dead name server takes many seconds to time out; that must not hold up the other names."""


class RefusedError(Exception):
    """The address lies where nothing may be fetched from."""


@dataclass(frozen=True)
class Link:
    """A URL that can be asked for, and whom it asks."""

    url: str
    """In canonical form, so that equal links are equal texts."""
    host: str
    """Lower case, without port: what limits apply to."""


def parse_link(text: str) -> Link | None:
    """The link that a text spells; None if it is no http(s) URL with a possible host."""
    try:
        return _link(URL(text.strip()))
    except ValueError:
        return None


def follow_link(link: Link, location: str) -> Link | None:
    """Where a redirect leads; None if that cannot be asked for."""
    try:
        return _link(URL(link.url).join(URL(location)))
    except ValueError:
        return None


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address is on the open internet, whichever way it is written."""
    if isinstance(address, IPv6Address) and (inner := _ipv4_inside(address)):
        return is_public(inner)
    special = address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
    return address.is_global and not special and not any(address in network for network in SERVED_TO_MACHINES)


class Guard(AbstractResolver):
    """Looks names up and judges the answers; the connection then goes to the very address that was judged."""

    def __init__(self, allow_hosts: tuple[str, ...]):
        self._allow_hosts = frozenset(name.lower() for name in allow_hosts)
        self._threads = ThreadPoolExecutor(LOOKUPS_AT_A_TIME, thread_name_prefix="dns")

    def check_number(self, host: str) -> None:
        """Judge a host that is spelled as a number. Names are judged when they have been looked up.

        Raises:
            RefusedError: for an address that is not public, or one spelled to deceive (0177.0.0.1, 2130706433).
        """
        if host in self._allow_hosts:
            return
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            if _is_number_in_disguise(host):
                raise RefusedError("a number in disguise") from None
            return
        if not is_public(address):
            raise RefusedError(_kind(address))

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name that may be connected to.

        Raises:
            OSError: there is no such name.
            RefusedError: all its addresses are refused.
        """
        name = host.rstrip(".").lower()
        allowed = name in self._allow_hosts
        if name.rpartition(".")[2] in NOWHERE and not allowed:
            raise socket.gaierror(socket.EAI_NONAME, "no such host")
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        )
        addresses = {ip_address(str(info[4][0]).partition("%")[0]): info for info in found}
        public = [info for address, info in addresses.items() if allowed or is_public(address)]
        if not public:
            raise RefusedError(_kind(next(iter(addresses))))
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, proto, _, address in public
        ]

    async def close(self) -> None:
        """Wait for no name server any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _link(url: URL) -> Link | None:
    host = (url.raw_host or "").rstrip(".").lower()
    if url.scheme not in SCHEMES or not (HOST_NAME.fullmatch(host) or ":" in host):
        return None
    return Link(str(url.with_fragment(None)), host)


def _ipv4_inside(address: IPv6Address) -> IPv4Address | None:
    """Mapped, 6to4, Teredo or translated: each reaches an IPv4 address by another name."""
    if address in TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def _is_number_in_disguise(host: str) -> bool:
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


def _kind(address: IPv4Address | IPv6Address) -> str:
    """Of an address that is refused; the address itself stays untold, since what a name means inside is private."""
    if isinstance(address, IPv6Address) and (inner := _ipv4_inside(address)):
        return _kind(inner)
    for kind in ("loopback", "link_local", "multicast", "private"):
        if getattr(address, f"is_{kind}"):
            return f"{kind.replace('_', '-')} address"
    return "reserved address"
