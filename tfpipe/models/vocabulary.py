"""A tokenizer with fewer sub-words: those that training texts have most often (Abdaoui 2020)."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from tokenizers import Tokenizer

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import TextInput

BATCH = 1000
NEVER_USED = "[unused"
"""How BERT calls the sub-words that it left room for."""


def cut_vocabulary(text_input: TextInput, texts: Iterable[str], size: int) -> TextInput:
    """The same tokenizer with `size` sub-words at most; what it no longer knows falls into smaller pieces.

    Special ones stay; first come single ASCII characters, of which any English word can be spelled, then what the
    texts have most often, then others in the order of their ids. All keep their order.

    Args:
        text_input: whose tokenizer is WordPiece.
        texts: to count in.
        size: of the vocabulary.

    Raises:
        ConfigError: when the tokenizer is of another kind, or puts no marks around a text.
    """
    document = json.loads(text_input.tokenizer)
    if document["model"]["type"] != "WordPiece":
        raise ConfigError(
            f"model.vocabulary_size: the tokenizer is {document['model']['type']}, whose sub-words are made of each "
            "other; only WordPiece (BERT, DistilBERT) can be cut. Leave it out, or take such a tokenizer."
        )
    if not document["post_processor"]:
        raise ConfigError("model.vocabulary_size: the tokenizer has no marks for the beginning and end of a text.")
    added = {token["content"]: token["id"] for token in document["added_tokens"]}
    old: dict[str, int] = document["model"]["vocab"] | added
    special = list(added)
    ranked = dict.fromkeys([*special, *filter(_is_character, old), *_by_frequency(text_input, texts)])
    usual = (name for name in old if not name.startswith(NEVER_USED))
    kept = set(islice(dict.fromkeys([*ranked, *usual]), max(size, len(special))))
    ids = {name: number for number, name in enumerate(sorted(kept, key=old.__getitem__))}
    pad = next(name for name, number in old.items() if number == text_input.pad_id)
    return replace(text_input, pad_id=ids[pad], tokenizer=json.dumps(_renumbered(document, ids), ensure_ascii=False))


def rows_of(cut: TextInput, whole: TextInput) -> list[int]:
    """Where each sub-word of a cut vocabulary stands in the whole one."""
    old, new = (Tokenizer.from_str(one.tokenizer).get_vocab() for one in (whole, cut))
    return [old[name] for name in sorted(new, key=new.__getitem__)]


def _is_character(name: str) -> bool:
    return name.isascii() and len(name.removeprefix("##")) == 1


def _by_frequency(text_input: TextInput, texts: Iterable[str]) -> Iterator[str]:
    tokenizer, counts = Tokenizer.from_str(text_input.tokenizer), Counter[int]()
    waiting = iter(texts)
    while batch := list(islice(waiting, BATCH)):
        for found in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            counts.update(found.ids)
    return (str(tokenizer.id_to_token(number)) for number, _ in counts.most_common())


def _renumbered(document: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    """A `tokenizer.json` whose vocabulary is `ids`."""
    tokens = [token | {"id": ids[token["content"]]} for token in document["added_tokens"]]
    return document | {
        "model": document["model"] | {"vocab": ids},
        "added_tokens": tokens,
        "post_processor": _renumbered_marks(document["post_processor"], ids),
    }


def _renumbered_marks(processor: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    """The marks of beginning and end, as `BertProcessing` and as `TemplateProcessing` have them."""
    if "special_tokens" not in processor:
        return processor | {mark: [processor[mark][0], ids[processor[mark][0]]] for mark in ("sep", "cls")}
    tokens = processor["special_tokens"].items()
    return processor | {
        "special_tokens": {name: of | {"ids": [ids[token] for token in of["tokens"]]} for name, of in tokens}
    }
