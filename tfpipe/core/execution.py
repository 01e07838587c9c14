"""Running a step: its folder made ready, what it did recorded, its cost measured."""

import importlib
import shutil
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from tfpipe.core.cluster import Share
from tfpipe.core.costs import PeakMemory, size_of
from tfpipe.core.environment import environment, git_commit
from tfpipe.core.errors import BrokenOffError, MissingArtifactError, TfpipeError
from tfpipe.core.files import finite, locked, sha256_file, sha256_path, write_json
from tfpipe.core.progress import native_silence
from tfpipe.core.states import (
    inputs_of,
    is_current,
    key_of,
    metrics_path,
    read_whole,
    settings_of,
    stamp,
    started_path,
    state_path,
)
from tfpipe.core.steps import Metrics, Node


def run_node(node: Node, *, force: bool = False) -> Metrics:
    """Run one step, whose needs are current, and record what it did.

    What an interrupted run of the same settings and inputs left in the step's
    folder stays, so that the step can go on from it. What a finished run of
    others left stands aside until this one has finished, and returns if it fails
    without anything to go on from.
    """
    started, clock, memory = datetime.now(UTC), time.monotonic(), PeakMemory()
    key = key_of(node)
    with _folder_held(node):
        _prepare_folder(node, key, force)
    try:
        metrics: Metrics = finite(_import_stage(node.step.name).run(node.config, node.workspace))
    except BrokenOffError:
        raise
    except TfpipeError:
        _bring_back(node)
        raise
    write_json(metrics, metrics_path(node))
    state = {
        "key": key,
        "started": started.isoformat(timespec="milliseconds"),
        "seconds": round(time.monotonic() - clock, 1),
        "peak_memory_bytes": memory.read(),
        "output_bytes": sum(size_of(path) for path in node.outputs()),
        "version": node.step.version,
        "git_commit": git_commit(),
        "environment": environment(),
        "settings": settings_of(node),
        "inputs": inputs_of(node),
        "metrics": sha256_file(metrics_path(node)),
        "outputs": {path.as_posix(): sha256_path(path) for path in node.outputs()},
        "stamps": {path.as_posix(): stamp(path) for path in node.outputs()},
    }
    write_json(state, state_path(node))
    _remove(_aside(node))
    return metrics


def vet_nodes(nodes: Iterable[Node]) -> None:
    """Refuse what some of these steps would refuse when their time came.

    Raises:
        ConfigError: as the steps do.
    """
    for node in nodes:
        vet = getattr(_import_stage(node.step.name), "vet", None)
        if vet:
            vet(node.config)


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
            _prepare_folder(node, key_of(node), force=False)
    metrics: Metrics = _import_stage(node.step.name).take_part(node.config, node.workspace, share)
    return metrics


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


def previous_dir(step_dir: Path) -> Path:
    """Where the last finished run's folder stands while another runs."""
    return step_dir.with_name(f".{step_dir.name}.previous")


def _prepare_folder(node: Node, key: str, force: bool) -> None:
    marker = started_path(node)
    finished, started = state_path(node).is_file(), read_whole(marker)
    interrupted = not finished and started is not None and started["key"] == key
    if finished:
        _remove(_aside(node))
        node.folder.rename(_aside(node))
    elif force or not interrupted:
        _remove(node.folder)
    if not interrupted or force:
        write_json({"key": key, "force": force}, marker)


def _aside(node: Node) -> Path:
    return previous_dir(node.folder)


def _folder_held(node: Node) -> AbstractContextManager[None]:
    """While a step's folder is made ready, nobody else does so."""
    return locked(node.folder.with_name(f".{node.step.name}.lock"))


def _bring_back(node: Node) -> None:
    if _aside(node).is_dir():
        _remove(node.folder)
        _aside(node).rename(node.folder)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _import_stage(name: str) -> ModuleType:
    with native_silence():
        return importlib.import_module(f"tfpipe.stages.{name}")
