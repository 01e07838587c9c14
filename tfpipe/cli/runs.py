"""Commands about whole runs: `run`, `status` and `clean`."""

import json
from pathlib import Path

import click

from tfpipe.core.progress import say


@click.command(
    "run",
    help="All steps, to a verified page and a report of the run.\n\n"
    "The plan comes first: what is up to date, what will run and why, and how long it took before.\n\n"
    "\b\nExample:\n"
    "  tfpipe run --config configs/student.yaml\n"
    "  tfpipe run --config configs/teacher_global.yaml --config configs/student.yaml --until label\n"
    "  tfpipe run --config configs/student.yaml --from distill --dry-run\n"
    "  tfpipe run --from-manifest runs/student/manifest.yaml",
)
@click.option(
    *("--config", "paths"),
    type=click.Path(path_type=Path),
    multiple=True,
    help="Settings file (YAML); may be given several times.",
)
@click.option(
    *("--from-manifest", "manifest_path"),
    type=click.Path(path_type=Path, dir_okay=False),
    help="Run what a manifest tells of, with its settings, and compare every hash; exits with 3 if one differs.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override one setting.")
@click.option("--from", "first", metavar="STEP", help="Redo this step and what needs it, up to date or not.")
@click.option("--until", metavar="STEP", help="Go no further than this step.")
@click.option("--force", is_flag=True, help="Redo every step, up to date or not.")
@click.option("--dry-run", is_flag=True, help="Tell the plan, and run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the metrics of all steps as one JSON object.")
def run(
    paths: tuple[Path, ...],
    manifest_path: Path | None,
    overrides: tuple[str, ...],
    first: str | None,
    until: str | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Each step once, those that are needed first."""
    if bool(paths) == bool(manifest_path):
        raise click.UsageError("Give either --config or --from-manifest.")
    if manifest_path and (overrides or first or until):
        raise click.UsageError(
            "--from-manifest runs what the manifest tells of; it excludes --set, --from and --until."
        )
    if manifest_path:
        from tfpipe.stages.rerun import rerun

        metrics = rerun(manifest_path, force=force, dry_run=dry_run)
    else:
        from tfpipe.stages.runner import run_all

        metrics = run_all(paths, overrides, first=first, until=until, force=force, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(metrics, ensure_ascii=False))


@click.command(
    "status",
    help="Every run's steps: when they ran, how long, and whether they still hold.\n\n"
    "\b\nExample:\n  tfpipe status\n  tfpipe status --json",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as one JSON object, run by run.")
def status(as_json: bool) -> None:
    """Reads, and changes nothing."""
    from tfpipe.core.workspace import Workspace
    from tfpipe.stages.status import survey, told

    runs = survey(Workspace())
    click.echo(json.dumps([run.to_json() for run in runs], ensure_ascii=False) if as_json else told(runs))


@click.command(
    "clean",
    help="Free the space of what no step will read again: earlier epochs of trainings that are done, what a step had "
    "put aside, and files that a kill left half-written. Runs in use are left alone.\n\n"
    "\b\nExample:\n  tfpipe clean\n  tfpipe clean --yes",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def clean(yes: bool) -> None:
    """Names everything first."""
    from tfpipe.core.workspace import Workspace
    from tfpipe.stages.cleaning import find_waste, remove_waste

    waste = find_waste(Workspace())
    if not waste:
        say("Nothing to free.")
        return
    for each in waste:
        say(each.told())
    if yes or click.confirm(f"Free {sum(each.num_bytes for each in waste) / 1e6:,.1f} MB?", err=True):
        remove_waste(waste)
