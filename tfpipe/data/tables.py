"""CSV files, streamed: UTF-8 with or without a byte order mark, separated by commas, semicolons or tabs."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfpipe.core.errors import DataError

SEPARATORS = ",;\t"
LARGEST_FIELD = 64 * 2**20
"""Characters. A text may be long, and one that is longer still is a quote left open."""


def iter_records(path: Path, needed: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers (from 1, where the record begins) and values by column; blank lines are passed over.

    Raises:
        DataError: when a needed column is missing; naming file and line, when a line is
            not UTF-8, has more or fewer values than there are columns, or is badly quoted.
    """
    csv.field_size_limit(LARGEST_FIELD)
    with path.open("rb") as file:
        separator = _separator(file.readline())
        file.seek(0)
        records = csv.reader(_decoded(file, path), delimiter=separator, strict=True)
        columns: list[str] = []
        begins = 1
        try:
            for values in records:
                if values and not columns:
                    columns = values
                    _check_columns(columns, needed, path)
                elif values:
                    _check_is_whole(values, columns, f"{path}:{begins}")
                    yield begins, dict(zip(columns, values, strict=True))
                begins = records.line_num + 1
        except csv.Error as error:
            raise DataError(f"{path}:{begins}: not CSV ({error}). Is a quote left open or not doubled?") from None
        if not columns:
            _check_columns(columns, needed, path)


def _separator(header: bytes) -> str:
    """What stands most often in the header; spreadsheets of many countries write semicolons."""
    return max(SEPARATORS, key=lambda separator: header.count(separator.encode()))


def _decoded(lines: Iterator[bytes], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}:{number}: not UTF-8 ({line[error.start : error.start + 1]!r} at byte {error.start + 1} of the "
                f"line). Convert the file: iconv -f {_likely_encoding(line)} -t UTF-8 {path.name} > utf8-{path.name}"
            ) from None


def _likely_encoding(line: bytes) -> str:
    return "UTF-16" if line.startswith((b"\xff\xfe", b"\xfe\xff")) else "WINDOWS-1252"


def _check_columns(columns: list[str], needed: Sequence[str], path: Path) -> None:
    if not set(needed) <= set(columns):
        told = " and ".join(f"`{name}`" for name in needed)
        raise DataError(f"{path}: needs {'a column' if len(needed) == 1 else 'the columns'} {told}; found {columns}.")
    twice = {name for name in columns if columns.count(name) > 1}
    if twice:
        raise DataError(f"{path}: two columns are named {min(twice)!r}; rename one.")


def _check_is_whole(values: list[str], columns: list[str], where: str) -> None:
    if len(values) != len(columns):
        raise DataError(
            f"{where}: {len(values)} values for {len(columns)} columns. "
            "A value with a separator or a line break in it needs quotes around it."
        )
