"""What the machine has, read from made-up files of the kernel."""

from pathlib import Path

import pytest

from tfpipe.core.machine import free_bytes, processor, total_bytes

MIB = 2**20


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


def test_a_limit_of_container_or_job_is_all_there_is(tmp_path: Path) -> None:
    groups = {"slurm": limited(str(70 * MIB), 60), "slurm/job": limited("max", 60)}
    assert total_bytes(machine(tmp_path, 800, "/slurm/job", **groups)) == 70 * MIB
    whole = total_bytes(tmp_path / "nowhere")
    assert total_bytes(machine(tmp_path / "vast", 800, **{".": limited(str(2**60), 60)})) == whole > 2**30


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu sse4_2 avx avx2 avx512f avx512_vnni amx_tile", "Abacus(R) 9 with AMX"),
        ("fpu sse4_2 avx avx2 avx512f", "Abacus(R) 9 with AVX-512"),
        ("fpu sse4_2 avx avx2", "Abacus(R) 9 with AVX2"),
        ("fpu sse4_2 avx", "Abacus(R) 9 with AVX"),
        ("fpu sse4_2 avxious", "Abacus(R) 9"),
    ],
)
def test_a_processor_is_told_with_its_widest_instructions(tmp_path: Path, flags: str, expected: str) -> None:
    (tmp_path / "proc").mkdir()
    core = f"model\t\t: 9\nmodel name\t: Abacus(R) 9\nflags\t\t: {flags}\npower management:\n\n"
    (tmp_path / "proc/cpuinfo").write_text(f"processor\t: 0\n{core}processor\t: 1\n{core}")
    assert processor(tmp_path) == expected


def test_no_processor_is_told_where_the_system_does_not(tmp_path: Path) -> None:
    assert processor(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd\n")
    assert processor(tmp_path) is None
