"""What is measured while a model learns."""

import keras


def build_metrics() -> list[keras.metrics.Metric]:
    """Top-1 and top-5 accuracy, of one-hot or mixed targets (batch, num_classes)."""
    return [
        keras.metrics.CategoricalAccuracy("top1"),
        keras.metrics.TopKCategoricalAccuracy(5, "top5"),
    ]
