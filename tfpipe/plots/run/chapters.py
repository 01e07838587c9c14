"""The chapters of a run's page, in the order of a reader's questions: how good, how honest, from what, at what cost."""

from base64 import b64encode
from collections.abc import Sequence

from tfpipe.core.page.markup import Html, prose, tag, together
from tfpipe.core.progress import duration
from tfpipe.plots.page.chapters import bar, percent, section, span, table
from tfpipe.plots.run.story import Story

MEGABYTE = 1e6


def _waterfall(story: Story) -> Html:
    if not story.waterfall:
        return together()
    rows = [
        tag(
            "tr",
            tag("th", level["name"], scope="row"),
            tag("td", f"{level['num_examples']:,}", class_="number"),
            bar(level["top1_accuracy"], level["top1_interval"]),
            tag("td", percent(level["top1_accuracy"]), class_="number"),
            tag("td", span(level["top1_interval"]), class_="range"),
            tag("td", f"{level['ece']:.3f}", class_="number"),
            tag("td", f"{level['bytes'] / MEGABYTE:.2f} MB", class_="number"),
            tag("td", "" if level["latency_ms"] is None else f"{level['latency_ms']:.1f} ms", class_="number"),
        )
        for level in story.waterfall
    ]
    lead = (
        f"What each step on the way costs in accuracy, and gains in bytes and honesty, on test {story.things}. "
        "Lines are 95 % intervals; times are those of one answer in this machine's browser, at the median."
    )
    head = ("", story.things, "top-1", "", "", "calibration error", "weights", "one answer")
    return section("From teacher to browser", lead, table(head, rows))


def _curves(story: Story) -> Html:
    if not story.curves:
        return together()
    return section("Training", "Losses and scores, epoch by epoch.", _figures(story.curves))


def _figures(pictures: Sequence[tuple[str, bytes]]) -> Html:
    figures = [
        tag(
            "figure",
            tag("img", src=f"data:image/png;base64,{b64encode(png).decode()}", alt=title),
            tag("figcaption", title),
        )
        for title, png in pictures
    ]
    return tag("div", figures, class_="plots")


def _evaluation(story: Story) -> Html:
    return story.evaluation


def _calibration(story: Story) -> Html:
    if not story.calibration:
        return together()
    found, test = story.calibration, story.calibration["test"]
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            [tag("td", f"{test[when][key]:.3f}", class_="number") for when in ("before", "after")],
        )
        for key, name in SCORES.items()
    ]
    at = test["threshold"]
    lead = (
        f"Logits are divided by {found['temperature']:.3f}. Below a confidence of {found['threshold']:.3f} the answer "
        f"is “not conclusive”: of the test {story.things}, {percent(at['coverage'])} get one, and "
        f"{percent(at['precision'])} of those are right ({span(at['precision_interval'])})."
    )
    return section(
        "Calibration", lead, table(("", "before", "after"), rows, "narrow"), _figures(story.calibration_plots)
    )


def _browser(story: Story) -> Html:
    if not story.backends:
        return together()
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            tag("td", f"{found['num_examples']:,}", class_="number"),
            tag("td", f"{found['max_probability_difference']:.1e}", class_="number"),
            tag("td", percent(found["top1_agreement"]), class_="number"),
            [tag("td", f"{found[key]:.1f} ms", class_="number") for key in ("latency_p50_ms", "latency_p95_ms")],
            tag("td", f"{found['num_leaked_tensors']:,}", class_="number"),
        )
        for name, found in story.backends.items()
    ]
    lead = "The same tensors, through Python and through TensorFlow.js in a real browser."
    head = ("", story.things, "largest difference", "same answer", "median", "95 %", "tensors left behind")
    return section("In the browser", lead, table(head, rows))


def _data(story: Story) -> Html:
    if not story.split:
        return together()
    excluded = sum(story.split["excluded"].values())
    counts = ", ".join(f"{count:,} {name}" for name, count in story.split["per_split"].items())
    reasons = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in story.split["excluded"].items())
    left_out = f" {excluded:,} rows are left out: {reasons}." if excluded else ""
    lead = f"{story.split['num_classes']:,} classes; {counts}.{left_out}"
    items = [
        tag(
            "li",
            tag("span", finding["severity"], class_="severity"),
            tag("span", f"{finding['count']:,}", class_="count"),
            tag("div", tag("h3", finding["title"]), tag("p", prose(finding["advice"]), class_="fact")),
            class_=finding["severity"],
        )
        for finding in story.findings
    ]
    return section("Data", lead, tag("ol", items, class_="findings"))


def _costs(story: Story) -> Html:
    rows = [
        tag(
            "tr",
            tag("th", cost.title, scope="row"),
            tag("td", duration(cost.seconds), class_="number"),
            tag("td", f"{cost.peak_memory_bytes / MEGABYTE:,.0f} MB", class_="number"),
            tag("td", f"{cost.output_bytes / MEGABYTE:,.1f} MB", class_="number"),
            tag("td", cost.started[:19].replace("T", " "), class_="range"),
        )
        for cost in story.costs
    ]
    lead = f"{duration(sum(cost.seconds for cost in story.costs))} in all. Memory is that of the process at its peak."
    return section("Costs", lead, table(("step", "time", "memory", "on disk", "began (UTC)"), rows))


def _environment(story: Story) -> Html:
    rows = [
        tag("tr", tag("th", name, scope="row"), tag("td", value or "none")) for name, value in story.environment.items()
    ]
    return section("Environment", "Where the numbers come from.", table(("", ""), rows, "narrow"))


def _hashes(story: Story) -> Html:
    rows = [tag("tr", tag("td", tag("code", path)), tag("td", tag("code", digest))) for path, digest in story.hashes]
    lead = "Hashes of what the run made; `tfpipe report --check` takes them again."
    return section("What it made", lead, table(("", "sha256"), rows))


def _settings(story: Story) -> Html:
    parts = [tag("details", tag("summary", name), tag("pre", text)) for name, text in story.settings.items()]
    return section("Settings", "What was asked for; all else has its default.", *parts)


SCORES = {
    "ece": "expected calibration error",
    "ece_by_chance": "the same of a perfect model, by chance",
    "mce": "its worst bin",
    "nll": "log loss",
    "brier": "Brier score",
}
"""Key among the metrics of `calibrate` → name."""

CHAPTERS = (
    *(_waterfall, _curves, _evaluation, _calibration, _browser, _data, _costs, _environment, _hashes, _settings),
)
"""In their order on the page."""
