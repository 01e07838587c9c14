"""Models that mean no good: `.keras` and `.h5` files from strangers run nothing, read nothing, and are refused."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import hostile, refusal

from tfpipe.core.inputs import ImageInput
from tfpipe.models.pretrained import read_file
from tfpipe.models.saving import CARD, Card, load_model, save_model


class Members(dict[str, bytes]):
    """Files by name; shown in short, since hypothesis writes down what it was given."""

    def __repr__(self) -> str:
        return f"Members({', '.join(self)})"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """A small model of ours, member by member."""
    path = tmp_path_factory.mktemp("good") / "good.keras"
    inputs = keras.Input((8, 8, 3))
    hidden = keras.layers.Dense(3, activation="relu")(keras.layers.Flatten()(inputs))
    network = keras.Model(inputs, keras.layers.Dense(2, name="logits")(hidden))
    save_model(network, Card("mobilenetv2", ["a", "b"], ImageInput(8), [2, 3]), path)
    with zipfile.ZipFile(path) as archive:
        return Members((name, archive.read(name)) for name in archive.namelist())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("models")
        patch.chdir(folder)
        yield folder / "model.keras"
        assert not list(folder.glob("**/pwned*"))
        assert not list(folder.parent.glob("pwned*"))


def write(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def no_to(path: Path) -> str | None:
    return refusal(lambda: load_model(path), path.name)


def replaced(value: Any, at: float, by: Any) -> Any:
    """A JSON value with one of its parts, counted through, replaced."""
    places = list(_places(value))
    holder, key = places[int(at * (len(places) - 1))]
    holder[key] = by
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(part, dict | list):
            yield from _places(part)


def layer(name: str, module: str = "keras.layers", registered: str | None = None, **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": config, "registered_name": registered}


JUNK = st.sampled_from(
    [
        *(None, True, -1, 0, 10**30, 1e308, "", "x", "../../x", [], {}, [[]], {"class_name": "Dense", "config": None}),
        *(layer("Lambda", function="touch pwned"), layer("TFSMLayer", filepath="/tmp"), layer("Dense", units=10**12)),
        *(layer("system", "os"), layer("call", "subprocess"), layer("Dense", registered="keras_hub>BertTokenizer")),
        *(layer("function", "builtins"), layer("get_file", "keras.utils", origin="file:///etc/passwd", fname="pwned")),
        *(layer("StringLookup", vocabulary="/etc/passwd"), layer("__lambda__", "builtins", value="4wEA")),
        *("keras.config.enable_unsafe_deserialization", "linear", "os.system", float("nan")),
    ]
)


@given(st.sampled_from(["config.json", CARD, "metadata.json"]), st.floats(0, 1), JUNK)
@hostile(60)
def test_no_value_in_a_file_is_more_than_a_sentence(
    good: Members, place: Path, name: str, at: float, junk: Any
) -> None:
    changed = json.dumps(replaced(json.loads(good[name]), at, junk)).encode()
    no_to(write(place, good | {name: changed}))


@given(st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=8), st.integers(0, 99)), min_size=1, max_size=4))
@hostile(40)
def test_no_damage_is_more_than_a_sentence(good: Members, place: Path, changes: list[tuple[float, bytes, int]]) -> None:
    """Of what stands around the weights; of HDF5's own bytes, its library must take care."""
    content = bytearray(write(place, good).read_bytes())
    begin = content.index(b"\x89HDF")
    end = begin + len(good["model.weights.h5"])
    before, weights, after = bytes(content[:begin]), bytes(content[begin:end]), bytes(content[end:])
    for share, put, cut in changes:
        if share < 0.5:
            at = int(2 * share * len(before))
            before = before[:at] + put + before[at + cut :]
        else:
            at = int((2 * share - 1) * len(after))
            after = after[:at] + put + after[at + cut :]
    place.write_bytes(before + weights + after)
    no_to(place)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_file_cut_off_is_refused(good: Members, place: Path, share: float) -> None:
    content = write(place, good).read_bytes()
    place.write_bytes(content[: int(share * len(content))])
    assert no_to(place)


@pytest.mark.parametrize(
    "name", ["../pwned.txt", "/tmp/pwned.txt", "assets/pwned.txt", "pwned.py", "model.weights.npz"]
)
def test_members_that_belong_to_no_model_are_refused(good: Members, place: Path, name: str) -> None:
    assert "belongs to no model" in (no_to(write(place, good | {name: b"x"})) or "")


def test_what_unpacks_is_refused(good: Members, place: Path) -> None:
    bomb = good | {"metadata.json": b" " * 10**8}
    assert "packed" in (no_to(write(place, bomb, zipfile.ZIP_DEFLATED)) or "")


@pytest.mark.parametrize(
    "stranger",
    [
        layer("Lambda", function={"class_name": "__lambda__", "config": {"value": "4wEA"}}),
        layer("TFSMLayer", filepath="saved_model"),
        layer("StringLookup", vocabulary="/etc/passwd"),
        layer("TextVectorization", vocabulary="/etc/passwd"),
        layer("TorchModuleWrapper", module="gASV"),
        layer("BertTokenizer", "keras_hub.src.models.bert.bert_tokenizer", vocabulary="/etc/passwd"),
        layer("Dense", registered="keras_hub>BertTokenizer", vocabulary="/etc/passwd"),
        layer("system", "os", command="touch pwned"),
        layer("Mine", "pwned", None),
        layer("Mine", "keras.layers", "mine>Mine"),
    ],
    ids=lambda stranger: stranger["class_name"],
)
def test_layers_that_do_more_than_compute_are_refused(good: Members, place: Path, stranger: dict[str, Any]) -> None:
    config = json.loads(good["config.json"])
    dense = next(part for part in config["config"]["layers"] if part["class_name"] == "Dense")
    dense |= stranger
    said = no_to(write(place, good | {"config.json": json.dumps(config).encode()})) or ""
    assert "which can read files or run code" in said or "which is no network's" in said
    place.rename(place.with_name("backbone.keras"))
    backbone = place.with_name("backbone.keras")
    assert "run code" in said or "no network's" in (refusal(lambda: read_file(backbone, keras.Model, "x"), "x") or "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"classes": ["a"]}, "names 1 classes, and its outputs are (None, 2)"),
        ({"classes": "ab"}, "valid list"),
        ({"classes": [1, 2]}, "valid string"),
        ({"train_counts": "x"}, "valid list"),
        ({"model_input": {}}, "image_size"),
        ({"model_input": {"image_size": 10**9, "mean": [0, 0, 0], "scale": [1, 1, 1]}}, "images of 1000000000 pixels"),
        ({"model_input": {"image_size": 8, "mean": [0, 0, 0], "scale": [1, 0, 1]}}, "/ (1.0, 0.0, 1.0)"),
        ({"model_input": {"tokenizer": "{}", "max_length": 8, "pad_id": 0}}, "not a model that tfpipe wrote"),
    ],
)
def test_a_card_that_lies_is_refused(good: Members, place: Path, change: dict[str, Any], why: str) -> None:
    card = json.loads(good[CARD]) | change
    assert why in (no_to(write(place, good | {CARD: json.dumps(card).encode()})) or "")


# Files of bare weights


def test_weights_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(64))
    made = {
        "soft": lambda file: file.__setitem__("x", h5py.SoftLink("/y")),
        "elsewhere": lambda file: file.__setitem__("x", h5py.ExternalLink(str(tmp_path / "secret"), "/")),
        "external": lambda file: file.create_dataset("x", (16,), "f4", external=[(str(tmp_path / "secret"), 0, 64)]),
        "large": lambda file: file.create_dataset("x", (10**6, 10**6), "f4", chunks=True, compression="gzip"),
    }
    for name, make in made.items():
        path = tmp_path / f"{name}.weights.h5"
        with h5py.File(path, "w") as file:
            make(file)
        said = refusal(lambda path=path: read_file(path, keras.Model, "mobilenetv2"), path.name) or ""
        assert "is a link" in said or "lies in another file" in said or "would take" in said
