"""A whole run, killed again and again, in another folder than one that nobody disturbed: do they end alike?

    python -m benchmarks.interruptions --kills 20

Copies the settings' folder (by default the herbarium's whole chain as tests run it, small) into two fresh ones, runs
`tfpipe run` in the first, and in the second kills it (-9) at random moments before it may finish. Then every file that
a step left there is cut short, as a power cut would, in as many runs as there are steps. What differs in manifests (but
for times and what a browser measured) and in `exported/` is listed; benchmarks/INTERRUPTIONS.md has the table, and the
script exits with 1 where anything differs.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import yaml

from tests.stages.small_chain import write_configs
from tfpipe.core.files import read_json, sha256_file

COMMAND = (sys.executable, "-c", "from tfpipe.cli import main; main()")
SMALL = Path("tests/stages/small_chain.py")
OF_THE_DAY = {"timestamp", "started", "seconds", "peak_memory_bytes"}
MEASURING = ("verify", "report")
"""Steps whose outputs tell of this machine's speed."""
TIMED = ("fetch", "split", *MEASURING)
"""Steps whose metrics do; those of `split` tell what its ledger knew already."""
MOST_TOLD = 4


def main() -> None:
    """Disturb, compare, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="?")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("INTERRUPTIONS.md"))
    arguments = parser.parse_args()
    root = arguments.folder or Path(mkdtemp())
    shutil.rmtree(root / "settings", ignore_errors=True)
    source = arguments.config or write_configs(root / "settings" / "configs") / "student.yaml"
    calm, killed = (_copy(source.parent, root / name) for name in ("calm", "killed"))
    config = Path(source.parent.name) / source.name
    started = time.monotonic()
    _run(calm, config)
    seconds = time.monotonic() - started
    interrupted = list(_kill(killed, config, arguments.kills, seconds, random.Random(arguments.seed)))
    rows = [(f"{len(interrupted)} kills, during {_counted(interrupted)}", *_compare(calm, killed, config.stem))]
    for step_dir in _step_dirs(killed):
        _cut_short(step_dir, killed)
        _run(killed, config)
        name = step_dir.relative_to(killed / "runs").as_posix()
        rows.append((f"files of {name} cut short", *_compare(calm, killed, config.stem)))
    arguments.output.write_text(_to_markdown(rows, arguments.config or SMALL, seconds), encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))
    sys.exit(any(different for _, _, different in rows))


def _copy(settings: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(settings, folder / settings.name)
    return folder


def _start(folder: Path, config: Path) -> "subprocess.Popen[str]":
    command = [*COMMAND, "run", "--config", str(config)]
    paths = os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True
    )


def _run(folder: Path, config: Path) -> None:
    process = _start(folder, config)
    _, told = process.communicate()
    if process.returncode:
        sys.exit(f"tfpipe run in {folder} ended with {process.returncode}:\n{told[-2000:]}")


def _kill(folder: Path, config: Path, kills: int, seconds: float, draw: random.Random) -> Iterator[str]:
    """Kill it so many times, over as long as it takes undisturbed, then let it end; yields the steps it was in."""
    for _ in range(kills):
        process = _start(folder, config)
        try:
            process.communicate(timeout=draw.uniform(2, 2 * (10 + seconds / kills)))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            yield _step_at_work(folder)
        else:
            # It had nothing left to do: redo its end.
            for step in ("distill", "export"):
                shutil.rmtree(folder / "runs" / config.stem / step, ignore_errors=True)
    _run(folder, config)


def _step_at_work(folder: Path) -> str:
    begun = [path for path in folder.glob("runs/*/*/started.json") if not path.with_name("state.json").is_file()]
    return begun[0].parent.relative_to(folder / "runs").as_posix() if begun else "between steps"


def _step_dirs(folder: Path) -> list[Path]:
    states = sorted(folder.glob("runs/*/*/state.json"), key=lambda path: str(read_json(path)["started"]))
    return [path.parent for path in states]


def _cut_short(step_dir: Path, folder: Path) -> None:
    """The last bytes of everything that the step left, but in its record."""
    paths = [folder / name for name in read_json(step_dir / "state.json")["outputs"]]
    for path in [
        *(file for each in paths for file in ([each] if each.is_file() else each.rglob("*"))),
        step_dir / "metrics.json",
    ]:
        if path.is_file() and path.stat().st_size:
            os.truncate(path, max(0, path.stat().st_size - 64))


def _compare(calm: Path, killed: Path, name: str) -> tuple[int, list[str]]:
    """How many files and keys were compared, and those that differ."""
    manifests = [dict(_flat(_timeless(_manifest(folder, name)))) for folder in (calm, killed)]
    files = [_files(folder / "exported") for folder in (calm, killed)]
    ours, theirs = (manifest | files for manifest, files in zip(manifests, files, strict=True))
    return len(ours), sorted(key for key in ours | theirs if ours.get(key) != theirs.get(key))


def _manifest(folder: Path, name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((folder / "runs" / name / "manifest.yaml").read_text(encoding="utf-8"))
    return document


def _timeless(manifest: dict[str, Any]) -> dict[str, Any]:
    for steps in manifest["steps"].values():
        for step, ran in steps.items():
            for key in ("metrics", "metrics_sha256") if step in TIMED else ():
                del ran[key]
            for key in ("inputs", "outputs", "output_bytes") if step in MEASURING else ():
                del ran[key]
    return manifest


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key not in OF_THE_DAY:
                yield from _flat(part, f"{place}/{key}")
    else:
        yield place, value


def _files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


def _told(names: list[str]) -> str:
    more = len(names) - MOST_TOLD
    return (", ".join(names[:MOST_TOLD]) or "none") + (f" and {more} more" if more > 0 else "")


def _counted(steps: list[str]) -> str:
    return ", ".join(f"{step} {steps.count(step)}" for step in dict.fromkeys(steps))


def _to_markdown(rows: list[tuple[str, int, list[str]]], config: Path, seconds: float) -> str:
    lines = [
        "# Interruptions",
        "",
        f"{date.today()}, `{config.as_posix()}`, {seconds:.0f} s undisturbed. Files of `exported/` and keys of the "
        "manifest, but for times and for what a browser measured.",
        "",
        "| what was done to it | compared | different |",
        "|---|---:|---|",
        *(f"| {what} | {compared:,} | {_told(different)} |" for what, compared, different in rows),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
