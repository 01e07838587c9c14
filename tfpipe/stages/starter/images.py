"""Settings for photos: sizes and epochs that fit how many there are, and two cores."""

import difflib
from dataclasses import dataclass
from typing import Any

from tfpipe.core.errors import ConfigError
from tfpipe.data.sources.herbarium.species import SYNONYMS
from tfpipe.stages.starter.looking import Found
from tfpipe.stages.starter.naming import Place
from tfpipe.stages.starter.weights import Start, Weights
from tfpipe.stages.starter.writing import Document, Section

UNKNOWN_COUNT = 5000
"""Photos of a source that was not asked."""
FEW = 1000
"""Photos below which each side of the split gets more than a tenth, and the last epoch is kept."""
VIEWS_A_SECOND = {("teacher", 224): 30, ("teacher", 160): 55, ("student", 224): 80, ("student", 160): 140}
VIEWS_A_SECOND_SMALL = {"teacher": 200, "student": 210}
"""Learned on two cores: MobileNetV2 1.0 and 0.35; at 96 px a micro transformer and MobileNetV2 0.35."""
SYNONYMS_FILE = "synonyms.csv"
EPOCH_SECONDS = 1
"""An epoch's end, whatever its length: validation, checkpoint."""
CHAIN_MINUTES = 3
"""What the chain takes beside training: imports, checks, conversion, the browser."""


@dataclass(frozen=True)
class Recipe:
    """What depends on how many photos there are."""

    num_photos: int
    is_counted: bool
    shares: tuple[float, float, float]
    image_size: int
    batch_size: int
    teacher_epochs: int
    student_epochs: int
    views: int
    """Stored views of each photo, that the teachers label."""
    minutes: int

    @property
    def finetune_epochs(self) -> int:
        """Of the student's."""
        return max(1, self.student_epochs // 5)

    @property
    def keeps_last(self) -> bool:
        """Whether too few validation photos would choose the best epoch, by chance."""
        return self.num_photos < FEW


def recipe_for(count: int | None, *, pretrained: bool) -> Recipe:
    """Epochs for so many photos: the fewer there are, the more often each is seen.

    From pretrained weights some thousand views are enough; from scratch it takes some ten thousand.
    """
    num = count or UNKNOWN_COUNT
    shares = (0.6, 0.2, 0.2) if num < 200 else (0.7, 0.15, 0.15) if num < FEW else (0.8, 0.1, 0.1)
    num_train = max(1, int(num * shares[0]))
    image_size = (224 if num <= 2000 else 160) if pretrained else 96
    if pretrained:
        teacher_epochs = min(20, 6 + 6000 // num_train)
        student_epochs = min(30, 8 + 10_000 // num_train)
    else:
        teacher_epochs = student_epochs = min(60, 8 + 25_000 // num_train)
    views = 4 if num < FEW else 2
    minutes = _minutes(num_train, image_size, teacher_epochs, student_epochs, views)
    usual = 8 if num_train < 100 else 16 if num_train < 500 else 32 if num_train < 3000 else 64
    # Only whole batches are learned, and the audit may leave some photos out.
    batch = max(1, min(usual, num_train // 2))
    return Recipe(num, count is not None, shares, image_size, batch, teacher_epochs, student_epochs, views, minutes)


def _minutes(num_train: int, image_size: int, teacher_epochs: int, student_epochs: int, views: int) -> int:
    def rate(who: str) -> int:
        return VIEWS_A_SECOND.get((who, image_size), VIEWS_A_SECOND_SMALL[who])

    seconds = num_train * teacher_epochs / rate("teacher") + num_train * student_epochs / rate("student")
    seconds += num_train * views / (3 * rate("teacher")) + EPOCH_SECONDS * (teacher_epochs + student_epochs)
    return CHAIN_MINUTES + round(seconds / 60)


def image_documents(found: Found, place: Place, region: str, start: Start | None) -> list[Document]:
    """A data set's, a teacher's or two, and a student's.

    Raises:
        ConfigError: when the source was read and no row is of that region.
    """
    _check_region(found, region)
    recipe = recipe_for(found.num_rows, pretrained=start is not None)
    teachers = [_teacher(recipe, start, region)]
    if region:
        teachers.append(_regional(found, recipe, start, region))
    documents = [_dataset(found, recipe, place, start), *teachers, _student(recipe, place, start, region)]
    return [_synonyms(), *documents] if found.snapshot["source"] == "herbarium" else documents


def _synonyms() -> Document:
    """Of the herbarium's names, which it mixes as people do."""
    lines = ("synonym,label", *(f"{synonym},{label}" for synonym, label in SYNONYMS.items()))
    return Document(SYNONYMS_FILE, "", "", lines)


def _check_region(found: Found, region: str) -> None:
    if not region or not found.num_rows or region in found.per_region:
        return
    if not found.per_region:
        raise ConfigError(
            f"--region {region}: no row tells a region. A CSV column can (--region-column), and for a folder a CSV "
            "beside it (--metadata)."
        )
    near = difflib.get_close_matches(region, found.per_region, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ConfigError(f"--region {region}: no row is of it; there are {', '.join(sorted(found.per_region))}.{hint}")


def _dataset(found: Found, recipe: Recipe, place: Place, start: Start | None) -> Document:
    settings: Section = {"dataset": place.dataset, "snapshot": found.snapshot}
    if found.snapshot["source"] == "herbarium":
        settings["snapshot"] = found.snapshot | {"label_map": place.path(SYNONYMS_FILE)}
    if found.min_side is not None:
        settings["audit"] = {"min_side": found.min_side}
    settings["split"] = dict(zip(("train", "validation", "test"), recipe.shares, strict=True))
    if start:
        settings["baseline"] = {"alpha": start.student.alpha, "weights": start.student.weights}
    remarks = (
        f"runs/{place.run_name('dataset.yaml')}/audit/report.html is the page to look at before trusting the data.",
        f"{recipe.num_photos:,} photos when this was written." if recipe.is_counted else "Not counted yet.",
    )
    return Document("dataset.yaml", "pack", f"The data set {place.dataset}: where it comes from.", remarks, settings)


def _network(start: Weights | None, *, is_teacher: bool) -> Section:
    if start is None:
        return {"name": "vit_micro_patch12_96"} if is_teacher else {"name": "mobilenetv2", "alpha": 0.35}
    return {"name": "mobilenetv2", "alpha": start.alpha, "weights": start.weights}


def _data(recipe: Recipe) -> Section:
    return {"config": "dataset.yaml", "image_size": recipe.image_size}


def _training(recipe: Recipe, epochs: int, rate: float, *, pretrained: bool) -> Section:
    return {
        "learning_rate": rate,
        "batch_size": recipe.batch_size,
        "epochs": epochs,
        "weight_decay": 0.01 if pretrained else 0.05,
    }


def _callbacks(recipe: Recipe) -> Section:
    return {"callbacks": {"save_best": False}} if recipe.keeps_last else {}


LAST_EPOCH = ("So few validation photos would choose the best epoch by chance; `save_best: false` keeps the last.",)


def _teacher(recipe: Recipe, start: Start | None, region: str) -> Document:
    whose = "global teacher: of all regions" if region else "teacher: it learns first, and the student from it"
    settings: Section = {
        "data": _data(recipe),
        "model": _network(start.teacher if start else None, is_teacher=True) | {"dropout_rate": 0.2 if start else 0.1},
        "training": _training(recipe, recipe.teacher_epochs, 2e-4 if start else 1e-3, pretrained=bool(start)),
        "regularization": {"label_smoothing": 0.1},
        **_callbacks(recipe),
    }
    return Document(_teacher_name(region), "teach", f"The {whose}.", _remarks(recipe, start), settings)


def _teacher_name(region: str) -> str:
    return "teacher_global.yaml" if region else "teacher.yaml"


def _regional(found: Found, recipe: Recipe, start: Start | None, region: str) -> Document:
    num_here = int(found.per_region[region] * recipe.shares[0]) if found.num_rows else recipe.batch_size
    training = _training(recipe, recipe.teacher_epochs, 1e-4 if start else 5e-4, pretrained=bool(start))
    settings: Section = {
        "data": {**_data(recipe), "region": region},
        "model": {
            k: v for k, v in _network(start.teacher if start else None, is_teacher=True).items() if k != "weights"
        }
        | {"start_from": "teacher_global.yaml"},
        "training": training | {"batch_size": max(1, min(recipe.batch_size, num_here // 2))},
        "regularization": {"label_smoothing": 0.1},
        **_callbacks(recipe),
    }
    purpose = f"The regional teacher: the global one, trained on with the photos of {region} alone."
    return Document("teacher_regional.yaml", "teach", purpose, (), settings)


def _student(recipe: Recipe, place: Place, start: Start | None, region: str) -> Document:
    teachers: list[dict[str, Any]] = [{"config": _teacher_name(region)}]
    if region:
        teachers = [teachers[0] | {"weight": 0.5}]
        teachers.append({"config": "teacher_regional.yaml", "weight": 0.5, "region_filter": region})
    rate, finetune_rate = (1e-3, 1e-4) if start else (3e-3, 3e-4)
    settings: Section = {
        "data": _data(recipe),
        "model": _network(start.student if start else None, is_teacher=False) | {"dropout_rate": 0.1},
        "teachers": teachers,
        "label": {"views": recipe.views},
        "training": _training(recipe, recipe.student_epochs, rate, pretrained=True),
        "finetune": {"epochs": recipe.finetune_epochs, "learning_rate": finetune_rate, "augmentation": "moderate"},
        **_callbacks(recipe),
        "export": {"title": place.dataset.replace("_", " ").capitalize()},
    }
    remarks = (f"About {recipe.minutes} minutes on two cores for all of it (estimated).", *_what_to_expect(recipe))
    return Document("student.yaml", "run", "The student, and all steps to a verified page.", remarks, settings)


def _remarks(recipe: Recipe, start: Start | None) -> tuple[str, ...]:
    scratch = ("From scratch: pretrained weights (`tfpipe init --weights imagenet`) would know much more of photos.",)
    return (*(() if start else scratch), *(LAST_EPOCH if recipe.keeps_last else ()))


def _what_to_expect(recipe: Recipe) -> tuple[str, ...]:
    """Said where it is not much."""
    if not recipe.keeps_last:
        return ()
    num_test = round(recipe.num_photos * recipe.shares[2])
    return (
        f"Some {num_test} photos are tested on: scores have wide intervals. With fewer than 30 for validation there is",
        "no threshold below which the page says nothing (`calibrate.min_answers`). More photos mend both.",
    )
