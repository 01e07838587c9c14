"""`evaluate`: how right a model is, whole, per region and per class, in the plan's words."""

import keras
import numpy as np
import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.files import atomic_open
from tfpipe.core.progress import track
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import evaluation_batches
from tfpipe.data.records import Records, check_classes
from tfpipe.models.saving import load_model
from tfpipe.training.reproducible import make_reproducible

BATCH = 64
Array = np.ndarray


def run(config: Config, workspace: Workspace) -> Metrics:
    """Predict the whole split, all regions, and write `predictions.npz` (ids, logits, labels)."""
    make_reproducible(config.seed, deterministic=config.deterministic)
    network, card = load_model(workspace.best_path(config))
    records = Records(workspace.records_dir(config), config.evaluate.split)
    check_classes(records.classes, card.classes, f"the model of {config.name}")
    batches = evaluation_batches(records, card.image_input, batch_size=BATCH)
    logits, labels = predict(network, batches, f"evaluate {config.name}", records.num_examples)
    ids, regions, _ = records.facts()
    with atomic_open(workspace.step_dir(config, "evaluate") / "predictions.npz", "wb") as file:
        np.savez(file, ids=ids, logits=logits, labels=labels)
    return {
        "split": config.evaluate.split,
        "num_examples": len(labels),
        "top1_accuracy": top_k_accuracy(logits, labels, 1),
        "top5_accuracy": top_k_accuracy(logits, labels, 5),
        "loss": cross_entropy(logits, labels),
        "per_region": {
            region: top_k_accuracy(logits[regions == region], labels[regions == region], 1)
            for region in sorted(set(regions))
            if region
        },
        "per_class": {
            name: top_k_accuracy(logits[labels == number], labels[labels == number], 1)
            for number, name in enumerate(card.classes)
            if (labels == number).any()
        },
    }


def predict(network: keras.Model, batches: tf.data.Dataset, title: str, num_examples: int) -> tuple[Array, Array]:
    """Logits (num_examples, num_classes) and label ids (num_examples,) of batches of (images, targets)."""
    step = tf.function(lambda images: network(images, training=False))
    pairs = [
        (step(images).numpy(), targets.numpy().argmax(axis=-1))
        for images, targets in track(batches, title, -(-num_examples // BATCH))
    ]
    logits, labels = zip(*pairs, strict=True)
    return np.concatenate(logits), np.concatenate(labels)


def top_k_accuracy(logits: Array, labels: Array, k: int) -> float:
    """Share of rows whose label is among the k highest of (batch, num_classes) logits."""
    best = np.argsort(-logits, axis=-1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=-1).mean())


def cross_entropy(logits: Array, labels: Array) -> float:
    """Mean over rows, in nats."""
    highest = logits.max(axis=-1, keepdims=True)
    log_probs = logits - highest - np.log(np.exp(logits - highest).sum(axis=-1, keepdims=True))
    return float(-log_probs[np.arange(len(labels)), labels].mean())
