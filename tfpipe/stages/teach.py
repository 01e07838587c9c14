"""`teach`: fit a teacher on labels."""

from dataclasses import replace

import keras

from tfpipe.core.cluster import this_worker
from tfpipe.core.config import Config
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.models import head_layers
from tfpipe.models.saving import load_model, weights_sha256
from tfpipe.stages.phases import (
    Course,
    check_task,
    draw_history,
    fit_on_labels,
    open_course,
    plan_phase,
    start_network,
    told,
)

vet = check_task


def run(config: Config, workspace: Workspace) -> Metrics:
    """Train, and keep the epoch with the best validation top-1 in `best.keras`."""
    course = open_course(config, workspace, "teach")
    plan = plan_phase(course, "teach", config.training.epochs)
    with course.strategy.scope():
        network = start_network(course)
        if config.training.head_epochs:
            _fit_head(network, course)
        done = fit_on_labels(network, course, plan, config.training.learning_rate)
    if not this_worker().is_chief:
        return {}
    draw_history(course)
    plan.checkpoints.keep_best(workspace.best_path(config))
    plan.checkpoints.forget()
    trained, _ = load_model(workspace.best_path(config))
    return told(done) | {
        "num_parameters": trained.count_params(),
        "num_unseen_classes": course.card.train_counts.count(0),
        "weights_sha256": weights_sha256(trained),
    }


def _fit_head(network: keras.Model, course: Course) -> None:
    """The head alone, so that the others are not disturbed by one that knows nothing yet."""
    training = course.config.training
    # Linear layers on features that stand still need no warm-up.
    at_once = course.config.model_copy(update={"training": training.model_copy(update={"warmup_epochs": 0})})
    course = replace(course, config=at_once)
    plan = plan_phase(course, "head", training.head_epochs)
    head = head_layers(network)
    backbone = [layer for layer in network.layers if layer not in head]
    _set_trainable(backbone, False)
    fit_on_labels(network, course, plan, training.head_learning_rate)
    _set_trainable(backbone, True)


def _set_trainable(layers: list[keras.Layer], trainable: bool) -> None:
    for layer in layers:
        layer.trainable = trainable
