"""Which internet addresses a tool may reach: public hosts, and nothing of the machine's own surroundings."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

_CLOUD_SERVICES: Final = frozenset({IPv4Address("168.63.129.16")})
"""Addresses that look public and answer only inside a cloud (Azure's host agent)."""
_TRANSLATED: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96"))
"""IPv6 networks whose last 32 bits are an IPv4 address: NAT64, IPv4-compatible, IPv4-translated."""
_NOT_PUBLIC: Final[tuple[IPv4Network | IPv6Network, ...]] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",
        "192.88.99.0/24", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16",
        "fec0::/10",
    )
)  # fmt: skip
"""Special networks that some versions of `ipaddress` call global (IANA special-purpose registries)."""
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?", re.DOTALL)


def is_public(address: Address) -> bool:
    """Whether the address belongs to a host of the public internet, seen through every embedding of IPv4 in IPv6."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        embedded = _embedded(address)
        if embedded is not None:
            return is_public(embedded)
    if address in _CLOUD_SERVICES or address.is_multicast or address.is_reserved or not address.is_global:
        return False
    return not any(address in network for network in _NOT_PUBLIC if network.version == address.version)


def is_odd_number(host: str) -> bool:
    """Whether a host is a number in another form than an address: ``2130706433``, ``0x7f.1``, ``127.1``.

    Resolvers read such a host as an IPv4 address (URL standard, "ends in a number").
    """
    if _NUMERIC.fullmatch(host) is None:
        return False
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return True
    return False


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to `address` end up at, if it is such a one."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _TRANSLATED) and int(address) > 1:  # ::1 and :: stand for themselves
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None
