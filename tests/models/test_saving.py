"""What `load_model` says of files that it did not write."""

import zipfile
from pathlib import Path

import keras
import pytest

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import ImageInput, input_from_json
from tfpipe.models.saving import CARD, Card, load_model, save_model

CARD_OF_TWO = Card("mobilenetv2", ["Acer", "Bellis"], ImageInput(32), [2, 3])


def make_network() -> keras.Model:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])


def test_a_model_of_someone_else_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "theirs.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)
    with pytest.raises(ConfigError, match=r"theirs\.keras: not a model that tfpipe wrote .*`best\.keras` of a run"):
        load_model(path)


@pytest.mark.parametrize("content", [b"", b"no zip file at all"], ids=["empty", "text"])
def test_a_file_that_is_no_model_is_refused_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.keras"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.keras: not a model that tfpipe wrote"):
        load_model(path)


def test_a_model_cut_off_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "cut.keras"
    save_model(make_network(), CARD_OF_TWO, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ConfigError, match=r"cut\.keras: not a model that tfpipe wrote"):
        load_model(path)


def test_a_card_that_lacks_something_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "old.keras"
    save_model(make_network(), CARD_OF_TWO, tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "new.keras") as new, zipfile.ZipFile(path, "w") as old:
        for name in new.namelist():
            old.writestr(name, '{"name": "mobilenetv2"}' if name == CARD else new.read(name))
    with pytest.raises(ConfigError, match=r"old\.keras: not a model that tfpipe wrote"):
        load_model(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.keras: no such model file"):
        load_model(tmp_path / "nowhere.keras")


def test_a_card_survives_json() -> None:
    card = Card("vit_micro_patch8_32", ["a", "é"], ImageInput(32, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), [2, 0])
    document = card.to_json()
    assert document["classes"] == ["a", "é"]
    assert input_from_json(document["model_input"]) == card.model_input
