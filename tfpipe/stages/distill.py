"""`distill`: the student, first from its teachers' soft labels, then on labels alone."""

from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from tfpipe.core.cluster import this_worker
from tfpipe.core.config import Config
from tfpipe.core.settings import LossWeights
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import Epochs, distillation_batches
from tfpipe.labels.store import decode, labels_of_view
from tfpipe.models.saving import load_model, weights_sha256
from tfpipe.stages.gain import check_measurable, measure_gain
from tfpipe.stages.label.work import open_labels
from tfpipe.stages.phases import (
    Course,
    check_loss,
    draw_history,
    fit_on_labels,
    fit_phase,
    open_course,
    plan_phase,
    start_network,
    told,
)
from tfpipe.stages.softness import tell_of_softness
from tfpipe.training.checkpoints import Progress
from tfpipe.training.distiller import Distiller
from tfpipe.training.fitting import FitPlan
from tfpipe.training.reproducible import make_reproducible

BASELINE = "baseline"
"""The folder inside the step's in which the student without teachers learns."""
LABELS_ALONE = LossWeights(kl_divergence=0.0, cross_entropy=1.0)


@dataclass(frozen=True)
class Trained:
    """What both phases made of a student."""

    plans: dict[str, FitPlan]
    phases: dict[str, Progress]

    @property
    def best(self) -> str:
        """The phase with the best validation top-1."""
        return max(self.phases, key=lambda phase: self.phases[phase].best_top1)

    def keep_best(self, path: Path) -> None:
        """Copy the best network."""
        self.plans[self.best].checkpoints.keep_best(path)

    def forget(self) -> None:
        """Drop what only an interrupted run needs."""
        for plan in self.plans.values():
            plan.checkpoints.forget()


def run(config: Config, workspace: Workspace) -> Metrics:
    """Distil, fine-tune from the best distilled student, and keep the better of the two in `best.keras`.

    If asked, the same without teachers in `baseline.keras`, and what they were good for.
    """
    course = open_course(config, workspace, "distill")
    if config.distillation.baseline:
        check_measurable(config, workspace)
    trained = [_train(course, config.distillation.loss_weights)]
    if config.distillation.baseline:
        trained.append(_train(course, LABELS_ALONE, inside=BASELINE))
    if not this_worker().is_chief:
        return {}
    paths = (workspace.best_path(config), workspace.step_dir(config, "distill") / "baseline.keras")
    for inside, one, path in zip(("", BASELINE), trained, paths, strict=False):
        draw_history(course, inside=inside)
        one.keep_best(path)
    gain = {"gain": measure_gain(config, workspace, baseline_path=paths[1])} if config.distillation.baseline else {}
    for one in trained:
        one.forget()
    student, network = trained[0], load_model(paths[0])[0]
    return {
        "val_top1": student.phases[student.best].best_top1,
        "best_phase": student.best,
        "num_parameters": network.count_params(),
        "weights_sha256": weights_sha256(network),
        "phases": {phase: told(done) for phase, done in student.phases.items()},
    } | gain


def _train(course: Course, loss_weights: LossWeights, *, inside: str = "") -> Trained:
    """Both phases; what they write lies `inside` a folder of the step's."""
    config = course.config
    epochs = {"distill": config.training.epochs - config.finetune_epochs, "finetune": config.finetune_epochs}
    plans = {phase: plan_phase(course, phase, count, inside=inside) for phase, count in epochs.items() if count}
    with course.strategy.scope():
        phases = {"distill": _distill(course, plans["distill"], loss_weights)}
        if "finetune" in plans:
            phases["finetune"] = _finetune(course, plans["finetune"])
    return Trained(plans, phases)


def _distill(course: Course, plan: FitPlan, loss_weights: LossWeights) -> Progress:
    config, settings = course.config, course.config.distillation
    # The student and its baseline start from the same weights.
    make_reproducible(config.seed, deterministic=config.deterministic, precision=config.training.precision)
    distiller = Distiller(
        start_network(course),
        loss=settings.loss,
        temperature=settings.temperature,
        loss_weights=loss_weights,
        accumulation_steps=course.accumulation_steps,
    )
    if loss_weights.kl_divergence and this_worker().is_chief and not plan.checkpoints.has_state:
        tell_of_softness(_batches(course, Epochs(course.batch_size, 1, config.seed, worker=this_worker())), distiller)
    rate = config.training.learning_rate
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
    check_loss(config, kept=header.kept, num_classes=header.num_classes)
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
