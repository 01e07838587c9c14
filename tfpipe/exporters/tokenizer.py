"""Which tokenizers the page knows: those that `web/texts/tokenizer.js` computes as the package `tokenizers` does."""

import json

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import TextInput

KNOWN = "WordPiece"


def check_tokenizer(text_input: TextInput) -> None:
    """Refuse what the page cannot compute.

    Raises:
        ConfigError: naming what it found.
    """
    kind = json.loads(text_input.tokenizer)["model"]["type"]
    if kind != KNOWN:
        raise ConfigError(
            f"the page knows tokenizers of the kind {KNOWN} (BERT, DistilBERT), and this model's is {kind}. Distil a "
            "student whose `model.tokenizer` or `model.weights` has such a one; its teacher may have any."
        )
