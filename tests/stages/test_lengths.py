"""How long texts are, told before training."""

from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tfpipe.core.inputs import TextInput
from tfpipe.stages.lengths import describe_lengths


def test_lengths_count_marks_and_the_share_that_loses_its_end_is_told() -> None:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "so": 3, "##s": 4}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    texts = ["so"] * 6 + ["so so so"] * 3 + ["sos so sos so"]  # 3, 5 and 8 sub-words with their marks
    told = describe_lengths(texts, TextInput(5, 0, tokenizer.to_str()))
    assert "100 % are longer" in describe_lengths(texts, TextInput(2, 0, tokenizer.to_str()))
    assert told.startswith("of 10 training texts half have up to 3 sub-words, 99 in 100 up to 8; 10 % are longer than")
