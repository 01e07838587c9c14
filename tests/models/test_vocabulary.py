"""Tokenizers with fewer sub-words: what is kept means what it meant, and what is not falls into pieces."""

import json

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import TextInput
from tfpipe.models.vocabulary import cut_vocabulary, rows_of

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = [
    *("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]"),
    *"abcdeilnor",
    *(f"##{letter}" for letter in "abcdeilnor"),
    *("é", "and", "dance", "cinder", "candle", "a", "##ance", "bread", "rice"),
]
TEXTS = ["dance and dance", "bread and rice", "dance é"]


def make_input(*, template: bool) -> TextInput:
    """As BERT's, with its marks told in either way."""
    names = list(dict.fromkeys(VOCABULARY))
    tokenizer = Tokenizer(models.WordPiece({name: n for n, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    marks = [(name, names.index(name)) for name in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = (
        processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
        if template
        else processors.BertProcessing(*marks)
    )
    return TextInput(16, 0, tokenizer.to_str())


@pytest.mark.parametrize("template", [False, True])
def test_texts_of_kept_sub_words_are_read_as_before(template: bool) -> None:
    whole = make_input(template=template)
    cut = cut_vocabulary(whole, TEXTS, 30)
    before, after = (Tokenizer.from_str(one.tokenizer) for one in (whole, cut))
    assert after.get_vocab_size() == 30
    for text in (*TEXTS, "and bread [MASK] dance"):
        assert after.encode(text).tokens == before.encode(text).tokens
    rows = rows_of(cut, whole)
    found = [rows[number] for number in after.encode(TEXTS[0]).ids]
    assert found == before.encode(TEXTS[0]).ids


def test_the_most_frequent_stay_and_rare_words_are_spelled() -> None:
    whole = make_input(template=False)
    cut = Tokenizer.from_str(cut_vocabulary(whole, TEXTS, 27).tokenizer)
    kept = set(cut.get_vocab())
    assert set(SPECIAL) <= kept
    assert {"dance", "and"} <= kept
    assert kept.isdisjoint({"candle", "cinder", "[unused0]"})
    assert cut.encode("cinder", add_special_tokens=False).tokens == ["c", "##i", "##n", "##d", "##e", "##r"]
    assert cut.encode("ôô", add_special_tokens=False).tokens == ["[UNK]"]


def test_room_that_texts_leave_goes_to_others_but_never_to_unused_ones() -> None:
    whole = make_input(template=False)
    everything = Tokenizer.from_str(cut_vocabulary(whole, [], 1000).tokenizer).get_vocab()
    assert set(everything) == {name for name in VOCABULARY if not name.startswith("[unused")}
    assert cut_vocabulary(whole, [], 1000).pad_id == everything["[PAD]"]


def test_tokens_beyond_the_vocabulary_stay() -> None:
    whole = make_input(template=False)
    tokenizer = Tokenizer.from_str(whole.tokenizer)
    tokenizer.add_special_tokens(["[NAME]"])
    cut = Tokenizer.from_str(cut_vocabulary(TextInput(16, 0, tokenizer.to_str()), TEXTS, 30).tokenizer)
    assert cut.encode("and [NAME]").tokens == ["[CLS]", "and", "[NAME]", "[SEP]"]


def test_a_tokenizer_without_marks_is_not_cut() -> None:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]"))
    with pytest.raises(ConfigError, match="no marks for the beginning and end"):
        cut_vocabulary(TextInput(8, 1, tokenizer.to_str()), [], 100)


def test_sub_words_that_are_made_of_each_other_are_not_cut() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    with pytest.raises(ConfigError, match=r"model\.vocabulary_size: the tokenizer is BPE"):
        cut_vocabulary(TextInput(8, 0, json.dumps(json.loads(tokenizer.to_str()))), [], 100)
