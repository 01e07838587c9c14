"""Plots and page of an evaluation: of few classes and of many, with names that mean mischief."""

from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfpipe.plots.evaluation import (
    plot_against,
    plot_buckets,
    plot_classes,
    plot_confusion,
    plot_regions,
    plot_reliability,
)
from tfpipe.plots.page import build_chapters, build_page
from tfpipe.plots.page.chapters import Evaluation

EVIL = "<script>alert(1)</script>\"' $x_{$ & 100%"
INTERVAL = {"low": 0.6, "high": 0.8}
SIDE = 20
"""Classes in the matrix."""


def photo(colour: tuple[int, int, int]) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (300, 200), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def difference(value: float) -> dict[str, float]:
    return {"this": 0.7 + value, "that": 0.7, "difference": value, "low": value - 0.02, "high": value + 0.02}


def some_metrics(num_classes: int) -> dict[str, Any]:
    names = [EVIL, *(f"class {number}" for number in range(1, num_classes))]
    bins = [
        {"low": n / 15, "high": (n + 1) / 15, "count": n % 3, "confidence": n / 15, "accuracy": n / 15}
        for n in range(15)
    ]
    whole = {name: difference(0.05) for name in ("top1_accuracy", "top5_accuracy", "macro_accuracy", "macro_f1")}
    region = {"top1": difference(-0.1), "top5": difference(0.0), "num_examples": 30}
    alone = {"only_this": 4, "only_that": 1, "p_value": 0.375}
    measured = dict.fromkeys(("top1_accuracy", "top5_accuracy", "macro_accuracy", "macro_f1"), 0.7)
    numbers = {"top1": 0.7, "top5": 0.9, "top1_interval": INTERVAL, "top5_interval": INTERVAL, "num_examples": 30}
    bucket = {"top1_accuracy": 0.7, "macro_accuracy": 0.6, "num_classes": 3, "num_classes_below": 1}
    none = {"top1_accuracy": float("nan"), "macro_accuracy": float("nan"), "num_classes": 0, "num_classes_below": 0}
    return measured | {
        "split": "test",
        "views": 2,
        "num_examples": 60,
        "loss": 0.9,
        "num_classes_below": 2,
        "num_classes_tested": num_classes,
        "intervals": dict.fromkeys([*measured, "loss"], INTERVAL),
        "by_region": {EVIL: numbers, "EU": numbers},
        "per_bucket": {"many": bucket | {"num_examples": 60}, "medium": none | {"num_examples": 0}},
        "per_class": {name: number / num_classes for number, name in enumerate(names)},
        "reliability": {"ece": 0.1, "mce": 0.2, "mean_confidence": 0.8, "bins": bins},
        "confusions": [
            confusion("class 1", EVIL, example="first", counterpart="second"),
            confusion(EVIL, "class 2", example="third", counterpart=None),
        ],
        "against": {EVIL: whole | {"mcnemar": alone, "by_region": {EVIL: region | {"mcnemar": alone}}}},
    }


def confusion(label: str, answer: str, **photos: str | None) -> dict[str, Any]:
    return {"label": label, "answer": answer, "count": 1, "share": 0.5, "mean_confidence": 0.9} | photos


def page_of(evaluation: Evaluation) -> str:
    return build_page(evaluation, build_chapters(evaluation))


def some_evaluation(num_classes: int) -> Evaluation:
    shown = min(num_classes, SIDE)
    matrix = np.random.default_rng(0).integers(0, 9, (shown, shown + 1))
    matrix[1] = 0
    photos = {"first": photo((200, 0, 0)), "second": photo((0, 200, 0)), "third": b"no photo"}
    names = [EVIL, *(f"class {number}" for number in range(1, shown))]
    metrics = some_metrics(num_classes)
    sizes = dict.fromkeys(metrics["per_class"], 3)
    return Evaluation(EVIL, metrics, 1000, 0.6, matrix, names, num_classes, sizes, photos)


@pytest.mark.parametrize("num_classes", [2, 20, 9000])
def test_plots_have_a_size_that_can_be_looked_at_however_many_classes_there_are(
    tmp_path: Path, num_classes: int
) -> None:
    evaluation = some_evaluation(num_classes)
    metrics = evaluation.metrics
    plot_regions(metrics["by_region"], tmp_path / "regions.png")
    plot_buckets(metrics["per_bucket"], tmp_path / "buckets.png")
    plot_classes(metrics["per_class"], 0.6, tmp_path / "classes.png")
    plot_confusion(evaluation.matrix, evaluation.matrix_classes, num_classes, tmp_path / "confusion.png")
    plot_reliability(metrics["reliability"], tmp_path / "reliability.png")
    plot_against(EVIL, metrics["against"], tmp_path / "against.png")
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            assert 200 < image.height < 1500
            assert 200 < image.width < 1500
            assert len(np.unique(np.asarray(image.convert("L")))) > 20


class Outline(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_names_are_text_on_the_page_and_it_asks_for_nothing() -> None:
    page = page_of(some_evaluation(20))
    outline = Outline(page)
    assert {"script", "link", "iframe"}.isdisjoint(name for name, _ in outline.tags)
    assert sum(EVIL in words for words in outline.words) > 5
    sources = [attributes["src"] or "" for name, attributes in outline.tags if name == "img"]
    assert len(sources) == 2
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert "url(" not in page
    assert "@import" not in page


def test_the_page_says_who_wins_where() -> None:
    words = " ".join(Outline(page_of(some_evaluation(20))).words)
    assert words.count(f"{EVIL} is better") == 5
    assert "+5.0" in words
    assert "−12.0 to −8.0" in words
    assert "McNemar's exact test: p = 0.38" in words


def test_the_page_of_nine_thousand_classes_is_small() -> None:
    page = page_of(some_evaluation(9000))
    assert len(page) < 150_000
    assert "the lowest 40 are shown" in page
    assert "The 20 most confused of 9,000 classes" in page


def test_without_mistakes_regions_or_other_models_their_chapters_are_left_out() -> None:
    evaluation = some_evaluation(20)
    metrics = {name: value for name, value in evaluation.metrics.items() if name != "against"}
    plain = metrics | {"by_region": {}, "confusions": []}
    headings = Outline(page_of(replace(evaluation, metrics=plain))).words
    assert {"Classes", "Class frequency", "Reliability"} <= set(headings)
    assert {"Regions", "Most confused", f"Against {EVIL}"}.isdisjoint(headings)
