"""The command line: parse, call the steps, print. TensorFlow is imported by the steps that need it."""

import os
import signal
import sys
import warnings

import click

from tfpipe import __version__
from tfpipe.cli.asking import predict, serve
from tfpipe.cli.completing import completed, completion
from tfpipe.cli.group import Group
from tfpipe.cli.runs import clean, run, status
from tfpipe.cli.starting import doctor, init
from tfpipe.cli.steps import step_commands


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From labelled data to an honest, verified classifier in the browser.\n\n"
    "\b\nExample:\n  tfpipe run --config configs/student.yaml",
)
@click.version_option(__version__)
def main() -> None:
    """Prepare the process for any step."""
    # Their chatter would bury ours; a person who wants it sets the variable, or python -W.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Not all of a GPU's memory at once: a step may have a process of its own, which wants some, too.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    signal.signal(signal.SIGTERM, signal.default_int_handler)


for _command in (init, doctor, *step_commands(), run, status, clean, predict, serve, completion):
    main.add_command(completed(_command))
