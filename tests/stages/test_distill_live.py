"""`label.views: live`: teachers in memory instead of labels on disk."""

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml
from colours import SIDE, make_workspace, settings, write_teacher

from tfpipe.core.config import Config
from tfpipe.core.errors import MismatchError
from tfpipe.core.steps import build_graph, in_order
from tfpipe.core.workspace import Workspace
from tfpipe.models.saving import load_model
from tfpipe.stages import STEPS, distill

STUDENT: dict[str, Any] = {
    "data": {"config": "dataset.yaml", "image_size": SIDE, "augmentation": "moderate"},
    "model": {"name": "vit_micro_patch8_32"},
    "teachers": [{"config": "teacher.yaml", "region_filter": "EU"}, {"config": "other.yaml", "temperature": 2.0}],
    "label": {"views": "live", "mixup_alpha": 0.2, "cutmix_alpha": 1.0},
    "distillation": {"feature_weight": 0.1},
    "training": {"epochs": 1, "batch_size": 16, "layer_decay": 0.9},
    "finetune": {"epochs": 0},
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = make_workspace(tmp_path_factory.mktemp("live"))
    (workspace.root / "student.yaml").write_text(yaml.safe_dump(STUDENT))
    for name in ("teacher", "other"):
        write_teacher(workspace, settings(workspace, name))
    return workspace


def titles(config: Config, workspace: Workspace, step: str) -> list[str]:
    return [node.title for node in in_order(build_graph(STEPS, config, step, workspace))]


def test_distilling_needs_the_teachers_and_no_labels(workspace: Workspace) -> None:
    student = settings(workspace, "student")
    needed = titles(student, workspace, "distill")
    assert needed[-4:] == ["pack dataset", "teach teacher", "teach other", "distill student"]
    assert not [title for title in titles(student, workspace, "report") if title.startswith("label")]
    stored = settings(workspace, "student", "label.views=2", "distillation.feature_weight=0")
    assert "label student" in titles(stored, workspace, "distill")


def test_another_file_of_a_live_teacher_makes_the_student_stale(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "teacher.keras"
    told = []
    for content in (b"one", b"other"):
        path.write_bytes(content)
        student = settings(workspace, "student", f"teachers=[{{path: {path}}}]")
        told.append(STEPS["distill"].fingerprint(student))
    assert told[0] != told[1]


def test_a_student_of_live_teachers_is_trained_and_nothing_is_stored(workspace: Workspace) -> None:
    student = settings(workspace, "student")
    metrics = distill.run(student, workspace)
    assert metrics["best_phase"] == "distill"
    with (workspace.step_dir(student, "distill") / "history.csv").open() as file:
        (epoch,) = csv.DictReader(file)
    soft, hard, features = (float(epoch[f"{name}_loss"]) for name in ("soft", "hard", "feature"))
    assert float(epoch["loss"]) == pytest.approx(0.7 * soft + 0.3 * hard + 0.1 * features, rel=1e-4)
    network, _ = load_model(workspace.best_path(student))
    assert not [variable.path for variable in network.variables if "feature_map" in variable.path]
    assert not workspace.step_dir(student, "label").exists()


def test_a_region_that_no_teacher_speaks_for_is_named(workspace: Workspace) -> None:
    student = settings(workspace, "student", "teachers=[{config: teacher.yaml, region_filter: EU}]")
    with pytest.raises(MismatchError, match="no teacher speaks for region US"):
        distill.run(student, workspace)
