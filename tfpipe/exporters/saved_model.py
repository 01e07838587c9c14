"""SavedModel: what every other TensorFlow format is made from. The same network gives the same bytes."""

import re
from pathlib import Path

import keras
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2

from tfpipe.core.files import atomic_path
from tfpipe.core.progress import native_silence

SPECIFIED = "_user_specified_name"
"""An attribute of arguments; that of a captured variable is a number."""


def export_saved_model(network: keras.Model, target: Path) -> None:
    """Write a model that maps (batch, …) to logits, as `serve` and as the signature `serving_default`.

    Not with Keras's `export`, which writes the variables in the order of a set.
    """
    (given,) = network.inputs
    module = tf.Module()
    module.weights = [variable.value for variable in network.weights]
    module.serve = tf.function(
        lambda inputs: network(inputs, training=False),
        input_signature=[tf.TensorSpec(given.shape, given.dtype, name=given.name)],
        autograph=False,
    )
    with atomic_path(target) as folder, native_silence():
        tf.saved_model.save(module, str(folder), signatures=module.serve)
        _forget_history(folder)


def _forget_history(folder: Path) -> None:
    """Take out what tells of this process alone: numbers in names of functions and captures, a random identifier."""
    path = folder / "saved_model.pb"
    document = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    (graph,) = document.meta_graphs
    functions = graph.graph_def.library.function
    for argument in (argument for function in functions for argument in function.arg_attr.values()):
        if SPECIFIED in argument.attr and argument.attr[SPECIFIED].s.isdigit():
            del argument.attr[SPECIFIED]
    names = {function.signature.name: re.sub(r"_\d+$", "", function.signature.name) for function in functions}
    assert len(set(names.values())) == len(names)
    pattern = "|".join(re.escape(name) for name in names)
    told = re.sub(rf'"({pattern})"', lambda found: f'"{names[found[1]]}"', text_format.MessageToString(document))
    document = text_format.Parse(told, saved_model_pb2.SavedModel())
    document.meta_graphs[0].graph_def.library.function.sort(key=lambda function: function.signature.name)
    path.write_bytes(document.SerializeToString(deterministic=True))
    (folder / "fingerprint.pb").unlink()
