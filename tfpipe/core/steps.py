"""Steps: what each reads and writes, whether it is up to date, and the order in which to run them."""

import importlib
import operator
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

from tfpipe.core import manifest
from tfpipe.core.cluster import Share
from tfpipe.core.config import Config
from tfpipe.core.criteria import check_criteria
from tfpipe.core.errors import BrokenOffError, ConfigError, MissingArtifactError, TfpipeError
from tfpipe.core.files import finite, locked, read_json, sha256_json, sha256_path, write_json
from tfpipe.core.progress import native_silence
from tfpipe.core.workspace import Workspace

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """A step of the pipeline; `tfpipe/stages/<name>.py` has its `run(config, workspace) -> Metrics`."""

    name: str
    summary: str
    sections: tuple[str, ...]
    """Settings on which the step depends: sections, or keys in them, such as `data.region`."""
    needs: Callable[[Config], list["Need"]]
    outputs: Callable[[Config, Workspace], list[Path]]
    of_dataset: bool = False
    """Whether the step belongs to the data set's settings, whichever settings name it."""
    fingerprint: Callable[[Config], str] = lambda _: ""
    """Of what the step reads that no step writes: a folder of photos, a file of weights."""
    headline: tuple[str, ...] = ()
    """Metrics to tell when the step is done; unset, all that are numbers."""
    version: int = 1
    """Raised when the step's code changes what it writes."""


Need = tuple[Config, str]
"""Settings and the step of them that must be up to date."""

Place = tuple[str, Path]
"""A step's title and its settings file."""


@dataclass(frozen=True)
class Node:
    """A step of one settings file, with the nodes it needs."""

    config: Config
    step: Step
    needs: tuple["Node", ...]
    workspace: Workspace

    @property
    def title(self) -> str:
        """`teach teacher_global`."""
        return f"{self.step.name} {self.config.name}"

    @property
    def state_path(self) -> Path:
        """What is known of the last time the step ran."""
        return self.workspace.step_dir(self.config, self.step.name) / "state.json"

    def outputs(self) -> list[Path]:
        """Files and folders that the step writes."""
        return self.step.outputs(self.config, self.workspace)


def build_graph(
    steps: dict[str, Step], config: Config, name: str, workspace: Workspace, *, above: tuple["Place", ...] = ()
) -> Node:
    """The node of a step, with everything it needs below it.

    Raises:
        ConfigError: when a step, through what it needs, needs itself; `above` are those that need this one.
    """
    step = steps[name]
    config = config.dataset_config if step.of_dataset else config
    place = (f"{name} {config.name}", config.path.resolve())
    if place in above:
        circle = " needs ".join(f"`{title}`" for title, _ in (*above[above.index(place) :], place))
        raise ConfigError(
            f"{config.path}: {circle}: a circle. Take one file out of the other's `start_from` or `evaluate.against`."
        )
    needs = tuple(build_graph(steps, c, n, workspace, above=(*above, place)) for c, n in step.needs(config))
    return Node(config, step, needs, workspace)


def in_order(node: Node) -> Iterator[Node]:
    """Every node once, those that are needed first."""
    seen: dict[str, Path] = {}

    def visit(node: Node) -> Iterator[Node]:
        if node.title in seen:
            _check_is_one_file(seen[node.title], node.config)
            return
        seen[node.title] = node.config.path
        for need in node.needs:
            yield from visit(need)
        yield node

    yield from visit(node)


def _check_is_one_file(path: Path, config: Config) -> None:
    if path.resolve() != config.path.resolve():
        raise ConfigError(f"{path} and {config.path} are both named {config.name!r}; give one another `name:`.")


def read_state(node: Node) -> dict[str, Any] | None:
    """The record of the step's last run; None when it never ended."""
    return read_json(node.state_path) if node.state_path.is_file() else None


def is_current(node: Node) -> bool:
    """Whether the outputs of a step, whose needs are current, stand and were made from these settings and inputs."""
    state = read_state(node)
    return state is not None and state["key"] == _key(node) and _outputs_stand(node, state)


def run_node(node: Node, *, force: bool = False) -> Metrics:
    """Run one step, whose needs are current, and record what it did.

    What an interrupted run of the same settings and inputs left in the step's
    folder stays, so that the step can go on from it. What a finished run of
    others left stands aside until this one has finished, and returns if it fails
    without anything to go on from.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    key = _key(node)
    with _folder_held(node):
        _prepare_folder(node, key, force)
    try:
        metrics: Metrics = finite(_import_stage(node.step.name).run(node.config, node.workspace))
    except BrokenOffError:
        raise
    except TfpipeError:
        _bring_back(node)
        raise
    write_json(metrics, node.state_path.with_name("metrics.json"))
    state = {
        "key": key,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - clock, 1),
        "version": node.step.version,
        "git_commit": manifest.git_commit(),
        "environment": manifest.environment(),
        "settings": _settings(node),
        "inputs": _inputs(node),
        "outputs": {path.as_posix(): sha256_path(path) for path in node.outputs()},
        "stamps": {path.as_posix(): _stamp(path) for path in node.outputs()},
    }
    write_json(state, node.state_path)
    _remove(_aside(node))
    manifest.write(node.workspace.run_dir(node.config), node.config)
    return metrics


def join_node(node: Node) -> Metrics:
    """Take part in a step that another worker runs and records."""
    metrics: Metrics = _import_stage(node.step.name).run(node.config, node.workspace)
    return metrics


def take_part(node: Node, share: Share) -> Metrics:
    """Do a share of a step's pieces, beside other processes that do theirs, and leave the step open.

    Any number of them may start at the same moment: the first makes the folder ready, the others find it so.
    """
    with _folder_held(node):
        if not is_current(node):
            _prepare_folder(node, _key(node), force=False)
    metrics: Metrics = _import_stage(node.step.name).take_part(node.config, node.workspace, share)
    return metrics


def read_metrics(node: Node) -> Metrics:
    """What a step that is current measured."""
    metrics: Metrics = read_json(node.state_path.with_name("metrics.json"))
    return metrics


def check_node(node: Node) -> None:
    """Hold a current step's metrics against `criteria`.

    Raises:
        CriterionError: naming each metric, its value and its bound.
    """
    check_criteria(node.step.name, read_metrics(node), node.config)


def refuse_upstream(node: Node, stale: list[Node]) -> None:
    """For `--no-upstream`.

    Raises:
        MissingArtifactError: naming the first command that is missing.
    """
    if stale:
        first = stale[0]
        raise MissingArtifactError(
            f"`{node.step.name}` reads what `{first.step.name}` of {first.config.name} writes, and that is missing or "
            f"out of date. Run `tfpipe {first.step.name} --config {first.config.path}` first, or drop --no-upstream."
        )


def _prepare_folder(node: Node, key: str, force: bool) -> None:
    folder = node.state_path.parent
    marker = folder / "started.json"
    finished = node.state_path.is_file()
    interrupted = not finished and marker.is_file() and read_json(marker)["key"] == key
    if finished:
        _remove(_aside(node))
        folder.rename(_aside(node))
    elif force or not interrupted:
        _remove(folder)
    if not interrupted or force:
        write_json({"key": key, "force": force}, marker)


def previous_dir(step_dir: Path) -> Path:
    """Where the last finished run's folder stands while another runs."""
    return step_dir.with_name(f".{step_dir.name}.previous")


def _aside(node: Node) -> Path:
    return previous_dir(node.state_path.parent)


def _folder_held(node: Node) -> AbstractContextManager[None]:
    """While a step's folder is made ready, nobody else does so."""
    return locked(node.state_path.parent.with_name(f".{node.step.name}.lock"))


def _bring_back(node: Node) -> None:
    if _aside(node).is_dir():
        _remove(node.state_path.parent)
        _aside(node).rename(node.state_path.parent)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _import_stage(name: str) -> ModuleType:
    with native_silence():
        return importlib.import_module(f"tfpipe.stages.{name}")


def _key(node: Node) -> str:
    external = node.step.fingerprint(node.config)
    return sha256_json([node.step.name, node.step.version, _settings(node), _inputs(node), external])


def _settings(node: Node) -> dict[str, Any]:
    whole = node.config.model_dump(mode="json")
    return {name: reduce(operator.getitem, name.split("."), whole) for name in node.step.sections}


def _inputs(node: Node) -> dict[str, str]:
    """Hashes of what the step reads, as the steps before it recorded them."""
    inputs: dict[str, str] = {}
    for need in node.needs:
        state = read_state(need)
        if state is None:
            raise MissingArtifactError(f"`{need.title}` has not run.")
        inputs |= state["outputs"]
    return inputs


def _outputs_stand(node: Node, state: dict[str, Any]) -> bool:
    for path in node.outputs():
        name = path.as_posix()
        if not path.exists() or name not in state["outputs"]:
            return False
        if _stamp(path) != state["stamps"][name] and sha256_path(path) != state["outputs"][name]:
            return False
    return True


def _stamp(path: Path) -> str:
    """Sizes and times: equal means unchanged, and is cheaper to ask than a hash."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return sha256_json([(f.as_posix(), f.stat().st_size, f.stat().st_mtime_ns) for f in files])
