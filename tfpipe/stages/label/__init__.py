"""`label`: every teacher says what it thinks of every training view, once."""

from collections.abc import Sequence

from tfpipe.core.cluster import Share
from tfpipe.core.config import Config
from tfpipe.core.progress import progress, say
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.workers import LOCAL, run_all, runner_of
from tfpipe.labels.store import close_store
from tfpipe.labels.summary import bytes_per_view, count_answers, target_entropy, tell_answers
from tfpipe.stages.label.units import Unit, forget_networks, label_elsewhere, label_unit
from tfpipe.stages.label.work import Work, open_work
from tfpipe.stages.phases import check_task
from tfpipe.training.reproducible import make_reproducible

vet = check_task


def run(config: Config, workspace: Workspace) -> Metrics:
    """Fill the store and close it; files that others, an interrupted run or one of before have written are kept."""
    make_reproducible(config.seed, deterministic=config.deterministic)
    work = open_work(config, workspace)
    _label(work.units, config)
    close_store(work.header, work.weights, work.store)
    return _metrics(work)


def take_part(config: Config, workspace: Workspace, share: Share) -> Metrics:
    """Write a share of the store's files, and tell how many are still missing."""
    make_reproducible(config.seed, deterministic=config.deterministic)
    work = open_work(config, workspace)
    _label(share.part_of(work.units), config)
    missing = work.num_missing
    say(
        f"label {config.name}: share {share.number} of {share.num_shares} is done; of {len(work.units)} files "
        + (f"{missing} are still missing." if missing else "none is missing: `tfpipe label` or `distill` joins them.")
    )
    return {"num_files": len(work.units), "num_missing": missing}


def _label(units: Sequence[Unit], config: Config) -> None:
    runner, title = runner_of(config.dataset_config), f"label {config.name}"
    left = [unit for unit in units if not unit.is_done]
    adopted = [unit for unit in left if unit.is_adoptable]
    if adopted:
        say(f"{title}: {len(adopted)} of {len(units)} files are in a finished store, and no teacher is asked for them")
    if runner.name != LOCAL:
        run_all(label_elsewhere, left, title=title, runner=runner)
        return
    with progress(title, sum(int(unit.keep.sum()) for unit in left)) as advance:
        for unit in left:
            label_unit(unit, advance)
    forget_networks()


def _metrics(work: Work) -> Metrics:
    header, facts = work.header, work.facts
    answers = count_answers(work.store, header, work.weights, facts.regions, facts.labels)
    return {
        "num_examples": header.num_examples,
        "views": header.views,
        "top_k": header.kept,
        "bytes_per_view": bytes_per_view(header),
        "target_entropy": target_entropy(work.store, header, work.weights),
        "temperatures": {n: t.calibration_temperature for n, t in zip(header.names, header.teachers, strict=True)},
    } | tell_answers(answers, header.names)
