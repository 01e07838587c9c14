"""`distill`: the student, first from its teachers' soft labels, then on labels alone."""

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from tfpipe.core.cluster import this_worker
from tfpipe.core.config import Config
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import Epochs, LiveLabels, StoredLabels, distillation_batches
from tfpipe.data.records import classes_sha256, ids_sha256
from tfpipe.labels.store import check_header, decode, labels_of_view, read_header
from tfpipe.models.saving import load_model, weights_sha256
from tfpipe.stages.live import live_labels, load_teachers
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
from tfpipe.training.feature_distiller import FeatureDistiller
from tfpipe.training.fitting import FitPlan
from tfpipe.training.reproducible import make_reproducible

Labels = StoredLabels | LiveLabels


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
    settings, records = course.config.distillation, course.records
    # Before the teachers, so that its first weights are the same whoever teaches it.
    student, teachers = start_network(course), None
    if course.config.label.views == "live":
        teachers, cards = load_teachers(course.config, course.workspace, records)
        labels: Labels = live_labels(course.config, records, cards)
    else:
        labels = _stored_labels(course)
    build: Callable[..., Distiller] = Distiller
    if settings.feature_weight:
        build = partial(FeatureDistiller, feature_weight=settings.feature_weight, seed=course.config.seed)
    distiller = build(
        student,
        temperature=settings.temperature,
        loss_weights=settings.loss_weights,
        teachers=teachers,
        accumulation_steps=course.accumulation_steps,
    )
    rate = course.config.training.learning_rate
    return fit_phase(distiller, lambda epochs: _batches(course, epochs, labels), course, plan, rate)


def _finetune(course: Course, plan: FitPlan) -> Progress:
    config = course.config
    make_reproducible(config.seed, deterministic=config.deterministic, precision=config.training.precision)
    student, _ = load_model(plan.checkpoints.step_dir / "distill.best.keras")
    rate = config.finetune.learning_rate or config.training.learning_rate / 2
    return fit_on_labels(student, course, plan, rate)


def _stored_labels(course: Course) -> StoredLabels:
    config, records = course.config, course.records
    store = course.workspace.step_dir(config, "label") / "store"
    header = read_header(store)
    expected = {
        "classes_sha256": classes_sha256(records.classes),
        "examples_sha256": ids_sha256(records),
        "view_seed": config.seed,
        "views": 1 if config.label.views == "unaugmented" else config.label.views,
        "temperature": config.distillation.temperature,
    }
    check_header(header, expected, store)
    return StoredLabels(
        lambda view: labels_of_view(store, header, view),
        lambda soft_labels: decode(soft_labels, header),
        "unaugmented" if config.label.views == "unaugmented" else header.views,
    )


def _batches(course: Course, epochs: Epochs, labels: Labels) -> tf.data.Dataset:
    config = course.config
    return distillation_batches(
        course.records,
        course.card.image_input,
        epochs,
        labels,
        augmentation=config.data.augmentation,
        view_seed=config.seed,
        mixup_alpha=config.label.mixup_alpha,
        cutmix_alpha=config.label.cutmix_alpha,
    )


PHASES: dict[str, Callable[[Course, FitPlan], Progress]] = {"distill": _distill, "finetune": _finetune}
"""In their order."""
