"""`manifest.yaml`: what ran, from which hashes into which, with which versions, settings and results.

The keys above `configs` are those of the plan's `TRAINING_MANIFEST`; below, everything can be traced.
"""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tfpipe.core.config import Config
from tfpipe.core.environment import environment, git_commit
from tfpipe.core.files import atomic_open
from tfpipe.core.lineage import Lineage, Ran, whole_family
from tfpipe.core.phases import describe_data, describe_phases, hyperparameters
from tfpipe.core.states import read_state
from tfpipe.core.steps import Metrics, Node, in_order
from tfpipe.core.workspace import Workspace

Json = dict[str, Any]

MOST_KEYS = 40
"""Of a table of metrics; larger ones are in metrics.json alone, whose hash is here."""
TIMELESS = ("version", "git_commit", "environment", "inputs", "outputs")
"""What is the same, whenever a step ran."""


def write_manifest(config: Config, workspace: Workspace) -> None:
    """Gather the states of all steps of a run, and of those that it builds on, into its folder."""
    lineage, commit = Lineage(config, workspace), git_commit()
    document = {
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": commit and commit.removesuffix("-dirty"),
        "git_dirty": commit and commit.endswith("-dirty"),
        "config": config.path.as_posix(),
        "data": describe_data(lineage),
        "phases": describe_phases(lineage),
        "environment": _environment(config),
        "hyperparameters": hyperparameters(config),
        "configs": _settings(config),
        "steps": _by_config(lineage.steps.values()),
    }
    _write_yaml(document, workspace.run_dir(config) / "manifest.yaml")
    _write_yaml(config.model_dump(mode="json"), workspace.run_dir(config) / "config.yaml")


def write_provenance(node: Node, path: Path) -> None:
    """What an export travels with: what it was made from, so that equal exports are equal bytes.

    Without times, and with settings files below the folder that they share, wherever that is.
    """
    steps: Json = {}
    for need in in_order(*node.needs):
        state = read_state(need)
        assert state
        steps.setdefault(need.config.name, {})[need.step.name] = {key: state[key] for key in TIMELESS}
    settings = _settings(node.config)
    root = os.path.commonpath([Path(each["path"]).resolve().parent for each in settings.values()])
    for each in settings.values():
        each["path"] = Path(each["path"]).resolve().relative_to(root).as_posix()
    document = {
        "config": settings[node.config.name]["path"],
        "environment": _environment(node.config),
        "configs": settings,
        "steps": steps,
    }
    _write_yaml(document, path)


def _environment(config: Config) -> Json:
    told = environment()
    return told | {"tensorflow_version": told["tensorflow"], "seed": config.seed}


def _settings(config: Config) -> Json:
    """What the files and the command line said, of these settings and of all that they build on."""
    return {each.name: each.model_dump(mode="json", exclude_unset=True) for each in whole_family(config)}


def _by_config(ran: Iterable[Ran]) -> Json:
    shown = ("started", "seconds", "peak_memory_bytes", "output_bytes", *TIMELESS, "settings")
    steps: Json = {}
    for each in ran:
        told = {key: each.state[key] for key in shown}
        told |= {"metrics": _small(each.metrics), "metrics_sha256": each.state["metrics"]}
        steps.setdefault(each.config.name, {})[each.step] = told
    return steps


def _small(metrics: Metrics) -> Json:
    """Numbers, words and small tables."""
    return {
        name: _small(value) if isinstance(value, dict) else value
        for name, value in metrics.items()
        if not isinstance(value, list) and not (isinstance(value, dict) and len(value) > MOST_KEYS)
    }


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes equal values out twice, instead of naming one."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always."""
        return True


def _write_yaml(document: Any, path: Path) -> None:
    with atomic_open(path) as file:
        yaml.dump(document, file, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
