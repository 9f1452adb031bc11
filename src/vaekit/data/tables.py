"""Tables of attributes beside pictures: csv, tsv, plain text and CelebA's own form; rows find their pictures by file name."""

import csv
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import DataError
from . import quarantine as q
from .quarantine import Finding, printable

LABEL_COLUMNS = ("label", "labels", "class", "target", "category")
WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
UNKNOWN = ("", "na", "nan", "n/a", "null", "none", "?")
MOST_TEXTS = 32  # a text column with more different values describes single pictures, not kinds of them


@dataclass(frozen=True)
class Table:
    """Rows as text: per row the file name and one cell per column."""

    path: Path
    columns: tuple[str, ...]
    names: list[str]
    cells: list[list[str]]
    findings: list[Finding] = field(default_factory=list)

    def column(self, name: str, rows: np.ndarray) -> list[str | None]:
        """One column's text for each picture; None where the picture has no row."""
        if name not in self.columns:
            raise DataError(
                f"There is no column {name!r} in {self.path}. Expected one of: {', '.join(self.columns)}. Name one of them."
            )
        j = self.columns.index(name)
        return [None if row < 0 else self.cells[row][j] for row in rows]


def read_table(path: Path, columns: Sequence[str] | None = None) -> Table:
    """Read a table whose first column names files. `columns` names the others where the file has no header.

    A first line that is one whole number (CelebA's row count) is not believed. Raises DataError.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The attribute table {path} cannot be read: {error}. Expected csv, tsv or txt in UTF-8. "
            "Check the path, or save it as UTF-8."
        ) from None
    lines = iter(rows_of(text, path))
    first = next(lines, (0, []))
    if len(first[1]) == 1 and first[1][0].isdigit():
        first = next(lines, (0, []))
    records = list(lines)
    if columns is not None:
        records.insert(0, first)
    elif records and len(records[0][1]) == len(first[1]) + 1:  # CelebA's header names the attributes alone
        columns = first[1]
    else:
        columns = first[1][1:]
    if not columns or not records:
        raise DataError(
            f"The attribute table {path} has {len(records)} rows and {len(columns)} columns after the file name. "
            "Expected a header, then one row per picture: file name, values. Add what is missing."
        )
    table = Table(path, tuple(columns), [], [])
    for number, cells in records:
        if len(cells) == len(columns) + 1:
            table.names.append(cells[0])
            table.cells.append(cells[1:])
        else:
            told = f"{len(cells)} cells, the header has {len(columns) + 1}"
            table.findings.append(Finding(f"{path.name}:{number}", q.ROW_BROKEN, told))
    return table


def rows_of(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each line with something on it."""
    lines = text.splitlines()
    head = next((line for line in lines if line.strip() and not line.strip().isdigit()), "")
    delimiter = "\t" if "\t" in head else ";" if head.count(";") > head.count(",") else "," if "," in head else None
    if delimiter is None:
        yield from ((number, line.split()) for number, line in enumerate(lines, 1) if line.strip())
        return
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise DataError(
            f"Line {reader.line_num} of {path} is no table row: {error}. Expected cells parted by {delimiter!r}. Mend that line."
        ) from None


def match(table: Table, files: Sequence[str]) -> tuple[np.ndarray, list[Finding]]:
    """Per picture the row that names it or -1, and what did not fit.

    A row may give the path inside the folder or the file name alone, with or without its extension; a name that fits several
    pictures fits none. Raises DataError where no row fits.
    """
    names = [posixpath.basename(file) for file in files]
    ways = [
        unambiguous(files),
        unambiguous([posixpath.splitext(file)[0] for file in files]),
        unambiguous(names),
        unambiguous([posixpath.splitext(name)[0] for name in names]),
    ]
    rows = np.full(len(files), -1)
    findings = list(table.findings)
    for row, name in enumerate(table.names):
        wanted = re.sub(r"^(\./)+", "", name.replace("\\", "/"))
        image = next((way[wanted] for way in ways if wanted in way), None)
        if image is None or image < 0:
            told = "its name fits several pictures" if image is not None else f"row {row + 1} of {table.path.name}"
            findings.append(Finding(name, q.ROW_ALONE, told))
        elif rows[image] >= 0:
            findings.append(Finding(name, q.ROW_TWICE, f"row {rows[image] + 1} is used, row {row + 1} is not"))
        else:
            rows[image] = row
    if (rows < 0).all():
        raise DataError(
            f"No row of {table.path} names a picture of the folder: the rows begin with {table.names[:1]}, the pictures with "
            f"{[printable(file) for file in files[:1]]}. Expected file names in the first column, "
            "with or without extension. Mend that column."
        )
    findings += [Finding(files[i], q.IMAGE_ALONE, f"not in {table.path.name}") for i in np.flatnonzero(rows < 0).tolist()]
    return rows, findings


def unambiguous(names: Sequence[str]) -> dict[str, int]:
    """Name -> its place, or -1 where several have it."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        places[name] = -1 if name in places else place
    return places


def numbers(table: Table, rows: np.ndarray, skip: Sequence[str] = ()) -> tuple[np.ndarray, tuple[str, ...], list[Finding]]:
    """Attributes (N, A) float32 with nan for unknown, their names, and the columns that could not be used.

    Numbers stay; -1/1 and yes/no, true/false become 0/1; a text column of at most 32 kinds becomes one 0/1 attribute
    "column=kind" for each kind.
    """
    columns: list[np.ndarray] = []
    names: list[str] = []
    findings: list[Finding] = []
    for name in table.columns:
        if name in skip:
            continue
        cells = table.column(name, rows)
        kinds = known(cells)
        values = meanings(kinds)
        if not kinds:
            findings.append(Finding(f"{table.path.name}:{name}", q.COLUMN, "no picture has a value"))
        elif values is not None:
            columns.append(np.array([values.get(cell, np.nan) for cell in cells], np.float32))
            names.append(name)
        elif len(kinds) <= MOST_TEXTS:
            for kind in sorted(kinds):
                columns.append(np.array([cell == kind if cell in kinds else np.nan for cell in cells], np.float32))
                names.append(f"{name}={kind}")
        else:
            told = f"{len(kinds)} different texts, at most {MOST_TEXTS} make attributes"
            findings.append(Finding(f"{table.path.name}:{name}", q.COLUMN, told))
    stacked = np.stack(columns, axis=1) if columns else np.zeros((len(rows), 0), np.float32)
    return stacked, tuple(names), findings


def known(cells: Sequence[str | None]) -> set[str]:
    """The different texts of a column that say something."""
    return {cell for cell in set(cells) if cell is not None and cell.lower() not in UNKNOWN}


def meanings(kinds: set[str]) -> dict[str | None, float] | None:
    """What each text of a column means as a number; None where one means none."""
    try:
        values: dict[str | None, float] = {kind: WORDS[kind.lower()] if kind.lower() in WORDS else float(kind) for kind in kinds}
    except ValueError:
        return None
    if not np.isfinite(list(values.values())).all():
        return None
    if set(values.values()) <= {-1.0, 1.0}:
        return {kind: float(value > 0) for kind, value in values.items()}
    return values


def label_column(table: Table, rows: np.ndarray) -> tuple[str, np.ndarray, tuple[str, ...]] | None:
    """The column called label, class, target or category, as (name, labels (N,) int64, label names)."""
    for name in table.columns:
        if name.lower() in LABEL_COLUMNS:
            cells = table.column(name, rows)
            kinds = sorted(known(cells), key=natural)
            places: dict[str | None, int] = {kind: place for place, kind in enumerate(kinds)}
            return name, np.array([places.get(cell, -1) for cell in cells], np.int64), tuple(kinds)
    return None


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts "2" before "10"."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part)
