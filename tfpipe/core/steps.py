"""Steps: what each reads and writes, and the order in which to run them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfpipe.core.config import Config
from tfpipe.core.errors import ConfigError
from tfpipe.core.workspace import Workspace

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """A step of the pipeline; `tfpipe/stages/<name>.py` has its `run(config, workspace) -> Metrics`.

    A `vet(config)` there refuses settings before anything runs, where the step itself would do so hours later.
    """

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
    measures: bool = False
    """Whether it writes what it measured of the machine, such as times, which no other run repeats."""
    headline: tuple[str, ...] = ()
    """Metrics to tell when the step is done; unset, all that are numbers."""
    version: int = 1
    """Raised when the step's code changes what it writes."""


Need = tuple[Config, str]
"""Settings and the step of them that must be up to date."""

Place = tuple[str, Path]
"""A step's title and its settings file."""


@dataclass(frozen=True, eq=False)
class Node:
    """A step of one settings file, with the nodes it needs; two of one title are alike, and not the same."""

    config: Config
    step: Step
    needs: tuple["Node", ...]
    workspace: Workspace

    @property
    def title(self) -> str:
        """`teach teacher_global`."""
        return f"{self.step.name} {self.config.name}"

    @property
    def folder(self) -> Path:
        """`runs/<config>/<step>`."""
        return self.workspace.step_dir(self.config, self.step.name)

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


def in_order(*targets: Node) -> Iterator[Node]:
    """Every node that is one of these or needed by one, once, those that are needed first."""
    seen: dict[str, Path] = {}

    def visit(node: Node) -> Iterator[Node]:
        if node.title in seen:
            _check_is_one_file(seen[node.title], node.config)
            return
        seen[node.title] = node.config.path
        for need in node.needs:
            yield from visit(need)
        yield node

    for target in targets:
        yield from visit(target)


def _check_is_one_file(path: Path, config: Config) -> None:
    if path.resolve() != config.path.resolve():
        raise ConfigError(f"{path} and {config.path} are both named {config.name!r}; give one another `name:`.")
