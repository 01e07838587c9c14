"""Texts on their way to a network: views, ids, batches of like length, and where a resumed run goes on."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tfpipe.core.errors import DataError
from tfpipe.core.inputs import TextInput
from tfpipe.data.pipeline import Epochs, evaluation_batches, training_batches, view_batches
from tfpipe.data.records import Records, write_records
from tfpipe.data.rows import Row, write_rows
from tfpipe.data.text_views import augment_text
from tfpipe.data.workers import LOCAL, Runner

WORDS = [f"w{number}" for number in range(50)]
LABELS = ("up", "down", "aside")


def make_input(max_length: int = 16) -> TextInput:
    """Words are tokens; 0 pads, 1 and 2 begin and end."""
    vocabulary = {name: number for number, name in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    return TextInput(max_length, 0, tokenizer.to_str())


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    rows = [
        Row(
            id=f"t{number}",
            label=LABELS[number % 3],
            text=" ".join(rng.choice(WORDS, rng.integers(1, 14))),
            group=f"author {number % 7}",
            split="train" if number < 200 else "test",
        )
        for number in range(230)
    ]
    write_rows(rows, folder / "rows.jsonl")
    write(folder / "rows.jsonl", folder / "notes" / "1.0.0", classes=LABELS)
    return Records(folder / "notes" / "1.0.0", "train")


def write(rows_path: Path, directory: Path, classes: tuple[str, ...]) -> None:
    write_records(
        rows_path, directory, task="text", classes=classes, num_shards=3, title="pack", runner=Runner(LOCAL, ())
    )


def texts_of(records: Records) -> dict[str, str]:
    return {e["id"].decode(): e["text"].decode() for e in records.examples().as_numpy_iterator()}


def decode(ids: np.ndarray) -> list[str]:
    names = ["<pad>", "<s>", "</s>", "<unk>", *WORDS]
    return [" ".join(names[number] for number in row if number > 2) for row in ids]


def batches(records: Records, epochs: Epochs, **options: str) -> list[tuple[np.ndarray, np.ndarray]]:
    options = {"augmentation": "none"} | options
    ds = training_batches(records, make_input(), epochs, **options)  # type: ignore[arg-type]
    return [(ids.numpy(), targets.numpy()) for ids, targets in ds]


def test_records_hold_the_texts_and_the_classes_in_the_given_order(records: Records) -> None:
    assert records.task == "text"
    assert records.classes == list(LABELS)
    found = {e["id"].decode(): (int(e["label"]), e["group"].decode()) for e in records.examples().as_numpy_iterator()}
    assert found == {f"t{n}": (n % 3, f"author {n % 7}") for n in range(200)}


def test_a_label_that_is_no_class_is_named(records: Records, tmp_path: Path) -> None:
    rows_path = records.directory.parents[1] / "rows.jsonl"
    with pytest.raises(DataError, match="labelled aside, which is no class"):
        write(rows_path, tmp_path / "a" / "1.0.0", classes=("up", "down"))
    with pytest.raises(DataError, match="no row is labelled beyond"):
        write(rows_path, tmp_path / "a" / "1.0.0", classes=(*LABELS, "beyond"))


def test_an_epoch_shows_every_text_once_with_its_label(records: Records) -> None:
    seen = batches(records, Epochs(batch_size=8, epochs=1, seed=3))
    assert len(seen) == 25
    labels = {text: int(e["label"]) for e in records.examples().as_numpy_iterator() for text in [e["text"].decode()]}
    shown = [pair for ids, targets in seen for pair in zip(decode(ids), targets.argmax(-1).tolist(), strict=True)]
    assert sorted(text for text, _ in shown) == sorted(texts_of(records).values())
    assert all(labels[text] == label for text, label in shown)


def test_a_batch_is_as_long_as_its_longest_text_and_holds_neighbours_in_length(records: Records) -> None:
    seen = batches(records, Epochs(batch_size=8, epochs=1, seed=3))
    padding = [1 - (ids > 0).mean() for ids, _ in seen]
    lengths = [text.count(" ") + 1 for text in texts_of(records).values()]
    # All texts padded to the longest would be half padding; multiples of eight leave some.
    assert np.mean(padding) < 0.35 < 1 - (np.mean(lengths) + 2) / 16
    for ids, _ in seen:
        assert ids.shape[1] % 8 == 0
        assert ids.shape[1] - (ids > 0).sum(axis=1).max() < 8
    assert len({ids.shape[1] for ids, _ in seen}) > 1


def test_lengths_come_in_a_random_order(records: Records) -> None:
    lengths = [ids.shape[1] for ids, _ in batches(records, Epochs(batch_size=8, epochs=1, seed=3))]
    assert lengths != sorted(lengths)
    assert lengths != sorted(lengths, reverse=True)
    others = [ids.shape[1] for ids, _ in batches(records, Epochs(batch_size=8, epochs=1, seed=4))]
    assert lengths != others


@pytest.mark.parametrize("step", [0, 1, 7, 24])
def test_a_resumed_run_sees_what_the_uninterrupted_one_would(records: Records, step: int) -> None:
    whole = batches(records, Epochs(batch_size=8, epochs=2, seed=3), augmentation="aggressive")
    rest = batches(records, Epochs(batch_size=8, epochs=2, seed=3, first_epoch=0, first_step=step),
                   augmentation="aggressive")  # fmt: skip
    assert len(rest) == 50 - step
    for expected, found in zip(whole[step:], rest, strict=True):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_evaluation_keeps_the_order_and_cuts_what_is_too_long(records: Records) -> None:
    found = [decode(ids.numpy()) for ids, _ in evaluation_batches(records, make_input(8), batch_size=16)]
    expected = [" ".join(text.split()[:6]) for text in texts_of(records).values()]
    assert [text for batch in found for text in batch] == expected


def test_a_view_is_the_same_for_teacher_and_student(records: Records) -> None:
    def view(number: int) -> dict[str, str]:
        ds = view_batches(
            records, make_input(), augmentation="moderate", view=number, view_seed=5, batch_size=32, first=10, count=90
        )
        return {i.decode(): text for ids, x in ds for i, text in zip(ids.numpy(), decode(x.numpy()), strict=True)}

    first, again, other = view(0), view(0), view(1)
    assert first == again
    assert sum(first[i] != other[i] for i in first) > 30
    seen = training_batches(records, make_input(), Epochs(batch_size=8, epochs=1, seed=5), augmentation="moderate")
    assert set(first.values()) <= {text for ids, _ in seen for text in decode(ids.numpy())}


def test_words_are_left_out_as_often_as_told() -> None:
    text = " ".join(f"x{number}" for number in range(400))
    for augmentation, left_out, shortest in (("moderate", 0.1, 1.0), ("aggressive", 0.2, 0.5)):
        views = [augment_text(tf.constant(text), augmentation, tf.constant([1, n])).numpy().decode() for n in range(60)]
        numbers = [[int(word[1:]) for word in view.split()] for view in views]
        assert all(view == sorted(view) for view in numbers)
        spans = [view[-1] - view[0] + 1 for view in numbers]
        assert min(spans) >= 400 * shortest * 0.97
        kept = [len(view) / extent for view, extent in zip(numbers, spans, strict=True)]
        assert np.mean(kept) == pytest.approx(1 - left_out, abs=0.01)
    assert augment_text(tf.constant("alone"), "aggressive", tf.constant([1, 2])).numpy() == b"alone"
    assert augment_text(tf.constant(" as  it is "), "none", tf.constant([1, 2])).numpy() == b" as  it is "
