"""`clean`: what no step will read again."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tfpipe.core.costs import size_of
from tfpipe.core.holding import held, holder_of
from tfpipe.core.workspace import Workspace

EPOCH = re.compile(r"(?P<phase>[a-z]+)-\d+\.keras")
"""The network of one epoch, as `training/checkpoints.py` names it."""
HALF_WRITTEN = re.compile(r"\..+\.[0-9a-f]{8}(\.old)?")
"""Temporary siblings, as `atomic_path` names them."""


@dataclass(frozen=True)
class Waste:
    """A file or folder that nothing needs."""

    path: Path
    why: str
    num_bytes: int
    run_dir: Path

    def told(self) -> str:
        """A line."""
        return f"{self.path}: {self.num_bytes / 1e6:,.1f} MB, {self.why}"


def find_waste(workspace: Workspace) -> list[Waste]:
    """In runs that nobody works in now."""
    found = []
    for run_dir in sorted(path for path in (workspace.root / "runs").glob("[!.]*") if path.is_dir()):
        if not holder_of(run_dir):
            found += [Waste(path, why, size_of(path), run_dir) for path, why in _iter_waste(run_dir)]
    return found


def remove_waste(waste: list[Waste]) -> None:
    """Free it.

    Raises:
        EnvironmentProblemError: when another process has begun to work in one of the runs.
    """
    for each in waste:
        with held(each.run_dir):
            if each.path.is_dir():
                shutil.rmtree(each.path)
            else:
                each.path.unlink(missing_ok=True)


def _iter_waste(run_dir: Path) -> Iterator[tuple[Path, str]]:
    for step_dir in sorted(path for path in run_dir.glob("[!.]*") if path.is_dir()):
        finished = (step_dir / "state.json").is_file()
        aside = step_dir.with_name(f".{step_dir.name}.previous")
        if finished and aside.is_dir():
            yield aside, "put aside by a run that is done"
        if finished:
            yield from ((path, "an earlier epoch of a training that is done") for path in _iter_earlier(step_dir))
    for path in sorted(run_dir.rglob(".*")):
        if HALF_WRITTEN.fullmatch(path.name):
            yield path, "half-written by a run that was killed"


def _iter_earlier(step_dir: Path) -> Iterator[Path]:
    """All epochs' networks but the last of each phase."""
    for folder in sorted(step_dir.rglob("checkpoints")):
        phases: dict[str, list[Path]] = {}
        for path in sorted(folder.iterdir()):
            if match := EPOCH.fullmatch(path.name):
                phases.setdefault(match["phase"], []).append(path)
        for paths in phases.values():
            yield from paths[:-1]
