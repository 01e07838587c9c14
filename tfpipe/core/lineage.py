"""What has run of some settings, and of those that they build on."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tfpipe.core.config import Config
from tfpipe.core.states import read_whole
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace


@dataclass(frozen=True)
class Ran:
    """A step that has run, and what came of it."""

    config: Config
    step: str
    state: dict[str, Any]
    metrics: Metrics


@dataclass(frozen=True)
class Lineage:
    """The steps of some settings that stand, with those that they build on."""

    config: Config
    workspace: Workspace

    @cached_property
    def steps(self) -> dict[tuple[str, str], Ran]:
        """(config's name, step) → what ran, in the order in which it did.

        Without what was made from something that another run has replaced since.
        """
        ran = [each for config in whole_family(self.config) for each in _iter_steps(config, self.workspace)]
        outputs = {name: digest for each in ran for name, digest in each.state["outputs"].items()}
        return {
            (each.config.name, each.step): each
            for each in sorted(ran, key=lambda each: str(each.state["started"]))
            if all(outputs.get(name, digest) == digest for name, digest in each.state["inputs"].items())
        }

    def has(self, config: Config, *steps: str) -> bool:
        """Whether all of these have run."""
        return all((config.name, step) in self.steps for step in steps)

    def metrics(self, config: Config, step: str) -> Metrics:
        """What a step measured; nothing, if it has not run."""
        found = self.steps.get((config.name, step))
        return found.metrics if found else {}


def whole_family(config: Config) -> list[Config]:
    """Some settings after all that they build on: their data set, teachers, and what those start from."""
    found: dict[str, Config] = {}
    seen: set[str] = set()

    def visit(each: Config) -> None:
        if each.name in seen:
            return
        seen.add(each.name)
        for other in (each.dataset_config, *each.teacher_configs, each.start_config, *each.against_configs):
            if other:
                visit(other)
        found[each.name] = each

    visit(config)
    return list(found.values())


def _iter_steps(config: Config, workspace: Workspace) -> Iterator[Ran]:
    for path in sorted(workspace.run_dir(config).glob("[!.]*/state.json")):
        state, metrics = read_whole(path), read_whole(path.with_name("metrics.json"))
        if state is not None and metrics is not None:
            yield Ran(config, path.parent.name, state, metrics)
