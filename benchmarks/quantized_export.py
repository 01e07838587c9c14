"""What each precision of an export costs on real photos: top-1 of MobileNetV2 with a linear probe, and bytes.

    python -m benchmarks.quantized_export --photos ../shared/data/flowers --weights ../shared/weights --seeds 1 2 3

Tables are written to benchmarks/QUANTIZED.md.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import mean, stdev

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from tensorflowjs.quantization import quantize_weights

from tfpipe.core.progress import progress
from tfpipe.core.settings import BaselineSettings
from tfpipe.data.views import centre_square
from tfpipe.models.folding import fold_batch_norms
from tfpipe.models.mobilenet import build_features
from tfpipe.quantization.rounding import round_weights
from tfpipe.training.probe import fit_linear_layers, num_steps

RESULTS = Path(__file__).parent / "QUANTIZED.md"
SIZE, BATCH = 224, 50
ALPHAS = (0.35, 1.0)
PENALTY = 0.05
NUM_SEEN = 16
"""Photos, of those the probe was fitted on, that the rounding to int8 looks at."""
HOW = """The backbones are frozen, and the probe is fitted once a seed, on float32 features of half of the photos; the
other half is named by the whole network in each precision. The control is the stock converter's `--quantize_uint8`:
one scale and one smallest value for a whole tensor."""
Array = np.ndarray


@dataclass(frozen=True)
class Photos:
    """All photos of a folder with a folder for each class."""

    images: Array
    """(photos, 224, 224, 3) uint8."""
    labels: Array
    num_classes: int

    def halves(self, seed: int) -> tuple[Array, Array]:
        """Places of the photos to fit on and of those to name, drawn with the seed."""
        order = np.random.default_rng(seed).permutation(len(self.labels))
        return order[: len(order) // 2], order[len(order) // 2 :]


def main() -> None:
    """Measure seed by seed, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    photos = load_photos(arguments.photos)
    sections = [measure(alpha, photos, arguments.weights, arguments.seeds) for alpha in ALPHAS]
    heading = f"# Precisions of an export\n\n{HOW}\n\n{date.today().isoformat()}, seeds {arguments.seeds}.\n"
    RESULTS.write_text(heading + "".join(sections), encoding="utf-8")


def measure(alpha: float, photos: Photos, weights_dir: Path, seeds: list[int]) -> str:
    """The table of one width."""
    weights = weights_dir / f"mobilenet_v2_{alpha}_{SIZE}_no_top.weights.h5"
    backbone = fold_batch_norms(build_features(BaselineSettings(alpha=alpha, image_size=SIZE, weights=str(weights))))
    features = predict(backbone, photos.images)
    logits = [name_all(backbone, features, photos, seed) for seed in seeds]
    found = section(f"MobileNetV2 {alpha}", logits, [photos.labels[photos.halves(seed)[1]] for seed in seeds])
    print(found, flush=True)
    return found


def load_photos(folder: Path) -> Photos:
    """Every JPEG below the folder's folders, cut and resized as evaluation does it."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    files = [(path, label) for label, of_class in enumerate(classes) for path in sorted(of_class.glob("*.jpg"))]
    images = np.empty((len(files), SIZE, SIZE, 3), np.uint8)
    no_shift = tf.zeros(2, tf.int32)
    for place, (path, _) in enumerate(files):
        square = centre_square(tf.constant(path.read_bytes()), SIZE, no_shift)
        images[place] = np.clip(np.rint(square), 0, 255)
    return Photos(images, np.array([label for _, label in files]), len(classes))


def predict(network: keras.Model, images: Array) -> Array:
    """Outputs (photos, channels)."""
    call = tf.function(lambda batch: network(batch, training=False))
    starts = range(0, len(images), BATCH)
    return np.concatenate([call(images[i : i + BATCH].astype(np.float32) / 127.5 - 1).numpy() for i in starts])


def name_all(backbone: keras.Model, features: Array, photos: Photos, seed: int) -> dict[str, Array]:
    """Precision → logits (photos, num_classes) of the half that was not fitted on."""
    fitted_on, named = photos.halves(seed)
    network = with_probe(backbone, features[fitted_on], photos.labels[fitted_on], photos.num_classes, seed)
    seen = photos.images[fitted_on[:NUM_SEEN]].astype(np.float32) / 127.5 - 1
    return {name: predict(change(network, seen), photos.images[named]) for name, change in PRECISIONS.items()}


def with_probe(backbone: keras.Model, features: Array, labels: Array, num_classes: int, seed: int) -> keras.Model:
    """The backbone with a linear probe as its last layer, the probe's scaler folded in."""
    with progress(f"probe {seed}", num_steps(len(labels))) as advance:
        fitted = fit_linear_layers(features, labels, num_classes, penalties=(PENALTY,), seed=seed, advance=advance)
    kernel = fitted.kernels[0] / fitted.scaler.scale[:, None]
    head = keras.layers.Dense(num_classes, name="logits")
    network = keras.Model(backbone.input, head(backbone.output))
    head.set_weights([kernel, fitted.biases[0] - fitted.scaler.mean @ kernel])
    return network


def changed(network: keras.Model, change: Callable[[Array], Array]) -> keras.Model:
    """The same network with every weight changed."""
    copy = keras.models.clone_model(network)
    copy.set_weights([change(weights) for weights in network.get_weights()])
    return copy


def stock_uint8(weights: Array) -> Array:
    """As the stock converter stores them and TensorFlow.js reads them (`value * scale + min`)."""
    integers, told = quantize_weights(weights, np.uint8)
    return integers.astype(np.float32) * np.float32(told["scale"]) + np.float32(told["min"])


PRECISIONS: dict[str, Callable[[keras.Model, Array], keras.Model]] = {
    "float32": lambda network, seen: network,
    "float16": lambda network, seen: changed(network, lambda weights: weights.astype(np.float16).astype(np.float32)),
    "int8": round_weights,
    "stock uint8": lambda network, seen: changed(network, stock_uint8),
}


def section(title: str, logits: list[dict[str, Array]], labels: list[Array]) -> str:
    """A table: top-1 over the seeds, its difference to float32, and how many photos get float32's name."""
    rows = []
    for name in PRECISIONS:
        exact = [of_seed["float32"].argmax(axis=-1) for of_seed in logits]
        found = [of_seed[name].argmax(axis=-1) for of_seed in logits]
        top1 = [float((f == y).mean()) for f, y in zip(found, labels, strict=True)]
        lost = [t - float((e == y).mean()) for t, e, y in zip(top1, exact, labels, strict=True)]
        agreed = [float((f == e).mean()) for f, e in zip(found, exact, strict=True)]
        rows.append(f"| {name} | {spread(top1)} | {100 * mean(lost):+.2f} | {spread(agreed)} |")
    head = "| | top-1, % | difference, pp | same name as float32, % |\n|---|---:|---:|---:|\n"
    return f"\n## {title}\n\n{len(labels[0])} photos a seed.\n\n{head}" + "\n".join(rows) + "\n"


def spread(values: list[float]) -> str:
    """Mean and standard deviation in percent."""
    return f"{100 * mean(values):.2f}" + (f" ± {100 * stdev(values):.2f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
