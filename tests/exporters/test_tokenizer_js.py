"""The page's tokenizer, run by node, gives the ids of the package `tokenizers`."""

import csv
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

import tfpipe.exporters

NODE = shutil.which("node")
TOKENIZER = Path(tfpipe.exporters.__file__).parent / "web" / "texts" / "tokenizer.js"

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed: the page's code cannot be run here")

Texts = list[str]
Document = dict[str, Any]

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

WORDS = "hello world unhappy i am not straße istanbul σοφος οδοσ ου привет мир שלום مرحبا नमस्ते สวัสดี 日 本 ! ? . ' - $"
PIECES = "un happi ness ing ed ly s e ss ος ος ς вет לום ลี x y 0 1 2 a b ab aa aaa 日 👍 👩"

# Every character that another one is lowered or parted to, the Hangul jamo and ideographs' likenesses included.
RANGES = [(1, 0x3100), (0xA000, 0xAC00), (0xF900, 0x10000), (0x10000, 0x11000), (0x1D000, 0x1F000)]

MORSELS = [
    *"aAbBzZ09 .,!?'\"-_$+<=>^`|~@#ßẞıİſΣσςΟΔΥßñÑéÉåÅçøŁđðÞæœÆŒǅǆﬁﬀ½²①ⅷ№™",
    *"日本語你好한글各각가힣ㄱ각カガｶﾞ々〇〆〜「」。、！？　שלוםاَلعَرَبِيَّةहिन्दीไทยខ្មែរമലയാളംதமிழ்བོད",
    *"\t\n\r\v\f\0\x01\x1b\x7f\x80\x85\x9f\xa0\xad\u1680\u180e\u2000\u2007\u2028\u2029\u202f\u205f\ufeff\ufffc\ufffd\uffff",
    *"\u0300\u0301\u0307\u0308\u0323\u0327\u0338\u0344\u0345\u034f\u0591\u05b0\u05bc\u0651\u093c\u094d\u0f71\u0f73\u1734",
    *"\u302a\u302e\u302f\u3099\u309a\u0898\u08ca\u08d4\u08e1\u1ac0\u1dfb\u20dd\u20e3\ufe0f\u200b\u200c\u200d\u200e\u202e\u2066",
    *"👍😀👩👨🏽🏳🌈🇩🇪𝒜𝟘𝐚𐐀𐐨𞤀𞤢𞥄𝅗𝅥𝅘𝅥𝅮𝄞𠀀𫝀𫠠𫤠𬺰🀄\U0002fa1d\U0002b820\U0002b91f\U0002b920",
    *"\U00011938\U00011935\U00011930\U000105c9\U000105d2\U0001e000\U0001e130\U00016ff0\U0001d165\U0001d16d\U000e0041\U00010ffd",
    "\ud800",
    "\udc00",
    "\udbff",
    "👩‍👩‍👧‍👦",
    "🏳️‍🌈",
    "e\u0301\u0323",
    "q\u0323\u0307\u0301",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘",
    "ΟΔΥΣΣΕΑΣ",
    "ΑΣ",
    "İSTANBUL",
    "STRASSE",
    "unhappiness",
    "Hello",
    "world",
    "don't",
    "नमस्ते",
    "ᄀ\u302eᅡᆨ",
    *SPECIAL,
    "[sep]",
    "[ CLS]",
    "[[SEP]]",
    "[CLS",
    "ÜND",
    "u\u0308nd",
    "new token",
    "new\ttoken",
    "new  token",
    "NEW TOKENS",
    "<mask>",
    " <mask> ",
    "<m>",
    "a" * 9,
    "a" * 11,
    "👍" * 10,
    "x" * 300,
]

BY_HAND = [
    "",
    " ",
    "\0",
    "\ufffd",
    "Hello, world!",
    "a" * 10,
    "a" * 11,
    "👍" * 10,
    "👍" * 11,
    "\u0301" * 250 + "a",
    "a" + "\u0323\u0301\u302e" * 100 + "b\u0345" + "\u1dfb\u302e\u08d4\u0898\u093e\U0001d165" * 60,
    # Of many marks those that stay, in their order: few enough to be a known word.
    "a" + "\u0301\u0323" * 100 + "\u08d5\u08d4\u302e\u08d5\u302f\u302e" + "\u0345" * 9 + "\u0903\u08d4\u302e",
    "\u0344\u0f73\u0340\u08e1\u302e" * 50,
    "[SEP] [SEP][SEP] [sep] [CLS]",
    "ΣΑΣ ΑΣ. Σ ΣΣ ΑΣ\u0301 ΑΣ'Σ",
    "a\ud800b \udc00\ud800 \ud83d\ude00",
]

SCRIPT = """
const fs = require("fs");
const { buildTokenizer } = require(process.argv[1]);
const folder = process.argv[2];
const tokenizer = buildTokenizer(JSON.parse(fs.readFileSync(`${folder}/tokenizer.json`)));
const output = fs.openSync(`${folder}/ids.i32`, "w");
for (const [text, maxLength] of JSON.parse(fs.readFileSync(`${folder}/texts.json`))) {
  const ids = tokenizer.encode(text, maxLength);
  if (!(ids instanceof Int32Array)) throw new Error("no Int32Array");
  fs.writeSync(output, new Uint8Array(Int32Array.of(ids.length).buffer));
  fs.writeSync(output, new Uint8Array(ids.buffer));
}
"""

REFUSE_SCRIPT = """
const { buildTokenizer } = require(process.argv[1]);
const messages = JSON.parse(require("fs").readFileSync(process.argv[2])).map((document) => {
  try {
    buildTokenizer(document).encode("a", 1);
    return "";
  } catch (error) {
    return error.message;
  }
});
console.log(JSON.stringify(messages));
"""


def uncased() -> Tokenizer:
    tokenizer = small_tokenizer(normalizers.BertNormalizer())
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def cased() -> Tokenizer:
    tokenizer = small_tokenizer(normalizers.BertNormalizer(lowercase=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def accented() -> Tokenizer:
    """Lowered with its accents, and nothing before the text."""
    tokenizer = small_tokenizer(normalizers.BertNormalizer(strip_accents=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [SEP] [CLS]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def unclean() -> Tokenizer:
    """Without accents but with all else."""
    tokenizer = small_tokenizer(
        normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def plain() -> Tokenizer:
    tokenizer = small_tokenizer(None)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "uncased": uncased,
    "cased": cased,
    "accented": accented,
    "unclean": unclean,
    "plain": plain,
}


def small_tokenizer(normalizer: Any) -> Tokenizer:
    """Single characters of many scripts, a few words, and tokens that are looked for in the text itself."""
    letters = [chr(c) for first, last in RANGES for c in range(first, last)]
    entries = [*SPECIAL, *WORDS.split(), *letters, *(f"##{entry}" for entry in (*PIECES.split(), *letters))]
    vocabulary = {entry: i for i, entry in enumerate(dict.fromkeys(entries))}
    model = models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=10)
    tokenizer = Tokenizer(model)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([*SPECIAL, AddedToken("<mask>", lstrip=True, rstrip=True), "<m>", "[SEP][SEP]"])
    # Found in the normalized text: of those that begin together the longest.
    tokenizer.add_tokens(["Ünd", "new token", "NEW TOKENS", "new to", "$^*"])
    return tokenizer


def strange_texts() -> Iterator[str]:
    yield from BY_HAND
    generator = random.Random(0)
    for number in range(5200):
        blank = generator.choice(["", "", " "])
        yield blank.join(generator.choices(MORSELS, k=1 + number % 40))


def every_code_point(end: int) -> Iterator[str]:
    """Each between two letters, where the ids tell whether it is removed, parts words, or is a word or a letter."""
    characters = [chr(c) for c in range(end) if not 0xD800 <= c <= 0xDFFF]
    for first in range(0, len(characters), 1024):
        yield " ".join(f"a{character}b" for character in characters[first : first + 1024])


def every_mark() -> Iterator[str]:
    """Each beside marks of the lowest, a middle and the highest class, with marks that stay and so show their order."""
    marks = [chr(c) for c in range(0x300, 0x1F000) if not 0x3100 <= c <= 0xA66E and not 0xAC00 <= c <= 0xFB1D]
    for first in range(0, len(marks), 512):
        yield " ".join(f"a{mark}\u302e\u0338 b\u0345\u1dfb{mark}" for mark in marks[first : first + 512])


def in_the_page(tokenizer: Tokenizer, texts: Texts, max_lengths: list[int], folder: Path) -> list[list[int]]:
    """All texts through one process of node."""
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    (folder / "texts.json").write_text(json.dumps(list(zip(texts, max_lengths, strict=True))))
    run_node(SCRIPT, folder)
    values = np.fromfile(folder / "ids.i32", np.int32)
    found, start = [], 0
    while start < len(values):
        end = start + 1 + int(values[start])
        found.append(values[start + 1 : end].tolist())
        start = end
    return found


def in_python(tokenizer: Tokenizer, texts: Texts, max_lengths: list[int]) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in texts]
    for max_length in sorted(set(max_lengths)):
        tokenizer.enable_truncation(max_length)
        chosen = [i for i, length in enumerate(max_lengths) if length == max_length]
        for i, encoding in zip(chosen, tokenizer.encode_batch_fast([sound(texts[i]) for i in chosen]), strict=True):
            found[i] = encoding.ids
    return found


def sound(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, as a browser encodes it."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def run_node(script: str, *arguments: object) -> str:
    command = [str(NODE), "-e", script, str(TOKENIZER), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_all(tokenizer: Tokenizer, texts: Texts, max_lengths: list[int], folder: Path) -> None:
    page = in_the_page(tokenizer, texts, max_lengths, folder)
    python = in_python(tokenizer, texts, max_lengths)
    assert len(page) == len(python)
    different = [i for i, (found, expected) in enumerate(zip(page, python, strict=True)) if found != expected]
    shown = [(texts[i][:200], max_lengths[i], page[i][:50], python[i][:50]) for i in different[:3]]
    assert not different, f"{len(different)} of {len(texts)} texts, such as {shown}"


@pytest.mark.parametrize("name", TOKENIZERS)
def test_strange_texts_have_the_same_ids(name: str, tmp_path: Path) -> None:
    texts = list(strange_texts())
    max_lengths = [(512, 2, 3, 7, 512, 20)[i % 6] for i in range(len(texts))]
    check_all(TOKENIZERS[name](), texts, max_lengths, tmp_path)


# Above U+1FFFF all are ideographs, private or nothing yet: once is enough.
@pytest.mark.parametrize(("name", "end"), [("uncased", 0x110000), ("accented", 0x20000), ("unclean", 0x20000)])
def test_every_code_point_has_the_same_ids(name: str, end: int, tmp_path: Path) -> None:
    texts = [*every_code_point(end), *every_mark()]
    check_all(TOKENIZERS[name](), texts, [10**6] * len(texts), tmp_path)


def test_the_diary_has_the_same_ids(shared: Path, tmp_path: Path) -> None:
    with (shared / "data" / "moodjournal" / "entradas.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["texto_diario"] for row in csv.DictReader(file)]
    tokenizer = uncased()
    trainer = trainers.WordPieceTrainer(vocab_size=3000, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(texts[:2000], trainer)
    check_all(tokenizer, texts, [128] * len(texts), tmp_path)


def test_a_megabyte_takes_no_minutes(tmp_path: Path) -> None:
    # Marks that change places with each other are what engines are slow with.
    morsels = ["Dear diary, ", "\u0301\u0323", "\u302e\U0001d165"]
    texts = [morsel * (10**6 // len(morsel)) for morsel in morsels]
    check_all(uncased(), texts, [256] * len(texts), tmp_path)


def test_what_is_not_imitated_is_refused_in_a_sentence(tmp_path: Path) -> None:
    def changed(**parts: Any) -> Document:
        return {**document, **parts}

    def added(**settings: Any) -> Document:
        return changed(added_tokens=[{**document["added_tokens"][0], **settings}])

    document = json.loads(uncased().to_str())
    document["model"]["vocab"] = {"[UNK]": 0, "a": 1}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    cases = [
        (
            changed(model=json.loads(Tokenizer(models.BPE()).to_str())["model"]),
            "tokenizer.json asks for the model “BPE”; this page knows “WordPiece”.",
        ),
        (
            changed(normalizer={"type": "NFKC"}),
            "tokenizer.json asks for the normalizer “NFKC”; this page knows “BertNormalizer” and “null”.",
        ),
        (
            changed(pre_tokenizer=None),
            "tokenizer.json asks for the pre_tokenizer “null”; this page knows “BertPreTokenizer”.",
        ),
        (
            changed(post_processor={"type": "ByteLevel"}),
            "tokenizer.json asks for the post_processor “ByteLevel”;"
            " this page knows “BertProcessing” and “TemplateProcessing”.",
        ),
        (
            changed(post_processor={"type": "TemplateProcessing", "single": [text, text], "special_tokens": {}}),
            "tokenizer.json has a post_processor whose template does not hold the text exactly once.",
        ),
        (
            changed(model={**document["model"], "unk_token": "<unk>"}),
            "tokenizer.json has no “<unk>” in its vocabulary, which stands for unknown words.",
        ),
        (
            added(single_word=True),
            "tokenizer.json adds the token “[PAD]” as a word of its own, which this page cannot look for.",
        ),
        (
            added(content="\u0301", normalized=True),
            "tokenizer.json adds the token “” with a blank at its edge or nothing in it,"
            " which this page cannot look for.",
        ),
        (
            changed(
                added_tokens=[{**document["added_tokens"][0], "content": each, "normalized": True} for each in "Éé"]
            ),
            "tokenizer.json adds the token “e” twice once normalized, which this page cannot look for.",
        ),
        (document, "A text of at most 1 ids has no room for the tokenizer's own marks."),
    ]
    (tmp_path / "documents.json").write_text(json.dumps([document for document, _ in cases]))
    assert json.loads(run_node(REFUSE_SCRIPT, tmp_path / "documents.json")) == [message for _, message in cases]
