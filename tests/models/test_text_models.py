"""Text classifiers beside transformers': the same texts, ids, probabilities, and folders that either reads."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import TextInput
from tfpipe.core.settings import DataSettings, ModelSettings
from tfpipe.data.tokens import build_encode_array
from tfpipe.models import build_model, input_of
from tfpipe.models.saving import Card, load_model, save_model
from tfpipe.models.text_folder import write_folder
from tfpipe.models.tokenizer import read_text_input
from tfpipe.models.vocabulary import cut_vocabulary, rows_of

torch = pytest.importorskip("torch", reason="needs the extra `judge`")
transformers = pytest.importorskip("transformers", reason="needs the extra `judge`")

EMOTIONS = ["joy", "sadness", "fear", "anger", "love", "surprise"]
TEXTS = ["i feel strange", "", "a", "Ünïcödé  and\tblanks\n", "😀 don't! 12,5 % " * 3, "word " * 60]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "i", "feel", "strange", "a", "word", "##s", "don", "'", "t", "!"]

SIZES = {"vocab_size": 60, "max_position_embeddings": 48}
BERT = SIZES | {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 72}
DISTILBERT = SIZES | {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 72, "activation": "gelu_new"}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta": ("Roberta", BERT | {"type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-3}),
    "xlm_roberta": ("XLMRoberta", BERT | {"type_vocab_size": 1, "pad_token_id": 1}),
    "bert": ("Bert", BERT | {"layer_norm_eps": 1e-3}),
    "distilbert": ("DistilBert", DISTILBERT),
}
"""Name in the settings → class and config in transformers."""


@pytest.fixture(scope="module", params=KINDS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any]:
    """A classifier of transformers with lively weights, and its folder with a small tokenizer."""
    folder = tmp_path_factory.mktemp(request.param)
    family, config = KINDS[request.param]
    labels = {"id2label": dict(enumerate(EMOTIONS)), "label2id": {name: n for n, name in enumerate(EMOTIONS)}}
    torch.manual_seed(0)
    network = getattr(transformers, f"{family}ForSequenceClassification")(
        getattr(transformers, f"{family}Config")(**config, **labels)
    ).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    # Both vocabularies have fewer words than the networks have rows.
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    return request.param, folder, network


def build(name: str, folder: Path, classes: list[str], **settings: Any) -> tuple[keras.Model, TextInput]:
    model = ModelSettings(name=name, weights=str(folder), **settings)
    text_input = input_of(model, DataSettings(max_length=40))
    network = build_model(
        model,
        num_classes=len(classes),
        model_input=text_input,
        dropout=0.1,
        stochastic_depth=0.0,
        rematerialize=False,
        seed=1,
        classes=classes,
    )
    assert isinstance(text_input, TextInput)
    return network, text_input


def probs_of(network: Any, ids: np.ndarray, pad_id: int) -> np.ndarray:
    mask = torch.tensor(ids != pad_id)
    with torch.no_grad():
        logits = network(torch.tensor(ids, dtype=torch.int64), attention_mask=mask.long()).logits
    return torch.softmax(logits, -1).numpy()


def padded_ids(pad_id: int) -> np.ndarray:
    ids = np.random.default_rng(0).integers(5, 15, (4, 16)).astype(np.int32)
    for row, length in enumerate((16, 9, 3, 1)):
        ids[row, length:] = pad_id
    return ids


def pad_of(network: Any, kind: str) -> int:
    return 1 if "roberta" in kind else 0


def test_probabilities_are_those_of_transformers(written: tuple[str, Path, Any]) -> None:
    kind, folder, judge = written
    pad_id = pad_of(judge, kind)
    folder_with_pad(folder, kind)
    network, text_input = build(kind, folder, EMOTIONS)
    assert text_input.pad_id == pad_id
    ids = padded_ids(pad_id)
    ours = keras.ops.softmax(network(ids, training=False)).numpy()
    np.testing.assert_allclose(ours, probs_of(judge, ids, pad_id), atol=1e-5)


def folder_with_pad(folder: Path, kind: str) -> None:
    """RoBERTa's padding is its second word."""
    words = list(WORDS)
    if "roberta" in kind:
        words[0], words[1] = words[1], words[0]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")


def test_of_fewer_layers_and_sub_words_the_network_is_that_of_transformers_cut_short(
    written: tuple[str, Path, Any],
) -> None:
    kind, folder, whole = written
    judge = copy.deepcopy(whole)
    base = getattr(judge, judge.base_model_prefix)
    stack = base.transformer if kind == "distilbert" else base.encoder
    stack.layer = stack.layer[:2]
    folder_with_pad(folder, kind)
    settings = ModelSettings(name=kind, weights=str(folder), num_layers=2, vocabulary_size=12)
    text_input = input_of(settings, DataSettings(max_length=20))
    assert isinstance(text_input, TextInput)
    cut = cut_vocabulary(text_input, ["a word"], 12)
    network = build_model(
        settings,
        num_classes=len(EMOTIONS),
        model_input=cut,
        dropout=0.1,
        stochastic_depth=0.0,
        rematerialize=False,
        seed=1,
        classes=EMOTIONS,
    )
    assert network.get_layer("token_embedding").get_weights()[0].shape == (12, 32)
    ids = np.minimum(padded_ids(cut.pad_id), 11)
    rows = np.array(rows_of(cut, text_input))
    ours = keras.ops.softmax(network(ids, training=False)).numpy()
    np.testing.assert_allclose(ours, probs_of(judge, rows[ids], pad_of(judge, kind)), atol=1e-5)


def test_classes_in_another_order_take_their_own_weights(written: tuple[str, Path, Any]) -> None:
    kind, folder, judge = written
    folder_with_pad(folder, kind)
    order = [3, 0, 5, 1, 4, 2]
    network, _ = build(kind, folder, [EMOTIONS[number] for number in order])
    ids = padded_ids(pad_of(judge, kind))
    ours = keras.ops.softmax(network(ids, training=False)).numpy()
    np.testing.assert_allclose(ours, probs_of(judge, ids, pad_of(judge, kind))[:, order], atol=1e-5)


def test_other_classes_get_a_fresh_head(written: tuple[str, Path, Any]) -> None:
    kind, folder, _ = written
    folder_with_pad(folder, kind)
    network, _ = build(kind, folder, ["good", "bad"])
    assert network.output_shape == (None, 2)
    kernel, bias = network.get_layer("logits").get_weights()
    assert abs(kernel).max() < 0.05  # drawn, not the lively one of the folder
    assert not bias.any()


def test_a_folder_that_we_wrote_is_read_by_transformers(written: tuple[str, Path, Any], tmp_path: Path) -> None:
    kind, folder, judge = written
    folder_with_pad(folder, kind)
    network, text_input = build(kind, folder, EMOTIONS)
    write_folder(
        network,
        tmp_path,
        kind=kind.replace("_", "-"),
        classes=EMOTIONS,
        text_input=text_input,
    )
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = padded_ids(text_input.pad_id)
    np.testing.assert_allclose(
        probs_of(again, ids, text_input.pad_id), probs_of(judge, ids, text_input.pad_id), atol=1e-5
    )
    assert [again.config.id2label[number] for number in range(6)] == EMOTIONS


def test_a_saved_classifier_brings_its_tokenizer(written: tuple[str, Path, Any], tmp_path: Path) -> None:
    kind, folder, _ = written
    folder_with_pad(folder, kind)
    network, text_input = build(kind, folder, EMOTIONS, pooling="mean")
    save_model(network, Card(kind, EMOTIONS, text_input, [1] * 6), tmp_path / "model.keras")
    loaded, card = load_model(tmp_path / "model.keras")
    assert card.model_input == text_input
    ids = build_encode_array(text_input)(np.array([b"i feel strange", b"a word"]))
    np.testing.assert_array_equal(loaded(ids, training=False), network(ids, training=False))


def test_padding_changes_nothing(written: tuple[str, Path, Any]) -> None:
    kind, folder, _ = written
    folder_with_pad(folder, kind)
    for pooling in ("first", "mean"):
        network, text_input = build(kind, folder, EMOTIONS, pooling=pooling)
        ids = padded_ids(text_input.pad_id)
        longer = np.pad(ids, ((0, 0), (0, 12)), constant_values=text_input.pad_id)
        np.testing.assert_allclose(network(longer, training=False), network(ids, training=False), atol=1e-5)


def test_ids_are_those_of_transformers_on_real_and_strange_texts(shared: Path, tmp_path: Path) -> None:
    import csv

    folder = shared / "data" / "roberta-tokenizer"
    with (shared / "data" / "moodjournal" / "entradas.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["texto_diario"] for row in csv.DictReader(file)][:4000]
    texts += [strange(seed) for seed in range(1000)]
    judge = transformers.AutoTokenizer.from_pretrained(folder)
    expected = [judge(text, truncation=True, max_length=64)["input_ids"] for text in texts]
    for name in ("vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path)
    for source in (folder, tmp_path):
        text_input = read_text_input(source, 64)
        ids = build_encode_array(text_input)(np.array([text.encode() for text in texts], object))
        assert [row[row != text_input.pad_id].tolist() for row in ids] == expected


def strange(seed: int) -> str:
    """Letters of all scripts, blanks, control characters, accents that stand alone, emoji with joiners."""
    rng = np.random.default_rng(seed)
    ranges = [(32, 127), (0x80, 0x250), (0x300, 0x370), (0x400, 0x500), (0x600, 0x700), (0x4E00, 0x4F00), (0, 32)]
    ranges += [(0x2000, 0x2070), (0x1F300, 0x1F700), (0xE000, 0xE010), (0xFE00, 0xFE10), (0x1F1E6, 0x1F200)]
    picked = rng.integers(0, len(ranges), rng.integers(1, 200))
    return "".join(chr(rng.integers(*ranges[number])) for number in picked)


def test_what_is_wrong_with_a_folder_is_said_in_a_sentence(written: tuple[str, Path, Any], tmp_path: Path) -> None:
    kind, folder, _ = written
    folder_with_pad(folder, kind)

    def broken(name: str) -> Path:
        shutil.copytree(folder, tmp_path / name)
        return tmp_path / name

    with pytest.raises(ConfigError, match=rf"does not fit {kind}_base \(.* \(32, 3, 4\) there"):
        build(f"{kind}_base", folder, EMOTIONS)
    with pytest.raises(ConfigError, match=r"is no (file, folder or preset of KerasHub|folder of transformers)"):
        build(kind, tmp_path / "nowhere", EMOTIONS)
    (broken("bare") / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"has no model\.safetensors"):
        build(kind, tmp_path / "bare", EMOTIONS)
    (broken("mute") / "vocab.txt").unlink()
    with pytest.raises(ConfigError, match="has no tokenizer"):
        build(kind, tmp_path / "mute", EMOTIONS)
    (broken("wordy") / "vocab.txt").write_text("\n".join(WORDS + [f"w{n}" for n in range(90)]), encoding="utf-8")
    with pytest.raises(ConfigError, match="do not belong together"):
        build(kind, tmp_path / "wordy", EMOTIONS)
    whole = (broken("cut") / "model.safetensors").read_bytes()
    (tmp_path / "cut" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="cut off"):
        build(kind, tmp_path / "cut", EMOTIONS)
    config = json.loads((folder / "config.json").read_text())
    size = "dim" if kind == "distilbert" else "hidden_size"
    (broken("other") / "config.json").write_text(json.dumps(config | {size: 16}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"by its config\.json"):
        build(kind, tmp_path / "other", EMOTIONS)
    (broken("strange") / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}), encoding="utf-8")
    with pytest.raises(ConfigError, match="'gpt2'"):
        build(kind, tmp_path / "strange", EMOTIONS)
    with pytest.raises(ConfigError, match=r"data\.max_length: 40 is more than"):
        (broken("short") / "config.json").write_text(
            json.dumps(config | {"max_position_embeddings": 24}), encoding="utf-8"
        )
        build(kind, tmp_path / "short", EMOTIONS)
