"""Plots of a calibration: of many photos and of one, with a threshold and without."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfpipe.plots.calibration import plot_calibration, plot_risk_coverage
from tfpipe.plots.figures import GREEN
from tfpipe.training.reliability import reliability
from tfpipe.training.threshold import measure_threshold, risk_coverage


def colour_count(path: Path, colour: str) -> int:
    """Pixels of just this colour."""
    wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    with Image.open(path) as image:
        return int((np.asarray(image.convert("RGB")) == wanted).all(axis=-1).sum())


def some_split(num_examples: int, threshold: float | None) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.4, 1, num_examples)
    right = rng.random(num_examples) < confidences
    found = risk_coverage(confidences, right) | reliability(confidences, right)
    return found | {"threshold": measure_threshold(confidences, right, threshold)}


@pytest.mark.parametrize("num_examples", [1, 300, 20_000])
@pytest.mark.parametrize("threshold", [0.5, 2.0, None])
def test_they_have_a_size_that_can_be_looked_at(tmp_path: Path, num_examples: int, threshold: float | None) -> None:
    found = some_split(num_examples, threshold)
    plot_calibration(found, found, 1.25, tmp_path / "calibration.png")
    curves = {"validation": found, "test": found}
    plot_risk_coverage(curves, tmp_path / "risk_coverage.png", precision=0.95, coverage=0.8)
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            assert 500 < min(image.size) < max(image.size) < 2000
        assert colour_count(path, GREEN) > 50


def test_the_threshold_is_a_point_on_the_curve(tmp_path: Path) -> None:
    """One that nothing reaches is none."""
    sizes = []
    for threshold in (0.6, 2.0):
        path = tmp_path / f"{threshold}.png"
        plot_risk_coverage({"test": some_split(300, threshold)}, path, precision=0.95, coverage=0.8)
        sizes.append(colour_count(path, GREEN))
    assert sizes[0] > sizes[1] + 100
