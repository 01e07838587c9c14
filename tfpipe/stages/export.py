"""`export`: the model as SavedModel and TensorFlow.js graph models, and the page around it."""

from typing import get_args

from tfpipe.core.config import Config
from tfpipe.core.errors import ConfigError
from tfpipe.core.settings import Precision
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.records import Records
from tfpipe.exporters.saved_model import export_saved_model
from tfpipe.exporters.site import Example, Site, build_site
from tfpipe.exporters.tfjs import export_tfjs
from tfpipe.models import find_family
from tfpipe.models.saving import Card, load_model
from tfpipe.training.reproducible import make_reproducible


def run(config: Config, workspace: Workspace) -> Metrics:
    """Convert in every precision; the page gets the one that the settings name."""
    make_reproducible(config.seed, deterministic=False)
    network, card = load_model(workspace.best_path(config))
    if not find_family(card.name).in_browser:
        raise ConfigError(
            f"{config.path}: {card.name} uses operations that browsers lack. Distil a student and export that."
        )
    step_dir = workspace.step_dir(config, "export")
    export_saved_model(network, step_dir / "saved_model")
    sizes = {}
    for precision in get_args(Precision):
        export_tfjs(step_dir / "saved_model", step_dir / precision, precision)
        sizes[precision] = sum(shard.stat().st_size for shard in (step_dir / precision).glob("*.bin"))
    site = Site(
        title=config.export.title,
        description=config.export.description,
        classes=card.classes,
        image_input=card.image_input,
        tfjs_dir=step_dir / config.export.precision,
        examples=_examples(config, workspace),
        model_card=_model_card(config, card, sizes),
        manifest_path=workspace.run_dir(config) / "manifest.yaml",
    )
    build_site(site, workspace.exported_dir(config))
    return {"weight_bytes": sizes, "page": (workspace.exported_dir(config) / "index.html").as_posix()}


def _examples(config: Config, workspace: Workspace) -> list[Example]:
    """The first test photos of different classes."""
    records = Records(workspace.records_dir(config), "test")
    found: dict[int, bytes] = {}
    if config.export.num_examples:
        for example in records.examples().as_numpy_iterator():
            found.setdefault(int(example["label"]), example["image"])
            if len(found) == config.export.num_examples:
                break
    return [Example(jpeg, records.classes[label]) for label, jpeg in found.items()]


def _model_card(config: Config, card: Card, sizes: dict[str, int]) -> str:
    classes = "\n".join(f"- {name}" for name in card.classes)
    return (
        f"# {config.export.title}\n\n{config.export.description}\n\n"
        f"{card.name}, {card.image_input.size} px, {config.export.precision}, "
        f"{sizes[config.export.precision]:,} bytes of weights.\n\n## Classes\n\n{classes}\n"
    )
