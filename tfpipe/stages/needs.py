"""What each step needs: other steps, of these settings or of those that they build on."""

from tfpipe.core.config import Config, Role
from tfpipe.core.errors import ConfigError
from tfpipe.core.steps import Need

LAST_STEP: dict[Role, str] = {"dataset": "pack", "teacher": "teach", "student": "distill"}
"""What makes the thing that a kind of settings describes."""


def _dataset(config: Config) -> Config:
    return config.dataset_config


def _fitted(config: Config) -> Need:
    """The step that fits the model of these settings."""
    return (config, "distill" if config.role == "student" else "teach")


def reference(config: Config) -> list[Need]:
    """The baseline that reports show their gain over: of texts, or where the settings give it pretrained weights."""
    dataset = _dataset(config)
    random_features = dataset.task == "image" and dataset.baseline.weights == "none"
    return [] if random_features else [(dataset, "baseline")]


def teach(config: Config) -> list[Need]:
    """Records, and the teacher that it starts from."""
    _expect_role(config, "teacher", "teach")
    start = [(config.start_config, "teach")] if config.start_config else []
    return [(_dataset(config), "pack"), *start]


def label(config: Config) -> list[Need]:
    """Records, and the teachers that are asked."""
    _expect_role(config, "student", "label")
    if config.label.views == "live":
        raise ConfigError(
            f"{config.path}: label.views is live, so there is nothing to store: the teachers label each batch while "
            f"the student trains. Run `tfpipe distill --config {config.path}`."
        )
    return [(_dataset(config), "pack"), *((t, "teach") for t in config.teacher_configs if t)]


def distill(config: Config) -> list[Need]:
    """Live teachers are asked while the student trains; nothing is stored."""
    if config.label.views != "live":
        return [(_dataset(config), "pack"), (config, "label")]
    _expect_role(config, "student", "distill")
    return [(_dataset(config), "pack"), *((t, "teach") for t in config.teacher_configs if t)]


def evaluate(config: Config) -> list[Need]:
    """The model, and whatever it is compared with."""
    for other in config.against_configs:
        _check_comparable(config, other)
    others: list[Need] = [(other, "evaluate") for other in config.against_configs]
    return [(_dataset(config), "pack"), _fitted(config), *reference(config), *others]


def _check_comparable(config: Config, other: Config) -> None:
    """Refuse, before anything is trained, models that are not measured on the same photos."""
    ours, theirs = _dataset(config), _dataset(other)
    if ours.path.resolve() != theirs.path.resolve():
        found = f"knows the data set of {theirs.path}, and this one that of {ours.path}"
    elif config.evaluate.split != other.evaluate.split:
        found = f"is measured on {other.evaluate.split}, and this one on {config.evaluate.split} (evaluate.split)"
    else:
        return
    raise ConfigError(
        f"{config.path}: evaluate.against: {other.path} {found}. Compare models on the same {ours.things}."
    )


def calibrate(config: Config) -> list[Need]:
    """Records and the model."""
    return [(_dataset(config), "pack"), _fitted(config)]


def quantize(config: Config) -> list[Need]:
    """Where it trains, also what taught the student."""
    _refuse_folder(config, "quantize")
    needs = [(_dataset(config), "pack"), _fitted(config), (config, "calibrate")]
    if config.quantize.method == "post_training":
        return needs
    if _dataset(config).task == "text":
        raise ConfigError(
            f"{config.path}: quantize.method: aware is for photos: TF-MOT knows no encoders of texts. Set it to "
            "post_training."
        )
    if config.role != "student":
        raise ConfigError(
            f"{config.path}: quantize.method: aware keeps distilling, and a {config.role} has no teachers. "
            "Set it to post_training."
        )
    return [*needs, *(need for need in distill(config) if need not in needs)]


def export(config: Config) -> list[Need]:
    """The model, what is known of it, and, for a page, what it is in int8."""
    if not config.has_page:
        if config.network.pooling == "mean":
            raise ConfigError(
                f"{config.path}: model.pooling: mean: `export` writes a classifier for transformers, and those read "
                "the first token. Train one with `pooling: first`; `predict` and `serve` take this one as it is."
            )
        return [_fitted(config), *((config, step) for step in ("evaluate", "calibrate"))]
    before = ("evaluate", "calibrate", "quantize")
    return [(_dataset(config), "pack"), _fitted(config), *((config, step) for step in before)]


def verify(config: Config) -> list[Need]:
    """The page, and the test photos or texts."""
    _refuse_folder(config, "verify")
    return [(_dataset(config), "pack"), (config, "export")]


def report(config: Config) -> list[Need]:
    """Everything to a verified page; a teacher's settings end before."""
    if config.role == "dataset":
        return [(config, "baseline")]
    if config.role == "teacher":
        return [(config, "evaluate")]
    teachers: list[Need] = [(t, "evaluate") for t in config.teacher_configs if t]
    return [*teachers, (config, "evaluate"), (config, "calibrate"), (config, "verify")]


def _refuse_folder(config: Config, step: str) -> None:
    if not config.has_page:
        raise ConfigError(
            f"{config.path}: `{step}` is for what runs in a page, and a {config.role} of texts is too large for one. "
            f"Distil a student; or `tfpipe export --config {config.path}` writes a folder that transformers reads."
        )


def _expect_role(config: Config, role: Role, step: str) -> None:
    if config.role != role:
        raise ConfigError(
            f"{config.path} holds a {config.role}'s settings, and `{step}` needs a {role}'s. "
            f"Did you mean `tfpipe {LAST_STEP[config.role]} --config {config.path}`?"
        )
