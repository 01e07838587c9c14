"""One tree of errors. Each says what, where, what was found and what to do next."""


class TfpipeError(Exception):
    """A user's mistake or a failed step: the command line prints it and exits with `exit_code`."""

    exit_code = 1


class ConfigError(TfpipeError):
    """A settings file that cannot be used: names the file, the key and what is allowed."""


class DataError(TfpipeError):
    """Rows or images that cannot be used: names the source and the row."""


class BrokenOffError(DataError):
    """A source or process that ended too soon: what came before is kept, and the step's next run goes on from there."""


class MissingArtifactError(TfpipeError):
    """A file that an earlier step writes is not there."""


class MismatchError(TfpipeError):
    """Two artifacts that do not belong together: another class list, teacher or preprocessing."""


class EnvironmentProblemError(TfpipeError):
    """The machine lacks something: a browser, npm, disk space."""


class CriterionError(TfpipeError):
    """A step worked, but what it measured does not meet a limit of the settings."""

    exit_code = 3
