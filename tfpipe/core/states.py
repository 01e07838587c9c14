"""What is known of a step's last run, whether it still holds, and if not, why."""

import operator
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

from tfpipe.core.criteria import check_criteria
from tfpipe.core.errors import MissingArtifactError
from tfpipe.core.files import read_json, sha256_file, sha256_json, sha256_path
from tfpipe.core.steps import Metrics, Node

NEVER = "never run"
INTERRUPTED = "interrupted, goes on where it stood"
MOST_TOLD = 3
"""Settings or files that a reason names."""


def state_path(node: Node) -> Path:
    """The record of the step's last finished run."""
    return node.folder / "state.json"


def metrics_path(node: Node) -> Path:
    """What the step measured."""
    return node.folder / "metrics.json"


def started_path(node: Node) -> Path:
    """Of what settings and inputs a run began in this folder."""
    return node.folder / "started.json"


def read_state(node: Node) -> dict[str, Any] | None:
    """The record of the step's last run; None when it never ended, or the record is damaged."""
    return read_whole(state_path(node))


def read_metrics(node: Node) -> Metrics:
    """What a step that is current measured."""
    metrics: Metrics = read_json(metrics_path(node))
    return metrics


def is_current(node: Node) -> bool:
    """Whether the outputs of a step, whose needs are current, stand and were made from these settings and inputs."""
    state = read_state(node)
    return state is not None and state["key"] == key_of(node) and next(_damaged(node, state), None) is None


def why_stale(node: Node) -> str | None:
    """What keeps a step, whose needs are current, from being so, in a few words; None if nothing does."""
    state, key = read_state(node), key_of(node)
    if state is None:
        started = read_whole(started_path(node))
        return INTERRUPTED if started and started["key"] == key else NEVER
    if state["key"] == key:
        return next(_damaged(node, state), None)
    if state["version"] != node.step.version:
        return "tfpipe's code of it changed"
    settings = sorted(_differences(state["settings"], settings_of(node)))
    if settings:
        return f"{_told(settings)} changed"
    inputs = inputs_of(node)
    changed = sorted(name for name in inputs | state["inputs"] if inputs.get(name) != state["inputs"].get(name))
    return f"{_told(changed)} changed" if changed else "what it reads from outside changed"


def check_node(node: Node) -> None:
    """Hold a current step's metrics against `criteria`.

    Raises:
        CriterionError: naming each metric, its value and its bound.
    """
    check_criteria(node.step.name, read_metrics(node), node.config)


def key_of(node: Node) -> str:
    """A hash of everything that shapes what the step writes."""
    external = node.step.fingerprint(node.config)
    return sha256_json([node.step.name, node.step.version, settings_of(node), inputs_of(node), external])


def settings_of(node: Node) -> dict[str, Any]:
    """The settings on which the step depends."""
    whole = node.config.model_dump(mode="json")
    return {name: reduce(operator.getitem, name.split("."), whole) for name in node.step.sections}


def inputs_of(node: Node) -> dict[str, str]:
    """Hashes of what the step reads, as the steps before it recorded them."""
    inputs: dict[str, str] = {}
    for need in node.needs:
        state = read_state(need)
        if state is None:
            raise MissingArtifactError(f"`{need.title}` has not run.")
        inputs |= state["outputs"]
    return inputs


def stamp(path: Path) -> str:
    """Sizes and times: equal means unchanged, and is cheaper to ask than a hash."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return sha256_json([(f.as_posix(), f.stat().st_size, f.stat().st_mtime_ns) for f in files])


def read_whole(path: Path) -> dict[str, Any] | None:
    """An object from JSON; None where there is no such file, or a power cut has left a part of it."""
    try:
        document = read_json(path)
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _damaged(node: Node, state: dict[str, Any]) -> Iterator[str]:
    """What of a finished step no longer is as it left it."""
    metrics = metrics_path(node)
    if not metrics.is_file() or sha256_file(metrics) != state["metrics"]:
        yield f"{metrics.as_posix()} is not as it was written"
    for path in node.outputs():
        name = path.as_posix()
        if not path.exists():
            yield f"{name} is missing"
        elif name not in state["outputs"]:
            yield f"{name} is not of that run"
        elif stamp(path) != state["stamps"][name] and sha256_path(path) != state["outputs"][name]:
            yield f"{name} is not as it was written"


def _differences(before: Any, after: Any, place: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before | after:
            yield from _differences(before.get(name), after.get(name), f"{place}.{name}" if place else name)
    elif before != after:
        yield place


def _told(names: list[str]) -> str:
    more = len(names) - MOST_TOLD
    return ", ".join(names[:MOST_TOLD]) + (f" and {more} more" if more > 0 else "")
