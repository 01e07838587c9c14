"""Folders of pretrained weights that mean no good: configs, safetensors and tokenizers end in a sentence."""

import json
import struct
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import hostile, refusal

from tfpipe.core.inputs import TextInput
from tfpipe.core.settings import DataSettings, ModelSettings
from tfpipe.models import build_model, input_of
from tfpipe.models.text_folder import write_folder

CLASSES = ["a", "b"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "i", "feel", "strange", "##s", "!"]
FILES = ("config.json", "model.safetensors", "tokenizer.json")


class Folder(dict[str, bytes]):
    """Files by name; shown in short, since hypothesis writes down what it was given."""

    def __repr__(self) -> str:
        return f"Folder({', '.join(self)})"

    def __or__(self, other: dict[str, bytes]) -> "Folder":  # type: ignore[override]
        return Folder(super().__or__(other))


def build(settings: ModelSettings) -> tuple[keras.Model, Any]:
    model_input = input_of(settings, DataSettings(max_length=8))
    network = build_model(
        settings,
        num_classes=len(CLASSES),
        model_input=model_input,
        dropout=0.0,
        stochastic_depth=0.0,
        rematerialize=False,
        seed=1,
    )
    return network, model_input


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A small encoder, as we write it for transformers."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    network, text_input = build(ModelSettings(name="bert_tiny", tokenizer=folder, num_layers=1))
    assert isinstance(text_input, TextInput)
    write_folder(network, folder, kind="bert", classes=CLASSES, text_input=text_input)
    return Folder((name, (folder / name).read_bytes()) for name in FILES)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folder")


def no_to(place: Path, files: dict[str, bytes], name: str = "bert") -> str | None:
    for file in place.iterdir():
        file.unlink()
    for file_name, content in files.items():
        (place / file_name).write_bytes(content)
    start = time.monotonic()
    said = refusal(lambda: build(ModelSettings(name=name, weights=str(place))), "model" if name == "vit_tiny" else "")
    assert time.monotonic() - start < 30
    return said


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every part of a JSON value: where it stands."""
    found = []
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        found.append((value, key))
        if isinstance(part, dict | list):
            found += places(part)
    return found


def changed(content: bytes, share: float, junk: Any) -> bytes:
    value = json.loads(content)
    found = places(value)
    holder, key = found[int(share * (len(found) - 1))]
    holder[key] = junk
    return json.dumps(value).encode()


def header_of(content: bytes) -> tuple[bytes, bytes]:
    """Of a safetensors file: its JSON, and the numbers."""
    (length,) = struct.unpack("<Q", content[:8])
    return content[8 : 8 + length], content[8 + length :]


def safetensors(header: bytes, numbers: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + numbers


JUNK = st.sampled_from(
    [
        *(None, True, -1, 0, 3, 10**9, 2**63, 10**30, 1e308, "", "x", "../../x", [], {}, [[]], [0, 10**12], [-1, 2]),
        *("BF16", "F8_E4M3", "I64", "F99", "gelu_new", "os.system", ["F32"], {"content": 1}, float("nan"), "\ud800"),
    ]
)


@given(st.sampled_from(["config.json", "tokenizer.json"]), st.floats(0, 1), JUNK)
@hostile(20)
def test_no_value_is_more_than_a_sentence(good: Folder, place: Path, name: str, share: float, junk: Any) -> None:
    no_to(place, good | {name: changed(good[name], share, junk)})


@given(st.floats(0, 1), JUNK)
@hostile(12)
def test_no_header_of_weights_is_more_than_a_sentence(good: Folder, place: Path, share: float, junk: Any) -> None:
    header, numbers = header_of(good["model.safetensors"])
    no_to(place, good | {"model.safetensors": safetensors(changed(header, share, junk), numbers)})


@given(
    st.sampled_from(FILES),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=8), st.integers(0, 50)), min_size=1, max_size=3),
)
@hostile(12)
def test_no_damage_is_more_than_a_sentence(
    good: Folder, place: Path, name: str, changes: list[tuple[float, bytes, int]]
) -> None:
    content = good[name]
    for share, put, cut in changes:
        at = int(share * len(content))
        content = content[:at] + put + content[at + cut :]
    no_to(place, good | {name: content})


def test_a_good_folder_is_read(good: Folder, place: Path) -> None:
    assert no_to(place, good) is None


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"config.json": b"[]"}, "does not describe a network"),
        ({"config.json": b"[" * 100_000}, "is no JSON"),
        ({"config.json": b'{"model_type": []}'}, "does not describe a network"),
        ({"model.safetensors": safetensors(b"{}", bytes(10**6), 2**62)}, "is no safetensors file"),
        ({"model.safetensors.index.json": b'{"weight_map": {"x": "../../x.safetensors"}}'}, "no file beside it"),
        ({"model.safetensors.index.json": b"[]"}, "does not fit bert"),
        ({"tokenizer.json": b"{}"}, "no tokenizer can be read"),
        ({"tokenizer.json": b"[" * 100_000}, "no tokenizer can be read"),
        ({"special_tokens_map.json": b"[]"}, "is no object of settings"),
        ({"special_tokens_map.json": b'{"pad_token": {"x": 1}}'}, ""),
    ],
    ids=["list", "deep", "kind", "length", "elsewhere", "index", "tokenizer", "deep tokenizer", "tokens", "no content"],
)
def test_what_is_wrong_is_said(good: Folder, place: Path, files: Folder, why: str) -> None:
    assert why in (no_to(place, good | files) or "")


SIZES = ("hidden_size", "vocab_size", "intermediate_size", "num_hidden_layers", "max_position_embeddings")


@pytest.mark.parametrize("key", SIZES)
def test_a_config_that_tells_of_more_than_there_is_takes_no_memory(good: Folder, place: Path, key: str) -> None:
    config = json.loads(good["config.json"]) | {key: 2**24}
    assert "of another network" in (no_to(place, good | {"config.json": json.dumps(config).encode()}) or "")


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"image_mean": 3}', b'{"rescale_factor": 0}', b"[" * 100_000])
def test_a_preprocessor_that_is_none_is_told(place: Path, content: bytes) -> None:
    config = b'{"model_type": "vit", "hidden_act": "gelu"}'
    said = no_to(place, {"config.json": config, "preprocessor_config.json": content}, "vit_tiny_patch16_224")
    assert "a preprocessor that cannot be read" in (said or "")


def test_numbers_that_numpy_has_not_are_told(good: Folder, place: Path) -> None:
    header, numbers = header_of(good["model.safetensors"])
    document = json.loads(header)
    name = next(name for name in document if name != "__metadata__")
    document[name] |= {"dtype": "F8_E4M3", "shape": [int(np.prod(document[name]["shape"])) * 4]}
    packed = safetensors(json.dumps(document).encode(), numbers)
    assert "is no safetensors file" in (no_to(place, good | {"model.safetensors": packed}) or "")
