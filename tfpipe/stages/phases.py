"""Phases of training: what `teach` and `distill` share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import keras
import tensorflow as tf

from tfpipe.core.cluster import this_worker
from tfpipe.core.config import Config
from tfpipe.core.errors import ConfigError, DataError, EnvironmentProblemError, MismatchError
from tfpipe.core.inputs import ImageInput, ModelInput, TextInput
from tfpipe.core.progress import say
from tfpipe.core.settings import AUTO_BATCH, ModelSettings, TrainingSettings
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.long_tail import Corrections, correct, count_classes
from tfpipe.data.pipeline import Epochs, evaluation_batches, training_batches
from tfpipe.data.records import Records, check_classes
from tfpipe.data.rows import iter_rows
from tfpipe.models import build_model, find_family, input_of, layer_depths
from tfpipe.models.saving import Card, load_model, save_model
from tfpipe.models.vocabulary import cut_vocabulary
from tfpipe.plots.training import plot_history
from tfpipe.stages.lengths import describe_lengths
from tfpipe.training.checkpoints import Checkpoints, Progress
from tfpipe.training.distribution import build_strategy
from tfpipe.training.fitting import FitPlan, fit
from tfpipe.training.learner import Classifier, Learner
from tfpipe.training.losses import LOSSES, HardLoss
from tfpipe.training.memory import largest_that_fits
from tfpipe.training.optimizers import LossScaling, build_optimizer
from tfpipe.training.reproducible import make_reproducible

EVALUATION_BATCH = 64

BatchesOf = Callable[[Epochs], tf.data.Dataset]


@dataclass(frozen=True)
class Course:
    """What all phases of a model's training have in common."""

    config: Config
    workspace: Workspace
    step: str
    strategy: tf.distribute.Strategy
    records: Records
    card: Card
    corrections: Corrections
    """Of what training does for rare classes."""
    batch_size: int
    accumulation_steps: int


def open_course(config: Config, workspace: Workspace, step: str) -> Course:
    """Devices, arithmetic and records of a step that trains.

    Raises:
        ConfigError: when the settings do not fit the devices.
        DataError: when there is too little to train on.
        MismatchError: when `model.num_classes` is not what the records have.
    """
    # Workers find each other before TensorFlow does anything else.
    strategy = build_strategy(config.training.strategy)
    make_reproducible(config.seed, deterministic=config.deterministic, precision=config.training.precision)
    _check_devices(config, strategy)
    records = training_records(config, workspace)
    counts = count_classes(
        iter_rows(workspace.splits_path(config)), records.classes, split=records.split, region=records.region
    )
    card = Card(config.network.name, records.classes, _input_of(config, records), counts.tolist())
    batch_size, accumulation_steps = _find_batch(config, records, card, strategy.num_replicas_in_sync)
    if isinstance(card.model_input, TextInput) and this_worker().is_chief:
        say(f"  {describe_lengths(records.iter_texts(), card.model_input)}")
    return Course(
        config,
        workspace,
        step,
        strategy,
        records,
        card,
        correct(config.training, counts),
        batch_size,
        accumulation_steps,
    )


def _input_of(config: Config, records: Records) -> ModelInput:
    """What the network wants to see; of texts, with as many of the tokenizer's sub-words as the settings say."""
    size = config.network.vocabulary_size
    with _naming_file(config):
        whole = input_of(config.network, config.data)
        return cut_vocabulary(whole, records.iter_texts(), size) if size and isinstance(whole, TextInput) else whole


def training_records(config: Config, workspace: Workspace) -> Records:
    """The records that the settings train on.

    Raises:
        MismatchError: when `model.num_classes` is not what the records have.
    """
    records = Records(workspace.records_dir(config), config.data.split_name, config.data.region)
    check_task(config)
    wanted, found = config.network.num_classes, len(records.classes)
    if wanted and wanted != found:
        raise MismatchError(
            f"{config.path}: model.num_classes is {wanted}, but the records have {found} classes. "
            "Correct it, or leave it out: it is taken from the records."
        )
    if config.role == "student" and config.label.views != "live":
        check_loss(config, kept=min(config.label.top_k, found), num_classes=found)
    return records


def check_loss(config: Config, *, kept: int, num_classes: int) -> None:
    """Refuse a soft loss that soft labels of so many classes do not fit.

    Raises:
        ConfigError: with the losses that would fit.
    """
    loss = config.distillation.loss
    if LOSSES[loss].needs_all_classes and config.distillation.loss_weights.kl_divergence and kept < num_classes:
        others = ", ".join(name for name, other in LOSSES.items() if not other.needs_all_classes)
        raise ConfigError(
            f"{config.path}: distillation.loss: {loss} needs every class, and the soft labels keep {kept:,} of "
            f"{num_classes:,}; set label.top_k to {num_classes}, or choose one of {others}."
        )


def plan_phase(course: Course, phase: str, epochs: int, *, inside: str = "") -> FitPlan:
    """Where a phase of training writes, `inside` a folder of the step's if named, and for how long it runs."""
    config, step_dir = course.config, course.workspace.step_dir(course.config, course.step) / inside
    batches = Epochs(course.batch_size, epochs, config.seed)
    own = config.callbacks.checkpoint_dir
    folder = own / inside if own else step_dir / "checkpoints"
    return FitPlan(
        title=f"{phase} {config.name}{f' ({inside})' if inside else ''}",
        checkpoints=Checkpoints(step_dir, folder, phase, config.callbacks.keep_checkpoints),
        epochs=epochs,
        steps_per_epoch=batches.steps_per_epoch(course.records.num_examples),
        patience=config.early_stopping_patience,
        save_best=config.callbacks.save_best,
        best_metric=config.callbacks.best_metric,
        logging_steps=config.callbacks.logging_steps,
        checkpoint_s=60 * config.callbacks.checkpoint_minutes,
        xla=config.training.xla,
    )


def fit_on_labels(network: keras.Model, course: Course, plan: FitPlan, learning_rate: float) -> Progress:
    """One phase of training on hard labels, for a teacher or, fine-tuning, for a student."""
    config, records, regularization = course.config, course.records, course.config.regularization
    augmentation = config.finetune.augmentation if config.role == "student" else config.data.augmentation
    hard_loss = HardLoss(
        regularization.label_smoothing, course.corrections.class_weights, course.corrections.logit_offsets
    )
    learner = Classifier(network, hard_loss=hard_loss, accumulation_steps=course.accumulation_steps)

    def batches(epochs: Epochs) -> tf.data.Dataset:
        return training_batches(
            records,
            course.card.model_input,
            epochs,
            augmentation=augmentation,
            mixup_alpha=regularization.mixup_alpha,
            cutmix_alpha=regularization.cutmix_alpha,
            random_erasing=regularization.random_erasing,
        )

    return fit_phase(learner, batches, course, plan, learning_rate)


def fit_phase(learner: Learner, batches_of: BatchesOf, course: Course, plan: FitPlan, learning_rate: float) -> Progress:
    """Fit what learns, with the optimiser of the settings, and keep the networks under the course's card."""
    settings = course.config.training
    learner(blank_batch(course.card.model_input, 1))
    optimizer = build_optimizer(
        settings,
        learning_rate=learning_rate,
        weight_decay=course.config.weight_decay,
        epochs=plan.epochs,
        steps_per_epoch=plan.steps_per_epoch,
        rates=_rates(learner, settings),
    )
    learner.compile(LossScaling(optimizer) if settings.precision == "float16" else optimizer)
    epochs = Epochs(
        course.batch_size,
        plan.epochs,
        course.config.seed,
        worker=this_worker(),
        sampling_weights=course.corrections.sampling_weights,
    )
    return fit(
        learner,
        lambda epoch, step: batches_of(replace(epochs, first_epoch=epoch, first_step=step)),
        _validation_batches(course),
        plan,
        lambda network, path: save_model(network, course.card, path),
        course.strategy,
    )


def blank_batch(model_input: ModelInput, size: int) -> tf.Tensor:
    """(size, …) zeros, as a network takes them; texts of full length."""
    full = model_input.max_length if isinstance(model_input, TextInput) else None
    return tf.zeros((size, *(length or full for length in model_input.shape)), model_input.dtype)


def start_network(course: Course) -> keras.Model:
    """A network to train: fresh, from pretrained weights, or from another teacher's.

    Raises:
        ConfigError: when the other's weights do not fit.
        MismatchError: when the other knows other classes or sub-words.
    """
    config, card = course.config, course.card
    network = _build(config.network, config, card)
    if config.start_config:
        other, other_card = load_model(course.workspace.best_path(config.start_config))
        check_classes(card.classes, other_card.classes, f"{config.start_config.name} (model.start_from)")
        _check_sub_words(card.model_input, other_card.model_input, config)
        try:
            network.set_weights(other.get_weights())
        except ValueError:
            raise ConfigError(
                f"{config.path}: model.start_from: {_described(other_card)} is no {_described(card)} with the other "
                "settings of this `model`."
            ) from None
    return network


def _check_sub_words(ours: ModelInput, theirs: ModelInput, config: Config) -> None:
    """A row of a table of sub-words must mean the same in both."""
    if isinstance(ours, TextInput) and isinstance(theirs, TextInput) and ours.tokenizer != theirs.tokenizer:
        raise MismatchError(
            f"{config.path}: model.start_from: the other teacher knows other sub-words. Give both the same tokenizer; "
            "with model.vocabulary_size they count in their own training texts (data.region)."
        )


def draw_history(course: Course, *, inside: str = "") -> None:
    """`training_metrics.png`, of all phases so far."""
    step_dir = course.workspace.step_dir(course.config, course.step) / inside
    plot_history(step_dir / "history.csv", step_dir / "training_metrics.png")


def told(done: Progress) -> Metrics:
    """What a phase's report says."""
    return {"val_top1": done.best_top1, "best_epoch": done.best_epoch, "epochs": done.epoch}


def _validation_batches(course: Course) -> tf.data.Dataset:
    """The validation split, of the same region."""
    config = course.config
    records = Records(course.workspace.records_dir(config), "validation", config.data.region)
    if records.num_examples == 0:
        raise DataError(f"{config.path}: no validation rows. Check `split` in the data set's settings.")
    return evaluation_batches(records, course.card.model_input, batch_size=EVALUATION_BATCH)


def _rates(learner: Learner, settings: TrainingSettings) -> dict[str, float] | None:
    """Factors on the learning rate, falling with the depth below the head; what is no layer of the network has 1."""
    if settings.layer_decay == 1:
        return None
    depths = {variable.path: 0 for variable in learner.trainable_variables} | layer_depths(learner.network)
    return {path: settings.layer_decay**depth for path, depth in depths.items()}


def _find_batch(config: Config, records: Records, card: Card, replicas: int) -> tuple[int, int]:
    """Examples of an update, and parts that each device works through them in; at most as many as there are."""
    of_device, steps = config.training.per_device_train_batch_size, config.training.accumulation_steps
    wanted = of_device * replicas if of_device else config.training.batch_size
    if wanted == "auto":
        wanted, steps = AUTO_BATCH, _find_accumulation_steps(config, card, AUTO_BATCH // replicas)
    parts = replicas * steps
    if wanted % parts:
        raise ConfigError(
            f"{config.path}: training.batch_size: {wanted} cannot be cut into {replicas} devices times "
            f"{steps} training.accumulation_steps; choose a multiple of {parts}."
        )
    size = min(wanted, records.num_examples // parts * parts)
    if not size:
        raise DataError(f"{config.path}: {records.num_examples} training examples, and a batch has {parts} parts.")
    return size, steps


def _find_accumulation_steps(config: Config, card: Card, share: int) -> int:
    """As few as let one device work through its share of a batch; tried on a network that is thrown away."""
    network = _build(config.network, config, card)
    learner = Classifier(network, hard_loss=HardLoss())
    learner.compile(build_optimizer(config.training, learning_rate=0.0, weight_decay=0.0, epochs=1, steps_per_epoch=1))
    step = tf.function(learner.train_step, reduce_retracing=True, autograph=False)

    def try_step(size: int) -> None:
        step((blank_batch(card.model_input, size), tf.one_hot(tf.zeros(size, tf.int32), len(card.classes))))

    sizes = [size for size in range(1, share + 1) if share % size == 0]
    fitting = largest_that_fits(try_step, sizes)
    if not fitting:
        raise EnvironmentProblemError(
            f"{config.path}: training.batch_size: auto: not even one example at a time fits into memory. Choose "
            "a smaller model or smaller examples, or set training.rematerialize."
        )
    say(f"training.batch_size: auto: {AUTO_BATCH}, {fitting} at a time on each device")
    make_reproducible(config.seed, deterministic=config.deterministic, precision=config.training.precision)
    return share // fitting


def _build(model: ModelSettings, config: Config, card: Card) -> keras.Model:
    with _naming_file(config):
        return build_model(
            model,
            num_classes=len(card.classes),
            model_input=card.model_input,
            dropout=config.dropout,
            stochastic_depth=config.regularization.stochastic_depth,
            rematerialize=config.training.rematerialize,
            seed=config.seed,
            classes=card.classes,
        )


@contextmanager
def _naming_file(config: Config) -> Iterator[None]:
    """In the sentence of a network, which knows only the setting that it refuses."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{config.path}: {error}") from None


def _described(card: Card) -> str:
    found = card.model_input
    return f"{card.name} at {found.size} px" if isinstance(found, ImageInput) else card.name


def check_task(config: Config) -> None:
    """Refuse a network that there is not, and what is not for such records.

    Raises:
        ConfigError: with the setting that does not fit.
    """
    with _naming_file(config):
        reads = find_family(config.network.name).task
    task = config.dataset_config.task
    if reads != task:
        raise ConfigError(
            f"{config.path}: model.name: {config.network.name} is for {reads}s, and the records hold {task}s."
        )
    regularization, label = config.regularization, config.label
    of_pixels = {
        "regularization.mixup_alpha": regularization.mixup_alpha,
        "regularization.cutmix_alpha": regularization.cutmix_alpha,
        "regularization.random_erasing": regularization.random_erasing,
        "label.mixup_alpha": label.mixup_alpha,
    }
    model = config.network
    of_words = {
        "model.num_layers": model.num_layers,
        "model.vocabulary_size": model.vocabulary_size,
        "model.tokenizer": model.tokenizer,
    }
    given = [name for name, value in (of_pixels if task == "text" else of_words).items() if value]
    if given:
        other = "pixels" if task == "text" else "texts"
        raise ConfigError(f"{config.path}: {given[0]} is for {other}, and the records hold {task}s. Leave it out.")


def _check_devices(config: Config, strategy: tf.distribute.Strategy) -> None:
    if config.training.precision == "float16" and this_worker().num_workers > 1:
        raise ConfigError(
            f"{config.path}: training.precision: float16 leaves out steps that overflow, and workers do not hear of "
            "each other's. Choose bfloat16."
        )
    if config.training.xla and strategy.num_replicas_in_sync > 1:
        raise ConfigError(
            f"{config.path}: training.xla: TensorFlow compiles a step for one device, not for "
            f"{strategy.num_replicas_in_sync}. Leave it out, or set `training.strategy: one_device`."
        )
