"""Runs steps and what they need: the plan first, then each step that is not up to date."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tfpipe.core.cluster import Share, this_worker
from tfpipe.core.config import Config, load_config
from tfpipe.core.errors import ConfigError
from tfpipe.core.execution import join_node, refuse_upstream, run_node, take_part, vet_nodes
from tfpipe.core.holding import held
from tfpipe.core.manifest import write_manifest
from tfpipe.core.progress import duration, say
from tfpipe.core.states import check_node, is_current, read_metrics, read_state
from tfpipe.core.steps import Metrics, Node, Step, build_graph, in_order
from tfpipe.core.workspace import Workspace
from tfpipe.stages import LAST, STEPS, TRAINING
from tfpipe.stages.planning import Plan, make_plan


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
        name: a key of `STEPS`.
        path: the settings file.
        overrides: `key.path=value` each.
        workspace: where data, runs and exports lie; the current folder by default.
        force: redo the step itself, up to date or not.
        no_upstream: raise instead of running earlier steps.
        share: do this part of the step alone, beside other processes, and leave the step open; earlier steps
            must have run. For `label`.

    Returns:
        The step's metrics.

    Raises:
        ConfigError: when several workers are started on a step that does not train.
        CriterionError: when a metric misses its bound in `criteria`.
        EnvironmentProblemError: when another process works in one of the runs' folders.
    """
    if name not in TRAINING and not share:
        _check_alone(name)
    target = _graph(load_config(path, overrides), name, workspace or Workspace())
    plan = _plan([target], {target.title} if force else set())
    if no_upstream or share or this_worker().num_workers > 1:
        refuse_upstream(target, [node for node in plan.stale if node is not target])
    say(plan.told())
    if share:
        return _take_part(target, share)
    if not this_worker().is_chief:
        return join_node(target) if plan.stale else read_metrics(target)
    _carry_out(plan)
    return read_metrics(target)


def run_all(
    paths: Sequence[Path],
    overrides: tuple[str, ...] = (),
    *,
    workspace: Workspace | None = None,
    force: bool = False,
    first: str | None = None,
    until: str | None = None,
    dry_run: bool = False,
) -> Metrics:
    """Run all steps of some settings, and all that they need, each once.

    Args:
        paths: the settings files.
        overrides: `key.path=value` each, of all of them.
        workspace: where data, runs and exports lie; the current folder by default.
        force: redo every step, up to date or not.
        first: redo this step, and what comes after it.
        until: go no further than this step.
        dry_run: tell the plan, and run nothing.

    Returns:
        The metrics of every step that is up to date now, under its title.

    Raises:
        ConfigError: when no step of these settings has the name `first` or `until`, or this is one of several workers.
        CriterionError, EnvironmentProblemError: as `run_step` does.
    """
    _check_alone("run")
    targets = _targets(paths, overrides, workspace or Workspace())
    if until:
        targets = _named(until, targets)
    nodes = list(in_order(*targets))
    redone = {node.title for node in nodes} if force else _after(_named(first, targets), nodes) if first else set()
    plan = _plan(targets, redone)
    say(plan.told())
    if dry_run:
        return {node.title: read_metrics(node) for node in plan.nodes if node.title not in plan.reasons}
    _carry_out(plan)
    return {node.title: read_metrics(node) for node in plan.nodes}


def whole_graph(paths: Sequence[Path], workspace: Workspace) -> list[Node]:
    """All steps of some settings, those that are needed first."""
    return list(in_order(*_targets(paths, (), workspace)))


def _targets(paths: Sequence[Path], overrides: tuple[str, ...], workspace: Workspace) -> list[Node]:
    return [_graph(load_config(path, overrides), LAST, workspace) for path in paths]


def _graph(config: Config, name: str, workspace: Workspace) -> Node:
    try:
        return build_graph(STEPS, config, name, workspace)
    except RecursionError:
        raise ConfigError(f"{config.path}: `data.config` leads around in a circle.") from None


def _named(step: str, targets: Sequence[Node]) -> list[Node]:
    """The nodes of a step, of whichever settings."""
    nodes = list(in_order(*targets))
    found = [node for node in nodes if node.step.name == step]
    if not found:
        there = ", ".join(dict.fromkeys(node.step.name for node in nodes))
        raise ConfigError(f"{step}: no such step in this run; there are {there}.")
    return found


def _after(first: Sequence[Node], nodes: Sequence[Node]) -> set[str]:
    """Titles of these nodes, and of all that need one of them."""
    titles = {node.title for node in first}
    for node in nodes:
        if any(need.title in titles for need in node.needs):
            titles.add(node.title)
    return titles


def _plan(targets: Sequence[Node], forced: set[str]) -> Plan:
    nodes = list(in_order(*targets))
    _check_criteria_name_steps(nodes)
    if any(node.config.deterministic for node in nodes):
        # TensorFlow reads this when it starts. With two operations at a time, oneDNN's AddN reuses whichever
        # input's memory happens to be free, and a transformer's gradients differ in the last bit from run to run.
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    return make_plan(nodes, forced)


def _carry_out(plan: Plan) -> None:
    """Run what is not up to date, and hold all against its criteria."""
    forced = plan.forced
    with ExitStack() as stack:
        for run_dir in sorted({node.workspace.run_dir(node.config) for node in plan.stale}):
            stack.enter_context(held(run_dir))
        vet_nodes(plan.stale)
        for node in plan.nodes:
            if node.title in forced or not is_current(node):
                run_node(node, force=node.title in forced)
                write_manifest(node.config, node.workspace)
                told = f"{duration(_seconds(node))}{_headline(read_metrics(node), node.step)}"
                say(f"{node.title}: done in {told}{plan.left(node)}")
            check_node(node)


def _take_part(node: Node, share: Share) -> Metrics:
    if is_current(node):
        return read_metrics(node)
    with held(node.workspace.run_dir(node.config), shared=True):
        return take_part(node, share)


def _check_alone(name: str) -> None:
    worker = this_worker()
    if worker.num_workers > 1:
        raise ConfigError(
            f"`{name}` runs in one process, and this is one of {worker.num_workers} workers. "
            f"Start it without TF_CONFIG or srun; workers share {' and '.join(f'`{step}`' for step in TRAINING)}."
        )


def _check_criteria_name_steps(nodes: list[Node]) -> None:
    for config in {node.config.path: node.config for node in nodes}.values():
        for name in set(config.criteria) - set(STEPS):
            raise ConfigError(f"{config.path}: criteria.{name}: no such step; there are {', '.join(STEPS)}.")


def _seconds(node: Node) -> float:
    state = read_state(node)
    return float(state["seconds"]) if state else 0.0


def _headline(metrics: Metrics, step: Step) -> str:
    """The step's numbers, without its tables."""
    names = step.headline or tuple(metrics)
    numbers = {name: metrics[name] for name in names if isinstance(metrics.get(name), int | float)}
    told = (f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in numbers.items())
    return f" · {', '.join(told)}" if numbers else ""
