"""Which tokenizers the page knows: those that `web/texts/tokenizer.js` computes as the package `tokenizers` does."""

import json

from tfpipe.core.inputs import TextInput

KNOWN: dict[str, tuple[str | None, ...]] = {
    "model": ("WordPiece",),
    "normalizer": ("BertNormalizer", None),
    "pre_tokenizer": ("BertPreTokenizer",),
    "post_processor": ("BertProcessing", "TemplateProcessing"),
}
"""Part of a `tokenizer.json` → its types that the page computes; None: left out."""


def why_not_in_page(text_input: TextInput) -> str | None:
    """A sentence, where the page cannot compute a tokenizer; else None."""
    document = json.loads(text_input.tokenizer)
    found = {part: (document[part] or {}).get("type") for part in KNOWN}
    unknown = [f"{part} {kind}" for part, kind in found.items() if kind not in KNOWN[part]]
    if not unknown:
        return None
    return (
        f"the page has the tokenizer of BERT and DistilBERT, and this model's has the {', '.join(unknown)}. Distil a "
        "student whose `model.tokenizer` or `model.weights` has such a one; its teacher may have any."
    )
