"""Tokenizers from folders: as `tokenizers` keeps them, or as RoBERTa's, XLM-R's and BERT's older files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from sentencepiece.sentencepiece_model_pb2 import ModelProto, TrainerSpec
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import TextInput

PAD_NAMES = ("<pad>", "[PAD]")
"""Where no file of the folder says which token stands for none."""
EVERY_LETTER = " ".join(chr(code) for code in range(0x20, 0x3000))
"""Of the alphabets; a tokenizer that does not survive these is damaged."""
SENTENCE_PIECES = "sentencepiece.bpe.model"
"""XLM-R's file, which in spite of its name holds a unigram model."""


def read_text_input(folder: Path, max_length: int) -> TextInput:
    """What a model with this folder's tokenizer reads.

    Args:
        folder: with `tokenizer.json`, or `vocab.json` and `merges.txt`, or `sentencepiece.bpe.model`, or `vocab.txt`.
        max_length: in sub-words, special ones included.

    Raises:
        ConfigError: when there is no tokenizer, or none that can be read.
    """
    tokenizer = _read(folder)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    found = [tokenizer.token_to_id(name) for name in _iter_pad_names(folder)]
    known = [number for number in found if number is not None]
    if not known:
        raise ConfigError(f"{folder}: its tokenizer has no token for padding, such as {PAD_NAMES[0]}.")
    return TextInput(max_length, known[0], tokenizer.to_str())


def vocabulary_size(text_input: TextInput) -> int:
    """Ids that a tokenizer may give, special ones included."""
    return int(Tokenizer.from_str(text_input.tokenizer).get_vocab_size())


def _read(folder: Path) -> Any:
    readers = {
        ("tokenizer.json",): lambda: Tokenizer.from_file(str(folder / "tokenizer.json")),
        ("vocab.json", "merges.txt"): lambda: _roberta(folder),
        (SENTENCE_PIECES,): lambda: _xlm_roberta(folder),
        ("vocab.txt",): lambda: _bert(folder),
    }
    for names, read in readers.items():
        if all((folder / name).is_file() for name in names):
            try:
                tokenizer = read()
                tokenizer.encode(EVERY_LETTER)
                return tokenizer
            except (KeyboardInterrupt, SystemExit):
                raise
            # A damaged table of letters ends in pyo3's PanicException, which is no Exception.
            except BaseException as error:  # noqa: BLE001 - the package raises bare exceptions
                told = " ".join(str(error).split())[:160]
                raise ConfigError(f"{folder / names[0]}: no tokenizer can be read from it ({told}).") from None
    raise ConfigError(f"{folder} has no tokenizer: expected {', or '.join(' and '.join(names) for names in readers)}.")


def _roberta(folder: Path) -> Any:
    """Byte-level BPE (Radford 2019), as RoBERTa's: case and blanks count, nothing is unknown."""
    model = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end, beginning = _marks(tokenizer, "</s>", "<s>")
    tokenizer.post_processor = processors.RobertaProcessing(end, beginning, add_prefix_space=False)
    plain = [AddedToken(name, normalized=True, special=True) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    tokenizer.add_special_tokens([*plain, AddedToken("<mask>", lstrip=True, special=True)])
    return tokenizer


def _xlm_roberta(folder: Path) -> Any:
    """Unigram pieces (Kudo 2018) of SentencePiece, as XLM-R's: the first have fairseq's ids, the rest one more."""
    proto = ModelProto()
    try:
        proto.ParseFromString((folder / SENTENCE_PIECES).read_bytes())
    except DecodeError:
        raise ValueError("it is no model of SentencePiece") from None
    unknown, control = ModelProto.SentencePiece.UNKNOWN, ModelProto.SentencePiece.CONTROL
    first = [piece.type for piece in proto.pieces[:3]]
    if first != [unknown, control, control] or proto.trainer_spec.model_type != TrainerSpec.UNIGRAM:
        raise ValueError("it is no unigram model that begins with <unk>, <s> and </s>")
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [(piece.piece, piece.score) for piece in proto.pieces[3:]]
    tokenizer = Tokenizer(models.Unigram([*((name, 0.0) for name in special), *pieces, ("<mask>", 0.0)], unk_id=3))
    charsmap = proto.normalizer_spec.precompiled_charsmap
    blanks = [normalizers.Replace(Regex(" +$"), ""), normalizers.Replace(Regex(" {2,}"), "▁")]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap), *blanks] if charsmap else blanks)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.add_special_tokens([*special, AddedToken("<mask>", lstrip=True, special=True)])
    return tokenizer


def _bert(folder: Path) -> Any:
    """WordPiece (Devlin 2018), as BERT's: cleaned, and without case and accents where the folder says so."""
    settings = _settings(folder, "tokenizer_config.json")
    tokenizer = Tokenizer(models.WordPiece.from_file(str(folder / "vocab.txt"), unk_token="[UNK]"))  # noqa: S106 - a token of language
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(*_marks(tokenizer, "[SEP]", "[CLS]"))
    tokenizer.add_special_tokens(["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"])
    return tokenizer


def _marks(tokenizer: Any, *names: str) -> list[tuple[str, int]]:
    """Tokens with their ids.

    Raises:
        ValueError: when one is none.
    """
    ids = [tokenizer.token_to_id(name) for name in names]
    if None in ids:
        raise ValueError(f"no {names[ids.index(None)]} among its tokens")
    return list(zip(names, ids, strict=True))


def _iter_pad_names(folder: Path) -> Iterator[str]:
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        token = _settings(folder, name).get("pad_token")
        found = token.get("content") if isinstance(token, dict) else token
        if isinstance(found, str):
            yield found
    yield from PAD_NAMES


def _settings(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        return {}
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ConfigError(f"{path} is no JSON.") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path} is no object of settings.")
    return document
