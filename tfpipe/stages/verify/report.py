"""`report.md`: what `verify` found, as a table to be read."""

from typing import Any, get_args

from tfpipe.core.settings import Precision
from tfpipe.core.steps import Metrics

COLUMNS = {
    "max Δp": lambda of: f"{of['max_probability_difference']:.1e}",
    "mean Δp": lambda of: f"{of['mean_probability_difference']:.1e}",
    "correlation": lambda of: f"{of['correlation']:.6f}",
    "top-1 as Python": lambda of: f"{100 * of['top1_agreement']:.1f} %",
    "top-5 as Python": lambda of: f"{100 * of['top5_agreement']:.1f} %",
    "first, ms": lambda of: f"{of['first_prediction_ms']:.0f}",
    "p50, ms": lambda of: f"{of['latency_p50_ms']:.1f}",
    "p95, ms": lambda of: f"{of['latency_p95_ms']:.1f}",
    "leaked": lambda of: f"{of['num_leaked_tensors']}",
}


def to_markdown(metrics: Metrics, things: str) -> str:
    """The whole report, of photos or of texts."""
    rows = {f"tensors in {name}": metrics[name] for name in get_args(Precision)}
    rows |= {f"tensors on {name}": of for name, of in metrics["backends"].items()}
    rows[f"the page, {things}"] = metrics["page"]
    lines = [_line(["", "backend", *COLUMNS]), _line(["---"] * 2 + ["---:"] * len(COLUMNS))]
    lines += [_row(name, of) for name, of in rows.items()]
    return "\n".join(
        ["# The page against Python", "", _sentence(metrics, things), "", *lines, "", *_divergences(metrics)]
    )


def _sentence(metrics: Metrics, things: str) -> str:
    page = metrics["page"]
    left = "".join(f" It left {of['backend']}: {of['reason']}." for of in page["backends_left"])
    return (
        f"{metrics['num_examples']} test {things}. As a visitor has them, the page decides as Python does for "
        f"{100 * page['decision_agreement']:.1f} % (the same name, or not conclusive). It was ready after "
        f"{page['ready_ms']:.0f} ms; its main thread was never blocked for more than "
        f"{max(page['longest_block_ms'], 50):.0f} ms.{left}"
    )


def _row(name: str, of: dict[str, Any]) -> str:
    if "absent" in of:
        return _line([name, "absent", *[""] * len(COLUMNS)])
    return _line([name, of["backend"], *(write(of) for write in COLUMNS.values())])


def _divergences(metrics: Metrics) -> list[str]:
    return [
        f"{name} is wrong from {of['first_divergence']['node']} on, by {of['first_divergence']['difference']:.2g} of "
        "that layer's largest value.\n"
        for name, of in metrics["backends"].items()
        if of.get("first_divergence")
    ]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
