"""`report.html` of `evaluate`: one file that needs no network, for a person to look at."""

from pathlib import Path

from tfpipe.core.page import build_document
from tfpipe.core.page.markup import Html, tag, together
from tfpipe.core.page.thumbnails import Album
from tfpipe.plots.page.chapters import CHAPTERS, Evaluation, percent, signed, span
from tfpipe.plots.page.confusions import confusions

STYLE_PATH = Path(__file__).with_name("style.css")
ALBUM_BYTES = 1_500_000
"""Of all thumbnails; in base64 they become a third more."""


def build_chapters(evaluation: Evaluation) -> Html:
    """What stands on the page, and on that of the whole run."""
    album = Album(max_bytes=ALBUM_BYTES)
    return together([chapter(evaluation) for chapter in CHAPTERS], confusions(evaluation, album))


def build_page(evaluation: Evaluation, chapters: Html) -> str:
    """The page, as text."""
    return build_document(
        f"{evaluation.name} · evaluation",
        _header(evaluation),
        tag("main", chapters),
        remark="all numbers are in metrics.json, each example in predictions.csv, each class in per_class.csv.",
        style=STYLE_PATH.read_text(encoding="utf-8"),
    )


def _header(evaluation: Evaluation) -> Html:
    metrics = evaluation.metrics
    views = f", {metrics['views']} views of each" if metrics["views"] > 1 else ""
    split, things = metrics["split"], evaluation.things
    verdict = (
        f"{percent(metrics['top1_accuracy'])} of {metrics['num_examples']:,} {split} {things} are named right"
        f"{views}. The intervals hold 95 % of {evaluation.resamples:,} bootstrap resamples of whole {things}."
    )
    numbers = [
        tag("div", tag("dt", name), tag("dd", value, tag("small", note))) for name, value, note in _numbers(evaluation)
    ]
    return tag(
        "header",
        tag("p", "Evaluation", class_="kicker"),
        tag("h1", evaluation.name),
        tag("p", verdict, class_="verdict"),
        tag("dl", numbers, class_="numbers"),
    )


def _numbers(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Name, number and remark of what stands at the top."""
    metrics, intervals = evaluation.metrics, evaluation.metrics["intervals"]
    shares = {
        "top1_accuracy": "top-1",
        "top5_accuracy": "top-5",
        "macro_accuracy": "mean recall",
        "macro_f1": "macro F1",
    }
    numbers = [(title, percent(metrics[name]), span(intervals[name])) for name, title in shares.items()]
    if "gain_over_baseline" in metrics:
        above = f"{signed(metrics['gain_over_baseline'])} pp"
        numbers.append(("over the baseline", above, f"of {percent(metrics['baseline_top1_accuracy'])}"))
    weak = f"of {metrics['num_classes_tested']:,} tested"
    return [
        *numbers,
        ("loss", f"{metrics['loss']:.3f}", f"{intervals['loss']['low']:.3f}–{intervals['loss']['high']:.3f}"),
        (f"classes below {100 * evaluation.min_recall:.0f} % recall", f"{metrics['num_classes_below']:,}", weak),
        ("calibration error", f"{metrics['reliability']['ece']:.3f}", ""),
    ]
