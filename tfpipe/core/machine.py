"""What the machine has for this process: its processor, and main memory within a container's or job's limit."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
_INSTRUCTIONS = (("amx_tile", "AMX"), ("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX"))
"""What Linux calls them; each has those after it, too."""


def processor(root: Path = ROOT) -> str | None:
    """Its name and its widest instructions, which shape the last bits of what is trained; None if Linux does not tell.

    Args:
        root: where `proc` is.
    """
    path = root / "proc/cpuinfo"
    told = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", path.read_text(), re.MULTILINE)) if path.is_file() else {}
    name, flags = told.get("model name"), told.get("flags", "").split()
    return next((f"{name} with {wide}" for flag, wide in _INSTRUCTIONS if flag in flags), name)


def total_bytes(root: Path = ROOT) -> int:
    """Of main memory: of the machine, or of its container or job if that has less (cgroup v2)."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *(most for _, most in _iter_limits(root))])


def free_bytes(root: Path = ROOT) -> int:
    """Of main memory, for this process: of the machine, or of its container or job if that has less (cgroup v2).

    Pages of files that were read count as free there, too: the kernel gives them up when somebody needs them.

    Args:
        root: where `proc` and `sys` are.
    """
    told = re.search(r"MemAvailable:\s+(\d+) kB", (root / "proc/meminfo").read_text())
    assert told
    return min([int(told[1]) * 1024, *(most - _in_use(group) for group, most in _iter_limits(root))])


def _iter_limits(root: Path) -> Iterator[tuple[Path, int]]:
    """Each group that has a limit, from the process's own up, and the limit in bytes."""
    top, own = root / "sys/fs/cgroup", root / "proc/self/cgroup"
    told = re.search(r"^0::/(.*)$", own.read_text(), re.MULTILINE) if own.is_file() else None
    group = top / (told[1] if told else "")
    for folder in [folder for folder in (group, *group.parents) if folder.is_relative_to(top)]:
        if (folder / "memory.max").is_file() and (most := (folder / "memory.max").read_text().strip()) != "max":
            yield folder, int(most)


def _in_use(group: Path) -> int:
    of_files = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)
    assert of_files
    return int((group / "memory.current").read_text()) - int(of_files[1])
