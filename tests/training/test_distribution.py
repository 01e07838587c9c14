"""The same update over several devices, and in parts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Runs = dict[str, dict[str, list[float]]]


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    script = Path(__file__).with_name("two_devices.py")
    done = subprocess.run([sys.executable, script], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def runs(told: dict[str, Any]) -> Runs:
    found: Runs = told["runs"]
    return found


@pytest.mark.parametrize(
    ("way", "reference"),
    [
        ("one, in 4 parts", "one"),
        ("two", "one"),
        ("two, in 4 parts", "one"),
        ("two, averaged", "one, averaged"),
        ("two, taught", "one, taught"),
        # Which compares examples with each other, as many as a device has at once.
        ("two, taught by DIST", "one, in 2 parts, taught by DIST"),
    ],
)
def test_the_update_is_that_of_the_whole_batch_on_one_device(runs: Runs, way: str, reference: str) -> None:
    """But for the order in which float32 numbers are added: 2^-24 of each sum, grown over nine Adam steps."""
    for what, tolerance in {"losses": 1e-6, "val_losses": 1e-5, "top1": 1e-7, "weights": 2e-5}.items():
        np.testing.assert_allclose(runs[way][what], runs[reference][what], atol=tolerance, rtol=1e-5, err_msg=what)


def test_replicas_see_the_pixels_that_a_teacher_labelled_each_its_own(told: dict[str, Any]) -> None:
    first, second = told["pixels"]["replicas"]
    assert len(first) == len(second)
    assert not first.keys() & second.keys()
    assert first | second == told["pixels"]["teacher"]


def test_the_runs_learn(runs: Runs) -> None:
    """So that equality says something."""
    assert runs["one, taught"]["losses"][-1] < 0.8 * runs["one, taught"]["losses"][0]
    assert runs["one"]["losses"][-1] < 0.8 * runs["one"]["losses"][0]
