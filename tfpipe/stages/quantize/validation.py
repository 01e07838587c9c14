"""How good a network is on the validation split: by this the better of several is chosen."""

from collections.abc import Callable
from functools import cache

import keras
import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.inputs import ModelInput
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import evaluation_batches
from tfpipe.data.records import Records
from tfpipe.stages.evaluate.predictions import BATCH, compiled
from tfpipe.training.outcomes import judge

Scores = dict[str, float]
"""`val_top1` and `val_loss`."""


def build_validation(config: Config, workspace: Workspace, model_input: ModelInput) -> Callable[[keras.Model], Scores]:
    """A function that scores a network; traced once for each, whatever its weights become."""
    records = Records(workspace.records_dir(config), "validation", config.data.region)
    compiled_once = cache(compiled)

    def validate(network: keras.Model) -> Scores:
        answer, parts = compiled_once(network), []
        for images, targets in evaluation_batches(records, model_input, batch_size=BATCH):
            parts.append(judge(answer(images).numpy(), targets.numpy().argmax(axis=-1)))
        right, losses = (np.concatenate([getattr(part, name) for part in parts]) for name in ("right", "losses"))
        return {"val_top1": float(right.mean()), "val_loss": float(losses.mean())}

    return validate
