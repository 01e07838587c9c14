"""What a model wants to see: one value that drives tf.data, `preprocessing.json` and the page."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from pydantic import TypeAdapter


@dataclass(frozen=True)
class ImageInput:
    """The centre square of a photo, resized to `size`, then `(value - mean) / scale` per channel.

    Values are 0..255 before; the resize is bilinear with antialiasing.
    """

    size: int
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    scale: tuple[float, float, float] = (127.5, 127.5, 127.5)

    dtype: ClassVar[str] = "float32"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one example."""
        return (self.size, self.size, 3)

    def to_json(self) -> dict[str, Any]:
        """As in `preprocessing.json`, with the two things that are the same for every model."""
        values = asdict(self)
        size = values.pop("size")
        return {"image_size": size, "crop": "center_square", "resize": "bilinear_antialias"} | values


@dataclass(frozen=True)
class TextInput:
    """The ids of a text's first `max_length` sub-words, special ones included; a batch is filled up with `pad_id`."""

    max_length: int
    pad_id: int
    tokenizer: str
    """The text of a `tokenizer.json`, as the package `tokenizers` reads it: it travels with the model."""

    dtype: ClassVar[str] = "int32"

    @property
    def shape(self) -> tuple[None]:
        """Of one example: as long as its batch."""
        return (None,)

    def to_json(self) -> dict[str, Any]:
        """As in `preprocessing.json`."""
        return asdict(self)


ModelInput = ImageInput | TextInput


def input_from_json(document: dict[str, Any]) -> ModelInput:
    """Reads what `to_json` wrote.

    Raises:
        KeyError: when it is of neither kind.
        ValueError: when a value is of another type, or makes no sense.
    """
    if "tokenizer" in document:
        text = _TEXTS.validate_python(document)
        if text.max_length < 1 or text.pad_id < 0:
            raise ValueError(f"a text of {text.max_length} sub-words, filled up with {text.pad_id}")
        return text
    image = _IMAGES.validate_python({name: document[key] for name, key in (("size", "image_size"), *_SAME)})
    if not 1 <= image.size <= LARGEST_SIZE or not all(map(math.isfinite, image.mean)) or not all(_are_scales(image)):
        raise ValueError(f"images of {image.size} pixels, (value - {image.mean}) / {image.scale}")
    return image


def _are_scales(image: ImageInput) -> Iterator[bool]:
    return (math.isfinite(scale) and scale != 0 for scale in image.scale)


LARGEST_SIZE = 2**14
"""Pixels of a side."""
_SAME = (("mean", "mean"), ("scale", "scale"))
_IMAGES, _TEXTS = TypeAdapter(ImageInput), TypeAdapter(TextInput)
