"""Steps: run once, again only when something they depend on changed, and go on where they were interrupted."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from PIL import Image

from tfpipe.core.config import Config
from tfpipe.core.errors import BrokenOffError, ConfigError, CriterionError, DataError, MissingArtifactError, TfpipeError
from tfpipe.core.files import read_json
from tfpipe.core.states import is_current, read_metrics
from tfpipe.core.steps import in_order
from tfpipe.core.workspace import Workspace
from tfpipe.stages import runner

Run = Callable[[Config, Workspace], dict[str, Any]]


ALL = ["gather", "wash", "peel", "cook"]


# What runs


def test_a_step_runs_what_it_needs_first_and_each_once(kitchen: Any) -> None:
    assert kitchen.make() == ALL
    assert kitchen.output("cook").read_text() == ("6000 leeks\nwashed\n6000 leeks\npeeled 1.0.0\nNone\n")


def test_only_what_is_asked_for_runs(kitchen: Any) -> None:
    assert kitchen.make("peel") == ["gather", "peel"]
    assert kitchen.make("cook") == ["wash", "cook"]


def test_the_second_time_nothing_runs_and_the_metrics_are_the_same(kitchen: Any) -> None:
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
    kitchen: Any, change: dict[str, Any], reruns: list[str]
) -> None:
    kitchen.make()
    kitchen.settings = change
    assert kitchen.make() == reruns
    assert kitchen.make() == []


def test_an_override_counts_as_a_setting(kitchen: Any) -> None:
    kitchen.make()
    assert kitchen.make(overrides=("export.title=Soup",)) == ["cook"]
    assert "Soup" in kitchen.output("cook").read_text()
    assert kitchen.make() == ["cook"]


def test_a_step_that_writes_the_same_again_stops_the_rerun_there(kitchen: Any) -> None:
    kitchen.make()
    kitchen.settings = {"split": {"train": 0.7, "test": 0.2}}
    assert kitchen.make() == ["wash"]
    assert kitchen.make() == []


def test_what_a_step_reads_from_outside_counts(kitchen: Any) -> None:
    kitchen.make()
    kitchen.external = "another market"
    assert kitchen.make() == ["gather"]


def test_a_new_version_of_a_steps_code_reruns_it(kitchen: Any) -> None:
    kitchen.make()
    kitchen.steps["peel"] = replace(kitchen.steps["peel"], version=2)
    assert kitchen.make() == ["peel"]


def test_the_same_step_of_other_settings_is_another_step(kitchen: Any) -> None:
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
def test_a_damaged_output_is_made_anew(kitchen: Any, damage: Callable[[Path], None]) -> None:
    kitchen.make()
    whole = kitchen.output("peel").read_text()
    damage(kitchen.output("peel"))
    assert kitchen.make() == ["peel"]
    assert kitchen.output("peel").read_text() == whole


def test_an_output_that_was_only_touched_is_kept(kitchen: Any) -> None:
    kitchen.make()
    os.utime(kitchen.output("peel"), (1, 1))
    assert kitchen.make() == []


def test_a_folder_is_damaged_when_one_of_its_files_is(kitchen: Any) -> None:
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


def test_an_interrupted_step_finds_what_it_left_and_goes_on(kitchen: Any) -> None:
    kitchen.broken = {"peel"}
    with pytest.raises(KeyboardInterrupt):
        kitchen.make()
    assert not is_current(kitchen.node("peel"))
    kitchen.broken = set()
    assert kitchen.make() == ["peel", "cook"]
    assert "half-done" in kitchen.leftovers["peel"]
    assert kitchen.make() == []


def test_what_an_interrupted_step_left_for_other_settings_goes(kitchen: Any) -> None:
    kitchen.broken = {"peel"}
    with pytest.raises(KeyboardInterrupt):
        kitchen.make()
    kitchen.broken, kitchen.settings = set(), {"pack": {"version": "2.0.0"}}
    kitchen.make()
    assert "half-done" not in kitchen.leftovers["peel"]


def test_what_an_interrupted_step_left_for_other_inputs_goes(kitchen: Any) -> None:
    kitchen.broken = {"peel"}
    with pytest.raises(KeyboardInterrupt):
        kitchen.make()
    kitchen.broken, kitchen.settings = set(), {"snapshot": {"num_images": 7}}
    kitchen.make()
    assert "half-done" not in kitchen.leftovers["peel"]


def test_a_rerun_after_a_finished_run_starts_from_nothing(kitchen: Any) -> None:
    kitchen.make()
    kitchen.output("peel").unlink()
    kitchen.make()
    assert kitchen.leftovers["peel"] == ["started.json"]
    assert not kitchen.folder(".peel.previous").exists()


def test_an_interrupted_rerun_is_not_taken_for_the_run_before_it(kitchen: Any) -> None:
    kitchen.make()
    kitchen.broken = {"peel"}
    with pytest.raises(KeyboardInterrupt):
        kitchen.make("peel", force=True)
    kitchen.broken = set()
    assert kitchen.make("peel") == ["peel"]


def test_a_step_that_fails_gives_back_what_stood_and_one_that_breaks_off_keeps_its_own(
    kitchen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kitchen.make()
    before = read_json(kitchen.folder("cook") / "state.json")
    kitchen.settings = {"export": {"title": "Soup"}}
    for error, kept in ((DataError("burnt"), False), (BrokenOffError("no gas"), True)):

        def run(config: Config, workspace: Workspace, error: TfpipeError = error) -> None:
            (workspace.step_dir(config, "cook") / "part").touch()
            raise error

        monkeypatch.setitem(sys.modules, "tfpipe.stages.cook", SimpleNamespace(run=run))
        with pytest.raises(type(error)):
            kitchen.make()
        assert (kitchen.folder("cook") / "part").exists() == kept
        stands = kitchen.folder(".cook.previous" if kept else "cook")
        assert read_json(stands / "state.json") == before


# --force and --no-upstream


def test_force_redoes_the_step_itself_from_nothing_and_no_other(kitchen: Any) -> None:
    kitchen.make()
    assert kitchen.make("peel", force=True) == ["peel"]
    assert kitchen.leftovers["peel"] == ["started.json"]
    assert kitchen.make() == []


def test_force_also_throws_away_what_an_interrupted_run_left(kitchen: Any) -> None:
    kitchen.broken = {"peel"}
    with pytest.raises(KeyboardInterrupt):
        kitchen.make("peel")
    kitchen.broken = set()
    kitchen.make("peel", force=True)
    assert kitchen.leftovers["peel"] == ["started.json"]


def test_no_upstream_names_the_first_command_that_is_missing(kitchen: Any) -> None:
    with pytest.raises(MissingArtifactError) as caught:
        kitchen.make(no_upstream=True)
    assert f"Run `tfpipe gather --config {kitchen.config_path}` first" in str(caught.value)
    assert kitchen.ran == []
    kitchen.make("wash")
    with pytest.raises(MissingArtifactError, match=r"`cook` reads what `peel` of dinner writes.*Run `tfpipe peel "):
        kitchen.make(no_upstream=True)


def test_no_upstream_runs_the_step_itself_when_all_before_it_stands(kitchen: Any) -> None:
    kitchen.make("wash")
    kitchen.make("peel")
    assert kitchen.make(no_upstream=True) == ["cook"]


def test_no_upstream_refuses_when_a_step_before_is_out_of_date(kitchen: Any) -> None:
    kitchen.make()
    kitchen.settings = {"snapshot": {"num_images": 7}}
    with pytest.raises(MissingArtifactError, match="`gather`"):
        kitchen.make(no_upstream=True)


# What is told and what is kept


def test_the_plan_comes_first(kitchen: Any, capsys: pytest.CaptureFixture[str]) -> None:
    kitchen.make("peel")
    capsys.readouterr()
    kitchen.make()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[:2] == [
        "up to date: gather dinner · peel dinner",
        "never run: wash dinner · cook dinner",
    ]


def test_a_missed_criterion_is_raised_by_the_run_and_by_the_cached_step(kitchen: Any) -> None:
    kitchen.settings = {"criteria": {"peel": {"length": "> 1000"}}}
    with pytest.raises(CriterionError, match="peel dinner: length is 24"):
        kitchen.make()
    assert kitchen.ran == ["gather", "wash", "peel"]
    with pytest.raises(CriterionError):
        kitchen.make()
    assert kitchen.ran == []
    kitchen.settings = {}
    assert kitchen.make() == ["cook"]


def test_a_criterion_of_a_step_that_there_is_not_is_told(kitchen: Any) -> None:
    # Otherwise a slip of the pen would switch the limit off.
    kitchen.settings = {"criteria": {"cooc": {"length": "> 1000"}}}
    with pytest.raises(ConfigError, match="cooc"):
        kitchen.make()


def test_state_metrics_and_manifest_say_what_happened(kitchen: Any) -> None:
    kitchen.make()
    state = read_json(kitchen.folder("cook") / "state.json")
    assert state["settings"]["export"]["title"] is None
    assert set(state["settings"]) == {"export"}
    assert set(state["inputs"]) == {kitchen.output(name).as_posix() for name in ("wash", "peel")}
    gathered = read_json(kitchen.folder("gather") / "state.json")
    assert state["inputs"].keys() & gathered["outputs"].keys() == set()
    peeled = read_json(kitchen.folder("peel") / "state.json")
    assert state["inputs"][kitchen.output("peel").as_posix()] == peeled["outputs"][kitchen.output("peel").as_posix()]
    assert read_metrics(kitchen.node("cook")) == {"length": len(kitchen.output("cook").read_text())}
    manifest = yaml.safe_load((kitchen.folder("cook").parent / "manifest.yaml").read_text())
    assert set(manifest["steps"]["dinner"]) == set(ALL)
    assert manifest["environment"]["seed"] == 42
    assert manifest["steps"]["dinner"]["cook"]["environment"]["python_version"].startswith("3.")


def test_the_manifest_has_numbers_and_small_tables_of_what_a_step_measured(
    kitchen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = ({f"class {number}": number for number in range(count)} for count in (40, 41))
    measured = {"top1": 0.5, "per_class": large, "test": {"small": small, "large": large, "curve": [1, 2]}}
    kitchen.make("peel")
    kitchen.output("cook").touch()
    monkeypatch.setitem(sys.modules, "tfpipe.stages.cook", SimpleNamespace(run=lambda config, workspace: measured))
    kitchen.make()
    manifest = yaml.safe_load((kitchen.folder("cook").parent / "manifest.yaml").read_text())
    assert manifest["steps"]["dinner"]["cook"]["metrics"] == {"top1": 0.5, "test": {"small": small}}
    assert read_metrics(kitchen.node("cook")) == measured


def test_order_is_needs_first_even_through_two_ways(kitchen: Any) -> None:
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
