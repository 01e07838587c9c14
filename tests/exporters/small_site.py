"""What the page of a small student says of itself."""

import io

import numpy as np
from PIL import Image

from tfpipe.core.files import sha256_json
from tfpipe.core.inputs import ImageInput

SIZE = 32
CLASSES = ["Acer campestre", "Bellis perennis", "Crocus", "Digitalis", "Ähre <b>"]
SPEC = ImageInput(SIZE)
TEMPERATURE = 1.5
CALIBRATION = {
    "temperature": TEMPERATURE,
    "threshold": 0.6,
    "sets": {"level": 0.9, "quantile": 0.9, "of_class": {"1": 0.0}},
    "classes_sha256": sha256_json(CLASSES),
}


def make_jpeg(width: int = 75, height: int = 50) -> bytes:
    """A smooth picture with a bright corner, so that a wrong crop or a mirrored one would show."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows * 255 / height, columns * 255 / width, 255 * (rows + columns < 30)], axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()
