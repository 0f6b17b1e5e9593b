"""Where a number was measured: the machine and the versions, as one frozen record."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

DISTRIBUTIONS: Final = ("agentflow-diffusion", "torch", "transformers", "tokenizers", "llguidance", "numba", "numpy")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a number depends on beside the code.

    Attributes:
        processor: Name of the processor, and where they are known its family and model: virtual machines of one name
            differ twofold in speed.
        num_cores: Cores that this process may use.
        memory_gib: Memory of the machine.
        system: Operating system and architecture.
        python: Version of Python.
        versions: Versions of the distributions that take part; a missing one is left out.
    """

    processor: str
    num_cores: int
    memory_gib: float
    system: str
    python: str
    versions: Mapping[str, str]

    def __str__(self) -> str:
        """Write the machine on one line."""
        return (
            f"{self.processor}, {self.num_cores} cores, {self.memory_gib:.1f} GiB, {self.system}, Python {self.python}"
        )


def this_machine() -> Machine:
    """Look at the machine that this process runs on."""
    return Machine(
        processor=_processor(),
        num_cores=_num_cores(),
        memory_gib=_memory_gib(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions={name: found for name in DISTRIBUTIONS if (found := _version(name))},
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    return processor_name(text) or platform.processor() or platform.machine()


def processor_name(cpuinfo: str) -> str:
    """Name of the processor in the text of Linux's ``/proc/cpuinfo``, empty where it has none, as on ARM."""
    known = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in cpuinfo.splitlines())}
    name = known.get("model name", "")
    return f"{name} (family {known['cpu family']}, model {known['model']})" if name and "cpu family" in known else name


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float:
    if not hasattr(os, "sysconf"):
        return 0.0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
