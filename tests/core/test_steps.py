"""Steps: run once, again only when something they depend on changed, and go on where they were interrupted."""

import os
import shutil
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from PIL import Image

from tfpipe.core import manifest, steps
from tfpipe.core.cluster import Share
from tfpipe.core.config import Config, load_config
from tfpipe.core.errors import ConfigError, CriterionError, MissingArtifactError
from tfpipe.core.files import read_json
from tfpipe.core.steps import Step, build_graph, in_order, is_current, read_metrics
from tfpipe.core.workspace import Workspace
from tfpipe.stages import runner

Run = Callable[[Config, Workspace], dict[str, Any]]


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
    # A process of git after each of some hundred steps would take longer than all the rest.
    monkeypatch.setattr(manifest, "git_commit", lambda: None)
    return kitchen


ALL = ["gather", "wash", "peel", "cook"]


# Shares


def test_shares_that_start_at_one_moment_find_one_folder_and_set_the_old_one_aside_once(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    kitchen.make()
    kitchen.settings = {"export": {"title": "Soup"}}
    together = threading.Barrier(4)

    def take_part(config: Config, workspace: Workspace, share: Share) -> dict[str, Any]:
        (workspace.step_dir(config, "cook") / f"part{share.number}").touch()
        together.wait(30)
        return {"share": share.number}

    monkeypatch.setitem(sys.modules, "tfpipe.stages.cook", SimpleNamespace(take_part=take_part))
    monkeypatch.setattr(steps, "native_silence", nullcontext)
    node = kitchen.node("cook")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: steps.take_part(node, Share(number, 4)), range(1, 5)))
    assert [metrics["share"] for metrics in found] == [1, 2, 3, 4]
    left = sorted(path.name for path in kitchen.folder("cook").iterdir())
    assert left == ["part1", "part2", "part3", "part4", "started.json"]
    assert (kitchen.folder(".cook.previous") / "state.json").is_file()
    assert not is_current(node)


def test_a_share_leaves_earlier_steps_to_others(kitchen: Kitchen) -> None:
    with pytest.raises(MissingArtifactError, match=r"Run `tfpipe gather"):
        kitchen.make("peel", share=Share(1, 2))


# What runs


def test_a_step_runs_what_it_needs_first_and_each_once(kitchen: Kitchen) -> None:
    assert kitchen.make() == ALL
    assert kitchen.output("cook").read_text() == (
        "6000 leeks\nwashed\n6000 leeks\npeeled 1.0.0\nWhat is in the picture?\n"
    )


def test_only_what_is_asked_for_runs(kitchen: Kitchen) -> None:
    assert kitchen.make("peel") == ["gather", "peel"]
    assert kitchen.make("cook") == ["wash", "cook"]


def test_the_second_time_nothing_runs_and_the_metrics_are_the_same(kitchen: Kitchen) -> None:
    kitchen.make()
    before = {path: path.stat().st_mtime_ns for path in kitchen.root.rglob("*") if path.is_file()}
    assert kitchen.make() == []
    metrics = runner.run_step("cook", kitchen.config_path, workspace=kitchen.workspace)
    assert metrics == {"length": len(kitchen.output("cook").read_text())}
    del before[kitchen.root / "dinner.yaml"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("change", "reruns"),
    [
        ({"snapshot": {"num_images": 7}}, ALL),
        ({"pack": {"version": "2.0.0"}}, ["peel", "cook"]),
        ({"export": {"title": "Soup"}}, ["cook"]),
        ({"evaluate": {"split": "validation"}}, []),
        ({"criteria": {"cook": {"length": "> 0"}}}, []),
    ],
)
def test_a_setting_reruns_the_steps_of_its_section_and_those_after_them(
    kitchen: Kitchen, change: dict[str, Any], reruns: list[str]
) -> None:
    kitchen.make()
    kitchen.settings = change
    assert kitchen.make() == reruns
    assert kitchen.make() == []


def test_an_override_counts_as_a_setting(kitchen: Kitchen) -> None:
    kitchen.make()
    assert kitchen.make(overrides=("export.title=Soup",)) == ["cook"]
    assert "Soup" in kitchen.output("cook").read_text()
    assert kitchen.make() == ["cook"]


def test_a_step_that_writes_the_same_again_stops_the_rerun_there(kitchen: Kitchen) -> None:
    kitchen.make()
    kitchen.settings = {"split": {"train": 0.7, "test": 0.2}}
    assert kitchen.make() == ["wash"]
    assert kitchen.make() == []


def test_what_a_step_reads_from_outside_counts(kitchen: Kitchen) -> None:
    kitchen.make()
    kitchen.external = "another market"
    assert kitchen.make() == ["gather"]


def test_a_new_version_of_a_steps_code_reruns_it(kitchen: Kitchen) -> None:
    kitchen.make()
    kitchen.steps["peel"] = replace(kitchen.steps["peel"], version=2)
    assert kitchen.make() == ["peel"]


def test_the_same_step_of_other_settings_is_another_step(kitchen: Kitchen) -> None:
    kitchen.make("gather")
    other = kitchen.root / "lunch.yaml"
    other.write_text("")
    kitchen.ran.clear()
    runner.run_step("gather", other, workspace=kitchen.workspace)
    assert kitchen.ran == ["gather"]


# Outputs that are no longer what they were


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text(""),
        lambda path: path.write_text(path.read_text()[:-1]),
        lambda path: path.write_text(path.read_text().replace("leeks", "locks")),
    ],
    ids=["gone", "empty", "truncated", "tampered"],
)
def test_a_damaged_output_is_made_anew(kitchen: Kitchen, damage: Callable[[Path], None]) -> None:
    kitchen.make()
    whole = kitchen.output("peel").read_text()
    damage(kitchen.output("peel"))
    assert kitchen.make() == ["peel"]
    assert kitchen.output("peel").read_text() == whole


def test_an_output_that_was_only_touched_is_kept(kitchen: Kitchen) -> None:
    kitchen.make()
    os.utime(kitchen.output("peel"), (1, 1))
    assert kitchen.make() == []


def test_a_folder_is_damaged_when_one_of_its_files_is(kitchen: Kitchen) -> None:
    folder = kitchen.root / "data" / "plates"

    def run(config: Config, workspace: Workspace) -> dict[str, Any]:
        kitchen.ran.append("peel")
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "plate.txt").write_text("potato")
        kitchen.output("peel").write_text("peeled")
        return {}

    sys.modules["tfpipe.stages.peel"].run = run  # type: ignore[attr-defined]
    kitchen.steps["peel"] = replace(kitchen.steps["peel"], outputs=lambda config, workspace: [folder])
    kitchen.make()
    (folder / "deep" / "plate.txt").write_text("potat")
    assert kitchen.make() == ["peel"]
    (folder / "deep" / "fork.txt").touch()
    assert kitchen.make() == ["peel"]


# Interruptions


def test_an_interrupted_step_finds_what_it_left_and_goes_on(kitchen: Kitchen) -> None:
    kitchen.broken = {"peel"}
    with pytest.raises(KeyboardInterrupt):
        kitchen.make()
    assert not is_current(kitchen.node("peel"))
    kitchen.broken = set()
    assert kitchen.make() == ["peel", "cook"]
    assert "half-done" in kitchen.leftovers["peel"]
    assert kitchen.make() == []


def test_what_an_interrupted_step_left_for_other_settings_goes(kitchen: Kitchen) -> None:
    kitchen.broken = {"peel"}
    with pytest.raises(KeyboardInterrupt):
        kitchen.make()
    kitchen.broken, kitchen.settings = set(), {"pack": {"version": "2.0.0"}}
    kitchen.make()
    assert "half-done" not in kitchen.leftovers["peel"]


def test_what_an_interrupted_step_left_for_other_inputs_goes(kitchen: Kitchen) -> None:
    kitchen.broken = {"peel"}
    with pytest.raises(KeyboardInterrupt):
        kitchen.make()
    kitchen.broken, kitchen.settings = set(), {"snapshot": {"num_images": 7}}
    kitchen.make()
    assert "half-done" not in kitchen.leftovers["peel"]


def test_a_rerun_after_a_finished_run_starts_from_nothing(kitchen: Kitchen) -> None:
    kitchen.make()
    kitchen.output("peel").unlink()
    kitchen.make()
    assert kitchen.leftovers["peel"] == ["started.json"]


def test_an_interrupted_rerun_is_not_taken_for_the_run_before_it(kitchen: Kitchen) -> None:
    kitchen.make()
    kitchen.broken = {"peel"}
    with pytest.raises(KeyboardInterrupt):
        kitchen.make("peel", force=True)
    kitchen.broken = set()
    assert kitchen.make("peel") == ["peel"]


# --force and --no-upstream


def test_force_redoes_the_step_itself_from_nothing_and_no_other(kitchen: Kitchen) -> None:
    kitchen.make()
    assert kitchen.make("peel", force=True) == ["peel"]
    assert kitchen.leftovers["peel"] == ["started.json"]
    assert kitchen.make() == []


def test_force_also_throws_away_what_an_interrupted_run_left(kitchen: Kitchen) -> None:
    kitchen.broken = {"peel"}
    with pytest.raises(KeyboardInterrupt):
        kitchen.make("peel")
    kitchen.broken = set()
    kitchen.make("peel", force=True)
    assert kitchen.leftovers["peel"] == ["started.json"]


def test_no_upstream_names_the_first_command_that_is_missing(kitchen: Kitchen) -> None:
    with pytest.raises(MissingArtifactError) as caught:
        kitchen.make(no_upstream=True)
    assert f"Run `tfpipe gather --config {kitchen.config_path}` first" in str(caught.value)
    assert kitchen.ran == []
    kitchen.make("wash")
    with pytest.raises(MissingArtifactError, match=r"`cook` reads what `peel` of dinner writes.*Run `tfpipe peel "):
        kitchen.make(no_upstream=True)


def test_no_upstream_runs_the_step_itself_when_all_before_it_stands(kitchen: Kitchen) -> None:
    kitchen.make("wash")
    kitchen.make("peel")
    assert kitchen.make(no_upstream=True) == ["cook"]


def test_no_upstream_refuses_when_a_step_before_is_out_of_date(kitchen: Kitchen) -> None:
    kitchen.make()
    kitchen.settings = {"snapshot": {"num_images": 7}}
    with pytest.raises(MissingArtifactError, match="`gather`"):
        kitchen.make(no_upstream=True)


# What is told and what is kept


def test_the_plan_comes_first(kitchen: Kitchen, capsys: pytest.CaptureFixture[str]) -> None:
    kitchen.make("peel")
    capsys.readouterr()
    kitchen.make()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[0] == "gather dinner cached · wash dinner … · peel dinner cached · cook dinner …"


def test_a_missed_criterion_is_raised_by_the_run_and_by_the_cached_step(kitchen: Kitchen) -> None:
    kitchen.settings = {"criteria": {"peel": {"length": "> 1000"}}}
    with pytest.raises(CriterionError, match="peel dinner: length is 24"):
        kitchen.make()
    assert kitchen.ran == ["gather", "wash", "peel"]
    with pytest.raises(CriterionError):
        kitchen.make()
    assert kitchen.ran == []
    kitchen.settings = {}
    assert kitchen.make() == ["cook"]


def test_a_criterion_of_a_step_that_there_is_not_is_told(kitchen: Kitchen) -> None:
    # Otherwise a slip of the pen would switch the limit off.
    kitchen.settings = {"criteria": {"cooc": {"length": "> 1000"}}}
    with pytest.raises(ConfigError, match="cooc"):
        kitchen.make()


def test_state_metrics_and_manifest_say_what_happened(kitchen: Kitchen) -> None:
    kitchen.make()
    state = read_json(kitchen.folder("cook") / "state.json")
    assert state["settings"]["export"]["title"] == "What is in the picture?"
    assert set(state["settings"]) == {"export"}
    assert set(state["inputs"]) == {kitchen.output(name).as_posix() for name in ("wash", "peel")}
    gathered = read_json(kitchen.folder("gather") / "state.json")
    assert state["inputs"].keys() & gathered["outputs"].keys() == set()
    peeled = read_json(kitchen.folder("peel") / "state.json")
    assert state["inputs"][kitchen.output("peel").as_posix()] == peeled["outputs"][kitchen.output("peel").as_posix()]
    assert read_metrics(kitchen.node("cook")) == {"length": len(kitchen.output("cook").read_text())}
    manifest = yaml.safe_load((kitchen.folder("cook").parent / "manifest.yaml").read_text())
    assert set(manifest["steps"]) == set(ALL)
    assert manifest["seed"] == 42
    assert manifest["steps"]["cook"]["environment"]["python_version"].startswith("3.")


def test_order_is_needs_first_even_through_two_ways(kitchen: Kitchen) -> None:
    assert [node.title for node in in_order(kitchen.node("cook"))] == [f"{name} dinner" for name in ALL]


# The real first two steps, which know no TensorFlow


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index, label in enumerate(("rose", "daisy")):
        for number in range(5):
            path = tmp_path / "photos" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (index * 99, number * 9, 0)).save(path)
    path = tmp_path / "photos.yaml"
    settings = {"snapshot": {"source": "folder", "path": str(tmp_path / "photos")}, "audit": {"min_side": 4}}
    path.write_text(yaml.safe_dump(settings))
    return path


def test_a_photo_that_was_mended_in_place_is_looked_at_again(photos: Path, tmp_path: Path) -> None:
    broken = tmp_path / "photos" / "rose" / "3.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:40])
    first = runner.run_step("split", photos, workspace=Workspace(tmp_path))
    assert first["excluded"] == {"unreadable": 1}
    broken.write_bytes(whole)
    second = runner.run_step("split", photos, workspace=Workspace(tmp_path))
    assert second["excluded"] == {}
    assert second["num_rows"] == 10
