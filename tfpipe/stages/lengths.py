"""A word before training on how long texts are, as the model counts: in sub-words."""

from collections.abc import Iterable
from itertools import islice

import numpy as np
from tokenizers import Tokenizer

from tfpipe.core.inputs import TextInput

NUM_TEXTS = 10_000
"""That are looked at: the first ones, which stand in no order."""


def describe_lengths(texts: Iterable[str], text_input: TextInput) -> str:
    """How long texts are, marks of beginning and end included, and how many are not read to their end."""
    tokenizer = Tokenizer.from_str(text_input.tokenizer)
    looked_at = list(islice(texts, NUM_TEXTS))
    lengths = np.array([len(one.ids) for one in tokenizer.encode_batch_fast(looked_at)])
    half, most = np.quantile(lengths, (0.5, 0.99), method="higher")
    cut = (lengths > text_input.max_length).mean()
    return (
        f"of {len(lengths):,} training texts half have up to {half} sub-words, 99 in 100 up to {most}; "
        f"{100 * cut:.3g} % are longer than data.max_length, {text_input.max_length}, and lose their end"
    )
