"""Runs a step and what it needs: the plan first, then each step that is not up to date."""

import os
from pathlib import Path

from tfpipe.core.cluster import Share, this_worker
from tfpipe.core.config import Config, load_config
from tfpipe.core.errors import ConfigError
from tfpipe.core.progress import duration, say
from tfpipe.core.steps import (
    Metrics,
    Node,
    Step,
    build_graph,
    check_node,
    in_order,
    is_current,
    join_node,
    read_metrics,
    read_state,
    refuse_upstream,
    run_node,
    take_part,
)
from tfpipe.core.workspace import Workspace
from tfpipe.stages import RUN, STEPS, TRAINING


def run_step(
    name: str,
    path: Path,
    overrides: tuple[str, ...] = (),
    *,
    workspace: Workspace | None = None,
    force: bool = False,
    no_upstream: bool = False,
    share: Share | None = None,
) -> Metrics:
    """Make what `name` makes for the settings in `path`, and everything it needs.

    Args:
        name: a key of `STEPS`, or `run`.
        path: the settings file.
        overrides: `key.path=value` each.
        workspace: where data, runs and exports lie; the current folder by default.
        force: redo the step itself, up to date or not; for `run`, all steps.
        no_upstream: raise instead of running earlier steps.
        share: do this part of the step alone, beside other processes, and leave the step open; earlier steps
            must have run. For `label`.

    Returns:
        The step's metrics; for `run`, those of every step under its title.

    Raises:
        ConfigError: when several workers are started on a step that does not train.
        CriterionError: when a metric misses its bound in `criteria`.
    """
    config = load_config(path, overrides)
    target = _graph(config, name, workspace or Workspace())
    nodes = [node for node in in_order(target) if node.step is not RUN]
    _check_criteria_name_steps(nodes)
    if any(node.config.deterministic for node in nodes):
        # TensorFlow reads this when it starts. With two operations at a time, oneDNN's AddN reuses whichever
        # input's memory happens to be free, and a transformer's gradients differ in the last bit from run to run.
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    forced = [node.title for node in nodes if force and (target.step is RUN or node is target)]
    stale = _stale(nodes, forced)
    worker = this_worker()
    if worker.num_workers > 1 and name not in TRAINING and not share:
        raise ConfigError(
            f"`{name}` runs in one process, and this is one of {worker.num_workers} workers. "
            f"Start it without TF_CONFIG or srun; workers share {' and '.join(f'`{step}`' for step in TRAINING)}."
        )
    if no_upstream or share or worker.num_workers > 1:
        refuse_upstream(target, [node for node in nodes if node.title in stale and node is not target])
    say(" · ".join(_planned(node, stale) for node in nodes))
    for node in nodes:
        if node.title in forced or not is_current(node):
            if share:
                return take_part(node, share)
            if not worker.is_chief:
                return join_node(node)
            run_node(node, force=node.title in forced)
            say(f"{node.title}: done in {duration(_seconds(node))}{_headline(read_metrics(node), node.step)}")
        check_node(node)
    if target.step is RUN:
        return {node.title: read_metrics(node) for node in nodes}
    return read_metrics(target)


def _graph(config: Config, name: str, workspace: Workspace) -> Node:
    try:
        return build_graph({**STEPS, "run": RUN}, config, name, workspace)
    except RecursionError:
        raise ConfigError(f"{config.path}: `data.config` leads around in a circle.") from None


def _check_criteria_name_steps(nodes: list[Node]) -> None:
    for config in {node.config.path: node.config for node in nodes}.values():
        for name in set(config.criteria) - set(STEPS):
            raise ConfigError(f"{config.path}: criteria.{name}: no such step; there are {', '.join(STEPS)}.")


def _stale(nodes: list[Node], forced: list[str]) -> set[str]:
    """Titles of the steps that will run, or may, since one they need will."""
    stale: set[str] = set()
    for node in nodes:
        needs_stale = any(need.title in stale for need in node.needs)
        if node.title in forced or needs_stale or not is_current(node):
            stale.add(node.title)
    return stale


def _planned(node: Node, stale: set[str]) -> str:
    if node.title not in stale:
        return f"{node.title} cached"
    return f"{node.title} …{f' {duration(_seconds(node))}' if read_state(node) else ''}"


def _seconds(node: Node) -> float:
    state = read_state(node)
    return float(state["seconds"]) if state else 0.0


def _headline(metrics: Metrics, step: Step) -> str:
    """The step's numbers, without its tables."""
    names = step.headline or tuple(metrics)
    numbers = {name: metrics[name] for name in names if isinstance(metrics.get(name), int | float)}
    told = (f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in numbers.items())
    return f" · {', '.join(told)}" if numbers else ""
