"""What teachers say beside a student's training photos, stored or live: for each step in which they teach."""

import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.inputs import ModelInput
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import Epochs, LiveLabels, StoredLabels, distillation_batches
from tfpipe.data.records import Records
from tfpipe.labels.store import decode, labels_of_view
from tfpipe.stages.label.work import open_labels
from tfpipe.stages.live import live_labels
from tfpipe.stages.phases import check_loss
from tfpipe.training.live_teachers import LiveTeachers

Labels = StoredLabels | LiveLabels


def open_soft_labels(
    config: Config, workspace: Workspace, records: Records, *, asked: bool = True
) -> tuple[Labels, LiveTeachers | None]:
    """What stands beside the examples, and the teachers that say it where they are live and `asked`.

    Raises:
        MissingArtifactError: when a file of the store is missing or cut off.
        MismatchError: when the labels are of other teachers, records or settings.
    """
    if config.label.views == "live":
        return live_labels(config, workspace, records, asked=asked)
    store, header = open_labels(config, workspace, records)
    check_loss(config, kept=header.kept, num_classes=header.num_classes)
    return StoredLabels(
        lambda view: labels_of_view(store, header, view),
        lambda soft_labels: decode(soft_labels, header, config.distillation.temperature),
        "unaugmented" if config.label.views == "unaugmented" else header.views,
    ), None


def taught_batches(
    config: Config, records: Records, model_input: ModelInput, epochs: Epochs, labels: Labels
) -> tf.data.Dataset:
    """Batches of the views that the teachers labelled, as a `Distiller` reads them."""
    return distillation_batches(
        records,
        model_input,
        epochs,
        labels,
        augmentation=config.data.augmentation,
        view_seed=config.seed,
        mixup_alpha=config.label.mixup_alpha,
        cutmix_alpha=config.label.cutmix_alpha,
    )
