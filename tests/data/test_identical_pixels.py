"""Teacher and student see the same pixels, to the bit: in another process, among workers, mixed or not."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from pixels import INPUT, KINDS, SIZE, VIEW_SEED, VIEWS, Hashes, of_student, of_teacher, student_batches, write_scenes
from test_views import digest_of_views

from tfpipe.core.cluster import Worker
from tfpipe.core.settings import Augmentation
from tfpipe.data.pipeline import Epochs, view_batches
from tfpipe.data.records import Records

NUM_EXAMPLES = 510
"""Times two views: over 1,000."""
EPOCHS = Epochs(34, VIEWS, seed=77)


def tell(directory: str) -> None:
    """Run in another process: what the teacher sees there."""
    records = Records(Path(directory), "train")
    views = {kind: of_teacher(records, **options) for kind, options in KINDS.items()}
    print(json.dumps({"digest": digest_of_views(), "views": views}))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    return write_scenes(tmp_path_factory.mktemp("pixels"), NUM_EXAMPLES)


@pytest.fixture(scope="module")
def elsewhere(records: Records) -> dict[str, dict[str, Hashes]]:
    source = f"import sys; sys.path[:0] = {sys.path!r}; from test_identical_pixels import tell; tell(sys.argv[1])"
    command = [sys.executable, "-c", source, str(records.directory)]
    other = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, dict[str, Hashes]] = json.loads(other.stdout)
    return found


def test_a_view_in_another_process_is_the_same(elsewhere: dict[str, str]) -> None:
    assert elsewhere["digest"] == digest_of_views()


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_views_are_the_ones_that_a_teacher_in_another_process_labelled(
    records: Records, elsewhere: dict[str, dict[str, Hashes]], kind: str
) -> None:
    seen = of_student(records.facts()[0], student_batches(records, EPOCHS, **KINDS[kind]))
    assert len(seen) > 1000
    assert len(set(seen.values())) == len(seen)
    assert seen == elsewhere["views"][kind]


def test_workers_see_the_same_pixels_too(records: Records, elsewhere: dict[str, dict[str, Hashes]]) -> None:
    ids, seen = records.facts()[0], []
    for number in range(2):
        epochs = Epochs(34, 1, seed=77, worker=Worker(number, 2))
        seen.append(of_student(ids, student_batches(records, epochs, **KINDS["two photos"])))
    assert len(seen[0]) == len(seen[1]) == NUM_EXAMPLES // 2
    of_view0 = {name: found for name, found in elsewhere["views"]["two photos"].items() if name.endswith(" 0")}
    assert seen[0] | seen[1] == of_view0


@pytest.fixture(scope="module")
def teacher() -> keras.Model:
    """Untrained, but sure of itself."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Conv2D(16, 5, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax", kernel_initializer=keras.initializers.RandomNormal(0, 0.3)),
        ]
    )


def said(teacher: keras.Model, records: Records, augmentation: Augmentation) -> np.ndarray:
    """(examples, classes) probabilities, as they would be stored."""
    ds = view_batches(records, INPUT, augmentation=augmentation, view=0, view_seed=VIEW_SEED, batch_size=34)
    return np.concatenate([teacher(images) for _, images in ds])


def test_one_label_of_the_plain_photo_is_not_what_the_teacher_says_of_the_views(
    records: Records, teacher: keras.Model
) -> None:
    """Nor of the plain photo mirrored; the labels of consistent views are."""
    plain = said(teacher, records, "none")
    ds = view_batches(records, INPUT, augmentation="none", view=0, view_seed=VIEW_SEED, batch_size=34)
    mirrored = [teacher(images[:, :, ::-1]) for _, images in ds]
    assert np.abs(np.concatenate(mirrored) - plain).mean() > 0.05
    stored = said(teacher, records, "aggressive")
    for images, labels in student_batches(records, Epochs(34, 1, seed=7), **KINDS["one photo"]).as_numpy_iterator():
        places = labels["teacher_ids"][:, 0]
        live = teacher(tf.constant(images)).numpy()
        np.testing.assert_allclose(live, stored[places], atol=1e-6)
        assert np.abs(live - plain[places]).mean() > 0.05
