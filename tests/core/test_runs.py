"""Whole runs: planned with reasons, and held by one process."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpipe.core.errors import ConfigError, EnvironmentProblemError
from tfpipe.core.files import read_json, sha256_file
from tfpipe.core.holding import held, holder_of
from tfpipe.core.states import why_stale
from tfpipe.stages import runner
from tfpipe.stages.planning import make_plan

ALL = ["gather", "wash", "peel", "cook"]
NEEDS = {"gather": set(), "wash": {"gather"}, "peel": {"gather"}, "cook": {"wash", "peel"}}


def run_all(kitchen: Any, *paths: Path, **options: Any) -> list[str]:
    kitchen.ran.clear()
    runner.run_all(paths or (kitchen.config_path,), workspace=kitchen.workspace, **options)
    return kitchen.ran.copy()


# Why a step will run


@pytest.mark.parametrize(
    ("change", "step", "reason"),
    [
        ({"export": {"title": "Soup"}}, "cook", "export.title changed"),
        (
            {"export": {"title": "Soup", "num_examples": 1, "description": "hot", "precision": "int8"}},
            "cook",
            "and 1 more changed",
        ),
        ({"pack": {"version": "2.0.0"}}, "peel", "pack.version changed"),
    ],
)
def test_the_reason_names_the_settings(kitchen: Any, change: dict[str, Any], step: str, reason: str) -> None:
    kitchen.make()
    kitchen.settings = change
    assert str(why_stale(kitchen.node(step))).endswith(reason)


def test_the_reason_names_what_is_missing_or_damaged(kitchen: Any) -> None:
    kitchen.make()
    assert why_stale(kitchen.node("peel")) is None
    kitchen.output("peel").write_text("mud")
    assert why_stale(kitchen.node("peel")) == f"{kitchen.output('peel')} is not as it was written"
    kitchen.output("peel").unlink()
    assert why_stale(kitchen.node("peel")) == f"{kitchen.output('peel')} is missing"


def test_the_reason_names_changed_inputs_code_and_the_world_outside(kitchen: Any) -> None:
    kitchen.make()
    kitchen.external = "another market"
    assert why_stale(kitchen.node("gather")) == "what it reads from outside changed"
    kitchen.external = ""
    kitchen.steps["wash"] = replace(kitchen.steps["wash"], version=2)
    assert why_stale(kitchen.node("wash")) == "tfpipe's code of it changed"
    kitchen.settings = {"snapshot": {"num_images": 7}}
    kitchen.make("gather")
    assert why_stale(kitchen.node("peel")) == f"{kitchen.output('gather')} changed"


def test_an_interrupted_step_is_told_from_one_that_never_ran(kitchen: Any) -> None:
    kitchen.broken = {"gather"}
    with pytest.raises(KeyboardInterrupt):
        kitchen.make("gather")
    assert why_stale(kitchen.node("gather")) == "interrupted, goes on where it stood"
    kitchen.settings = {"snapshot": {"num_images": 7}}
    assert why_stale(kitchen.node("gather")) == "never run"


def test_the_plan_tells_reasons_times_and_the_sum(kitchen: Any, capsys: pytest.CaptureFixture[str]) -> None:
    kitchen.make()
    for name, seconds in {"peel": 240.0, "cook": 60.0}.items():
        path = kitchen.folder(name) / "state.json"
        path.write_text(json.dumps(read_json(path) | {"seconds": seconds}))
    kitchen.settings = {"pack": {"version": "2.0.0"}}
    capsys.readouterr()
    assert run_all(kitchen, dry_run=True) == []
    assert capsys.readouterr().err.splitlines() == [
        "up to date: gather dinner · wash dinner",
        "pack.version changed: peel dinner 4 min",
        "follows, if those change: cook dinner 60 s",
        "about 5 min in all",
    ]


def test_where_a_step_never_ran_the_time_told_is_the_least(kitchen: Any) -> None:
    kitchen.make("peel")
    path = kitchen.folder("peel") / "state.json"
    path.write_text(json.dumps(read_json(path) | {"seconds": 240.0}))
    kitchen.settings = {"pack": {"version": "2.0.0"}}
    plan = make_plan([kitchen.node(name) for name in ("gather", "peel", "wash", "cook")], ())
    assert plan.told().splitlines()[-1] == "more than 4 min in all"
    assert plan.left(plan.nodes[0]) == " · more than 4 min left"
    assert plan.left(plan.nodes[1]) == ""
    # A step alone is all there is.
    alone = make_plan(plan.nodes[:2], ())
    assert alone.told().splitlines()[-1] == "pack.version changed: peel dinner 4 min"
    assert alone.left(plan.nodes[0]) == " · about 4 min left"


# Parts of a run


def test_until_goes_no_further(kitchen: Any) -> None:
    assert run_all(kitchen, until="peel") == ["gather", "peel"]


def test_from_redoes_a_step_and_what_needs_it(kitchen: Any) -> None:
    kitchen.make()
    assert run_all(kitchen, first="peel") == ["peel", "cook"]
    assert run_all(kitchen) == []
    assert run_all(kitchen, force=True) == ALL


def test_a_step_that_is_not_in_the_run_is_told_with_those_that_are(kitchen: Any) -> None:
    with pytest.raises(ConfigError, match="bake: no such step in this run; there are gather, wash, peel, cook"):
        run_all(kitchen, until="bake")


def test_several_settings_share_what_they_share(kitchen: Any) -> None:
    lunch = kitchen.root / "lunch.yaml"
    lunch.write_text("export: {title: Lunch}")
    assert run_all(kitchen, kitchen.config_path, lunch) == [*ALL, *ALL]
    assert run_all(kitchen, lunch, lunch) == []


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_changed_setting_reruns_exactly_the_steps_that_depend_on_it(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Over the graph of the real steps, which are not run: stale is what reads the setting, or needs one that does."""
    from tfpipe.core.config import load_config
    from tfpipe.core.steps import build_graph, in_order
    from tfpipe.core.workspace import Workspace
    from tfpipe.stages import LAST, STEPS
    from tfpipe.stages.planning import make_plan

    folder = tmp_path_factory.mktemp("graph")
    for name, text in GRAPH.items():
        (folder / name).write_text(text)
    workspace = Workspace(folder)

    def graph() -> list[Any]:
        return list(in_order(build_graph(STEPS, load_config(folder / "student.yaml"), LAST, workspace)))

    for node in graph():
        pretend(node)
    assert make_plan(graph(), ()).reasons == {}
    name, key, before, after = data.draw(st.sampled_from(CHANGES))
    assert before in GRAPH[name]
    (folder / name).write_text(GRAPH[name].replace(before, after))
    owner = Path(name).stem
    wanted: set[str] = set()
    for node in graph():
        reads = node.config.name == owner and any(
            section == key or key.startswith(f"{section}.") or section.startswith(f"{key}.")
            for section in node.step.sections
        )
        if reads or any(need.title in wanted for need in node.needs):
            wanted.add(node.title)
    assert set(make_plan(graph(), ()).reasons) == wanted
    assert wanted or key in ("criteria", "serve")


def test_a_plan_of_settings_that_share_a_data_set_tells_what_stands(tmp_path: Path) -> None:
    """Each of them reads the data set's settings for itself."""
    from tfpipe.core.config import load_config
    from tfpipe.core.steps import build_graph, in_order
    from tfpipe.core.workspace import Workspace
    from tfpipe.stages import STEPS

    for name, text in GRAPH.items():
        (tmp_path / name).write_text(text)
    workspace, paths = Workspace(tmp_path), (tmp_path / "teacher.yaml", tmp_path / "dataset.yaml")
    for node in in_order(build_graph(STEPS, load_config(paths[0]), "teach", workspace)):
        pretend(node)
    found = runner.run_all(paths, workspace=workspace, dry_run=True)
    assert set(found) == {
        *(f"{step} dataset" for step in ("snapshot", "fetch", "audit", "split", "pack")),
        "teach teacher",
    }


GRAPH = {
    "dataset.yaml": "dataset: g\nsplit: {train: 0.6, validation: 0.2, test: 0.2}\npack: {version: 1.0.0}\nseed: 1\n",
    "teacher.yaml": "data: {config: dataset.yaml, image_size: 32}\nmodel: {name: vit_micro_patch8_32}\n"
    "training: {epochs: 2}\nevaluate: {resamples: 100}\n",
    "student.yaml": "data: {config: dataset.yaml, image_size: 32}\nmodel: {name: mobilenetv2, alpha: 0.35}\n"
    "teachers: [{config: teacher.yaml}]\nlabel: {views: 2}\ntraining: {epochs: 3}\nfinetune: {epochs: 1}\n"
    "distillation: {temperature: 3.0}\ncalibrate: {precision: 0.95}\nquantize: {num_images: 64}\n"
    "export: {title: A}\nverify: {num_images: 16}\nserve: {batch_size: 8}\n",
}
CHANGES = [
    ("dataset.yaml", "split", "train: 0.6, validation: 0.2", "train: 0.5, validation: 0.3"),
    ("dataset.yaml", "pack", "1.0.0", "1.0.1"),
    ("teacher.yaml", "training", "epochs: 2", "epochs: 4"),
    ("teacher.yaml", "evaluate", "resamples: 100", "resamples: 200"),
    ("student.yaml", "label.views", "views: 2", "views: 3"),
    ("student.yaml", "distillation", "temperature: 3.0", "temperature: 4.0"),
    ("student.yaml", "finetune", "finetune: {epochs: 1}", "finetune: {epochs: 2}"),
    ("student.yaml", "calibrate", "precision: 0.95", "precision: 0.9"),
    ("student.yaml", "quantize", "num_images: 64", "num_images: 65"),
    ("student.yaml", "export", "title: A", "title: B"),
    ("student.yaml", "verify", "num_images: 16", "num_images: 17"),
    ("student.yaml", "serve", "batch_size: 8", "batch_size: 9"),
]
"""File, setting, and its line before and after."""


def pretend(node: Any) -> None:
    """Leave what a step would."""
    from tfpipe.core.files import sha256_path, write_json
    from tfpipe.core.states import inputs_of, key_of, metrics_path, settings_of, stamp, state_path

    write_json({}, metrics_path(node))
    for path in node.outputs():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(node.title)
    outputs = node.outputs()
    state = {
        "key": key_of(node),
        "seconds": 1.0,
        "version": node.step.version,
        "settings": settings_of(node),
        "inputs": inputs_of(node),
        "metrics": sha256_file(metrics_path(node)),
        "outputs": {path.as_posix(): sha256_path(path) for path in outputs},
        "stamps": {path.as_posix(): stamp(path) for path in outputs},
    }
    write_json(state, state_path(node))


# One process at a time


def test_a_whole_run_is_not_for_several_workers(kitchen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = {"cluster": {"worker": ["localhost:1", "localhost:2"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(ConfigError, match="`run` runs in one process, and this is one of 2 workers"):
        run_all(kitchen)


HOLDS = """
import sys
from pathlib import Path
from tfpipe.core.holding import held
sys.argv = ["tfpipe", "run", "--config", "x.yaml"]
with held(Path({run_dir!r})):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_who_works_there(kitchen: Any) -> None:
    run_dir = kitchen.folder("cook").parent
    script = HOLDS.format(run_dir=str(run_dir))
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout
        assert other.stdin
        assert other.stdout.readline() == "in\n"
        with pytest.raises(
            EnvironmentProblemError, match=rf"in use by process {other.pid} on .*tfpipe run --config x.yaml"
        ):
            kitchen.make()
        assert kitchen.ran == []
        assert f"process {other.pid}" in str(holder_of(run_dir))
        other.kill()
    assert holder_of(run_dir) is None
    assert kitchen.make() == ALL


def test_nothing_is_held_where_nothing_is_to_be_done(kitchen: Any) -> None:
    kitchen.make()
    with held(kitchen.folder("cook").parent):
        assert kitchen.make() == []


def test_those_who_share_keep_out_those_who_do_not(tmp_path: Path) -> None:
    with held(tmp_path, shared=True):
        with held(tmp_path, shared=True):
            assert holder_of(tmp_path)
        with pytest.raises(EnvironmentProblemError, match="in use"), held(tmp_path):
            pass


def test_a_shorter_command_leaves_nothing_of_a_longer_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (["run", "--config", "x" * 200], ["status"]):
        monkeypatch.setattr(sys, "argv", ["tfpipe", *arguments])
        with held(tmp_path):
            assert f"(`tfpipe {' '.join(arguments)}`, since " in str(holder_of(tmp_path))


# A power cut


def test_a_record_that_a_power_cut_has_shortened_reruns_its_step(kitchen: Any) -> None:
    for name in ("state.json", "metrics.json", "started.json"):
        kitchen.make()
        path = kitchen.folder("peel") / name
        path.write_bytes(path.read_bytes()[:-7])
        ran = kitchen.make()
        assert ran == ([] if name == "started.json" else ["peel"])
        json.loads((kitchen.folder("peel") / "metrics.json").read_text())
