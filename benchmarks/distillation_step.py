"""A step of distillation from stored labels, on a batch that lies ready, against PyTorch and timm.

Each way is a process of its own: `python -m benchmarks.distillation_step <way as JSON>`. PyTorch comes with the extra
`judge`, timm does not: its torchvision must be of the same build as PyTorch. Without timm there is nothing to compare.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from benchmarks.table import Table

THREADS, SIZE, BATCH, CLASSES, KEPT, TEMPERATURE = 2, 96, 64, 1000, 100, 3.0
SOFT, HARD = 0.7, 0.3


def measure() -> list[Table]:
    """By the best of some steps."""
    if not find_spec("timm"):
        return []
    figures = {"PyTorch and timm": _run(torch=True), "tfpipe": _run(torch=False)}
    how = (
        f"MobileNetV2 0.35, {SIZE} px, batches of {BATCH}, {KEPT} of {CLASSES} classes kept, AdamW, {THREADS} threads, "
        "channels last."
    )
    return [Table("Distillation step, against PyTorch", how, "images/s", figures)]


def _run(*, torch: bool) -> float:
    command = [sys.executable, "-m", "benchmarks.distillation_step", json.dumps({"torch": torch})]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout))


def _labels() -> dict[str, Any]:
    """Of a batch, as a store has them: classes by falling logit, and the mass of the rest."""
    import numpy as np

    logits = np.random.default_rng(0).normal(0, 3, (BATCH, CLASSES)).astype(np.float32)
    order = np.argsort(-logits, axis=-1)
    ordered = np.take_along_axis(logits, order, axis=-1)
    log_rest = np.log(np.exp(ordered[:, KEPT:] / TEMPERATURE).sum(axis=-1))
    return {"ids": order[:, :KEPT], "logits": ordered[:, :KEPT], "log_rest": log_rest}


def _ours() -> Callable[[], Any]:
    import tensorflow as tf

    from tfpipe.core.inputs import ImageInput
    from tfpipe.core.settings import LossWeights, ModelSettings, TrainingSettings
    from tfpipe.models import build_model
    from tfpipe.training.distiller import Distiller
    from tfpipe.training.optimizers import build_optimizer
    from tfpipe.training.reproducible import make_reproducible

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    make_reproducible(1, deterministic=False)
    student = build_model(
        ModelSettings(name="mobilenetv2", alpha=0.35),
        num_classes=CLASSES,
        model_input=ImageInput(SIZE),
        dropout=0.0,
        stochastic_depth=0.0,
        rematerialize=False,
        seed=1,
    )
    weights = LossWeights(kl_divergence=SOFT, cross_entropy=HARD)
    distiller = Distiller(student, loss="kl_divergence", temperature=TEMPERATURE, loss_weights=weights)
    images = tf.random.stateless_normal((BATCH, SIZE, SIZE, 3), (1, 2))
    distiller(images[:1])
    distiller.compile(
        build_optimizer(TrainingSettings(), learning_rate=1e-4, weight_decay=0.01, epochs=1, steps_per_epoch=100)
    )
    labels = _labels()
    targets = {
        "targets": tf.one_hot(labels["ids"][:, 0], CLASSES),
        "teacher_ids": tf.constant(labels["ids"][:, None], tf.int32),
        "teacher_logits": tf.constant(labels["logits"][:, None]),
        "teacher_log_rest": tf.constant(labels["log_rest"][:, None]),
        "teacher_weights": tf.ones((BATCH, 1)),
    }
    step = tf.function(lambda: distiller.train_step((images, targets)))
    return lambda: float(step()["loss"])


def _theirs() -> Callable[[], Any]:
    import timm
    import torch
    from torch.nn import functional

    torch.set_num_threads(THREADS)
    student = timm.create_model("mobilenetv2_035", num_classes=CLASSES).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(student.parameters(), 1e-4, weight_decay=0.01)
    images = torch.randn(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels = {name: torch.from_numpy(values) for name, values in _labels().items()}
    ids, classes = labels["ids"], labels["ids"][:, 0]
    scaled = torch.cat([labels["logits"] / TEMPERATURE, labels["log_rest"][:, None]], dim=-1)
    log_teacher = torch.log_softmax(scaled, dim=-1)

    def loss_of(logits: Any) -> Any:
        log_probs = torch.log_softmax(logits / TEMPERATURE, dim=-1)
        rest = log_probs.scatter(1, ids, -torch.inf).logsumexp(dim=-1, keepdim=True)
        log_student = torch.cat([log_probs.gather(1, ids), rest], dim=-1)
        soft = functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
        return SOFT * TEMPERATURE**2 * soft + HARD * functional.cross_entropy(logits, classes)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of(student(images))
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def _main(*, torch: bool) -> None:
    from benchmarks.network_speed import images_per_second

    print(json.dumps(images_per_second((_theirs if torch else _ours)(), BATCH)))


if __name__ == "__main__":
    _main(**json.loads(sys.argv[1]))
