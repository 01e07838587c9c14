"""What a region does to probabilities: by hand, by Bayes' rule, and the same in the page."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfpipe.exporters
from tfpipe.core.settings import RegionChoice
from tfpipe.training.regions import SMOOTHING, RegionCounts, count_regions, in_region, region_factors

NODE = shutil.which("node")
DECISIONS = Path(tfpipe.exporters.__file__).parent / "web" / "common" / "decisions.js"
COUNTS = np.array([[30, 0, 10, 0], [10, 40, 0, 0], [0, 0, 9, 1]])
"""Three regions, four classes."""

SCRIPT = """
const { regionFactors, inRegion, isConclusive } = await import(process.argv[1]);
const { regions, names, probs } = JSON.parse(process.argv[2]);
const factors = names.map((name) => regionFactors(regions, name, probs[0].length));
const weighed = factors.map((each) => probs.map((row) => Array.from(inRegion(Float32Array.from(row), each))));
const sure = [0.59, 0.6].map((prob) => [0.6, null].map((threshold) => isConclusive(prob, { threshold })));
console.log(JSON.stringify({ factors: factors.map((each) => Array.from(each)), weighed, sure }));
"""


def test_photos_are_counted_by_region_and_class() -> None:
    pairs = [("US", "b"), ("EU", "a"), ("", "a"), ("EU", "a"), ("US", "unknown")]
    seen = count_regions(pairs, ["a", "b"])
    assert seen.names == ("EU", "US")
    np.testing.assert_array_equal(seen.counts, [[2, 0], [0, 1]])
    np.testing.assert_array_equal(seen.index(np.array(["US", "", "EU", "Asia"])), [1, -1, 0, -1])
    assert count_regions([("", "a")], ["a", "b"]).counts.shape == (0, 2)


def test_a_filter_leaves_what_was_seen_there() -> None:
    factors = region_factors(COUNTS, "filter")
    np.testing.assert_array_equal(factors, [[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1]])
    weighed = in_region(np.array([[0.1, 0.6, 0.3, 0.0]]), factors[0])
    np.testing.assert_allclose(weighed, [[0.25, 0, 0.75, 0]])


def test_weights_are_those_of_bayes_rule_where_there_are_photos_enough() -> None:
    """A posterior with one prior becomes that with another (Saerens 2002, eq. 2.4), for any likelihood."""
    counts = COUNTS * 10**9
    likelihood = np.random.default_rng(0).uniform(size=(5, 4))
    everywhere = counts.sum(axis=0) / counts.sum()
    posterior = likelihood * everywhere / (likelihood * everywhere).sum(axis=1, keepdims=True)
    for factors, here in zip(region_factors(counts, "reweight"), counts, strict=True):
        prior = here / here.sum()
        expected = likelihood * prior / (likelihood * prior).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(in_region(posterior, factors), expected, atol=1e-6)


def test_weights_believe_few_photos_little() -> None:
    """By hand: one region has half of all photos, and a class n photos elsewhere alone."""
    sizes = np.array([0, 1, 9, 99])
    counts = np.array([[*np.zeros(4), sizes.sum()], [*sizes, 0]])
    np.testing.assert_allclose(region_factors(counts, "reweight")[0, :4], [1, 1 / 2, 1 / 10, 1 / 100])


def test_classes_as_frequent_everywhere_are_left_alone() -> None:
    counts = np.outer([2, 3, 5], [10, 20, 30, 40])
    np.testing.assert_allclose(region_factors(counts, "reweight"), 1)
    np.testing.assert_array_equal(region_factors(COUNTS, "none"), 1)


def test_where_nothing_is_left_the_probabilities_stay() -> None:
    probs = np.array([[0.0, 1.0], [0.5, 0.5]])
    np.testing.assert_allclose(in_region(probs, np.array([1.0, 0.0])), [[0, 1], [1, 0]])


def as_file(seen: RegionCounts, mode: RegionChoice) -> dict[str, Any]:
    regions = {
        name: {"classes": np.flatnonzero(row).tolist(), "counts": row[row > 0].tolist()}
        for name, row in zip(seen.names, seen.counts, strict=True)
    }
    return {"mode": mode, "smoothing": SMOOTHING, "regions": regions}


@pytest.mark.skipif(NODE is None, reason="node is not installed: the page's code cannot be run here")
@pytest.mark.parametrize("mode", ["filter", "reweight"])
def test_the_page_does_as_python_does(tmp_path: Path, mode: RegionChoice) -> None:
    rng = np.random.default_rng(1)
    counts = rng.poisson(rng.lognormal(0, 2, 40), (3, 40))
    seen = RegionCounts(("EU", "EU_SW", "OTHER"), counts)
    probs = np.float32(rng.dirichlet(np.full(40, 0.1), 6))
    probs[0] = counts[0] == 0  # nothing is left of it by the filter
    module = shutil.copyfile(DECISIONS, tmp_path / "decisions.mjs")
    request = json.dumps({"regions": as_file(seen, mode), "names": seen.names, "probs": probs.tolist()})
    command = [str(NODE), "--input-type=module", "-e", SCRIPT, str(module), request]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    factors = region_factors(counts, mode)
    np.testing.assert_allclose(found["factors"], factors, rtol=1e-12)
    np.testing.assert_allclose(found["weighed"], [in_region(probs.astype(float), each) for each in factors], rtol=1e-9)
    assert found["sure"] == [[False, True], [True, True]]
