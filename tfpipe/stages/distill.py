"""`distill`: the student, first from its teachers' soft labels, then on labels alone."""

from collections.abc import Callable

import tensorflow as tf

from tfpipe.core.cluster import this_worker
from tfpipe.core.config import Config
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import Epochs, distillation_batches
from tfpipe.labels.store import decode, labels_of_view
from tfpipe.models.saving import load_model, weights_sha256
from tfpipe.stages.label.work import open_labels
from tfpipe.stages.phases import (
    Course,
    draw_history,
    fit_on_labels,
    fit_phase,
    open_course,
    plan_phase,
    start_network,
    told,
)
from tfpipe.training.checkpoints import Progress
from tfpipe.training.distiller import Distiller
from tfpipe.training.fitting import FitPlan
from tfpipe.training.reproducible import make_reproducible


def run(config: Config, workspace: Workspace) -> Metrics:
    """Distil, fine-tune from the best distilled student, and keep the better of the two in `best.keras`."""
    course = open_course(config, workspace, "distill")
    epochs = {"distill": config.training.epochs - config.finetune_epochs, "finetune": config.finetune_epochs}
    plans = {phase: plan_phase(course, phase, count) for phase, count in epochs.items() if count}
    with course.strategy.scope():
        phases = {phase: PHASES[phase](course, plan) for phase, plan in plans.items()}
    if not this_worker().is_chief:
        return {}
    draw_history(course)
    best = max(phases, key=lambda phase: phases[phase].best_top1)
    plans[best].checkpoints.keep_best(workspace.best_path(config))
    for plan in plans.values():
        plan.checkpoints.forget()
    network, _ = load_model(workspace.best_path(config))
    return {
        "val_top1": phases[best].best_top1,
        "best_phase": best,
        "num_parameters": network.count_params(),
        "weights_sha256": weights_sha256(network),
        "phases": {phase: told(done) for phase, done in phases.items()},
    }


def _distill(course: Course, plan: FitPlan) -> Progress:
    settings = course.config.distillation
    distiller = Distiller(
        start_network(course),
        temperature=settings.temperature,
        loss_weights=settings.loss_weights,
        accumulation_steps=course.accumulation_steps,
    )
    rate = course.config.training.learning_rate
    return fit_phase(distiller, lambda epochs: _batches(course, epochs), course, plan, rate)


def _finetune(course: Course, plan: FitPlan) -> Progress:
    config = course.config
    make_reproducible(config.seed, deterministic=config.deterministic, precision=config.training.precision)
    student, _ = load_model(plan.checkpoints.step_dir / "distill.best.keras")
    rate = config.finetune.learning_rate or config.training.learning_rate / 2
    return fit_on_labels(student, course, plan, rate)


def _batches(course: Course, epochs: Epochs) -> tf.data.Dataset:
    config, records = course.config, course.records
    store, header = open_labels(config, course.workspace, records)
    return distillation_batches(
        records,
        course.card.image_input,
        epochs,
        lambda view: labels_of_view(store, header, view),
        augmentation=config.data.augmentation,
        views=header.views,
        view_seed=header.view_seed,
        decode_labels=lambda soft_labels: decode(soft_labels, header, config.distillation.temperature),
    )


PHASES: dict[str, Callable[[Course, FitPlan], Progress]] = {"distill": _distill, "finetune": _finetune}
"""In their order."""
