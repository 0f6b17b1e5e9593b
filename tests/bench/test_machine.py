"""A record says on which machine it was made."""

import pytest

from agentflow.bench.machine import processor_name


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\nflags: avx\n\n", "AMD EPYC (family 26, model 2)"),
        ("cpu\t\t: POWER9\nmodel name\t: POWER9, altivec supported\n", "POWER9, altivec supported"),
        ("BogoMIPS\t: 50.00\nCPU part\t: 0xd0c\n", ""),
        ("", ""),
    ],
)
def test_the_processor_is_named_with_what_tells_its_generation(cpuinfo, name):
    """Virtual machines of one name differ twofold in speed."""
    assert processor_name(cpuinfo) == name
