"""Which addresses count as public, and which hosts are numbers in disguise."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from agentflow_tools._addresses import is_odd_number, is_public


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "93.184.216.34",
        "172.15.0.1",
        "172.32.0.1",
        "192.167.1.1",
        "100.63.0.1",
        "198.17.0.1",
        "2606:4700:4700::1111",
        "2a00:1450:4001::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
    ],
)
def test_hosts_of_the_internet_are_public(address):
    """Ordinary addresses are public, also written as IPv6."""
    assert is_public(ip_address(address))


NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 - looked at, not bound
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",  # a cloud's metadata
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",  # metadata of most clouds
    "169.254.170.2",
    "168.63.129.16",  # a cloud's host agent
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::2",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:808:808::80ff:fffe",  # Teredo, client 127.0.0.1
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::",
    "2002:c0a8:101::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",  # metadata over IPv6
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_the_machine_s_surroundings_are_not_public(address):
    """Loopback, private, link-local, metadata, reserved and multicast addresses are not, in any embedding."""
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "127.0.0.0x1",
        "0",
        "1.2.3.4.5",
        "1.2.3.256",
        "127.0.0.1.",
        "127.0.0.01",
        "a.b.1",
        "0x",
        "9" * 10_000,
    ],
    ids=lambda host: host[:20],
)
def test_numbers_in_disguise_are_found(host):
    """What a resolver would read as an IPv4 address, or nobody can read, is found."""
    assert is_odd_number(host)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "8.8.8.8", "example.com", "1.example", "0xcafe.example", "a1", "::1", ""]
)
def test_plain_addresses_and_names_are_not_odd(host):
    """Four decimals and ordinary names are left to the other checks."""
    assert not is_odd_number(host)
