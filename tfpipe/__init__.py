"""From labelled data to an honest, verified classifier in the browser."""

import os

__version__ = "0.1.0"

# TensorFlow reads this when it is imported, and has oneDNN off where a processor lacks AVX-512's VNNI; there a
# MobileNetV2 1.0 at 224 px trains half as fast without it. Set here, so that every way in has the same kernels.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
