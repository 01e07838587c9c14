"""`audit`: every image or text is looked at once; what a person should know of them goes into a report."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer

from tfpipe.core.config import Config
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.audit.output import write_report
from tfpipe.data.audit.report import audit_rows, iter_pairs
from tfpipe.data.duplicates import iter_near_duplicates, write_near_duplicates
from tfpipe.data.inspection import find_near_duplicates, inspect_rows
from tfpipe.data.rows import read_label_map
from tfpipe.data.workers import runner_of


def run(config: Config, workspace: Workspace) -> Metrics:
    """Write the facts, the near duplicates and the report."""
    settings = config.audit
    raw_path, facts_path = workspace.raw_path(config), workspace.facts_path(config)
    near_path = workspace.near_duplicates_path(config)
    folder = workspace.step_dir(config, "audit")
    pieces = folder / "pieces"
    inspect_rows(
        raw_path,
        workspace.fetched_path(config),
        facts_path,
        task=config.task,
        min_side=settings.min_side,
        folder=pieces,
        runner=runner_of(config),
    )
    near = find_near_duplicates(facts_path, pieces, max_bits=settings.near_duplicate_bits)
    write_near_duplicates(near, near_path)
    report = audit_rows(
        lambda: iter_pairs(raw_path, facts_path),
        iter_near_duplicates(near_path),
        name=config.dataset,
        task=config.task,
        settings=settings,
        synonyms=read_label_map(settings.synonyms) if settings.synonyms else {},
        count_subwords=_counter(settings.tokenizer) if settings.tokenizer else None,
    )
    label_map = config.snapshot.label_map
    write_report(report, folder, root=workspace.root, label_map=read_label_map(label_map) if label_map else {})
    shutil.rmtree(pieces)
    return report.metrics


def _counter(folder: Path) -> Callable[[str], int]:
    """Of a text's sub-words, as the model that reads it counts them."""
    # Takes TensorFlow along, without which an audit does.
    from tfpipe.models.tokenizer import read_text_input

    tokenizer = Tokenizer.from_str(read_text_input(folder, max_length=2).tokenizer)
    return lambda text: len(tokenizer.encode(text).ids)
