"""What a person looks at: sentences, and the table as Markdown."""

from collections.abc import Iterator

from tfpipe.core.config import Config
from tfpipe.core.steps import Metrics

TFLITE = "tflite"
NAMES = {
    "float32": "float32",
    "float16": "float16",
    "post_training": "int8, post-training",
    "aware": "int8, quantization-aware",
    TFLITE: "int8, TensorFlow Lite",
}
"""Key among the metrics → line of the table."""

MUCH = 0.02
"""Of which a share or an error may move between float32 and int8 before a word is said."""


def to_markdown(metrics: Metrics, config: Config) -> str:
    """`quantized.md`."""
    head = "| | top-1, % | difference, pp | top-5, % | ECE | same answer as float32, % | bytes |"
    lines = [_row(NAMES[name], line) for name, line in metrics["precisions"].items()]
    temperature = metrics["temperature"]
    of_file = ", and of the file for TensorFlow Lite, which alone computes in int8 too: the others do so in float32"
    return (
        f"# Precisions of {config.name}\n\n{metrics['num_examples']:,} test {config.things}; in brackets 95 % "
        f"intervals. ECE at the calibrated temperature, {temperature:.3f}. Bytes are those of the weights in a browser"
        f"{of_file if TFLITE in metrics['precisions'] else ''}.\n\n"
        + "\n".join([head, "|---|---:|---:|---:|---:|---:|---:|", *lines])
        + f"\n\nWhat is exported in int8 is {NAMES[metrics['chosen']]}{_why(metrics)}\n"
        + "".join(f"\n{sentence}\n" for sentence in _pruned(metrics, config))
    )


def iter_sentences(metrics: Metrics, config: Config) -> Iterator[str]:
    """What came of it, and what a person should know before relying on it."""
    line, exact = (metrics["precisions"][name] for name in (metrics["chosen"], "float32"))
    yield (
        f"{NAMES[metrics['chosen']]}{_why(metrics)} On test {_percent(line['top1_accuracy'])} top-1, "
        f"{_points(line['top1_difference'])} from float32, in {line['bytes'] / exact['bytes']:.3f} of its bytes; "
        f"{_percent(line['agreement'])} of the {config.things} get the same answer"
    )
    yield from _pruned(metrics, config)
    lost = -metrics["precisions"][TFLITE]["top1_difference"] if TFLITE in metrics["precisions"] else 0.0
    if lost > MUCH:
        yield (
            f"warning: int8.tflite, whose activations are int8 too, loses {100 * lost:.2f} pp of top-1; on phones, "
            "export's float16.tflite is the better one"
        )
    yield from _moved(metrics["calibration"], config)


def _row(name: str, line: Metrics) -> str:
    top1 = line["top1_interval"]
    return (
        f"| {name} | {100 * line['top1_accuracy']:.2f} [{100 * top1['low']:.1f}, {100 * top1['high']:.1f}] | "
        f"{100 * line['top1_difference']:+.2f} | {100 * line['top5_accuracy']:.2f} | {line['ece']:.4f} | "
        f"{100 * line['agreement']:.2f} | {line['bytes']:,} |"
    )


def _why(metrics: Metrics) -> str:
    """Where there was a choice, by what it was made."""
    if "validation" not in metrics:
        return "."
    scores = {name: f"{NAMES[name]} has {_told(score)}" for name, score in metrics["validation"].items()}
    return f", the better on validation: {' and '.join(scores.values())}."


def _pruned(metrics: Metrics, config: Config) -> Iterator[str]:
    """What pruning saved."""
    if "compressed_bytes" in metrics:
        found = metrics["compressed_bytes"]
        yield (
            f"{_percent(config.quantize.sparsity)} of every kernel but depthwise ones is pruned: compressed by gzip, "
            f"as hosts send them, all weights take {found[metrics['chosen']]:,} bytes, and those of "
            f"{NAMES['post_training']} {found['post_training']:,}."
        )


def _told(scores: dict[str, float]) -> str:
    return f"{100 * scores['val_top1']:.2f} % top-1 (loss {scores['val_loss']:.4f})"


def _moved(calibration: Metrics, config: Config) -> Iterator[str]:
    """A warning for each promise of the calibration that float32 kept, and int8 does not."""
    before, after = calibration["float32"], calibration["int8"]
    if after["ece"] > before["ece"] + MUCH:
        yield (
            f"warning: int8 is less well calibrated: ECE {after['ece']:.3f}, where float32 has {before['ece']:.3f}; "
            "its probabilities mean less than they say"
        )
    for name, what, limit in (
        ("precision", "of its answers are right", config.calibrate.precision),
        ("coverage", f"of the {config.things} are answered", config.calibrate.coverage),
    ):
        if _fell(before[name], after[name], limit):
            yield (
                f"warning: at the threshold of float32, {_percent(after[name])} {what} in int8; "
                f"in float32 {_percent(before[name])}, and calibrate.{name} asks for {_percent(limit)}"
            )


def _fell(before: float | None, after: float | None, limit: float) -> bool:
    """Below the limit, or well below what it was; where nothing was answered there is no precision."""
    if before is None or after is None:
        return False
    return after < limit <= before or after < min(before - MUCH, limit)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f} pp"
