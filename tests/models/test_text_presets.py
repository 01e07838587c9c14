"""Encoders of KerasHub in our own layers: the same hidden states, the same ids."""

import io
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from tokenizers import Tokenizer

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import TextInput
from tfpipe.core.settings import DataSettings, ModelSettings
from tfpipe.models import build_model, input_of
from tfpipe.models.tokenizer import read_text_input

SIZES = {
    "num_layers": 2,
    "num_heads": 4,
    "hidden_dim": 32,
    "intermediate_dim": 48,
    "max_sequence_length": 24,
    "dropout": 0.0,
}
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "i",
    "feel",
    "so",
    "fine",
    "##ly",
    "a",
    "##b",
    "to",
    "##day",
    "!",
]
BYTES = sorted(chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324)))
MERGES = ["Ġ f", "e e", "Ġf ee", "Ġfee l"]
TEXTS = ["i feel so fine today!", "a b finely", "I feel  I FEEL", ""]
SENTENCES = [
    *TEXTS,
    "Heute war ein schöner Tag.",
    "Ａｌｌ　ｗｉｄｅ",
    "que día más triste… 😀😀",
    "сегодня я рад",
    "今日は楽しい",
]
KINDS: dict[str, Any] = {
    "roberta": keras_hub.models.RobertaBackbone,
    "xlm_roberta": keras_hub.models.XLMRobertaBackbone,
    "bert": keras_hub.models.BertBackbone,
    "distilbert": keras_hub.models.DistilBertBackbone,
}


def build_tokenizer(kind: str) -> Any:
    if kind == "roberta":
        names = ["<s>", "<pad>", "</s>", "<unk>", *BYTES, *(merge.replace(" ", "") for merge in MERGES), "<mask>"]
        return keras_hub.models.RobertaTokenizer({name: n for n, name in enumerate(names)}, MERGES)
    if kind == "xlm_roberta":
        return keras_hub.models.XLMRobertaTokenizer(train_pieces("unigram"))
    of_kind = {"bert": keras_hub.models.BertTokenizer, "distilbert": keras_hub.models.DistilBertTokenizer}
    return of_kind[kind](WORDS, lowercase=True)


def train_pieces(model_type: str) -> bytes:
    """A model as SentencePiece makes XLM-R's: the first three pieces are <unk>, <s> and </s>."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3),
        model_writer=written,
        vocab_size=110,
        model_type=model_type,
        normalization_rule_name="nmt_nfkc",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return written.getvalue()


def with_damaged_letters(model: bytes) -> bytes:
    """Whose table of letters points behind its own end."""
    proto = ModelProto.FromString(model)
    table = bytearray(proto.normalizer_spec.precompiled_charsmap)
    table[300:2000] = b"\x7f" * 1700
    proto.normalizer_spec.precompiled_charsmap = bytes(table)
    return proto.SerializeToString()


@pytest.fixture(scope="module", params=KINDS)
def preset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any, Any]:
    """Kind, folder, and the backbone and tokenizer that KerasHub wrote there."""
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    keras.utils.set_random_seed(1)
    tokenizer = build_tokenizer(kind)
    backbone = KINDS[kind](vocabulary_size=tokenizer.vocabulary_size(), **SIZES)
    rng = np.random.default_rng(0)
    backbone.set_weights([weight + rng.normal(0, 0.1, weight.shape) for weight in backbone.get_weights()])
    backbone.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return kind, folder, backbone, tokenizer


def build(kind: str, folder: Path, **settings: Any) -> tuple[keras.Model, TextInput]:
    model = ModelSettings(name=kind, weights=str(folder), **({"pooling": "mean"} | settings))
    text_input = input_of(model, DataSettings(max_length=16))
    assert isinstance(text_input, TextInput)
    network = build_model(
        model,
        num_classes=3,
        model_input=text_input,
        dropout=0.0,
        stochastic_depth=0.0,
        rematerialize=False,
        seed=0,
    )
    return network, text_input


def hidden_states(backbone: Any, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    inputs = {"token_ids": ids, "padding_mask": mask}
    if "segment_ids" in backbone.input:
        inputs["segment_ids"] = np.zeros_like(ids)
    found = backbone(inputs, training=False)
    return np.array(found["sequence_output"] if isinstance(found, dict) else found)


def test_hidden_states_are_those_of_keras_hub(preset: tuple[str, Path, Any, Any]) -> None:
    kind, folder, backbone, _ = preset
    network, text_input = build(kind, folder)
    ids = np.random.default_rng(2).integers(4, 15, (3, 12)).astype(np.int32)
    ids[1, 7:] = ids[2, 2:] = text_input.pad_id
    mask = (ids != text_input.pad_id).astype(np.int32)
    ours = keras.Model(network.input, network.get_layer("layer_1_norm").output)(ids, training=False)
    theirs = hidden_states(backbone, ids, mask)
    np.testing.assert_allclose(np.array(ours)[mask == 1], theirs[mask == 1], atol=1e-5)


def test_berts_pooler_is_taken_where_the_head_reads_the_first_token(preset: tuple[str, Path, Any, Any]) -> None:
    kind, folder, backbone, _ = preset
    network, _ = build(kind, folder, pooling="first")
    if kind != "bert":
        assert not hasattr(backbone, "pooled_dense")
        return
    ids = np.arange(5, 13, dtype=np.int32)[None]
    ours = keras.Model(network.input, network.get_layer("head_dense").output)(ids, training=False)
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)}
    np.testing.assert_allclose(np.array(ours), np.array(backbone(inputs)["pooled_output"]), atol=1e-5)


def test_ids_are_those_of_keras_hub(preset: tuple[str, Path, Any, Any]) -> None:
    kind, folder, _, judge = preset
    _, text_input = build(kind, folder)
    tokenizer = Tokenizer.from_str(text_input.tokenizer)
    for text in TEXTS:
        expected = [judge.start_token_id if "roberta" in kind else judge.cls_token_id, *np.array(judge(text)).tolist()]
        expected.append(judge.end_token_id if "roberta" in kind else judge.sep_token_id)
        assert tokenizer.encode(text).ids == expected
    assert text_input.pad_id == judge.pad_token_id


def test_pieces_are_those_of_sentencepiece(tmp_path: Path) -> None:
    model = train_pieces("unigram")
    (tmp_path / "sentencepiece.bpe.model").write_bytes(model)
    tokenizer = Tokenizer.from_str(read_text_input(tmp_path, 16).tokenizer)
    judge = sentencepiece.SentencePieceProcessor(model_proto=model)

    # "<" might begin the name of a special token, which only ours knows.
    @given(
        st.lists(st.text() | st.sampled_from(SENTENCES), max_size=4).map(lambda parts: " ".join(parts).replace("<", ""))
    )
    def check(text: str) -> None:
        expected = [number + 1 if number else 3 for number in judge.encode(text)]
        # Where two divisions of a text are as likely, rounding chooses.
        assert sorted(tokenizer.encode(text, add_special_tokens=False).ids) == sorted(expected)

    check()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xff\xff", "it is no model of SentencePiece"),
        (train_pieces("bpe"), "it is no unigram model"),
        (with_damaged_letters(train_pieces("unigram")), "out of bounds"),
    ],
)
def test_what_is_no_file_of_xlm_r_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "sentencepiece.bpe.model").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"sentencepiece.bpe.model: no tokenizer .*{told}"):
        read_text_input(tmp_path, 16)


def test_of_fewer_layers_the_first_are_taken(preset: tuple[str, Path, Any, Any]) -> None:
    kind, folder, _, _ = preset
    whole, _ = build(kind, folder)
    cut, _ = build(kind, folder, num_layers=1)
    ids = np.arange(5, 13, dtype=np.int32)[None]
    first = [keras.Model(one.input, one.get_layer("layer_0_norm").output)(ids, training=False) for one in (whole, cut)]
    np.testing.assert_array_equal(*map(np.array, first))
    assert "layer_1_norm" not in [layer.name for layer in cut.layers]


@pytest.mark.parametrize(
    ("name", "weights", "told"),
    [
        ("roberta", "roberta_bse_en", "no file, folder or preset of KerasHub for roberta; near are roberta_base_en"),
        ("xlm_roberta", "xlm_roberta_bas_multi", "near are xlm_roberta_base_multi"),
    ],
)
def test_presets_that_there_are_not_are_told(name: str, weights: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        build(name, Path(weights))


def test_a_preset_of_another_kind_is_told(preset: tuple[str, Path, Any, Any]) -> None:
    kind, folder, _, _ = preset
    other = {"roberta": "xlm_roberta", "xlm_roberta": "roberta", "bert": "distilbert", "distilbert": "bert"}[kind]
    with pytest.raises(ConfigError, match=r"does not fit|cannot be had"):
        build(other, folder)
