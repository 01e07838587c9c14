"""Peak memory of a process."""

import re
from pathlib import Path


def peak_mib() -> float:
    """Of this process alone, in MiB: what `getrusage` tells would also count the one that started it."""
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert peak
    return int(peak[1]) / 1024
