"""What a person looks at: sentences, plots, TensorBoard."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfpipe.core.config import Config
from tfpipe.core.settings import CalibrateSettings
from tfpipe.core.steps import Metrics
from tfpipe.plots.calibration import plot_calibration, plot_risk_coverage
from tfpipe.plots.tensorboard import write_summaries
from tfpipe.training.temperature import is_at_bound

MEASURED = ("ece", "mce", "ece_equal_mass", "mce_equal_mass", "nll", "brier")


def write_report(metrics: Metrics, settings: CalibrateSettings, folder: Path) -> None:
    """Plots as PNG, and they and the numbers of test for TensorBoard."""
    paths = [folder / "calibration.png", folder / "risk_coverage.png"]
    plot_calibration(metrics["test"]["before"], metrics["test"]["after"], metrics["temperature"], paths[0])
    curves = {split: metrics[split] for split in ("validation", "test")}
    plot_risk_coverage(curves, paths[1], precision=settings.precision, coverage=settings.coverage)
    numbers = {f"{when}/{name}": metrics["test"][when][name] for when in ("before", "after") for name in MEASURED}
    numbers |= {name: metrics[name] for name in ("temperature", "precision", "coverage")}
    write_summaries(folder / "logs", numbers=numbers, png_paths=paths)


def iter_sentences(metrics: Metrics, config: Config) -> Iterator[str]:
    """What was decided, and why."""
    yield _of_temperature(metrics, config.calibrate)
    yield _of_error(metrics["test"], config.things)
    yield from _of_threshold(metrics, config.calibrate, config.things)
    if metrics["sets"]:
        found = metrics["test"]["sets"]
        yield (
            f"sets for {_percent(metrics['sets']['level'])}: on test, {_share(found, 'coverage')} hold the true class; "
            f"{found['mean_size']:.2f} classes on average"
        )


def _of_temperature(metrics: Metrics, settings: CalibrateSettings) -> str:
    ece, limit = f"validation ECE is {metrics['ece']:.3f}", f"{settings.max_ece:g}"
    fitted, then = f"temperature {metrics['fitted_temperature']:.3f}", f"{metrics['fitted_ece']:.3f} with it"
    if settings.temperature == "never":
        return f"{fitted} fitted, not applied: the settings say never; {ece}, {then}"
    if is_at_bound(metrics["fitted_temperature"]):
        return f"no temperature applied: validation has no best one, the fit ends at {fitted}; {ece}"
    if settings.temperature == "always":
        return f"{fitted} applied: the settings say always; {ece}, {then}"
    if metrics["ece"] <= settings.max_ece:
        return f"{fitted} fitted, not applied: {ece}, not above {limit}"
    if metrics["temperature"] == 1:
        return f"{fitted} fitted, not applied: {ece}, above {limit}, but {then}"
    return f"{fitted} applied: {ece}, above {limit}, and {then}"


def _of_error(checked: Metrics, things: str) -> str:
    """Before and after, beside what would be there without any error."""
    before, after = checked["before"], checked["after"]
    found = after["intervals"]["ece"]
    return (
        f"ECE on test: {before['ece']:.3f} before, {after['ece']:.3f} after [{found['low']:.3f}, {found['high']:.3f}]; "
        f"a perfect model's would be {after['ece_by_chance']:.3f} on {after['num_examples']:,} {things}"
    )


def _of_threshold(metrics: Metrics, settings: CalibrateSettings, things: str) -> Iterator[str]:
    fitted, checked = metrics["validation"]["threshold"], metrics["test"]["threshold"]
    target = _percent(settings.precision)
    if metrics["threshold"] is None:
        yield (
            f"no threshold: validation has {fitted['num_examples']:,} {things}, and calibrate.min_answers asks for "
            f"{settings.min_answers:,}"
        )
        return
    if not metrics["precision_reached"]:
        yield f"no threshold reaches {target} on validation; {metrics['threshold']:.4f} is the best there is"
    yield (
        f"threshold {metrics['threshold']:.4f}: on validation {_share(fitted, 'precision')} of the answers are right, "
        f"{_share(fitted, 'coverage')} of the {things} answered"
    )
    yield (
        f"on test {_share(checked, 'precision')} right ({_verdict(metrics['meets_precision'])} {target}), "
        f"{_share(checked, 'coverage')} answered ({_verdict(metrics['meets_coverage'])} {_percent(settings.coverage)})"
    )


def _verdict(meets: int) -> str:
    return "meets" if meets else "misses"


def _share(numbers: Mapping[str, Any], name: str) -> str:
    """With its interval."""
    found = numbers[f"{name}_interval"]
    return f"{_percent(numbers[name])} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
