"""`distill`: the student, first from its teachers' soft labels, then on labels alone."""

import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import Epochs, distillation_batches
from tfpipe.data.records import Records, classes_sha256, ids_sha256
from tfpipe.labels.store import check_header, labels_of_view, read_header
from tfpipe.models import image_input
from tfpipe.models.saving import Card, load_model, save_model, weights_sha256
from tfpipe.stages.teach import (
    fit_on_labels,
    plan_phase,
    rare_class_corrections,
    start_network,
    training_records,
    validation_batches,
)
from tfpipe.training.distiller import Distiller
from tfpipe.training.fitting import FitPlan, fit, forget, keep_best
from tfpipe.training.optimizers import build_optimizer
from tfpipe.training.reproducible import make_reproducible


def run(config: Config, workspace: Workspace) -> Metrics:
    """Distil, fine-tune from the best distilled student, and keep the better of the two in `best.keras`."""
    records = training_records(config, workspace)
    card = Card(config.network.name, records.classes, image_input(config.network, config.data.image_size))
    epochs = {"distill": config.training.epochs - config.finetune_epochs, "finetune": config.finetune_epochs}
    plans = [
        plan_phase(config, workspace, records, step="distill", phase=phase, epochs=count)
        for phase, count in epochs.items()
        if count
    ]
    phases = {plan.phase: PHASES[plan.phase](config, workspace, records, card, plan) for plan in plans}
    best = max(plans, key=lambda plan: phases[plan.phase]["val_top1"])
    keep_best(best, workspace.best_path(config))
    network, _ = load_model(workspace.best_path(config))
    for plan in plans:
        forget(plan)
    return {
        "val_top1": phases[best.phase]["val_top1"],
        "best_phase": best.phase,
        "num_parameters": network.count_params(),
        "weights_sha256": weights_sha256(network),
        "phases": phases,
    }


def _distill(config: Config, workspace: Workspace, records: Records, card: Card, plan: FitPlan) -> Metrics:
    make_reproducible(config.seed, deterministic=config.deterministic)
    settings = config.distillation
    sampling_weights = rare_class_corrections(config, workspace, records).sampling_weights
    student = start_network(config, workspace, card)
    distiller = Distiller(student, temperature=settings.temperature, loss_weights=settings.loss_weights)
    distiller(tf.zeros((1, *student.input_shape[1:])))
    distiller.compile(
        optimizer=build_optimizer(
            config.training,
            learning_rate=config.training.learning_rate,
            weight_decay=config.weight_decay,
            epochs=plan.epochs,
            steps_per_epoch=plan.steps_per_epoch,
        )
    )
    done = fit(
        distiller,
        student,
        lambda first_epoch: _batches(
            config,
            workspace,
            records,
            card,
            Epochs(config.training.batch_size, plan.epochs, config.seed, first_epoch, sampling_weights),
        ),
        validation_batches(config, workspace, card.image_input),
        plan,
        lambda network, path: save_model(network, card, path),
    )
    return {"val_top1": done.best_top1, "best_epoch": done.best_epoch, "epochs": done.epoch}


def _finetune(config: Config, workspace: Workspace, records: Records, card: Card, plan: FitPlan) -> Metrics:
    make_reproducible(config.seed, deterministic=config.deterministic)
    student, _ = load_model(plan.step_dir / "distill.best.keras")
    rate = config.finetune.learning_rate or config.training.learning_rate / 2
    return fit_on_labels(student, config, workspace, records, card, plan, rate)


def _batches(config: Config, workspace: Workspace, records: Records, card: Card, epochs: Epochs) -> tf.data.Dataset:
    store = workspace.step_dir(config, "label") / "store"
    header = read_header(store)
    expected = {
        "classes_sha256": classes_sha256(records.classes),
        "examples_sha256": ids_sha256(records),
        "view_seed": config.seed,
        "views": config.label.views,
        "temperature": config.distillation.temperature,
    }
    check_header(header, expected, store)
    return distillation_batches(
        records,
        card.image_input,
        epochs,
        lambda view: labels_of_view(store, header, view),
        augmentation=config.data.augmentation,
        views=header.views,
        view_seed=header.view_seed,
    )


PHASES = {"distill": _distill, "finetune": _finetune}
"""In their order."""
