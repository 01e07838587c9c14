"""A data set in TFDS format, by its name; downloaded only where it is not there yet, and TFDS knows from where."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfpipe.core.errors import ConfigError, DataError
from tfpipe.core.progress import say
from tfpipe.core.settings import SnapshotSettings
from tfpipe.data.rows import Row
from tfpipe.data.sources.documents import RowReader

ADDRESS = re.compile(r"tfds://(\w+(?:/[\w.-]+)?(?::[\w.*]+)?)")
"""`tfds://name`, `tfds://name/config`, `tfds://name:1.0.0`."""
SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"GI": ".gif", b"RI": ".webp", b"BM": ".bmp"}
"""By an image's first two bytes."""
FILES_PER_FOLDER = 1000


@dataclass(frozen=True)
class Names:
    """Features that make a row; there is an image or a text, the other is empty."""

    label: str
    image: str
    text: str


def iter_rows(settings: SnapshotSettings, *, images_dir: Path, seed: int) -> Iterator[Row]:
    """One row per labelled example of every split; images, as they are stored, go below `images_dir`.

    The id is `train/000123`: the split, and the place in it. Label, image and text are the features
    of that kind, or those that `snapshot.fields` names (the image as `path`); plain values ride along.

    Raises:
        DataError: when the data set is not to be had, or it is not clear what is label, image or text.
    """
    builder = _builder(settings)
    names = _names(builder.info.features, settings)
    others = {field: name for field, name in settings.fields.items() if field not in ("label", "path", "text")}
    reader = RowReader(settings.model_copy(update={"fields": others}))
    for place, example in _iter_examples(builder, names):
        document = _plain(example, builder.info.features)
        label = document.pop(names.label)
        if label is None:
            continue
        document |= {"label": label} if "id" in others else {"label": label, "id": place}
        if names.image:
            document["path"] = _write_image(example[names.image], images_dir, place).as_posix()
        else:
            document["text"] = document.pop(names.text)
        yield reader.read(document, f"{settings.source}: example {place}")


def _builder(settings: SnapshotSettings) -> Any:
    import tensorflow_datasets as tfds

    address = ADDRESS.fullmatch(settings.source)
    if not address:
        raise ConfigError(f"snapshot.source: {settings.source}: expected tfds://name, /config and :version if need be.")
    try:
        builder = tfds.builder(address[1], data_dir=settings.path)
        if not builder.is_prepared():
            say(f"  {settings.source} is not in {builder.data_path}: downloading it")
            builder.download_and_prepare()
    except Exception as error:  # noqa: BLE001 - each data set downloads and unpacks in ways of its own
        where, reason = settings.path or "TFDS's data folder", str(error).strip().splitlines()[0]
        raise DataError(f"{settings.source}: neither in {where} nor to be downloaded ({reason}).") from None
    return builder


def _names(features: Mapping[str, Any], settings: SnapshotSettings) -> Names:
    import tensorflow_datasets as tfds

    def find(kind: type, usual: str) -> str:
        names = [name for name, feature in features.items() if type(feature) is kind]
        return names[0] if len(names) == 1 else usual if usual in names else ""

    label = settings.fields.get("label") or find(tfds.features.ClassLabel, "label")
    image = settings.fields.get("path") or find(tfds.features.Image, "image")
    # Beside an image, texts are its file's name, its author…
    text = "" if image else settings.fields.get("text") or find(tfds.features.Text, "text")
    if label not in features or (image or text) not in features:
        told = ", ".join(f"`{name}` ({type(feature).__name__})" for name, feature in features.items())
        raise DataError(
            f"{settings.source}: name one label and one image or text in `snapshot.fields`, such as "
            f"`label: …` and `path: …`; the features are {told}."
        )
    return Names(label, image, text)


def _iter_examples(builder: Any, names: Names) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each example with its place; images as the bytes that are stored."""
    import tensorflow_datasets as tfds

    decoders = {names.image: tfds.decode.SkipDecoding()} if names.image else None
    # One file after the other, so that an example has the same place in every run.
    read_config = tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1)
    for split in sorted(builder.info.splits):
        ds = builder.as_dataset(split=split, shuffle_files=False, decoders=decoders, read_config=read_config)
        for number, example in enumerate(tfds.as_numpy(ds)):
            yield f"{split}/{number:06d}", example


def _plain(example: dict[str, Any], features: Mapping[str, Any]) -> dict[str, Any]:
    """The example's numbers, texts and class names, without images and lists."""
    values: dict[str, Any] = {}
    for name, value in example.items():
        feature = features[name]
        if isinstance(value, dict):
            values[name] = _plain(value, feature)
        elif hasattr(feature, "int2str"):
            # TFDS has -1 for an example without a label.
            values[name] = feature.int2str(int(value)) if value >= 0 else None
        elif getattr(feature, "shape", None) == ():
            values[name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value.item()
    return values


def _write_image(content: bytes, images_dir: Path, place: str) -> Path:
    split, number = place.split("/")
    folder = images_dir / split / f"{int(number) // FILES_PER_FOLDER:04d}"
    path = folder / f"{number}{SUFFIXES.get(content[:2], '')}"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
