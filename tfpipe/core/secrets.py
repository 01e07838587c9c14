"""Addresses with passwords in them: expanded where they are used, never shown."""

import os
import re
from urllib.parse import quote

from tfpipe.core.errors import ConfigError

PASSWORD = re.compile(r"(?<=://)([^/@:\s]*):(?!\$\{\w+\}@)[^/\s]*@")
"""`user:password@`, unless the password is a variable."""
DATABASE_PASSWORD = re.compile(r"((?:mongodb|postgresql)(?:\+\w+)?://[^/@:\s]*):(?!\$\{\w+\}@).*@")
"""The same, with slashes or blanks in it that do not belong there; rather too much than a part of it."""
PASSWORD_OPTION = re.compile(r"(?i)(password=)(?!\$\{)[^&\s]+")
WELL_FORMED = re.compile(r"[\w+]+://(?:[^@:/?#\s]*(?::[^@:/?#\s]*)?@)?[^@]*")


def redact(text: str) -> str:
    """The text with `***` for the password of any address in it."""
    text = DATABASE_PASSWORD.sub(r"\1:***@", PASSWORD.sub(r"\1:***@", text))
    return PASSWORD_OPTION.sub(r"\1***", text)


def expand(address: str) -> str:
    """The address with the environment's value for each `${NAME}`, percent-encoded where it stands before the `@`.

    Raises:
        ConfigError: naming a variable that is not set, or when user and password are not told apart from the host.
    """
    user, at, rest = address.rpartition("@")
    expanded = _filled(user, address, encode=True) + at + _filled(rest, address, encode=False)
    if not WELL_FORMED.fullmatch(expanded):
        raise ConfigError(
            f"{redact(address)}: characters such as @ : / in user or password must be percent-encoded (%40 %3A %2F), "
            "or the password stand in a variable: user:${PASSWORD}@host."
        )
    return expanded


def _filled(part: str, address: str, *, encode: bool) -> str:
    def value(match: re.Match[str]) -> str:
        try:
            found = os.environ[match[1]]
        except KeyError:
            raise ConfigError(f"{redact(address)}: ${{{match[1]}}} is not set in the environment.") from None
        return quote(found, safe="") if encode else found

    return re.sub(r"\$\{(\w+)\}", value, part)
