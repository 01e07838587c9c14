"""Documents that are wrong fail: README's console blocks, the settings files, the help."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tfpipe.cli import main
from tfpipe.core.config import load_config
from tfpipe.core.steps import build_graph, in_order
from tfpipe.core.workspace import Workspace
from tfpipe.data.sources.herbarium.species import SYNONYMS
from tfpipe.stages import LAST, STEPS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```console\n\$ (.*?)\n(.*?)```", README, re.DOTALL))
SETTINGS = sorted((ROOT / "configs").rglob("*.yaml"))


def test_readme_shows_the_two_commands_and_they_are_targets() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    makes = [command.removeprefix("make ") for command in BLOCKS if command.startswith("make ")]
    assert makes == ["demo", "test"]
    assert set(makes) <= set(targets)


@pytest.mark.parametrize("command", [command for command in BLOCKS if command.startswith("tfpipe ")])
def test_readme_shows_what_a_command_prints(command: str) -> None:
    result = CliRunner().invoke(main, command.split()[1:], prog_name="tfpipe", terminal_width=80)
    assert result.output.strip() == BLOCKS[command].strip()


def test_readme_shows_the_demo_as_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    demo = re.search(r"run --config (\S+)", (ROOT / "Makefile").read_text())
    assert demo
    graph = build_graph(STEPS, load_config(Path(demo[1])), LAST, Workspace())
    planned = [node.title for node in in_order(graph)]
    assert re.findall(r"^(.+): done in", BLOCKS["make demo"], re.MULTILINE) == planned


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_settings_file_loads_and_opens_with_its_command(path: Path) -> None:
    config = load_config(path)
    command = re.search(r"^#   tfpipe (\w+) --config (\S+)", path.read_text(), re.MULTILINE)
    assert command
    assert command[1] in {*STEPS, "run"}
    assert ROOT / command[2] == path
    assert config.dataset_config.role in ("dataset", config.role)


def test_the_demo_maps_every_synonym_that_the_herbarium_plants() -> None:
    lines = (ROOT / "configs" / "herbarium_synonyms.csv").read_text().splitlines()
    assert dict(line.split(",") for line in lines[1:]) == SYNONYMS
