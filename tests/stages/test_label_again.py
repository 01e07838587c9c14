"""`label` a second time: of what is in a finished store, no teacher is asked again."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_garden import label, label_what_is_missing, pack_garden, store_of, stored, teachers_of, write_teacher

from tfpipe.core.files import sha256_path
from tfpipe.core.workspace import Workspace
from tfpipe.labels.store import read_header, read_weights
from tfpipe.models.saving import load_model
from tfpipe.stages.label import teachers as label_teachers
from tfpipe.stages.runner import run_step

REGIONAL = {"region_filter": "EU_SW", "temperature": "calibrated"}


@pytest.fixture(scope="module")
def garden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records, two teachers, and the labels of a student `two` of both, one of them regional and calibrated."""
    folder = pack_garden(tmp_path_factory.mktemp("garden") / "again" / "g")
    write_teacher(folder / "sharp.keras")
    write_teacher(folder / "soft.keras", sharpness=0.5)
    label(folder, "two", teachers_of(folder, "sharp", "soft", soft=REGIONAL))
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the teachers whose networks are loaded."""
    names: list[str] = []
    monkeypatch.setattr(label_teachers, "load_model", lambda path: (names.append(path.stem), load_model(path))[1])
    return names


def files_of(garden: Path, name: str) -> dict[str, int]:
    """Labels, each with the number of its file on the disk."""
    store = store_of(garden, name)
    return {str(path.relative_to(store)): path.stat().st_ino for path in store.glob("*/view*/*.bin")}


def test_other_weights_ask_nobody(garden: Path, asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    files = files_of(garden, "two")
    label_what_is_missing(garden, "two", teachers_of(garden, "sharp", "soft", soft=REGIONAL | {"weight": 3.0}))
    assert "8 of 8 files are in a finished store" in capsys.readouterr().err
    assert asked == []
    assert files_of(garden, "two") == files
    store = store_of(garden, "two")
    assert read_weights(store, read_header(store)).max(axis=0).tolist() == [1.0, 0.75]


def test_another_student_of_the_same_teachers_asks_nobody_and_outlives_the_first(
    garden: Path, asked: list[str]
) -> None:
    teachers = teachers_of(garden, "soft", "sharp", soft=REGIONAL)
    label(garden, "first", teachers)
    asked.clear()
    label_what_is_missing(garden, "second", teachers, model={"name": "mobilenetv2", "alpha": 0.5})
    assert asked == []
    assert files_of(garden, "second") == files_of(garden, "first")
    before = sha256_path(store_of(garden, "first"))
    shutil.rmtree(garden / "runs" / "first")
    assert sha256_path(store_of(garden, "second")) == before


@pytest.mark.parametrize("change", [{"seed": 3}, {"label": {"views": 1}}, {"label": {"views": 2, "top_k": 2}}])
def test_what_was_made_with_something_else_is_not_taken(garden: Path, asked: list[str], change: dict[str, Any]) -> None:
    label_what_is_missing(garden, "other", teachers_of(garden, "sharp"), **change)
    assert asked == ["sharp"]


def test_what_other_code_wrote_or_nobody_finished_is_not_taken(garden: Path, asked: list[str]) -> None:
    teachers = teachers_of(garden, "sharp")
    label(garden, "old", teachers, seed=4)
    state = store_of(garden, "old").with_name("state.json")
    state.write_text(json.dumps(json.loads(state.read_text()) | {"version": 0}))
    label_what_is_missing(garden, "new", teachers, seed=4)
    assert asked == ["sharp", "sharp"]
    store_of(garden, "new").with_name("state.json").unlink()
    label_what_is_missing(garden, "newer", teachers, seed=4)
    assert asked == ["sharp", "sharp", "sharp"]


def test_a_new_teacher_beside_an_old_one_is_the_only_one_asked(garden: Path, asked: list[str]) -> None:
    label(garden, "grown", teachers_of(garden, "sharp"), seed=8)
    asked.clear()
    label_what_is_missing(garden, "grown", teachers_of(garden, "soft", "sharp"), seed=8)
    assert asked == ["soft"]
    label(garden, "one", teachers_of(garden, "sharp"), seed=8)
    grown, one = store_of(garden, "grown"), store_of(garden, "one")
    np.testing.assert_array_equal(stored(grown, read_header(grown), 1, 1), stored(one, read_header(one), 1))


def test_force_asks_again(garden: Path, asked: list[str]) -> None:
    run_step("label", garden / "two.yaml", workspace=Workspace(garden), force=True)
    assert set(asked) == {"sharp", "soft"}
