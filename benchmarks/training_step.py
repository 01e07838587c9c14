"""Training, against Keras's own `fit` on batches that lie ready; what the rest of a run adds to a step.

Each way is a process of its own: `python -m benchmarks.training_step <folder of records> <way>`.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.table import Table

NUM_IMAGES, IMAGE_SIDE, IMAGE_SIZE, BATCH, EPOCHS = 900, 256, 128, 32, 4
WAYS: dict[str, dict[str, Any]] = {
    "Keras fit, ready batches": {"bare": True},
    "ours, ready batches": {"ready": True},
    "ours, from records": {},
    "… moderate views": {"augmentation": "moderate"},
    "… aggressive views": {"augmentation": "aggressive"},
    "… deterministic": {"deterministic": True},
    "… in 4 accumulation steps": {"accumulation_steps": 4},
    "… with layer-wise rates and EMA": {"recipe": True},
}


def measure(folder: Path) -> list[Table]:
    """The best of some epochs after a first that traces the graphs."""
    from benchmarks.input_pipeline import draw_records

    records = draw_records(folder / "training", NUM_IMAGES, IMAGE_SIDE)
    found = {name: _run(records.directory, way) for name, way in WAYS.items()}
    how = (
        f"MobileNetV2 1.0 at {IMAGE_SIZE} px, AdamW, batches of {BATCH}, the best of {EPOCHS - 1} epochs. Share of an "
        "epoch in which the step waited for its batch: "
        + ", ".join(f"{name} {result['starved']:.1%}" for name, result in found.items() if "starved" in result)
        + "."
    )
    steps = Table("Training step", how, "images/s", {name: r["images_per_second"] for name, r in found.items()})
    seconds = found["ours, from records"]["checkpoint_s"]
    how = "Writing the state of network, optimiser and metrics, synced to the disk; every ten minutes by default."
    saves = Table("Checkpoint", how, "s", {"between two checkpoints": 600.0, "one checkpoint": seconds})
    return [steps, saves]


def _run(records_dir: Path, way: dict[str, Any]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.training_step", str(records_dir), json.dumps(way)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


class Timed:
    """Batches, and for how long they were waited for."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches
        self.waited_s = 0.0

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.batches)
        while True:
            start = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self.waited_s += time.perf_counter() - start
            yield batch


def _main(
    records_dir: Path,
    *,
    bare: bool = False,
    ready: bool = False,
    augmentation: Any = "none",
    deterministic: bool = False,
    accumulation_steps: int = 1,
    recipe: bool = False,
) -> dict[str, float]:
    import tensorflow as tf

    from tfpipe.core.inputs import ImageInput
    from tfpipe.core.settings import ModelSettings
    from tfpipe.data.pipeline import Epochs, training_batches
    from tfpipe.data.records import Records
    from tfpipe.models import build_model
    from tfpipe.training.reproducible import make_reproducible

    make_reproducible(1, deterministic=deterministic)
    records = Records(records_dir, "train")
    network = build_model(
        ModelSettings(name="mobilenetv2"), num_classes=len(records.classes), model_input=ImageInput(IMAGE_SIZE),
        dropout=0.0, stochastic_depth=0.0, rematerialize=False, seed=1,
    )  # fmt: skip
    epochs = Epochs(BATCH, EPOCHS, seed=1)
    steps = epochs.steps_per_epoch(records.num_examples)
    batches = training_batches(records, ImageInput(IMAGE_SIZE), epochs, augmentation=augmentation)
    held = tf.data.Dataset.from_tensors(next(iter(batches))).repeat()
    if bare:
        return {"images_per_second": _of_keras(network, held, steps)}
    learner = _learner(network, steps, accumulation_steps=accumulation_steps, recipe=recipe)
    return _of_ours(learner, held if ready else batches, held.take(1), steps)


def _of_keras(network: Any, batches: Any, steps: int) -> float:
    import keras

    from tfpipe.training.metrics import build_metrics

    times: list[float] = []
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.AdamW(1e-3), loss, metrics=build_metrics())
    ends = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: times.append(time.perf_counter()))
    network.fit(batches, epochs=EPOCHS, steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=[ends])
    return _best(times, steps)


def _learner(network: Any, steps: int, *, accumulation_steps: int, recipe: bool) -> Any:
    import tensorflow as tf

    from tfpipe.core.settings import TrainingSettings
    from tfpipe.models import layer_depths
    from tfpipe.training.learner import Classifier
    from tfpipe.training.losses import HardLoss
    from tfpipe.training.optimizers import build_optimizer

    learner = Classifier(network, hard_loss=HardLoss(), accumulation_steps=accumulation_steps)
    learner(tf.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3)))
    settings = TrainingSettings(ema_decay=0.99 if recipe else 0.0)
    rates = {path: 0.9**depth for path, depth in layer_depths(network).items()} if recipe else None
    learner.compile(
        build_optimizer(
            settings, learning_rate=1e-3, weight_decay=0.01, epochs=EPOCHS, steps_per_epoch=steps, rates=rates
        )
    )
    return learner


def _of_ours(learner: Any, batches: Any, validation: Any, steps: int) -> dict[str, float]:
    import tensorflow as tf

    from tfpipe.training.checkpoints import Checkpoints, Progress
    from tfpipe.training.fitting import FitPlan, fit

    timed: Any = Timed(batches)
    times: list[float] = []

    def note_time(network: Any, path: Path) -> None:
        path.touch()
        times.append(time.perf_counter())

    with TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), Path(folder), "teach", keep=1)
        plan = FitPlan("fit", checkpoints, EPOCHS, steps, None, save_best=False, checkpoint_s=3600.0)
        begun = time.perf_counter()
        fit(learner, lambda epoch, step: timed, validation, plan, note_time, tf.distribute.get_strategy())
        share = timed.waited_s / (times[-1] - begun)
        begun = time.perf_counter()
        checkpoints.save(learner, Progress())
        checkpoint_s = time.perf_counter() - begun
    return {"images_per_second": _best(times, steps), "starved": share, "checkpoint_s": checkpoint_s}


def _best(times: list[float], steps: int) -> float:
    return steps * BATCH / min(after - before for before, after in pairwise(times))


if __name__ == "__main__":
    print(json.dumps(_main(Path(sys.argv[1]), **json.loads(sys.argv[2]))))
