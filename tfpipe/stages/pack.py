"""`pack`: rows and their images become sharded records, and the class list is fixed."""

from tfpipe.core.config import Config
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.records import classes_sha256, write_records
from tfpipe.data.split_tables import write_split_tables
from tfpipe.data.workers import runner_of


def run(config: Config, workspace: Workspace) -> Metrics:
    """Write `data/<dataset>/<version>` anew, and of texts a CSV file a split."""
    directory = workspace.records_dir(config)
    plan = write_records(
        workspace.splits_path(config),
        directory,
        task=config.task,
        classes=config.pack.classes,
        num_shards=config.pack.num_shards,
        title=f"pack {config.dataset}",
        runner=runner_of(config),
    )
    if config.task == "text":
        write_split_tables(
            workspace.splits_path(config),
            workspace.dataset_dir(config),
            classes=plan.classes,
            fields=config.snapshot.fields,
        )
    return {
        "num_examples": sum(len(shard.labels) for shards in plan.shards.values() for shard in shards),
        "num_shards": sum(map(len, plan.shards.values())),
        "num_classes": len(plan.classes),
        "classes_sha256": classes_sha256(plan.classes),
        "num_bytes": sum(file.stat().st_size for file in directory.iterdir()),
    }
