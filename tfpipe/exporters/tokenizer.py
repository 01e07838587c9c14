"""Which tokenizers the page knows: those that `web/texts/tokenizer.js` computes as the package `tokenizers` does."""

import json

from tfpipe.core.inputs import TextInput

KNOWN = "WordPiece"


def why_not_in_page(text_input: TextInput) -> str | None:
    """A sentence, where the page cannot compute a tokenizer; else None."""
    kind = json.loads(text_input.tokenizer)["model"]["type"]
    if kind == KNOWN:
        return None
    return (
        f"the page knows tokenizers of the kind {KNOWN} (BERT, DistilBERT), and this model's is {kind}. Distil a "
        "student whose `model.tokenizer` or `model.weights` has such a one; its teacher may have any."
    )
