"""What the page is told about regions, and what `export` says that it does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.special import softmax

from tfpipe.core.config import Config, load_config
from tfpipe.core.workspace import Workspace
from tfpipe.data.rows import Row, write_rows
from tfpipe.stages.evaluate.predictions import Predictions, iter_logits, save_predictions
from tfpipe.stages.region_choice import count_training_regions, measure_regions, regions_of_page
from tfpipe.training.outcomes import judge
from tfpipe.training.regions import RegionCounts

CLASSES = ["Acer", "Bellis", "Crocus"]
TRAINING = {("EU", "Acer"): 6, ("EU", "Bellis"): 2, ("US", "Bellis"): 3, ("US", "Crocus"): 1, ("", "Crocus"): 4}
COUNTS = np.array([[6, 2, 0], [0, 3, 1]])
TEMPERATURE = 2.0


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    document: dict[str, Any] = {
        "dataset": "meadow",
        "model": {"name": "mobilenetv2"},
        "teachers": [{"path": "t.keras"}],
    }
    Path("student.yaml").write_text(yaml.safe_dump(document))
    return load_config(Path("student.yaml"))


@pytest.fixture
def seen(config: Config) -> RegionCounts:
    rows = [
        Row(f"{region} {label} {split} {number}", label, region=region, split=split)
        for (region, label), count in TRAINING.items()
        for split, many in (("train", count), ("test", 5))
        for number in range(many)
    ]
    write_rows(rows, Workspace().splits_path(config))
    return count_training_regions(config, Workspace(), CLASSES)


def keep_predictions(config: Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Regions, labels and logits of 150 photos: two batches and a part, as `evaluate` keeps them."""
    rng = np.random.default_rng(0)
    regions = rng.choice(["EU", "US", "", "Asia"], 150)
    labels = rng.integers(0, 3, 150)
    logits = rng.normal(0, 2, (150, 3)).astype(np.float32)
    said = Predictions(np.arange(150).astype(str), regions, CLASSES, judge(logits, labels))
    save_predictions(Workspace().step_dir(config, "evaluate"), said.columns() | {"logits": logits})
    return regions, labels, logits


def test_training_photos_alone_are_counted(seen: RegionCounts) -> None:
    assert seen.names == ("EU", "US")
    np.testing.assert_array_equal(seen.counts, COUNTS)


def test_the_page_gets_what_was_seen_and_nothing_more(seen: RegionCounts) -> None:
    assert regions_of_page(seen, "filter") == {
        "mode": "filter",
        "smoothing": 1.0,
        "regions": {"EU": {"classes": [0, 1], "counts": [6, 2]}, "US": {"classes": [1, 2], "counts": [3, 1]}},
    }


@pytest.mark.parametrize(
    ("counts", "mode", "is_asked"),
    [
        (COUNTS, "none", False),
        (COUNTS[:1], "filter", False),
        (COUNTS[:1], "reweight", False),
        (COUNTS[:0], "filter", False),
        (COUNTS + 1, "filter", False),
        (COUNTS + 1, "reweight", True),
    ],
)
def test_the_page_asks_only_where_the_answer_changes_something(counts: np.ndarray, mode: Any, is_asked: bool) -> None:
    seen = RegionCounts(("EU", "US")[: len(counts)], counts)
    assert bool(regions_of_page(seen, mode)["regions"]) == is_asked


def test_logits_come_back_batch_by_batch(config: Config) -> None:
    _, _, logits = keep_predictions(config)
    batches = list(iter_logits(Workspace().step_dir(config, "evaluate")))
    assert [len(batch) for batch in batches] == [64, 64, 22]
    np.testing.assert_array_equal(np.concatenate(batches), logits)


def test_what_a_region_does_is_counted_photo_by_photo(
    config: Config, seen: RegionCounts, capsys: pytest.CaptureFixture[str]
) -> None:
    regions, labels, logits = keep_predictions(config)
    # By hand: (n_rc / share + 1) / (n_c + 1), EU having two thirds of the photos with a region.
    weights = {"EU": np.array([10, 4, 1]) / [7, 6, 2], "US": np.array([1, 10, 4]) / [7, 6, 2]}
    masks = {"EU": [1, 1, 0], "US": [0, 1, 1]}
    answers: dict[str, list[tuple[str, bool, bool, bool]]] = {"EU": [], "US": []}
    for region, label, row in zip(regions, labels, softmax(logits / TEMPERATURE, axis=-1), strict=True):
        if region in answers:
            choices = (row, row * masks[region], row * weights[region])
            answers[region].append((region, *(int(choice.argmax()) == label for choice in choices)))
    found = measure_regions(seen, TEMPERATURE, config, Workspace())
    for part, rows in {**answers, "": answers["EU"] + answers["US"]}.items():
        told = found["by_region"][part] if part else found
        plain, filtered, weighed = np.array([row[1:] for row in rows]).T
        assert told["num_examples"] == len(rows)
        assert told["top1"] == pytest.approx(plain.mean())
        for choice, right in (("filter", filtered), ("reweight", weighed)):
            expected = {"gained": (right & ~plain).sum(), "lost": (plain & ~right).sum()}
            assert told[choice] == {"top1": pytest.approx(right.mean()), **expected}
    unseen = ((regions == "EU") & (labels == 2)) | ((regions == "US") & (labels == 0))
    assert found["num_of_unseen_classes"] == unseen.sum()
    assert f"top-1 of {found['num_examples']} photos of test {found['top1']:.3f} without" in capsys.readouterr().err


def test_without_regions_there_is_nothing_to_tell(config: Config) -> None:
    seen = RegionCounts(("EU",), COUNTS[:1])
    assert measure_regions(seen, TEMPERATURE, config, Workspace()) == {}
