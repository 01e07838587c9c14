"""Drift as computed by hand, and what Prometheus is told of it."""

import asyncio
from math import log

import numpy as np
import pytest
from oracle import CLASSES, THRESHOLD, VALIDATION, Oracle, build_drift, build_service, judge, predict, serving
from prometheus_client.parser import text_string_to_metric_families
from scipy.stats import chi2

from tfpipe.serving.drift import Answers, Drift, population_stability_index, psi_by_chance


def test_the_index_of_three_classes_by_hand() -> None:
    # Half a count in each cell: 50.5, 30.5, 20.5 of 101.5, and 10.5, 10.5, 20.5 of 41.5.
    expected = sum(
        (found / 41.5 - before / 101.5) * log((found / 41.5) / (before / 101.5))
        for before, found in ((50.5, 10.5), (30.5, 10.5), (20.5, 20.5))
    )
    assert population_stability_index(np.array([50, 30, 20]), np.array([10, 10, 20])) == pytest.approx(expected)
    assert population_stability_index(np.array([50, 30, 20]), np.array([50, 30, 20])) == 0
    assert population_stability_index(np.array([5, 0]), np.array([0, 5])) == pytest.approx(2 * (5 / 6) * log(11))


def test_without_drift_the_index_is_what_chance_makes_it() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
    expected, found = rng.multinomial(800, shares, 3000), rng.multinomial(500, shares, 3000)
    drawn = np.array([population_stability_index(*pair) for pair in zip(expected, found, strict=True)])
    by_chance = psi_by_chance(expected[0], found[0])
    assert drawn.mean() == pytest.approx(by_chance, rel=0.06)
    above = (drawn > chi2.ppf(0.95, 4) / 4 * by_chance).mean()
    assert above == pytest.approx(0.05, abs=0.02)


def test_the_last_answers_are_compared_and_older_ones_forgotten() -> None:
    drift = build_drift(window=4)
    assert drift.compare() is None
    for label, confidence in [("anger", 0.5)] * 5 + [("joy", 0.9), ("sadness", 0.7), ("joy", 0.55)]:
        drift.add(label, confidence)
    drift.add("joy", 0.95)
    found = drift.compare()
    assert found
    assert found.num_answers == 4
    assert found.shares.tolist() == [0.75, 0.25, 0]
    assert found.mean_confidence == pytest.approx((0.9 + 0.7 + 0.55 + 0.95) / 4)
    assert found.not_conclusive == 0.25
    assert found.class_psi == pytest.approx(population_stability_index(np.array([5, 3, 2]), np.array([3, 1, 0])))
    # The deciles of the ten validation confidences have one of them each.
    deciles = np.quantile(VALIDATION.confidences, np.arange(0.1, 0.95, 0.1))
    counts = np.histogram([0.9, 0.7, 0.55, 0.95], [-1, *deciles, 2])[0]
    assert found.confidence_psi == pytest.approx(population_stability_index(np.ones(10), counts))
    assert (drift.expected.class_psi, drift.expected.confidence_psi) == (0, 0)


def test_answers_below_the_surest_are_told_from_it() -> None:
    """Of validation confidences half of which are 1: deciles of 0.5, 0.75 and 1, each the first of its bin."""
    validation = Answers(np.zeros(10, int), np.repeat([0.5, 1.0], 5))
    drift = Drift(["a", "b"], validation, threshold=None, window=10)
    for _ in range(10):
        drift.add("a", 0.9)
    found = drift.compare()
    assert found
    counts = np.array([0, 5, 0, 5]), np.array([0, 0, 10, 0])
    assert found.confidence_psi == pytest.approx(population_stability_index(*counts))
    # All are of one class, and in the bins of the two distributions are three of four.
    assert found.class_psi_by_chance == 0
    assert found.confidence_psi_by_chance == pytest.approx(2 * (1 / 10 + 1 / 10))


def test_prometheus_is_told_of_requests_answers_and_drift() -> None:
    texts = [f"text {number}" for number in range(12)]

    async def ask() -> str:
        async with serving(build_service(Oracle(), batch_size=8, drift_window=10)) as client:
            assert (await predict(client, *texts)).status_code == 200
            assert (await client.get("/predict")).status_code == 405
            assert (await client.get("/nowhere?and=everywhere")).status_code == 404
            assert (await client.post("/predict", json={})).status_code == 422
            response = await client.get("/metrics")
            assert response.headers["content-type"].startswith("text/plain; version=")
            return response.text

    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(asyncio.run(ask()))
        for sample in family.samples
    }
    said = [judge(text) for text in texts]
    for path, status in (("/predict", "200"), ("/predict", "405"), ("/predict", "422"), ("other", "404")):
        assert told["tfpipe_requests_total", path, status] == 1
    assert told["tfpipe_request_seconds_count", "/predict"] == 3
    assert (told["tfpipe_batch_inputs_count",], told["tfpipe_batch_inputs_sum",]) == (2, 12)
    assert told["tfpipe_batch_inputs_bucket", "4.0"] == 1
    assert told["tfpipe_model_seconds_count",] == 2
    assert (told["tfpipe_queue_inputs",], told["tfpipe_ready",]) == (0, 1)
    for name in CLASSES:
        assert told.get(("tfpipe_answers_total", name), 0) == sum(one.label == name for one in said)
    assert told["tfpipe_not_conclusive_total",] == sum(one.confidence < THRESHOLD for one in said)
    assert told["tfpipe_confidence_sum",] == pytest.approx(sum(one.confidence for one in said))
    assert told["process_resident_memory_bytes",] > 2**20
    last = said[-10:]
    shares = np.array([sum(one.label == name for one in last) for name in CLASSES])
    assert told["tfpipe_drift_answers",] == 10
    assert told["tfpipe_validation_class_share", "joy"] == 0.5
    assert told["tfpipe_drift_class_share_difference", "joy"] == pytest.approx(shares[0] / 10 - 0.5)
    mean = float(np.mean([one.confidence for one in last]))
    assert told["tfpipe_drift_mean_confidence_difference",] == pytest.approx(mean - VALIDATION.confidences.mean())
    expected = population_stability_index(np.array([5, 3, 2]), shares)
    assert told["tfpipe_drift_class_psi",] == pytest.approx(expected)
    assert told["tfpipe_drift_class_psi_by_chance",] == pytest.approx(2 * (1 / 10 + 1 / 10))
