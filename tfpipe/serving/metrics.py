"""What Prometheus is told."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tfpipe.serving.batching import Judgement
from tfpipe.serving.drift import Array, Comparison, Drift

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONFIDENCES = tuple(tenth / 10 for tenth in range(1, 10))


class Metrics:
    """Counters of one server, in a registry of their own.

    Args:
        drift: compared whenever somebody looks.
        num_under_way: requests to judge something that are not yet answered.
        num_admitted: their inputs that are not yet answered.
        is_ready: as `/ready` tells.
    """

    def __init__(
        self,
        drift: Drift,
        *,
        num_under_way: Callable[[], int],
        num_admitted: Callable[[], int],
        is_ready: Callable[[], bool],
    ) -> None:
        self._registry = registry = CollectorRegistry()
        self._drift = drift
        self._requests = Counter(
            "tfpipe_requests", "Requests by path and status.", ("path", "status"), registry=registry
        )
        self._seconds = Histogram(
            "tfpipe_request_seconds", "Of a request, whole.", ("path",), buckets=SECONDS, registry=registry
        )
        self._batches = Histogram("tfpipe_batch_inputs", "Inputs of a call.", buckets=SIZES, registry=registry)
        self._calls = Histogram("tfpipe_model_seconds", "Of a call.", buckets=SECONDS, registry=registry)
        self._answers = Counter("tfpipe_answers", "Answers by class.", ("label",), registry=registry)
        self._not_conclusive = Counter("tfpipe_not_conclusive", "Answers below the threshold.", registry=registry)
        self._confidences = Histogram(
            "tfpipe_confidence", "Calibrated, of an answer.", buckets=CONFIDENCES, registry=registry
        )
        under_way = Gauge("tfpipe_requests_under_way", "Requests to /predict that are not answered.", registry=registry)
        under_way.set_function(num_under_way)
        Gauge("tfpipe_queue_inputs", "Admitted and not answered.", registry=registry).set_function(num_admitted)
        Gauge("tfpipe_ready", "1 if the server takes requests.", registry=registry).set_function(is_ready)
        registry.register(DriftCollector(drift))
        ProcessCollector(registry=registry)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """A request that has ended; `path` is one of few."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_call(self, num_inputs: int, seconds: float) -> None:
        """A call of the model."""
        self._batches.observe(num_inputs)
        self._calls.observe(seconds)

    def count_answers(self, answers: Sequence[Judgement]) -> None:
        """What was answered."""
        for answer in answers:
            self._answers.labels(answer.label).inc()
            self._confidences.observe(answer.confidence)
            if not answer.is_conclusive:
                self._not_conclusive.inc()
            self._drift.add(answer.label, answer.confidence)

    def to_text(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self._registry)


class DriftCollector(Collector):
    """The last answers, those of the validation split, and how far they are apart."""

    def __init__(self, drift: Drift) -> None:
        self._drift = drift

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Computed when it is asked for."""
        now, expected = self._drift.compare(), self._drift.expected
        yield _gauge("tfpipe_drift_answers", "The last answers that are compared.", now.num_answers if now else 0)
        yield from self._of("validation", expected)
        if now is None:
            return
        yield from self._of("drift", now)
        differences = now.shares - expected.shares
        yield _by_class("tfpipe_drift_class_share_difference", "To validation.", self._drift.classes, differences)
        yield _gauge(
            "tfpipe_drift_mean_confidence_difference", "To validation.", now.mean_confidence - expected.mean_confidence
        )
        yield _gauge(
            "tfpipe_drift_not_conclusive_difference", "To validation.", now.not_conclusive - expected.not_conclusive
        )
        for what, psi, by_chance in (
            ("class", now.class_psi, now.class_psi_by_chance),
            ("confidence", now.confidence_psi, now.confidence_psi_by_chance),
        ):
            yield _gauge(f"tfpipe_drift_{what}_psi", "Population stability index to validation.", psi)
            yield _gauge(f"tfpipe_drift_{what}_psi_by_chance", "Its mean if nothing has changed.", by_chance)

    def _of(self, whose: str, found: Comparison) -> Iterator[GaugeMetricFamily]:
        yield _by_class(f"tfpipe_{whose}_class_share", "Share of the answers.", self._drift.classes, found.shares)
        yield _gauge(f"tfpipe_{whose}_mean_confidence", "Of the answers.", found.mean_confidence)
        yield _gauge(f"tfpipe_{whose}_not_conclusive_share", "Of the answers.", found.not_conclusive)


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value)


def _by_class(name: str, meaning: str, classes: Sequence[str], values: Array) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=("label",))
    for label, value in zip(classes, values, strict=True):
        family.add_metric([label], float(value))
    return family
