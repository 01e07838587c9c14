"""The whole chain on a tiny herbarium: from nothing to a page that a browser has verified."""

import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
import yaml
from broken_backend import NOT_NUMBERS
from small_chain import DATASET, STUDENT, SYNONYMS, write_configs

from tfpipe.core import execution
from tfpipe.core.errors import (
    ConfigError,
    CriterionError,
    EnvironmentProblemError,
    MismatchError,
    MissingArtifactError,
    TfpipeError,
)
from tfpipe.core.files import sha256_file, sha256_path
from tfpipe.data.rows import iter_rows
from tfpipe.labels.store import read_header
from tfpipe.models.saving import load_model, weights_sha256
from tfpipe.stages.runner import run_step


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder in which everything but the browser's part has run, and which is the current one."""
    folder = tmp_path_factory.mktemp("workspace")
    write_configs(folder / "configs")
    patch = pytest.MonkeyPatch()
    request.addfinalizer(patch.undo)
    patch.chdir(folder)
    for step in ("evaluate", "export"):
        run_step(step, Path("configs/student.yaml"))
    for teacher in ("teacher", "regional"):
        run_step("evaluate", Path(f"configs/{teacher}.yaml"))
    return folder


def test_every_step_leaves_what_the_plan_says(workspace: Path) -> None:
    wanted = (
        "data/herbarium/raw.jsonl data/herbarium/splits.jsonl data/herbarium/excluded.jsonl "
        "data/herbarium/1.0.0/features.json runs/teacher/teach/best.keras runs/teacher/teach/history.csv "
        "runs/student/distill/best.keras runs/student/distill/checkpoints/distill-002.keras "
        "runs/student/distill/checkpoints/finetune-001.keras runs/student/manifest.yaml runs/student/config.yaml "
        "exported/student/index.html exported/student/model/model.json exported/student/model/classes.json "
        "exported/student/model/preprocessing.json exported/student/vendor/tf-core.min.js "
        "exported/student/model.tflite runs/student/export/float32.tflite runs/student/export/int8/model.json "
        "runs/student/quantize/int8.keras runs/student/quantize/int8.tflite runs/student/quantize/quantized.md"
    )
    assert [path for path in wanted.split() if not Path(path).is_file()] == []


def test_what_is_exported_in_int8_is_what_quantize_wrote(workspace: Path) -> None:
    metrics = json.loads(Path("runs/student/quantize/metrics.json").read_text())
    evaluated = json.loads(Path("runs/student/evaluate/metrics.json").read_text())
    assert metrics["chosen"] == "post_training"
    assert metrics["precisions"]["float32"]["top1_accuracy"] == pytest.approx(evaluated["top1_accuracy"], abs=0.02)
    told = json.loads(Path("runs/student/export/metrics.json").read_text())["weight_bytes"]
    for line, precision in {"float32": "float32", "float16": "float16", "post_training": "int8"}.items():
        assert metrics["precisions"][line]["bytes"] == pytest.approx(told[precision], rel=1e-3)


def test_records_hold_the_kept_rows_and_none_of_the_planted_unusable_ones(workspace: Path) -> None:
    truths = [json.loads(line) for line in Path("data/herbarium/ground_truth.jsonl").read_text().splitlines()]
    unusable = {t["id"] for t in truths if t["fault"] in ("truncated", "dead_url")}
    builder = tfds.builder_from_directory("data/herbarium/1.0.0")
    ids = [e["id"].decode() for s in builder.info.splits for e in tfds.as_numpy(builder.as_dataset(split=s))]
    assert sorted(ids) == sorted(row.id for row in iter_rows(Path("data/herbarium/splits.jsonl")))
    excluded = {row.id for row in iter_rows(Path("data/herbarium/excluded.jsonl"))}
    assert unusable
    assert unusable <= excluded
    assert not unusable & set(ids)


def test_the_evaluation_has_the_plans_keys_and_agrees_with_its_predictions(workspace: Path) -> None:
    metrics = json.loads(Path("runs/student/evaluate/metrics.json").read_text())
    with np.load("runs/student/evaluate/predictions.npz") as saved:
        right = saved["logits"].argmax(-1) == saved["labels"]
        ids = saved["ids"]
    regions = {row.id: row.region for row in iter_rows(Path("data/herbarium/splits.jsonl")) if row.split == "test"}
    assert sorted(ids) == sorted(regions)
    assert metrics["top1_accuracy"] == pytest.approx(right.mean())
    of_region = np.array([regions[i] for i in ids])
    assert set(metrics["per_region"]) == {"EU_SW", "EU", "OTHER"}
    for region, accuracy in metrics["per_region"].items():
        assert accuracy == pytest.approx(right[of_region == region].mean())
    assert metrics["top1_accuracy"] <= metrics["top5_accuracy"]


def test_the_regional_teacher_is_set_beside_the_global_one(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = run_step("evaluate", Path("configs/regional.yaml"), ("evaluate.against=[teacher.yaml]",))
    told = capsys.readouterr().err
    current, stale, *_ = told.splitlines()
    assert "evaluate teacher" in current
    assert stale.startswith("evaluate.against changed: evaluate regional")
    alone = json.loads(Path("runs/teacher/evaluate/metrics.json").read_text())
    found = metrics["against"]["teacher"]
    assert found["top1_accuracy"]["this"] == pytest.approx(metrics["top1_accuracy"])
    assert found["top1_accuracy"]["that"] == pytest.approx(alone["top1_accuracy"])
    assert {name: numbers["top1"]["that"] for name, numbers in found["by_region"].items()} == pytest.approx(
        alone["per_region"]
    )
    for name in ("against.png", "report.html", "predictions.csv", "eval_by_region.json"):
        assert (Path("runs/regional/evaluate") / name).is_file()
    run_step("evaluate", Path("configs/regional.yaml"), ("evaluate.against=[teacher.yaml]",))
    assert capsys.readouterr().err.strip().endswith("evaluate teacher · evaluate regional")


def test_the_regional_teacher_learned_from_its_region_alone(workspace: Path) -> None:
    rows = [row for row in iter_rows(Path("data/herbarium/splits.jsonl")) if row.split == "train"]
    regional = [row for row in rows if row.region == "EU_SW"]
    header = read_header(Path("runs/student/label/store"))
    weights = np.fromfile("runs/student/label/store/weights.bin", "<f4").reshape(-1, 2)
    assert header.num_examples == len(rows)
    assert (weights[:, 1] == 0.5).sum() == len(regional)
    assert (weights[:, 0] == 1.0).sum() == len(rows) - len(regional)


def test_a_dataset_step_asked_of_a_model_is_its_data_sets(workspace: Path) -> None:
    raw = Path("data/herbarium/raw.jsonl")
    before = raw.stat().st_mtime_ns
    metrics = run_step("pack", Path("configs/student.yaml"))
    assert metrics == json.loads(Path("runs/dataset/pack/metrics.json").read_text())
    assert raw.stat().st_mtime_ns == before
    assert not Path("runs/student/pack").exists()


def test_history_tells_both_phases(workspace: Path) -> None:
    with Path("runs/student/distill/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["phase"], row["epoch"]) for row in rows] == [("distill", "1"), ("distill", "2"), ("finetune", "1")]
    assert float(rows[0]["soft_loss"]) > 0
    assert rows[2]["soft_loss"] == ""


def test_a_second_run_does_nothing(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_import_stage", lambda name: pytest.fail(f"{name} ran again"))
    run_step("export", Path("configs/student.yaml"))


def test_the_same_seed_gives_the_same_student(workspace: Path) -> None:
    best = Path("runs/student/distill/best.keras")
    before = weights_sha256(load_model(best)[0]), best.read_bytes()
    run_step("distill", Path("configs/student.yaml"), force=True)
    assert (weights_sha256(load_model(best)[0]), best.read_bytes()) == before


def test_the_manifest_tells_inputs_outputs_and_results(workspace: Path) -> None:
    manifest = yaml.safe_load(Path("runs/student/manifest.yaml").read_text())
    distill = manifest["steps"]["student"]["distill"]
    labelled = manifest["steps"]["student"]["label"]["outputs"]
    assert distill["inputs"]["runs/student/label/store"] == labelled["runs/student/label/store"]
    assert distill["metrics"]["weights_sha256"] == weights_sha256(
        load_model(Path("runs/student/distill/best.keras"))[0]
    )
    assert distill["environment"]["tensorflow"].startswith("2.19")
    assert set(manifest["steps"]) == {"dataset", "teacher", "regional", "student"}


def test_the_manifest_has_the_keys_of_the_plan(workspace: Path) -> None:
    manifest = yaml.safe_load(Path("runs/student/manifest.yaml").read_text())
    scores = json.loads(Path("runs/student/evaluate/metrics.json").read_text())
    regional = json.loads(Path("runs/regional/evaluate/metrics.json").read_text())
    rows = [row.split for row in iter_rows(Path("data/herbarium/splits.jsonl"))]
    assert {"timestamp", "git_commit", "git_dirty", "data", "phases", "environment", "hyperparameters"} <= set(manifest)
    data, phases = manifest["data"], manifest["phases"]
    assert (data["total_samples"], data["total_species"]) == (len(rows), 12)
    assert [data[f"{name}_samples"] for name in ("train", "val", "test")] == [
        rows.count(name) for name in ("train", "validation", "test")
    ]
    assert data["splits_sha256"] == sha256_file(Path("data/herbarium/splits.jsonl"))
    assert phases["phase_2"]["top1_eu_sw"] == regional["by_region"]["EU_SW"]["top1"]
    assert phases["phase_4"]["final_top1"] == scores["top1_accuracy"]
    assert (phases["phase_4"]["distillation_epochs"], phases["phase_4"]["finetuning_epochs"]) == (2, 1)
    assert phases["phase_3"]["student_architecture"] == "mobilenetv2_0.35"
    assert [phases[f"phase_{n}"]["status"] for n in (0, 1, 3, 4, 5)] == ["completed"] * 5
    assert manifest["environment"]["seed"] == 42
    assert manifest["hyperparameters"]["kl_weight"] == 0.7


def test_the_model_card_is_read_by_its_head_and_names_what_it_is_weak_at(workspace: Path) -> None:
    text = Path("exported/student/model_card.md").read_text()
    _, head, body = text.split("---\n", 2)
    scores = json.loads(Path("runs/student/evaluate/metrics.json").read_text())
    document = yaml.safe_load(head)
    assert document["pipeline_tag"] == "image-classification"
    (result,) = document["model-index"][0]["results"]
    assert {each["type"]: each["value"] for each in result["metrics"]}["accuracy"] == round(scores["top1_accuracy"], 4)
    assert "<b>" not in body
    weak = [name for name, recall in scores["per_class"].items() if recall is not None and recall < 0.6]
    assert weak
    assert all(name in body.split("## Limits")[1].split("## Classes")[0] for name in weak)


def test_what_is_exported_again_is_the_same_to_the_byte(workspace: Path) -> None:
    before = sha256_path(Path("exported/student"))
    run_step("export", Path("configs/student.yaml"), force=True)
    assert sha256_path(Path("exported/student")) == before


def test_the_page_agrees_with_python_in_a_real_browser(workspace: Path) -> None:
    try:
        metrics = run_step("verify", Path("configs/student.yaml"))
    except EnvironmentProblemError as error:
        pytest.skip(str(error))
    assert metrics["float32"]["max_probability_difference"] <= 1e-3
    assert metrics["float16"]["max_probability_difference"] <= 1e-3
    assert {name: of["num_examples"] for name, of in metrics["backends"].items()} == {"wasm": 16, "cpu": 4}
    assert metrics["max_backend_difference"] <= 1e-3
    assert metrics["num_leaked_tensors"] == 0
    assert metrics["int8"]["max_probability_difference"] <= 1e-3
    assert 0.5 <= metrics["int8"]["float32_top1_agreement"] <= 1
    assert metrics["page"]["top1_agreement"] >= 0.98
    assert metrics["page"]["backends_left"] == []
    with np.load("runs/student/verify/differences.npz") as saved:
        assert saved["python_float32"].shape == saved["float32"].shape == saved["page"].shape == (16, 12)
        np.testing.assert_allclose(saved["float16"], saved["python_float16"], atol=1e-3)
        np.testing.assert_allclose(saved["int8"], saved["python_int8"], atol=1e-3)
    evaluated = json.loads(Path("runs/student/evaluate/metrics.json").read_text())
    levels = {level["name"]: level for level in metrics["waterfall"]}
    assert list(levels) == [
        *(
            "teacher teacher",
            "teacher regional",
            "student, distilled",
            "student, finished",
            "calibrated, temperature 1.000",
        ),
        *("float16", "int8, post-training", "int8, TensorFlow Lite"),
        *("the page, float16 on wasm", "the page, float16 on cpu"),
    ]
    assert levels["student, finished"]["top1_accuracy"] == pytest.approx(evaluated["top1_accuracy"])
    assert levels["the page, float16 on wasm"]["num_examples"] == 16
    assert levels["int8, post-training"]["bytes"] < 0.3 * levels["student, finished"]["bytes"]


def test_the_report_tells_the_whole_run_on_one_page(workspace: Path) -> None:
    """After the browser's part, where there is one."""
    if not Path("runs/student/verify/state.json").is_file():
        pytest.skip("The page was not verified: no browser.")
    metrics = run_step("report", Path("configs/student.yaml"))
    page = Path("runs/student/report/report.html").read_text()
    scores = json.loads(Path("runs/student/evaluate/metrics.json").read_text())
    manifest = yaml.safe_load(Path("runs/student/manifest.yaml").read_text())
    ran = [f"{step} {name}" for name, steps in manifest["steps"].items() for step in steps if step != "report"]
    assert metrics["num_steps"] == len(ran)
    assert all(f">{title}</th>" in page for title in ran)
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles[:2] == ["From teacher to browser", "Training"]
    assert {"Regions", "Reliability", "Most confused", "Calibration", "In the browser", "Data", "Costs"} <= set(titles)
    assert f"{100 * scores['top1_accuracy']:.1f} %" in page
    assert page.count("data:image/png") == 5
    assert "<b>Herbarium</b>" not in page
    assert "&lt;b&gt;Herbarium" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)


@contextmanager
def tampered(path: Path, content: bytes, output: Path) -> Iterator[None]:
    """A file of an export's output with other content, as if the export had written it so."""
    state = Path("runs/student/export/state.json")
    before, right = state.read_text(), path.read_bytes()
    path.write_bytes(content)
    document = json.loads(before)
    document["outputs"][output.as_posix()] = sha256_path(output)
    state.write_text(json.dumps(document))
    try:
        yield
    except EnvironmentProblemError as error:
        pytest.skip(str(error))
    finally:
        path.write_bytes(right)
        state.write_text(before)


def test_a_page_that_is_wrong_does_not_pass(workspace: Path) -> None:
    """The largest weight of the float32 model, back to front: a page that runs, and lies."""
    folder = Path("runs/student/export/float32")
    shard = next(folder.glob("*.bin"))
    content = _with_largest_weight_reversed(shard.read_bytes(), folder / "model.json")
    with (
        tampered(shard, content, folder),
        pytest.raises(CriterionError, match=r"float32\.max_probability_difference is"),
    ):
        run_step("verify", Path("configs/student.yaml"), force=True)


def test_a_backend_that_is_wrong_does_not_pass_and_its_first_wrong_layer_is_named(workspace: Path) -> None:
    script = Path("exported/student/vendor/tf-backend-wasm.min.js")
    with (
        tampered(script, script.read_bytes() + NOT_NUMBERS.encode(), Path("exported/student")),
        pytest.raises(CriterionError, match="max_backend_difference is"),
    ):
        run_step("verify", Path("configs/student.yaml"), force=True)
    told = Path("runs/student/verify/report.md").read_text()
    assert "wasm is wrong from logits" in told
    assert "It left wasm: its answers are no numbers." in told


def _with_largest_weight_reversed(content: bytes, model_json: Path) -> bytes:
    weights = json.loads(model_json.read_text())["weightsManifest"][0]["weights"]
    sizes = [4 * int(np.prod(weight["shape"])) for weight in weights]
    start = sum(sizes[: int(np.argmax(sizes))])
    values = np.frombuffer(content[start : start + max(sizes)], "<f4")[::-1]
    return content[:start] + values.tobytes() + content[start + max(sizes) :]


@pytest.mark.parametrize(
    ("step", "config", "override", "error", "told"),
    [
        ("teach", "teacher", "model.num_classes=9000", MismatchError, "the records have 12 classes"),
        ("teach", "teacher", "data.region=ATLANTIS", TfpipeError, "there are: EU, EU_SW, OTHER"),
        ("teach", "teacher", "model.name=resnet", ConfigError, "no model; near are"),
        ("teach", "student", "seed=1", ConfigError, "Did you mean `tfpipe distill"),
        ("distill", "teacher", "seed=1", ConfigError, "Did you mean `tfpipe teach"),
        ("label", "student", 'teachers=[{path: "best_model.pt"}]', ConfigError, "no such model file"),
        ("teach", "teacher", "model.pretrained=true", ConfigError, "preset"),
        ("teach", "teacher", "training.accumulation_steps=5", ConfigError, "32 cannot be cut into 1 devices times 5"),
        ("teach", "teacher", "training.strategy=multi_worker", ConfigError, "neither TF_CONFIG nor Slurm"),
        ("teach", "teacher", "model.weights=nowhere", ConfigError, "nowhere"),
        ("export", "teacher", "seed=42", ConfigError, "browsers lack"),
        ("verify", "student", "verify.chromium=/no/browser", EnvironmentProblemError, "apt-get install chromium"),
    ],
)
def test_bad_input_ends_in_one_sentence(
    workspace: Path, step: str, config: str, override: str, error: type[TfpipeError], told: str
) -> None:
    finished = Path("runs/teacher/teach/best.keras")
    before = finished.read_bytes()
    size = "evaluate.split=test"
    if "preset" in told:
        size = "data.image_size=224"
        override = "model={name: vit_base_patch16_224, pretrained: true}"
    with pytest.raises(error, match=told) as caught:
        run_step(step, Path(f"configs/{config}.yaml"), (override, size))
    assert "\n" not in str(caught.value)
    assert finished.read_bytes() == before


def test_no_upstream_names_the_command_that_is_missing(workspace: Path) -> None:
    with pytest.raises(MissingArtifactError, match=r"Run `tfpipe snapshot --config configs/dataset2\.yaml` first"):
        Path("configs/dataset2.yaml").write_text(yaml.safe_dump({**DATASET, "dataset": "other"}))
        run_step("pack", Path("configs/dataset2.yaml"), no_upstream=True)


def test_a_class_list_that_changed_since_the_teacher_was_trained_is_refused(workspace: Path) -> None:
    document = DATASET | {"dataset": "renamed", "seed": 42}
    document["snapshot"] = {**DATASET["snapshot"], "label_map": "map.csv"}
    renamed = SYNONYMS.read_text() + "Labellia striata,Labellia lineata\n"
    Path("map.csv").write_text(renamed.replace(",Labellia striata", ",Labellia lineata"))
    Path("configs/renamed.yaml").write_text(yaml.safe_dump(document))
    student = STUDENT | {"data": {"config": "renamed.yaml", "image_size": 32}}
    student["teachers"] = [{"path": "runs/teacher/teach/best.keras"}]
    Path("configs/student2.yaml").write_text(yaml.safe_dump(student))
    with pytest.raises(
        MismatchError,
        match=r"knows Labellia striata, and the records have no such class \(and they have Labellia lineata, ",
    ):
        run_step("label", Path("configs/student2.yaml"))
