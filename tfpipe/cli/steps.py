"""A command for each step."""

import json
import os
from pathlib import Path
from typing import Any

import click

from tfpipe.core.cluster import Share
from tfpipe.core.steps import Step
from tfpipe.stages import STEPS


class _Share(click.ParamType):
    """`i/n`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Share:
        """Refuses what is none, as wrong usage."""
        try:
            return value if isinstance(value, Share) else Share.parse(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


_runner = click.option("--runner", help="Where to run: `local`, or an Apache Beam runner such as DirectRunner.")
_check_only = click.option("--check-only", "fetch__check_only", is_flag=True, help="Look at every image, keep none.")
_check = click.option(
    *("--check", "splits_path"),
    type=click.Path(path_type=Path),
    is_eager=True,
    metavar="FILE",
    help="Run nothing; prove that a splits file (JSON Lines or CSV), made here or elsewhere, leaks nothing. Without "
    "--config by the file alone, with it also by what the audit knows of its ids.",
)
_against = click.option(
    *("--against", "others"),
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Settings of a model to compare with this one, on the same examples; may be given several times.",
)
_shard = click.option(
    *("--shard", "share"),
    type=_Share(),
    metavar="I/N",
    help="Write the i-th of n equal shares of the files, from 1/N to N/N, and leave the step open: n machines on one "
    "shared folder do it together. The last `tfpipe label`, without it, joins them.",
)
_compare = click.option(
    *("--check", "num_compared"),
    type=click.IntRange(min=1),
    metavar="N",
    help="Label nothing; ask the teachers about N random views again, and compare with what is stored.",
)
_to_npz = click.option(
    *("--to-npz", "npz_path"),
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the first view's labels as dense arrays too: `soft_probs` and `indices`, and of each teacher `logits`, "
    "`indices` and `confidences` (of several: beside FILE, with their names).",
)
_recheck = click.option(
    *("--check", "manifest_path"),
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    metavar="FILE",
    help="Run nothing; hash everything that a manifest names again, and say what has changed since.",
)
SHORTHANDS = {
    "fetch": (_runner, _check_only),
    "audit": (_runner,),
    "pack": (_runner,),
    "split": (_check,),
    "evaluate": (_against,),
    "label": (_runner, _shard, _compare, _to_npz),
    "report": (_recheck,),
}
"""Options beside those that every step has; `--runner`, `--check-only` and `--against` stand for settings."""

MORE_EXAMPLES = {
    "evaluate": "tfpipe evaluate --config configs/teacher_regional.yaml --against configs/teacher_global.yaml"
}


def step_commands() -> list[click.Command]:
    """In the order of the chain."""
    return [_command(step) for step in STEPS.values()]


def _command(step: Step) -> click.Command:
    name = step.name
    more = f"\n  {MORE_EXAMPLES[name]}" if name in MORE_EXAMPLES else ""
    example = f"tfpipe {name} --config configs/{_example(name)}.yaml"

    @click.command(name, help=f"{step.summary}\n\n\b\nExample:\n  {example}{more}")
    @click.option(
        *("--config", "path"),
        type=click.Path(path_type=Path),
        required=not {_check, _recheck} & set(SHORTHANDS.get(name, ())),
        callback=_given,
        help="Settings file (YAML).",
    )
    @click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override one setting.")
    @click.option("--force", is_flag=True, help="Run the step even if it is up to date.")
    @click.option("--no-upstream", is_flag=True, help="Refuse if an earlier step is missing, instead of running it.")
    @click.option("--json", "as_json", is_flag=True, help="Print the step's metrics as one JSON object.")
    def command(
        path: Path, overrides: tuple[str, ...], force: bool, no_upstream: bool, as_json: bool, **shorthands: Any
    ) -> None:
        from tfpipe.stages.runner import run_step

        manifest_path = shorthands.pop("manifest_path", None)
        splits_path, others = shorthands.pop("splits_path", None), shorthands.pop("others", ())
        share, num_compared, npz_path = (shorthands.pop(key, None) for key in ("share", "num_compared", "npz_path"))
        if share and (force or num_compared or npz_path):
            raise click.UsageError(
                "--shard goes on with what others have begun; it excludes --force, --check, --to-npz."
            )
        if others:
            overrides += (f"evaluate.against={json.dumps([_beside(path, other) for other in others])}",)
        overrides += tuple(f"{key.replace('__', '.')}={value}" for key, value in shorthands.items() if value)
        if manifest_path:
            metrics = _check_manifest(manifest_path)
        elif splits_path:
            metrics = _check_splits(splits_path, path, overrides)
        elif num_compared:
            metrics = _compare_labels(path, overrides, num_compared)
        else:
            metrics = run_step(name, path, overrides, force=force, no_upstream=no_upstream, share=share)
        if npz_path:
            _take_labels(path, overrides, npz_path)
        if as_json:
            click.echo(json.dumps(metrics, ensure_ascii=False))

    for option in SHORTHANDS.get(name, ()):
        command = option(command)
    return command


def _given(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """`--config`, without which only a splits file or a manifest can be checked."""
    if path is None and not context.params.get("splits_path") and not context.params.get("manifest_path"):
        raise click.MissingParameter(ctx=context, param=option)
    return path


def _beside(path: Path, other: Path) -> str:
    """Where another settings file lies, seen from one."""
    return Path(os.path.relpath(other, path.parent)).as_posix()


def _check_splits(splits_path: Path, path: Path | None, overrides: tuple[str, ...]) -> dict[str, Any]:
    from tfpipe.core.config import load_config
    from tfpipe.core.workspace import Workspace
    from tfpipe.stages.split import check

    return check(splits_path, load_config(path, overrides).dataset_config if path else None, Workspace())


def _check_manifest(manifest_path: Path) -> dict[str, Any]:
    from tfpipe.core.tracing import check_manifest
    from tfpipe.core.workspace import Workspace

    return check_manifest(manifest_path, Workspace())


def _compare_labels(path: Path, overrides: tuple[str, ...], count: int) -> dict[str, Any]:
    from tfpipe.core.config import load_config
    from tfpipe.core.workspace import Workspace
    from tfpipe.stages.label.compare import compare

    return compare(load_config(path, overrides), Workspace(), count)


def _take_labels(path: Path, overrides: tuple[str, ...], npz_path: Path) -> None:
    from tfpipe.core.config import load_config
    from tfpipe.core.workspace import Workspace
    from tfpipe.stages.label.taking import take

    take(load_config(path, overrides), Workspace(), npz_path)


def _example(name: str) -> str:
    return {"snapshot": "dataset", "split": "dataset", "pack": "dataset", "teach": "teacher_global"}.get(
        name, "student"
    )
