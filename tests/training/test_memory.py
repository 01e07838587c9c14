"""How many examples fit, told from two small steps."""

from pathlib import Path

import numpy as np
import pytest

from tfpipe.training import memory
from tfpipe.training.memory import free_bytes, largest_that_fits

MIB = 2**20


def hungry(size: int) -> None:
    """A step that takes 30 MiB, and 20 MiB an example."""
    np.ones((30 + 20 * size) * MIB, np.uint8).sum()


@pytest.mark.parametrize(("free_mib", "expected"), [(900, 32), (780, 16), (150, 4), (70, 1), (30, None)])
def test_the_largest_is_that_whose_peak_is_within_a_share_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch, free_mib: int, expected: int | None
) -> None:
    """0.8 · free ≥ 30 + 20 · size; 32 examples take 670 MiB, 16 take 350, 4 take 110, one takes 50."""
    monkeypatch.setattr(memory, "free_bytes", lambda: free_mib * MIB)
    assert largest_that_fits(hungry, [1, 2, 4, 8, 16, 32]) == expected


def machine(root: Path, available_mib: int, own: str = "/", **groups: dict[str, str]) -> Path:
    """The kernel's files of a machine, with `groups` as folder → file → text."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 999999 kB\nMemAvailable: {available_mib * 1024} kB\nBuffers: 5 kB\n")
    (root / "proc/self/cgroup").write_text(f"4:memory:/elsewhere\n0::{own}\n")
    for name, files in groups.items():
        group = root / "sys/fs/cgroup" / name
        group.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (group / f"memory.{file}").write_text(text + "\n")
    return root


def limited(most: str, current_mib: int, of_files_mib: int = 0) -> dict[str, str]:
    stat = f"anon 7\ninactive_file {of_files_mib * MIB}\nworkingset_refault_file 3"
    return {"max": most, "current": str(current_mib * MIB), "stat": stat}


def test_what_is_free_is_what_the_machine_says(tmp_path: Path) -> None:
    assert free_bytes(machine(tmp_path, 800)) == 800 * MIB
    assert 0 < free_bytes() < 2**50


def test_a_container_that_has_less_counts_and_what_it_keeps_of_files_is_free(tmp_path: Path) -> None:
    root = machine(tmp_path, 800, **{".": limited(str(500 * MIB), 450, 300)})
    assert free_bytes(root) == (500 - 450 + 300) * MIB


def test_of_groups_within_groups_the_narrowest_counts(tmp_path: Path) -> None:
    groups = {"slurm": limited(str(700 * MIB), 100), "slurm/job": limited("max", 90), "other": limited("1", 0)}
    assert free_bytes(machine(tmp_path, 800, "/slurm/job", **groups)) == 600 * MIB
