"""Fine-tuning a small RoBERTa: against transformers on PyTorch, and what batches of like length save.

Texts are drawn, as long as diary entries are; both sides read them with the same tokenizer, in the loop. Each way is a
process of its own: `python -m benchmarks.text_training <folder> <way as JSON>`. PyTorch and transformers come with the
extra `judge`; without them the comparison is left out.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.table import Table

NUM_TEXTS, BATCH, EPOCHS, MAX_LENGTH, THREADS = 1920, 32, 4, 128, 2
CLASSES = ("joy", "sadness", "fear", "anger", "love", "surprise")
NUM_WORDS, MEDIAN_WORDS, SPREAD = 3000, 17, 0.6
"""Of the made language, and of a text: the diary's entries have 17 words at the median, and 66 at most."""
THEIRS = {
    "transformers, padded to the longest of a batch": {"torch": True},
    "transformers, batches of like length": {"torch": True, "by_length": True},
}
OURS = {
    "tfpipe, batches of like length": {"by_length": True},
    f"tfpipe, padded to {MAX_LENGTH}": {},
}


def measure(folder: Path) -> list[Table]:
    """Texts a second, of the best of some epochs after a first that traces the graphs."""
    draw(folder)
    ours = {name: _run(folder, way) for name, way in OURS.items()}
    how = (
        f"RoBERTa of 4 layers, 256 dimensions, 4 heads, from scratch; {NUM_TEXTS:,} texts of {MEDIAN_WORDS} words at "
        f"the median, batches of {BATCH}, AdamW, {THREADS} threads, the best of {EPOCHS - 1} epochs."
    )
    bucketing = Table("Batches of texts of like length", how, "texts/s", dict(reversed(ours.items())))
    if not find_spec("transformers"):
        return [bucketing]
    theirs = {name: _run(folder, way) for name, way in THEIRS.items()}
    return [Table("Against transformers on PyTorch, fine-tuning", how, "texts/s", theirs | ours), bucketing]


def draw(folder: Path) -> None:
    """Records of a made language, and RoBERTa's kind of tokenizer for it."""
    from tokenizers import ByteLevelBPETokenizer

    from tfpipe.data.records import write_records
    from tfpipe.data.workers import Runner

    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlu"))
    words = np.array(["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(NUM_WORDS)])
    ranks = 1 / np.arange(1, NUM_WORDS + 1)
    lengths = np.exp(rng.normal(np.log(MEDIAN_WORDS), SPREAD, NUM_TEXTS)).astype(int).clip(2, 66)
    texts = [" ".join(rng.choice(words, length, p=ranks / ranks.sum())) for length in lengths]
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": f"t{n}", "text": text, "label": CLASSES[n % len(CLASSES)], "split": "train"}
        for n, text in enumerate(texts)
    ]
    (folder / "splits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    write_records(
        folder / "splits.jsonl", folder / "texts" / "1.0.0", task="text", classes=CLASSES, num_shards=1,
        title="texts", runner=Runner(),
    )  # fmt: skip
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, 4000, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.save_model(str(folder))


def _run(folder: Path, way: dict[str, Any]) -> float:
    command = [sys.executable, "-m", "benchmarks.text_training", str(folder), json.dumps(way)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.splitlines()[-1])


def _of_ours(folder: Path, *, by_length: bool = False) -> float:
    import tensorflow as tf

    from tfpipe.core.inputs import TextInput
    from tfpipe.core.settings import DataSettings, ModelSettings
    from tfpipe.data.pipeline import Epochs, training_batches
    from tfpipe.data.records import Records
    from tfpipe.models import build_model, input_of
    from tfpipe.training.reproducible import make_reproducible

    make_reproducible(1, deterministic=False)
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    records = Records(folder / "texts" / "1.0.0", "train")
    model = ModelSettings(name="roberta_mini", tokenizer=folder)
    text_input = input_of(model, DataSettings(max_length=MAX_LENGTH))
    assert isinstance(text_input, TextInput)
    network = build_model(
        model, num_classes=len(CLASSES), model_input=text_input, dropout=0.1, stochastic_depth=0.0, rematerialize=False,
        seed=1,
    )  # fmt: skip
    epochs = Epochs(BATCH, EPOCHS, seed=1)
    batches = training_batches(records, text_input, epochs, augmentation="none")
    if not by_length:
        batches = _padded(batches, text_input.pad_id)
    return _best_fit(network, batches, epochs.steps_per_epoch(records.num_examples))


def _padded(batches: Any, pad_id: int) -> Any:
    import tensorflow as tf

    def pad(ids: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        filled = tf.pad(ids, [[0, 0], [0, MAX_LENGTH - tf.shape(ids)[1]]], constant_values=pad_id)
        return tf.ensure_shape(filled, (None, MAX_LENGTH)), targets

    return batches.map(pad)


def _best_fit(network: Any, batches: Any, steps: int) -> float:
    import tensorflow as tf

    from tfpipe.core.settings import TrainingSettings
    from tfpipe.training.checkpoints import Checkpoints
    from tfpipe.training.fitting import FitPlan, fit
    from tfpipe.training.learner import Classifier
    from tfpipe.training.losses import HardLoss
    from tfpipe.training.optimizers import build_optimizer

    learner = Classifier(network, hard_loss=HardLoss())
    learner(tf.zeros((1, MAX_LENGTH), tf.int32))
    learner.compile(
        build_optimizer(TrainingSettings(), learning_rate=2e-5, weight_decay=0.01, epochs=EPOCHS, steps_per_epoch=steps)
    )
    times: list[float] = []

    def note_time(network: Any, path: Path) -> None:
        path.touch()
        times.append(time.perf_counter())

    with TemporaryDirectory() as target:
        checkpoints = Checkpoints(Path(target), Path(target), "teach", keep=1)
        plan = FitPlan("fit", checkpoints, EPOCHS, steps, None, save_best=False, checkpoint_s=3600.0)
        fit(learner, lambda epoch, step: batches, batches.take(1), plan, note_time, tf.distribute.get_strategy())
    return steps * BATCH / min(after - before for before, after in pairwise(times))


def _of_theirs(folder: Path, *, by_length: bool = False) -> float:
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import RobertaProcessing
    from transformers import RobertaConfig, RobertaForSequenceClassification

    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    rows = [json.loads(line) for line in (folder / "splits.jsonl").read_text(encoding="utf-8").splitlines()]
    tokenizer = ByteLevelBPETokenizer.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    sep, cls = ((name, tokenizer.token_to_id(name)) for name in ("</s>", "<s>"))
    tokenizer._tokenizer.post_processor = RobertaProcessing(sep, cls)
    tokenizer.enable_truncation(MAX_LENGTH)
    pad_id = tokenizer.token_to_id("<pad>")
    tokenizer.enable_padding(pad_id=pad_id, pad_token="<pad>", pad_to_multiple_of=8)
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=256, num_hidden_layers=4, num_attention_heads=4,
        intermediate_size=1024, max_position_embeddings=MAX_LENGTH + 2, num_labels=len(CLASSES), type_vocab_size=1,
    )  # fmt: skip
    network = RobertaForSequenceClassification(config).train()
    optimizer = torch.optim.AdamW(network.parameters(), 2e-5, weight_decay=0.01)

    def step(part: list[dict[str, str]]) -> None:
        encoded = tokenizer.encode_batch([row["text"] for row in part])
        ids = torch.tensor([one.ids for one in encoded])
        mask = torch.tensor([one.attention_mask for one in encoded])
        labels = torch.tensor([CLASSES.index(row["label"]) for row in part])
        network(ids, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return _best_epoch(rows, step, by_length=by_length)


def _best_epoch(rows: list[dict[str, str]], step: Callable[[list[dict[str, str]]], None], *, by_length: bool) -> float:
    seconds = []
    for epoch in range(EPOCHS):
        begin = time.perf_counter()
        for part in _iter_parts(rows, epoch, by_length=by_length):
            step(part)
        seconds.append(time.perf_counter() - begin)
    return len(rows) // BATCH * BATCH / min(seconds[1:])


def _iter_parts(rows: list[dict[str, str]], epoch: int, *, by_length: bool) -> Iterator[list[dict[str, str]]]:
    """As transformers' `group_by_length` has them: sorted within 50 batches."""
    order = np.random.default_rng(epoch).permutation(len(rows)).tolist()
    for start in range(0, len(order), 50 * BATCH):
        window = order[start : start + 50 * BATCH]
        if by_length:
            window.sort(key=lambda number: len(rows[number]["text"]))
        for first in range(0, len(window) - BATCH + 1, BATCH):
            yield [rows[number] for number in window[first : first + BATCH]]


if __name__ == "__main__":
    way = json.loads(sys.argv[2])
    of = _of_theirs if way.pop("torch", False) else _of_ours
    print(of(Path(sys.argv[1]), **way))
