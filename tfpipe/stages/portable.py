"""The finished network as it runs elsewhere: checked, in float32, batch norms folded."""

import keras
import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.errors import ConfigError, MismatchError, TfpipeError
from tfpipe.core.inputs import TextInput
from tfpipe.core.workspace import Workspace
from tfpipe.exporters.tokenizer import why_not_in_page
from tfpipe.models import as_float32
from tfpipe.models.folding import fold_batch_norms
from tfpipe.models.saving import Card, load_model


def load_portable(config: Config, workspace: Workspace) -> tuple[keras.Model, Card]:
    """What `quantize` and `export` start from.

    Raises:
        ConfigError: when the page does not know its tokenizer.
        MismatchError: when the list of classes is another's.
        TfpipeError: when a weight is no number.
    """
    path = workspace.best_path(config)
    network, card = load_model(path)
    reason = why_not_in_page(card.model_input) if isinstance(card.model_input, TextInput) else None
    if reason:
        raise ConfigError(f"{config.path}: {reason}")
    if network.output_shape[-1] != len(card.classes):
        raise MismatchError(
            f"{path}: the model has {network.output_shape[-1]} outputs, but its list of classes has "
            f"{len(card.classes)}. Train it again with `--force`."
        )
    broken = [weight.path for weight in network.weights if not np.isfinite(weight.numpy()).all()]
    if broken:
        raise TfpipeError(
            f"{path}: {broken[0]} holds values that are not finite numbers: the training went astray. "
            "Lower training.learning_rate and train it again with `--force`."
        )
    return fold_batch_norms(as_float32(network)), card
