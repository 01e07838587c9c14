"""Tokenizers that the page does not know, told before anything is trained in vain."""

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tfpipe.core.inputs import TextInput
from tfpipe.exporters.tokenizer import why_not_in_page


def test_a_tokenizer_that_the_page_does_not_know_is_told_with_what_to_do() -> None:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    assert why_not_in_page(TextInput(8, 0, tokenizer.to_str())) is None
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase()])
    told = why_not_in_page(TextInput(8, 0, tokenizer.to_str()))
    assert told
    assert "this model's has the normalizer Sequence. Distil a student whose" in told
    other = why_not_in_page(TextInput(8, 0, Tokenizer(models.BPE({"a": 0}, [])).to_str()))
    assert other
    assert "has the model BPE, pre_tokenizer None, post_processor None" in other
