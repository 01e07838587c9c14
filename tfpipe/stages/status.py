"""`status`: every run's steps, their age, and whether they still hold."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tfpipe.core.errors import TfpipeError
from tfpipe.core.holding import holder_of
from tfpipe.core.progress import duration
from tfpipe.core.states import NEVER, read_whole
from tfpipe.core.workspace import Workspace
from tfpipe.stages import STEPS
from tfpipe.stages.planning import make_plan
from tfpipe.stages.runner import whole_graph


@dataclass(frozen=True)
class Standing:
    """A step of a run."""

    step: str
    ended: str | None
    """UTC; None where it never did."""
    seconds: float | None
    why_stale: str | None
    """None where it is up to date."""


@dataclass(frozen=True)
class Run:
    """A folder of `runs/`."""

    name: str
    config: str | None
    holder: str | None
    """Who works there now."""
    problem: str | None
    """Why its steps cannot be judged."""
    num_bytes: int
    steps: tuple[Standing, ...]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def survey(workspace: Workspace) -> list[Run]:
    """Every run, by name."""
    folders = sorted(path for path in (workspace.root / "runs").glob("[!.]*") if path.is_dir())
    return [_look_at(folder, workspace) for folder in folders]


def told(runs: list[Run]) -> str:
    """For a terminal."""
    if not runs:
        return "No runs here. Begin with `tfpipe run --config configs/student.yaml`."
    return "\n\n".join(_told(run) for run in runs)


def _look_at(folder: Path, workspace: Workspace) -> Run:
    config = _config_of(folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    ran = {path.parent.name: read_whole(path) for path in folder.glob("[!.]*/state.json")}
    try:
        reasons, problem = _reasons(config, folder.name, workspace), None
    except TfpipeError as error:
        reasons, problem = {}, str(error)
    steps = tuple(
        _standing(step, ran.get(step), reasons.get(step)) for step in STEPS if step in reasons or ran.get(step)
    )
    return Run(folder.name, config.as_posix() if config else None, holder_of(folder), problem, size, steps)


def _config_of(folder: Path) -> Path | None:
    """The settings file, as the run has kept its name."""
    try:
        document = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        return Path(document["path"])
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return None


def _reasons(config: Path | None, name: str, workspace: Workspace) -> dict[str, str | None]:
    """Step → why it is stale, None where it is not, by its settings as they are now."""
    if config is None or config.suffix not in (".yaml", ".yml"):
        return {}
    plan = make_plan(whole_graph([config], workspace), ())
    return {node.step.name: plan.reasons.get(node.title) for node in plan.nodes if node.config.name == name}


def _standing(step: str, state: dict[str, Any] | None, why_stale: str | None) -> Standing:
    if state is None:
        return Standing(step, None, None, why_stale)
    ended = datetime.fromisoformat(state["started"]).timestamp() + state["seconds"]
    return Standing(step, datetime.fromtimestamp(ended, UTC).isoformat(timespec="seconds"), state["seconds"], why_stale)


def _told(run: Run) -> str:
    head = f"{run.name} ({run.config or 'settings unknown'}, {run.num_bytes / 1e6:,.1f} MB)"
    lines = [f"{head}: in use by {run.holder}" if run.holder else head]
    if run.problem:
        lines.append(f"  {run.problem}")
    width = max((len(each.step) for each in run.steps), default=0)
    lines += [f"  {each.step:<{width}}  {_told_step(each)}" for each in run.steps if each.why_stale != NEVER]
    missing = [each.step for each in run.steps if each.why_stale == NEVER]
    return "\n".join([*lines, *([f"  {NEVER}: {', '.join(missing)}"] if missing else [])])


def _told_step(standing: Standing) -> str:
    if standing.ended is None or standing.seconds is None:
        return standing.why_stale or ""
    age = (datetime.now(UTC) - datetime.fromisoformat(standing.ended)).total_seconds()
    ago = f"{_age(age)} ago, in {duration(standing.seconds)}"
    return f"{ago} · stale: {standing.why_stale}" if standing.why_stale else ago


def _age(seconds: float) -> str:
    days = int(seconds // 86400)
    return f"{days} d" if days > 1 else duration(max(0.0, seconds))
