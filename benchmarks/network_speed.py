"""Steps of a network on images that lie ready: by precision, memory, with oneDNN, and against PyTorch and timm.

Each way is a process of its own: `python -m benchmarks.network_speed <way as JSON>`. PyTorch comes with the extra
`judge`, timm does not: its torchvision must be of the same build as PyTorch. Without timm the comparison is left out.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from benchmarks.table import Table

STEPS, THREADS, CLASSES, SIZE = 3, 2, 1000, 224
VIT, MOBILENET = {"name": "vit_base_patch16_224", "batch": 8}, {"name": "mobilenetv2", "batch": 32}
WAYS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "rematerialized": {"rematerialize": True},
    "4 accumulation steps": {"accumulation_steps": 4},
    "rematerialized, 4 accumulation steps": {"rematerialize": True, "accumulation_steps": 4},
}


def measure() -> list[Table]:
    """By the best of some steps."""
    found = {name: _run(VIT | way) for name, way in WAYS.items()}
    peaks = ", ".join(f"{name} {result['peak_mib']:,.0f} MiB" for name, result in found.items())
    how = f"Training steps of ViT-B/16 at {SIZE} px, batches of {VIT['batch']}. Peak memory of the process: {peaks}."
    tables = [Table("Vision transformer", how, "images/s", {n: r["images_per_second"] for n, r in found.items()})]
    each = [(network, training) for network in (VIT, MOBILENET) for training in (True, False)]
    tables += [_with_and_without_onednn(network, training) for network, training in each]
    if find_spec("timm"):
        tables += [_compare(network, training) for network, training in each]
    return tables


def _compare(network: dict[str, Any], training: bool) -> Table:
    kind = "training" if training else "inference"
    way = network | {"training": training}
    theirs = _run(way | {"torch": True})["images_per_second"]
    figures = {"PyTorch and timm": theirs, "tfpipe": _run(way)["images_per_second"]}
    if network is VIT:
        figures["PyTorch and timm, bfloat16"] = _run(way | {"torch": True, "precision": "bfloat16"})[
            "images_per_second"
        ]
        figures["tfpipe, bfloat16"] = _run(way | {"precision": "bfloat16"})["images_per_second"]
    how = f"{network['name']}, {SIZE} px, batches of {network['batch']}, AdamW, {THREADS} threads, channels last."
    return Table(f"Against PyTorch, {kind} of {network['name']}", how, "images/s", figures)


def _with_and_without_onednn(network: dict[str, Any], training: bool) -> Table:
    """TensorFlow has it off where a processor lacks AVX-512's VNNI, tfpipe has it on everywhere."""
    kind = "training" if training else "inference"
    figures = {
        name: _run(network | {"training": training}, TF_ENABLE_ONEDNN_OPTS=switch)["images_per_second"]
        for name, switch in {"without oneDNN": "0", "with oneDNN": "1"}.items()
    }
    how = f"{network['name']}, {SIZE} px, batches of {network['batch']}, AdamW, {THREADS} threads."
    return Table(f"oneDNN, {kind} of {network['name']}", how, "images/s", figures)


def _run(way: dict[str, Any], **variables: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.network_speed", json.dumps(way)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | variables)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def images_per_second(step: Callable[[], Any], batch: int) -> float:
    """The best of some steps after two that trace the graphs."""
    step(), step()
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return batch / min(times)


def _ours(
    name: str,
    batch: int,
    *,
    training: bool = True,
    precision: str = "float32",
    rematerialize: bool = False,
    accumulation_steps: int = 1,
) -> Callable[[], Any]:
    import tensorflow as tf

    from tfpipe.core.inputs import ImageInput
    from tfpipe.core.settings import ModelSettings, TrainingSettings
    from tfpipe.models import build_model
    from tfpipe.training.learner import Classifier
    from tfpipe.training.losses import HardLoss
    from tfpipe.training.optimizers import build_optimizer
    from tfpipe.training.reproducible import make_reproducible

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    make_reproducible(1, deterministic=False, precision=precision)
    network = build_model(
        ModelSettings(name=name),
        num_classes=CLASSES,
        model_input=ImageInput(SIZE),
        dropout=0.0,
        stochastic_depth=0.0,
        rematerialize=rematerialize,
        seed=1,
    )
    images = tf.random.stateless_normal((batch, SIZE, SIZE, 3), (1, 2))
    if not training:
        predict = tf.function(lambda: network(images, training=False))
        return lambda: predict().numpy()
    learner = Classifier(network, hard_loss=HardLoss(), accumulation_steps=accumulation_steps)
    learner(images[:1])
    learner.compile(
        build_optimizer(TrainingSettings(), learning_rate=1e-4, weight_decay=0.01, epochs=1, steps_per_epoch=100)
    )
    targets = tf.one_hot(tf.range(batch), CLASSES)
    step = tf.function(lambda: learner.train_step((images, targets)))
    return lambda: float(step()["loss"])


def _theirs(name: str, batch: int, *, training: bool, precision: str = "float32") -> Callable[[], Any]:
    import timm
    import torch

    torch.set_num_threads(THREADS)
    timm_name = {"mobilenetv2": "mobilenetv2_100"}.get(name, name)
    network = timm.create_model(timm_name, num_classes=CLASSES).to(memory_format=torch.channels_last)
    images = torch.randn(batch, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    cast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
    if not training:
        network.eval()

        def predict() -> Any:
            with torch.inference_mode(), cast:
                return network(images)

        return predict
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, weight_decay=0.01)
    labels = torch.arange(batch)

    def step() -> float:
        optimizer.zero_grad()
        with cast:
            loss = torch.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _main(*, torch: bool = False, **way: Any) -> None:
    from benchmarks.memory import peak_mib

    speed = images_per_second((_theirs if torch else _ours)(**way), way["batch"])
    print(json.dumps({"images_per_second": speed, "peak_mib": peak_mib()}))


if __name__ == "__main__":
    _main(**json.loads(sys.argv[1]))
