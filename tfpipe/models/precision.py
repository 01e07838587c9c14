"""Networks in another precision."""

from typing import Any

import keras


def as_float32(network: keras.Model) -> keras.Model:
    """The same network and weights with all arithmetic in float32, as TensorFlow.js needs it.

    One that has it already is returned as it is.
    """
    config = keras.saving.serialize_keras_object(network)
    if _in_float32(config) == config:
        return network
    # Layers without a policy of their own would take the global one.
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        plain = keras.saving.deserialize_keras_object(_in_float32(config))
    finally:
        keras.config.set_dtype_policy(before)
    plain.set_weights(network.get_weights())
    return plain


def _in_float32(config: Any) -> Any:
    """A serialised network with each policy of mixed precision replaced."""
    if isinstance(config, list | tuple):
        return type(config)(_in_float32(part) for part in config)
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        return config | {"config": config["config"] | {"name": "float32"}}
    return {key: _in_float32(part) for key, part in config.items()}
