"""Tokenizers that the page does not know, told before anything is trained in vain."""

from tokenizers import Tokenizer, models

from tfpipe.core.inputs import TextInput
from tfpipe.exporters.tokenizer import why_not_in_page


def test_a_tokenizer_that_the_page_does_not_know_is_told_with_what_to_do() -> None:
    known = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    unknown = Tokenizer(models.BPE({"a": 0}, []))
    assert why_not_in_page(TextInput(8, 0, known.to_str())) is None
    told = why_not_in_page(TextInput(8, 0, unknown.to_str()))
    assert told
    assert "this model's is BPE. Distil a student whose" in told
