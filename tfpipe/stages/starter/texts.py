"""Settings for texts: the data set with its baseline, and with weights or a tokenizer a teacher and a student."""

from dataclasses import dataclass
from pathlib import Path

from tfpipe.core.errors import ConfigError
from tfpipe.core.files import read_json
from tfpipe.core.inputs import TextInput
from tfpipe.exporters.tokenizer import why_not_in_page
from tfpipe.stages.starter.looking import Found
from tfpipe.stages.starter.naming import Ask, Place
from tfpipe.stages.starter.writing import Document, Section

UNKNOWN_COUNT = 5000
FEW = 1000
LENGTHS = (32, 64, 96, 128, 192, 256)
"""Sub-words to choose from."""
SUBWORDS_A_WORD = 1.5
KINDS = ("roberta", "xlm-roberta", "bert", "distilbert")
"""Of encoders that are read from a folder of transformers: the keys of `DIALECTS`, whose module takes seconds to
import. A test holds the two together."""
NOT_IN_PAGE = (("vocab.json", "merges.txt"), ("sentencepiece.bpe.model",))
"""Files of tokenizers that no page has."""

QUESTION = "A folder with a pretrained encoder, or a tokenizer, as transformers writes it; or `none`"

BASELINE_ALONE = (
    "Without --weights there is no network to train, and the settings end with a baseline, TF-IDF and logistic "
    "regression.",
    "`tfpipe init --force --weights FOLDER` adds a teacher and a student: a folder as transformers writes it "
    "(config.json, model.safetensors, tokenizer.json), or one with a tokenizer alone.",
)
NO_PAGE = "The page has no tokenizer of this kind, so there is a teacher and no student; of BERT or DistilBERT it has."


@dataclass(frozen=True)
class Encoder:
    """What a folder holds."""

    folder: str
    kind: str
    """The name of its family in `model.name`."""
    is_pretrained: bool
    is_in_page: bool
    """Whether the page computes its tokenizer."""


def text_documents(
    found: Found, place: Place, region: str, weights: str, ask: Ask
) -> tuple[list[Document], tuple[str, ...]]:
    """A data set's settings, and a teacher's and a student's where there is what they start from; with what to say.

    Raises:
        ConfigError: when the weights are none that can be read.
    """
    if region:
        raise ConfigError(
            "--region: init writes regional teachers of photos only; for texts set `data.region` yourself."
        )
    weights = weights or ask("--weights", QUESTION, "none")
    if weights == "none":
        return [_dataset(found, place)], BASELINE_ALONE
    encoder = read_encoder(Path(weights).expanduser())
    documents = [_dataset(found, place), _teacher(found, encoder)]
    if not encoder.is_in_page:
        return documents, (NO_PAGE,)
    return [*documents, _student(found, place, encoder)], ()


def read_encoder(folder: Path) -> Encoder:
    """What a folder of transformers holds, told by its small files.

    Raises:
        ConfigError: when it is none, or of a kind that is not read.
    """
    if not folder.is_dir():
        raise ConfigError(f"--weights {folder}: no such folder. Texts start from a folder as transformers writes it.")
    in_page = _is_in_page(folder)
    if (folder / "config.json").is_file() and any(folder.glob("model.safetensors*")):
        kind = _read_object(folder / "config.json").get("model_type")
        if kind not in KINDS:
            raise ConfigError(f"--weights {folder}: it holds {kind!r}; read are {', '.join(KINDS)}.")
        return Encoder(folder.as_posix(), kind.replace("-", "_"), is_pretrained=True, is_in_page=in_page)
    return Encoder(folder.as_posix(), "bert" if in_page else "roberta", is_pretrained=False, is_in_page=in_page)


def _is_in_page(folder: Path) -> bool:
    whole = folder / "tokenizer.json"
    if whole.is_file():
        document = _read_object(whole)
        try:
            return why_not_in_page(TextInput(4, 0, whole.read_text(encoding="utf-8"))) is None
        except (KeyError, AttributeError):
            raise ConfigError(f"{whole}: no tokenizer ({', '.join([*document][:5]) or 'empty'}).") from None
    if (folder / "vocab.txt").is_file():
        return True
    if any(all((folder / name).is_file() for name in names) for names in NOT_IN_PAGE):
        return False
    raise ConfigError(
        f"--weights {folder}: no tokenizer: expected tokenizer.json, or vocab.txt, or vocab.json and merges.txt, or "
        "sentencepiece.bpe.model."
    )


def _read_object(path: Path) -> Section:
    try:
        document = read_json(path)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: no JSON object.")
    return document


def _count(found: Found) -> int:
    return found.num_rows or UNKNOWN_COUNT


def _dataset(found: Found, place: Place) -> Document:
    settings: Section = {"dataset": place.dataset, "task": "text", "snapshot": found.snapshot}
    if _count(found) < FEW:
        settings["split"] = {"train": 0.6, "validation": 0.2, "test": 0.2}
    remarks = (
        f"runs/{place.run_name('dataset.yaml')}/audit/report.html is the page to look at before trusting the data.",
        "The baseline, TF-IDF and logistic regression, is what a network has to beat; it takes a minute.",
    )
    purpose = f"The data set {place.dataset}: where its texts come from."
    return Document("dataset.yaml", "run", purpose, remarks, settings)


def _data(found: Found) -> Section:
    wanted = SUBWORDS_A_WORD * found.num_words if found.num_words else 128
    length = next((length for length in LENGTHS if length >= wanted), LENGTHS[-1])
    return {"config": "dataset.yaml", "max_length": length}


def _teacher(found: Found, encoder: Encoder) -> Document:
    count = _count(found)
    model: Section = {"name": encoder.kind, "weights": encoder.folder, "dropout_rate": 0.1, "pooling": "mean"}
    training: Section = {"epochs": 12 if count < FEW else 6 if count < 20_000 else 3, "learning_rate": 1e-4}
    if encoder.is_pretrained:
        training["layer_decay"] = 0.9
    else:
        model = {"name": f"{encoder.kind}_mini", "tokenizer": encoder.folder, "dropout_rate": 0.1, "pooling": "mean"}
        training = {"epochs": 30 if count < FEW else 12, "learning_rate": 5e-4}
    settings: Section = {
        "data": _data(found) | {"augmentation": "none"},
        "model": model,
        "training": {"batch_size": _batch_size(count), **training, "weight_decay": 0.01, "clip_norm": 1.0},
        "regularization": {"label_smoothing": 0.05},
        "callbacks": {"best_metric": "f1"},
    }
    scratch = ("From scratch: a pretrained encoder (`tfpipe init --weights`) would know the language already.",)
    return Document(
        "teacher.yaml",
        "run",
        f"The teacher: {'a pretrained' if encoder.is_pretrained else 'a small'} {encoder.kind}, fitted to the texts.",
        () if encoder.is_pretrained else scratch,
        settings,
    )


def _batch_size(count: int) -> int:
    return 8 if count < 200 else 16 if count < FEW else 32


def _student(found: Found, place: Place, encoder: Encoder) -> Document:
    count = _count(found)
    # A byte a weight in int8: one layer, and those sub-words that the texts have.
    model: Section = {"name": encoder.kind, "weights": encoder.folder, "num_layers": 1}
    if not encoder.is_pretrained:
        model = {"name": f"{encoder.kind}_tiny", "tokenizer": encoder.folder}
    settings: Section = {
        "data": _data(found),
        "model": model | {"vocabulary_size": 5000, "pooling": "mean"},
        "teachers": [{"config": "teacher.yaml"}],
        "label": {"views": 8},
        "training": {
            "epochs": 40 if count < FEW else 20 if count < 20_000 else 8,
            "batch_size": _batch_size(count),
            "learning_rate": 3e-4 if encoder.is_pretrained else 1e-3,
        },
        "finetune": {"epochs": 0},
        "callbacks": {"best_metric": "f1"},
        "export": {"precision": "int8", "title": place.dataset.replace("_", " ").capitalize()},
    }
    return Document("student.yaml", "run", "The student, small enough for a page, and all steps to it.", (), settings)
