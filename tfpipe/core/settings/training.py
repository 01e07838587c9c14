"""Settings of the steps that train: teachers, soft labels, students."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tfpipe.core.settings.base import (
    Augmentation,
    BestMetric,
    ClassWeights,
    Count,
    Fraction,
    Number,
    Pooling,
    Positive,
    Sampling,
    Section,
)

AUTO_BATCH = 64


class ModelSettings(Section):
    """The network."""

    name: str
    """A key of `MODELS`, such as `mobilenetv2` or `vit_base_patch16_224`."""
    pretrained: bool = False
    """The plan's word for `weights: imagenet`."""
    weights: str = "none"
    """`none`, `imagenet`, a KerasHub preset, a Hugging Face folder, or a file of backbone weights
    (`.weights.h5`, `.keras`)."""
    start_from: Path | None = None
    """Settings file of another teacher of the same shape whose fitted weights are the start."""
    num_classes: Count | None = None
    """Checked against the records; unset, taken from them."""
    alpha: Positive = 1.0
    """MobileNetV2's width multiplier."""
    dropout_rate: Fraction | None = None
    """Of the features before the head; the same as `regularization.dropout`."""
    head_rank: Count | None = None
    """A bottleneck of so many units before the logits: with 9,000 classes the head is most of a small network."""
    tokenizer: Path | None = None
    """Texts, without `weights`: a folder with `tokenizer.json`, or `vocab.json` and `merges.txt`, or `vocab.txt`, or
    `sentencepiece.bpe.model`."""
    num_layers: Count | None = None
    """Texts: so many, instead of all that the name or the weights have; of weights the first ones (Sajjad 2020)."""
    vocabulary_size: Count | None = None
    """Texts: the sub-words that the training texts have most often, instead of all that the tokenizer knows (Abdaoui
    2020). In a small network most weights are sub-words'."""
    pooling: Pooling = "first"
    """Texts: what the head reads, the first token through a dense layer, or the mean of all tokens."""
    max_mb: Positive | None = None
    """Refuse, before training, a network whose float32 weights take more megabytes (10⁶ bytes)."""

    @model_validator(mode="after")
    def _has_one_start(self) -> "ModelSettings":
        if self.start_from and (self.pretrained or self.weights != "none"):
            raise ValueError("`start_from` excludes `weights` and `pretrained`")
        if self.pretrained and self.weights not in ("none", "imagenet"):
            raise ValueError("`pretrained: true` means `weights: imagenet`; drop one of the two")
        return self


class TrainingSettings(Section):
    """Optimiser and schedule."""

    learning_rate: Positive = 1e-3
    """At its highest, after the warm-up; then it falls along a cosine."""
    batch_size: Count | Literal["auto"] = AUTO_BATCH
    """Examples of one update, over all devices and accumulation steps.

    `auto`: 64, in as few accumulation steps as memory allows; more would ask for another learning rate.
    """
    per_device_train_batch_size: Count | None = None
    """Of each device, instead of `batch_size`, as transformers counts them."""
    accumulation_steps: Count = 1
    """Parts that a batch is worked through in, one after the other: less memory, the same update."""
    epochs: Count = 15
    """Of a student those of both phases."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 1
    """In which the rate rises in a line; parts of an epoch are allowed."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Of kernels alone; unset, that of `regularization`, or none."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """A key of `OPTIMIZERS`."""
    clip_norm: Positive | None = None
    """Global norm to which gradients are clipped."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Each layer learns, and decays, by this factor slower than the one above it (Clark 2020; Bao 2021); 1: all alike.

    For pretrained weights: 0.65 to 0.85 for a vision transformer. From scratch it holds back what must learn most.
    """
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of the moving average of the weights that is validated and kept in their place; 0: off.

    It reaches back some 1 / (1 - decay) steps, which should be an epoch or so: 0.99 for hundreds of steps
    in all, 0.999 for ten thousand, 0.9999 for a hundred thousand.
    """
    head_epochs: Number = 0
    """Epochs before the others, in which the head alone learns (Kumar 2022)."""
    head_learning_rate: Positive = 1e-3
    """Of those epochs."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the layers' arithmetic; weights stay float32, and float16's loss is scaled."""
    rematerialize: bool = False
    """Forget activations and compute them again for the gradient: less memory, a third more time."""
    xla: bool = False
    """Compile the training step."""
    strategy: Literal["auto", "one_device", "mirrored", "multi_worker"] = "auto"
    """`auto`: workers if the environment names some, all GPUs of this machine if it has several, else one device."""
    sampling: Sampling = "uniform"
    """How often an example comes: each once an epoch, or by its class's size."""
    class_weights: ClassWeights = "none"
    """Weight of an example's loss, by its class's size. On labels alone: a teacher's loss, a student's fine-tuning."""
    logit_adjustment: Annotated[float, Field(ge=0)] = 0.0
    """τ of the logit-adjusted loss (Menon 2020), where `class_weights` act; 0: off, 1: as the paper.

    Sampling, weights and adjustment may be on together: each sees the classes as the one before it left them.
    """

    @property
    def corrects_on_labels(self) -> bool:
        """Whether the loss on labels is not plain cross-entropy."""
        return self.class_weights != "none" or self.logit_adjustment > 0


class RegularizationSettings(Section):
    """What holds a network back from learning by heart."""

    dropout: Fraction | None = None
    """Of the features before the head."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """The same as `training.weight_decay`."""
    mixup_alpha: Annotated[float, Field(ge=0)] = 0.0
    """Two photos of a batch laid over each other, in training on labels (Zhang 2018); 0: off."""
    cutmix_alpha: Annotated[float, Field(ge=0)] = 0.0
    """A box of one photo put into another, in training on labels (Yun 2019); 0: off."""
    random_erasing: Fraction = 0.0
    """Probability that a box of a view is filled with noise (Zhong 2017), in training on labels."""
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that a vision transformer's last layer is left out, the others' less in proportion (Huang 2016)."""
    label_smoothing: Fraction = 0.0
    """Share of a target that goes to all classes alike."""
    early_stopping_patience: Count | None = None
    """The same as that of `callbacks`."""


class CallbackSettings(Section):
    """What happens at the end of an epoch."""

    early_stopping: bool | None = None
    """False: never, whatever the patience; true alone: with a patience of 3."""
    early_stopping_patience: Count | None = None
    """Epochs that are no better on validation, after which training ends; unset: never."""
    save_best: bool = True
    """Keep the epoch that is best on validation; otherwise the last."""
    best_metric: BestMetric = "accuracy"
    """What is best: the highest top-1 or macro F1, or the lowest loss."""
    logging_steps: Count | None = None
    """Steps between two points of the training loss in TensorBoard; unset: one point an epoch."""
    checkpoint_dir: Path | None = None
    """Unset: `checkpoints/` in the step's folder."""
    checkpoint_minutes: Positive = 10
    """Between two states from which a killed run goes on; one is kept at every epoch's end too."""
    keep_checkpoints: Count = 1
    """Epochs whose networks are kept, the latest, beside the best."""


class TeacherSettings(Section):
    """One teacher of a student: a settings file to train, or a model file."""

    config: Path | None = None
    """Relative to this file."""
    path: Path | None = None
    """A model (`.keras`), or the soft labels of one (`.npz`, with `logits` or `soft_probs`, and `indices`)."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Beside the other teachers; what they have together counts as 1."""
    region_filter: str | None = None
    """This teacher speaks only for rows of this region."""
    temperature: Positive | Literal["calibrated"] = 1.0
    """Divides this teacher's logits before anything else; `calibrated`: fitted on the validation split first."""

    @model_validator(mode="after")
    def _is_one_of_two(self) -> "TeacherSettings":
        if (self.config is None) == (self.path is None):
            raise ValueError("a teacher needs either `config` or `path`")
        return self


class LabelSettings(Section):
    """The soft-label store."""

    views: Count | Literal["live", "unaugmented"] = 4
    """Deterministic views per image; epoch e trains on view e mod views.

    `live`: nothing is stored, the teachers are in memory and label each batch, another view every epoch.
    `unaugmented`: one label of the plain photo for all views of it, which is inconsistent; labels that come
    as `.npz` are of this kind.
    """
    top_k: Count = 100
    """Classes kept per view; with at least as many as there are, nothing is lost."""
    mixup_alpha: Annotated[float, Field(ge=0)] = 0.0
    """A view may be two photos laid over each other; 0: off."""
    cutmix_alpha: Annotated[float, Field(ge=0)] = 0.0
    """A view may be a mixture of two photos, or (`cutmix_alpha`) the beginning of a text and the end of another; which
    two, and how, is part of the view."""

    @model_validator(mode="after")
    def _mixes_what_is_labelled(self) -> "LabelSettings":
        if self.views == "unaugmented" and (self.mixup_alpha or self.cutmix_alpha):
            raise ValueError("`unaugmented` labels are of plain photos; drop `mixup_alpha` and `cutmix_alpha`")
        return self


SoftLoss = Literal["kl_divergence", "reverse_kl", "jensen_shannon", "dkd", "dist", "standardized_kl", "mse"]


class LossWeights(Section):
    """Shares of the soft and the hard loss."""

    kl_divergence: Annotated[float, Field(ge=0)] = 0.7
    """Of the soft loss."""
    cross_entropy: Annotated[float, Field(ge=0)] = 0.3
    """Of the loss on the true labels."""


class DistillationSettings(Section):
    """Phase 1 of the student."""

    loss: SoftLoss = "kl_divergence"
    """The soft loss, a key of `LOSSES`; `dist`, `standardized_kl` and `mse` need all classes (`label.top_k`)."""
    temperature: Positive = 3.0
    """Divides the logits of teachers and student in the soft loss."""
    loss_weights: LossWeights = LossWeights()
    """`kl_divergence` is the soft loss's, whichever it is."""
    feature_weight: Annotated[float, Field(ge=0)] = 0.0
    """Of the distance between the student's features, linearly mapped, and a live teacher's (Romero 2015)."""
    baseline: bool = False
    """Train the same student without teachers too, and report the gain on `evaluate.split`."""


class FinetuneSettings(Section):
    """Phase 2 of the student: the last epochs, on labels alone."""

    epochs: Number | None = None
    """Out of `training.epochs`; unset, the second half of them."""
    learning_rate: Positive | None = None
    """Unset, half of `training.learning_rate`."""
    augmentation: Augmentation = "aggressive"
    """Of the views of these epochs."""
