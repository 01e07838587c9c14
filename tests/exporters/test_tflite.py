"""TensorFlow Lite models against Keras."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpipe.exporters.saved_model import export_saved_model
from tfpipe.exporters.tflite import export_tflite

layers = keras.layers


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_it_answers_as_the_network_in_both_precisions(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    hidden = layers.Conv2D(64, 3, strides=2, activation="relu6")(inputs := keras.Input((16, 16, 3)))
    hidden = layers.Conv2D(128, 1)(layers.DepthwiseConv2D(3)(hidden))
    network = keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling2D()(hidden)))
    image = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    export_saved_model(network, tmp_path / "saved_model")
    sizes = {}
    for float16, tolerance in {False: 1e-6, True: 1e-3}.items():
        path = tmp_path / f"{float16}.tflite"
        export_tflite(tmp_path / "saved_model", path, float16=float16)
        runner = tf.lite.Interpreter(str(path)).get_signature_runner()
        (answer,) = runner(**dict.fromkeys(runner.get_input_details(), image)).values()
        np.testing.assert_allclose(answer, network(image), atol=tolerance)
        sizes[float16] = path.stat().st_size
    assert sizes[False] - sizes[True] == pytest.approx(2 * network.count_params(), rel=0.1)
