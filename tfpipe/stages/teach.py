"""`teach`: fit a teacher on labels."""

import keras
import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.errors import ConfigError, DataError, MismatchError
from tfpipe.core.inputs import ImageInput
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.long_tail import Corrections, correct, count_classes
from tfpipe.data.pipeline import Epochs, evaluation_batches, training_batches
from tfpipe.data.records import Records, check_classes
from tfpipe.data.rows import iter_rows
from tfpipe.models import build_model, image_input
from tfpipe.models.saving import Card, load_model, save_model, weights_sha256
from tfpipe.training.fitting import FitPlan, fit, forget, keep_best
from tfpipe.training.losses import LongTailCrossEntropy
from tfpipe.training.metrics import build_metrics
from tfpipe.training.optimizers import build_optimizer
from tfpipe.training.reproducible import make_reproducible

EVALUATION_BATCH = 64


def run(config: Config, workspace: Workspace) -> Metrics:
    """Train, and keep the epoch with the best validation top-1 in `best.keras`."""
    make_reproducible(config.seed, deterministic=config.deterministic)
    records = training_records(config, workspace)
    card = Card(config.network.name, records.classes, image_input(config.network, config.data.image_size))
    network = start_network(config, workspace, card)
    plan = plan_phase(config, workspace, records, step="teach", phase="teach", epochs=config.training.epochs)
    metrics = fit_on_labels(network, config, workspace, records, card, plan, config.training.learning_rate)
    keep_best(plan, workspace.best_path(config))
    metrics["weights_sha256"] = weights_sha256(load_model(workspace.best_path(config))[0])
    forget(plan)
    return metrics


def fit_on_labels(
    network: keras.Model,
    config: Config,
    workspace: Workspace,
    records: Records,
    card: Card,
    plan: FitPlan,
    learning_rate: float,
) -> Metrics:
    """One phase of training on hard labels, for a teacher or, fine-tuning, for a student."""
    augmentation = config.finetune.augmentation if config.role == "student" else config.data.augmentation
    corrections = rare_class_corrections(config, workspace, records)
    network.compile(
        optimizer=build_optimizer(
            config.training,
            learning_rate=learning_rate,
            weight_decay=config.weight_decay,
            epochs=plan.epochs,
            steps_per_epoch=plan.steps_per_epoch,
        ),
        loss=_loss(config.regularization.label_smoothing, corrections),
        metrics=build_metrics(),
    )
    done = fit(
        network,
        network,
        lambda first_epoch: training_batches(
            records,
            card.image_input,
            Epochs(config.training.batch_size, plan.epochs, config.seed, first_epoch, corrections.sampling_weights),
            augmentation=augmentation,
            mixup_alpha=config.regularization.mixup_alpha,
            cutmix_alpha=config.regularization.cutmix_alpha,
        ),
        validation_batches(config, workspace, card.image_input),
        plan,
        lambda network, path: save_model(network, card, path),
    )
    return {"val_top1": done.best_top1, "best_epoch": done.best_epoch, "epochs": done.epoch}


def training_records(config: Config, workspace: Workspace) -> Records:
    """The records that the settings train on.

    Raises:
        MismatchError: when `model.num_classes` is not what the records have.
    """
    records = Records(workspace.records_dir(config), config.data.split_name, config.data.region)
    wanted, found = config.network.num_classes, len(records.classes)
    if wanted and wanted != found:
        raise MismatchError(
            f"{config.path}: model.num_classes is {wanted}, but the records have {found} classes. "
            "Correct it, or leave it out: it is taken from the records."
        )
    return records


def rare_class_corrections(config: Config, workspace: Workspace, records: Records) -> Corrections:
    """What the settings ask for, by the sizes of the classes among the records that are trained on."""
    if not config.training.corrects_rare_classes:
        return Corrections()
    rows = iter_rows(workspace.splits_path(config))
    counts = count_classes(rows, records.classes, split=records.split, region=records.region)
    return correct(config.training, counts)


def _loss(label_smoothing: float, corrections: Corrections) -> keras.losses.Loss:
    weights, offsets = corrections.class_weights, corrections.logit_offsets
    if weights is None and offsets is None:
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)
    return LongTailCrossEntropy(
        label_smoothing=label_smoothing,
        class_weights=None if weights is None else weights.tolist(),
        logit_offsets=None if offsets is None else offsets.tolist(),
    )


def validation_batches(config: Config, workspace: Workspace, spec: ImageInput) -> tf.data.Dataset:
    """The validation split, of the same region.

    Raises:
        DataError: when it has no rows.
    """
    records = Records(workspace.records_dir(config), "validation", config.data.region)
    if records.num_examples == 0:
        raise DataError(f"{config.path}: no validation rows. Check `split` in the data set's settings.")
    return evaluation_batches(records, spec, batch_size=EVALUATION_BATCH)


def start_network(config: Config, workspace: Workspace, card: Card) -> keras.Model:
    """A network to train: fresh, from pretrained weights, or from another teacher's."""
    network = build_model(
        config.network,
        num_classes=len(card.classes),
        image_size=card.image_input.size,
        dropout=config.dropout,
        stochastic_depth=config.regularization.stochastic_depth,
        rematerialize=config.training.rematerialize,
        seed=config.seed,
    )
    if config.start_config:
        other, other_card = load_model(workspace.best_path(config.start_config))
        check_classes(card.classes, other_card.classes, f"{config.start_config.name} (model.start_from)")
        try:
            network.set_weights(other.get_weights())
        except ValueError:
            raise ConfigError(
                f"{config.path}: model.start_from: {other_card.name} at {other_card.image_input.size} px "
                f"is no {config.network.name} at {card.image_input.size} px."
            ) from None
    return network


def plan_phase(
    config: Config, workspace: Workspace, records: Records, *, step: str, phase: str, epochs: int
) -> FitPlan:
    """Where a phase of training writes, and for how long it runs."""
    step_dir = workspace.step_dir(config, step)
    batches = Epochs(config.training.batch_size, epochs, config.seed)
    return FitPlan(
        title=f"{phase} {config.name}",
        step_dir=step_dir,
        checkpoint_dir=config.callbacks.checkpoint_dir or step_dir / "checkpoints",
        epochs=epochs,
        steps_per_epoch=batches.steps_per_epoch(records.num_examples),
        patience=config.early_stopping_patience,
        save_best=config.callbacks.save_best,
        phase=phase,
    )
