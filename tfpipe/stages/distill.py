"""`distill`: the student, first from its teachers' soft labels, then on labels alone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tfpipe.core.cluster import this_worker
from tfpipe.core.config import Config
from tfpipe.core.inputs import TextInput
from tfpipe.core.progress import say
from tfpipe.core.settings import LossWeights
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import Epochs
from tfpipe.exporters.tokenizer import why_not_in_page
from tfpipe.models.saving import load_model, weights_sha256
from tfpipe.stages.gain import check_measurable, measure_gain
from tfpipe.stages.phases import (
    Course,
    check_task,
    draw_history,
    fit_on_labels,
    fit_phase,
    open_course,
    plan_phase,
    start_network,
    told,
)
from tfpipe.stages.softness import tell_of_softness
from tfpipe.stages.taught import open_soft_labels, taught_batches
from tfpipe.training.checkpoints import Progress
from tfpipe.training.distiller import Distiller
from tfpipe.training.feature_distiller import FeatureDistiller
from tfpipe.training.fitting import FitPlan
from tfpipe.training.reproducible import make_reproducible

BASELINE = "baseline"
"""The folder inside the step's in which the student without teachers learns."""
LABELS_ALONE = LossWeights(kl_divergence=0.0, cross_entropy=1.0)

vet = check_task


@dataclass(frozen=True)
class Trained:
    """What both phases made of a student."""

    plans: dict[str, FitPlan]
    phases: dict[str, Progress]

    @property
    def best(self) -> str:
        """The phase that is best on validation."""
        return max(self.phases, key=lambda phase: self.phases[phase].best_score)

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
    model_input = course.card.model_input
    reason = why_not_in_page(model_input) if isinstance(model_input, TextInput) else None
    if reason and this_worker().is_chief:
        say(f"warning: {config.path}: `export` will make no page of it: {reason}")
    if config.distillation.baseline:
        check_measurable(config, workspace)
    trained = [_train(course, taught=True)]
    if config.distillation.baseline:
        trained.append(_train(course, taught=False))
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


def _train(course: Course, *, taught: bool) -> Trained:
    """Both phases, of the student or of its baseline."""
    config, inside = course.config, "" if taught else BASELINE
    epochs = {"distill": config.distillation_epochs, "finetune": config.finetune_epochs}
    plans = {phase: plan_phase(course, phase, count, inside=inside) for phase, count in epochs.items() if count}
    with course.strategy.scope():
        phases = {"distill": _distill(course, plans["distill"], taught=taught)}
        if "finetune" in plans:
            phases["finetune"] = _finetune(course, plans["finetune"])
    return Trained(plans, phases)


def _distill(course: Course, plan: FitPlan, *, taught: bool) -> Progress:
    config, settings = course.config, course.config.distillation
    make_reproducible(config.seed, deterministic=config.deterministic, precision=config.training.precision)
    # Before teachers are loaded: the student and its baseline start from the same weights, whoever teaches.
    student = start_network(course)
    labels, teachers = open_soft_labels(config, course.workspace, course.records, asked=taught)
    batches = partial(taught_batches, config, course.records, course.card.model_input, labels=labels)
    build: Callable[..., Distiller] = Distiller
    if settings.feature_weight and taught:
        build = partial(FeatureDistiller, feature_weight=settings.feature_weight, seed=config.seed)
    distiller = build(
        student,
        loss=settings.loss,
        temperature=settings.temperature,
        loss_weights=settings.loss_weights if taught else LABELS_ALONE,
        teachers=teachers,
        accumulation_steps=course.accumulation_steps,
    )
    if distiller.loss_weights.kl_divergence and this_worker().is_chief and not plan.checkpoints.has_state:
        a_few = Epochs(course.batch_size, 1, config.seed, worker=this_worker())
        tell_of_softness(batches(a_few), distiller)
    return fit_phase(distiller, batches, course, plan, config.training.learning_rate)


def _finetune(course: Course, plan: FitPlan) -> Progress:
    config = course.config
    make_reproducible(config.seed, deterministic=config.deterministic, precision=config.training.precision)
    student, _ = load_model(plan.checkpoints.step_dir / "distill.best.keras")
    rate = config.finetune.learning_rate or config.training.learning_rate / 2
    return fit_on_labels(student, course, plan, rate)
