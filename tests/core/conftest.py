"""Four small steps to run."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tfpipe.core.config import Config, load_config
from tfpipe.core.steps import Step, build_graph
from tfpipe.core.workspace import Workspace
from tfpipe.stages import runner


@dataclass
class Kitchen:
    """Four small steps, gather → (wash, peel) → cook, each with a section of the settings of its own."""

    root: Path
    ran: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    leftovers: dict[str, list[str]] = field(default_factory=dict)
    external: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    @property
    def config_path(self) -> Path:
        path = self.root / "dinner.yaml"
        path.write_text(yaml.safe_dump(self.settings))
        return path

    def make(self, name: str = "cook", **options: Any) -> list[str]:
        """Names of the steps that ran for this one command."""
        self.ran.clear()
        runner.run_step(name, self.config_path, workspace=self.workspace, **options)
        return self.ran.copy()

    def output(self, name: str) -> Path:
        return self.root / "data" / f"{name}.txt"

    def folder(self, name: str) -> Path:
        return self.root / "runs" / "dinner" / name

    def node(self, name: str) -> Any:
        return build_graph(self.steps, load_config(self.config_path), name, self.workspace)


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    kitchen = Kitchen(tmp_path)

    def stage(name: str, section: str, needs: list[str], words: Callable[[Config], str]) -> None:
        def run(config: Config, workspace: Workspace) -> dict[str, Any]:
            kitchen.ran.append(name)
            folder = workspace.step_dir(config, name)
            kitchen.leftovers[name] = sorted(p.name for p in folder.iterdir())
            (folder / "half-done").touch()
            if name in kitchen.broken:
                raise KeyboardInterrupt
            text = "".join(kitchen.output(need).read_text() for need in needs) + words(config)
            kitchen.output(name).parent.mkdir(exist_ok=True)
            kitchen.output(name).write_text(text)
            return {"length": len(text)}

        kitchen.steps[name] = Step(
            name=name,
            summary=name,
            sections=(section,),
            needs=lambda config: [(config, need) for need in needs],
            outputs=lambda config, workspace: [kitchen.output(name)],
            fingerprint=lambda config: kitchen.external if name == "gather" else "",
        )
        monkeypatch.setitem(sys.modules, f"tfpipe.stages.{name}", SimpleNamespace(run=run))

    # `wash` reads its setting and writes the same for any, so what needs it can stop early.
    stage("gather", "snapshot", [], lambda config: f"{config.snapshot.num_images} leeks\n")
    stage("wash", "split", ["gather"], lambda config: "washed\n")
    stage("peel", "pack", ["gather"], lambda config: f"peeled {config.pack.version}\n")
    stage("cook", "export", ["wash", "peel"], lambda config: f"{config.export.title}\n")
    monkeypatch.setattr(runner, "STEPS", kitchen.steps)
    monkeypatch.setattr(runner, "LAST", "cook")
    return kitchen
