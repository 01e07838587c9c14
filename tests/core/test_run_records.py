"""What whole runs leave: a manifest that is checked and repeated, a status, and what cleaning may take."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tfpipe.core.errors import CriterionError, DataError
from tfpipe.core.files import read_json, sha256_file
from tfpipe.core.holding import held
from tfpipe.core.lineage import Lineage
from tfpipe.core.manifest import write_provenance
from tfpipe.core.tracing import check_manifest
from tfpipe.stages import cleaning, rerun, status
from tfpipe.stages.runner import whole_graph

ALL = ["gather", "wash", "peel", "cook"]

# The manifest


def manifest_of(kitchen: Any) -> Path:
    path: Path = kitchen.folder("cook").parent / "manifest.yaml"
    return path


def test_check_finds_each_kind_of_change(kitchen: Any) -> None:
    kitchen.make()
    assert check_manifest(manifest_of(kitchen), kitchen.workspace)["num_outputs"] == 8
    kitchen.output("wash").write_text("mud")
    (kitchen.folder("cook") / "metrics.json").unlink()
    with pytest.raises(CriterionError) as caught:
        check_manifest(manifest_of(kitchen), kitchen.workspace)
    told = str(caught.value).splitlines()
    assert told[0].startswith("2 of 8 files and folders")
    assert any(f"{sha256_file(kitchen.output('wash'))[:12]}…" in line for line in told[1:])
    assert any(line.endswith("cook/metrics.json: gone (from `cook dinner`)") for line in told[1:])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "a: {",
        "configs: {}\nsteps: {}",
        "configs: {a: {}}\nsteps: {a: {b: 1}}",
        "configs: {a: {path: 1}}\nsteps: {}",
        "configs: [a]\nsteps: {}",
        "\x00",
    ],
)
def test_what_is_no_manifest_is_told(kitchen: Any, text: str) -> None:
    path = kitchen.root / "m.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match="not a manifest"):
        check_manifest(path, kitchen.workspace)


def test_a_manifest_is_rerun_with_its_own_settings_though_the_files_are_gone(kitchen: Any, tmp_path: Path) -> None:
    kitchen.settings = {"export": {"title": "Soup"}}
    kitchen.make()
    kept = tmp_path / "kept.yaml"
    kept.write_text(manifest_of(kitchen).read_text())
    (kitchen.root / "dinner.yaml").unlink()
    kitchen.ran.clear()
    rerun.rerun(kept, workspace=kitchen.workspace, force=True)
    assert kitchen.ran == ALL
    assert "Soup" in kitchen.output("cook").read_text()
    kitchen.external, kitchen.steps["peel"] = "", replace(kitchen.steps["peel"], version=2)
    document = yaml.safe_load(kept.read_text())
    document["steps"]["dinner"]["peel"]["outputs"][kitchen.output("peel").as_posix()] = "0" * 64
    kept.write_text(yaml.safe_dump(document))
    with pytest.raises(CriterionError, match=r"1 of 4 files and folders came out otherwise(.|\n)*was 0000"):
        rerun.rerun(kept, workspace=kitchen.workspace)


def test_what_travels_with_an_export_is_the_same_wherever_the_settings_lie(kitchen: Any) -> None:
    kitchen.make()
    rerun.rerun(manifest_of(kitchen), workspace=kitchen.workspace)
    (moved,) = (kitchen.root / "runs" / ".settings").rglob("dinner.yaml")
    told = []
    for path in (kitchen.config_path, moved):
        write_provenance(whole_graph([path], kitchen.workspace)[-1], kitchen.root / "told.yaml")
        told.append((kitchen.root / "told.yaml").read_text())
    assert told[0] == told[1]
    assert yaml.safe_load(told[0])["config"] == "dinner.yaml"


def test_a_rerun_at_another_commit_says_so(kitchen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kitchen.make()
    document = yaml.safe_load(manifest_of(kitchen).read_text()) | {"git_commit": "a" * 40, "git_dirty": True}
    document["steps"]["dinner"]["cook"]["outputs"][kitchen.output("cook").as_posix()] = "0" * 64
    kept = kitchen.root / "kept.yaml"
    kept.write_text(yaml.safe_dump(document))
    monkeypatch.setattr(rerun, "git_commit", lambda: "b" * 40)
    with pytest.raises(CriterionError, match=f"It was made at commit {'a' * 40}-dirty, and this is {'b' * 40}"):
        rerun.rerun(kept, workspace=kitchen.workspace)


def test_another_processor_is_told(kitchen: Any, capsys: pytest.CaptureFixture[str]) -> None:
    kitchen.make()
    document = yaml.safe_load(manifest_of(kitchen).read_text())
    here, document["environment"]["processor"] = document["environment"]["processor"], "Abacus"
    kept = kitchen.root / "kept.yaml"
    kept.write_text(yaml.safe_dump(document))
    check_manifest(kept, kitchen.workspace)
    assert f"note: processor was Abacus, and is {here} here." in capsys.readouterr().err
    document["steps"]["dinner"]["cook"]["outputs"][kitchen.output("cook").as_posix()] = "0" * 64
    kept.write_text(yaml.safe_dump(document))
    with pytest.raises(CriterionError, match=r"otherwise(.|\n)*\nprocessor was Abacus, and is .* here\."):
        rerun.rerun(kept, workspace=kitchen.workspace)


def test_lineage_leaves_out_what_was_made_from_something_replaced(kitchen: Any) -> None:
    kitchen.make()
    kitchen.settings = {"pack": {"version": "2.0.0"}}
    kitchen.make("peel")
    found = Lineage(kitchen.node("peel").config, kitchen.workspace).steps
    assert {step for _, step in found} == {"gather", "wash", "peel"}


# Status and cleaning


def test_status_tells_age_and_reason(kitchen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "STEPS", kitchen.steps)
    kitchen.make()
    kitchen.settings = {"pack": {"version": "2.0.0"}}
    kitchen.config_path  # noqa: B018 - writes the settings
    (run,) = status.survey(kitchen.workspace)
    assert run.name == "dinner"
    assert {each.step: each.why_stale for each in run.steps} == {
        "gather": None,
        "wash": None,
        "peel": "pack.version changed",
        "cook": "follows, if those change",
    }
    assert re.search(r"^  peel    \d+ s ago, in \d s · stale: pack.version changed$", status.told([run]), re.MULTILINE)
    (kitchen.root / "dinner.yaml").unlink()
    (gone,) = status.survey(kitchen.workspace)
    assert "no such settings file" in str(gone.problem)
    assert len(gone.steps) == 4


def test_a_steps_age_counts_from_its_end(kitchen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "STEPS", kitchen.steps)
    kitchen.make("gather")
    path = kitchen.folder("gather") / "state.json"
    started = datetime.now(UTC) - timedelta(hours=5)
    path.write_text(json.dumps(read_json(path) | {"started": started.isoformat(), "seconds": 3 * 3600.0}))
    (run,) = status.survey(kitchen.workspace)
    assert run.steps[0].ended == (started + timedelta(hours=3)).isoformat(timespec="seconds")
    assert "gather  2 h 0 min ago, in 3 h 0 min" in status.told([run])


def test_clean_takes_what_nothing_reads_and_leaves_the_rest(kitchen: Any) -> None:
    kitchen.make()
    run_dir, cook = kitchen.folder("cook").parent, kitchen.folder("cook")
    (cook / "checkpoints").mkdir()
    for name in ("teach-001.keras", "teach-002.keras", "finetune-001.keras", "mine.keras"):
        (cook / "checkpoints" / name).write_bytes(b"0" * 10)
    (run_dir / ".cook.previous").mkdir()
    (run_dir / ".cook.previous" / "old").write_bytes(b"0" * 30)
    (cook / ".best.keras.0123abcd").write_bytes(b"0" * 20)
    (cook / ".keep").touch()
    waste = cleaning.find_waste(kitchen.workspace)
    assert {each.path.name: each.num_bytes for each in waste} == {
        "teach-001.keras": 10,
        ".cook.previous": 30,
        ".best.keras.0123abcd": 20,
    }
    with held(run_dir):
        pass
    cleaning.remove_waste(waste)
    assert cleaning.find_waste(kitchen.workspace) == []
    assert (cook / "checkpoints" / "teach-002.keras").is_file()
    assert (cook / ".keep").is_file()
    assert kitchen.make() == []


def test_clean_leaves_a_run_in_use_and_what_an_interrupted_step_will_go_on_from(kitchen: Any) -> None:
    kitchen.make()
    kitchen.broken = {"cook"}
    with pytest.raises(KeyboardInterrupt):
        kitchen.make(force=True)
    # The networks of a training that is not done stay, too.
    (kitchen.folder("cook") / "checkpoints").mkdir()
    for name in ("teach-001.keras", "teach-002.keras"):
        (kitchen.folder("cook") / "checkpoints" / name).touch()
    assert (kitchen.folder("cook").parent / ".cook.previous").is_dir()
    assert cleaning.find_waste(kitchen.workspace) == []
    assert any(Path(kitchen.folder("cook")).iterdir())
