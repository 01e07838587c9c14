"""What is the same for every command: a person's mistake ends in one sentence and an exit code."""

import sys
from typing import Any

import click

from tfpipe.core.errors import TfpipeError
from tfpipe.core.files import explain
from tfpipe.core.progress import say

INTERRUPTED = 130


class Group(click.Group):
    """Turns our errors into one sentence and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; never a traceback for what a person can mend."""
        try:
            return super().main(*args, **kwargs | {"standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(2)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except TfpipeError as error:
            say(f"error: {error}")
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            say("interrupted. The same command goes on where it stood.")
            sys.exit(INTERRUPTED)
        except Exception as error:
            told = explain(error)
            if told is None:
                raise
            say(f"error: {told}")
            sys.exit(1)
