"""Tables of attributes beside pictures: csv, tsv, plain text and CelebA's own form; rows find their pictures by file name."""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from pathlib import Path
from statistics import mode

import numpy as np

from ..errors import DataError
from . import quarantine as q
from .quarantine import Finding, printable

CLASS = "cls"  # what the .cls files of tars say
LABEL_COLUMNS = (CLASS, "label", "labels", "class", "target", "category")
WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
UNKNOWN = ("", "na", "nan", "n/a", "null", "none", "?")
LARGEST = float(np.finfo(np.float32).max)
ROWS_AT_ONCE = 512
SEEN_FIRST = 1000  # rows that tell whether the header names the files
RESERVED = "__metadata__"  # the key that safetensors, which keep a vector under its attribute's name, have for themselves
CELL_SHOWN = 20  # characters of a cell, in messages
MEND = ". Mend the cell, or leave it empty where nothing is known"
MOST_TEXTS = 32  # a text column with more different values describes single pictures, not kinds of them


@dataclass(frozen=True)
class Column:
    """One column: its different texts, and which of them each row, or each picture, has."""

    kinds: tuple[str, ...]
    codes: np.ndarray  # (N,) places in `kinds`, -1 where nothing is known

    def at(self, rows: np.ndarray) -> "Column":
        """The same for some rows (-1: none), with the kinds that they have."""
        codes = np.where(rows < 0, -1, self.codes[rows])
        used = np.bincount(codes + 1, minlength=len(self.kinds) + 1)[1:] > 0
        places = np.append(np.cumsum(used) - 1, -1)
        return Column(tuple(kind for kind, its in zip(self.kinds, used.tolist(), strict=True) if its), places[codes])

    def texts(self) -> list[str | None]:
        return [None if code < 0 else self.kinds[code] for code in self.codes.tolist()]

    def meaning(self, values: Mapping[str, float]) -> np.ndarray:
        """What each text means (N,) float32; nan where nothing is known."""
        return np.array([*(values[kind] for kind in self.kinds), np.nan], np.float32)[self.codes]


@dataclass(frozen=True)
class Columns:
    """The columns of a table, for its rows or for pictures."""

    path: Path
    names: tuple[str, ...]
    columns: list[Column]

    def __getitem__(self, name: str) -> Column:
        return self.columns[self.names.index(name)]

    def at(self, rows: np.ndarray) -> "Columns":
        return replace(self, columns=[column.at(rows) for column in self.columns])


@dataclass(frozen=True)
class Table:
    """The file name of each row, the columns after it, and the rows that are none."""

    files: list[str]
    columns: Columns
    findings: list[Finding]


def read_table(path: Path, columns: Sequence[str] | None = None) -> Table:
    """Read a table whose first column names files. `columns` names the others where the file has no header.

    A first line that is one whole number (CelebA's row count) is not believed. Where cells are parted by spaces, a header one
    cell shorter than the rows has no name for the files (CelebA's form). Raises DataError.
    """
    text = text_of(path)
    delimiter = delimiter_of(text)
    records = rows_of(text, delimiter, path)
    first = list(islice(records, SEEN_FIRST))
    if first and len(first[0][1]) == 1 and first[0][1][0].isdigit():
        del first[0]
    if columns is None:
        head = trimmed(first.pop(0)[1], 0) if first else []
        nameless = delimiter is None and first and mode(len(cells) for _, cells in first) == len(head) + 1
        columns = head if nameless else head[1:]
    findings: list[Finding] = []
    files, found = by_columns(whole_rows(chain(first, records), len(columns) + 1, path, findings), len(columns))
    if not columns or not files:
        odd = "".join(f"; {finding.path} has {finding.detail}" for finding in findings[:1])
        raise DataError(
            f"The attribute table {path} has {len(files)} rows and {len(columns)} columns after the file name{odd}. "
            "Expected a header, then one row per picture: file name, values. Add what is missing."
        )
    return Table(files, Columns(path, tuple(columns), found), findings)


def text_of(path: Path) -> str:
    """What a table's file says. Raises DataError on one that cannot be read, or is no text in UTF-8."""
    expected = "Expected csv, tsv or txt in UTF-8."
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        told = error.strerror or error
        raise DataError(f"The attribute table {path} cannot be read: {told}. {expected} Check the path.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        told = f"byte 0x{error.object[error.start]:02x} in line {line}"
    else:
        if "\0" not in text:
            return text
        told = f"a zero byte in line {text[: text.index(chr(0))].count(chr(10)) + 1}"
    raise DataError(
        f"The attribute table {path} is no text in UTF-8: there is {told}. {expected} "
        "Save it as UTF-8, a spreadsheet as csv, and give that file."
    )


def well_named(table: Table) -> Table:
    """The table without the columns that no attribute can be made of: without a name, with one that is taken, or reserved."""
    named, findings, path = table.columns, list(table.findings), table.columns.path
    places: dict[str, int] = {}
    for place, name in enumerate(named.names):
        if name in places:
            told = f"column {place + 2} has the name of column {places[name] + 2}, which is used"
        elif name == RESERVED:
            told = "the name is reserved by the files that attribute vectors are kept in; give it another one"
        elif not name.strip():
            told = f"column {place + 2} has no name"
        else:
            places[name] = place
            continue
        findings.append(Finding(f"{path.name}:{name}", q.COLUMN, told))
    return replace(table, columns=Columns(path, tuple(places), [named.columns[i] for i in places.values()]), findings=findings)


def whole_rows(records: Iterable[tuple[int, list[str]]], width: int, path: Path, findings: list[Finding]) -> Iterator[list[str]]:
    """The rows with as many cells as the header; the others become findings."""
    for number, found in records:
        cells = found if len(found) == width else trimmed(found, width)
        if len(cells) == width:
            yield cells
        else:
            findings.append(Finding(f"{path.name}:{number}", q.ROW_BROKEN, f"{len(cells)} cells, the header has {width}"))


def by_columns(rows: Iterator[list[str]], width: int) -> tuple[list[str], list[Column]]:
    """The first cells of all rows, and the columns after them; the text of a few rows is held at a time, and each kind once."""
    files: list[str] = []
    places = [defaultdict[str, int](count().__next__) for _ in range(width)]
    codes: list[list[np.ndarray]] = [[np.empty(0, np.int64)] for _ in range(width)]
    while block := list(islice(rows, ROWS_AT_ONCE)):
        names, *columns = zip(*block, strict=True)
        files += names
        for cells, place, its in zip(columns, places, codes, strict=True):
            its.append(np.fromiter(map(place.__getitem__, cells), np.int64, len(cells)))
    found = []
    for place, its in zip(places, codes, strict=True):
        known = np.array([kind.lower() not in UNKNOWN for kind in place], bool)
        shifted = np.where(known, np.cumsum(known) - 1, -1)
        found.append(Column(tuple(kind for kind in place if kind.lower() not in UNKNOWN), shifted[np.concatenate(its)]))
    return files, found


def trimmed(cells: list[str], width: int) -> list[str]:
    """The cells without the empty ones that stand beyond `width` at the end: some programs end each line with a separator."""
    end = len(cells)
    while end > width and not cells[end - 1]:
        end -= 1
    return cells[:end]


def delimiter_of(text: str) -> str | None:
    """What parts the cells, by the first line that is no row count; None: spaces."""
    head = next((line for line in text.splitlines() if line.strip() and not line.strip().isdigit()), "")
    return "\t" if "\t" in head else ";" if head.count(";") > head.count(",") else "," if "," in head else None


def rows_of(text: str, delimiter: str | None, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each line with something on it."""
    if delimiter is None:
        yield from ((number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip())
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

    A row may give the path inside the folder (or inside the tar) or the file name alone, with or without its extension; a name
    that fits several pictures fits none. Raises DataError where no row fits.
    """
    inside = [file.rpartition("::")[2] for file in files]
    names = [file.rpartition("/")[2] for file in inside]
    places: dict[str, int] = {}  # what a row may say: the picture, or -1 where several have it
    for way in (names, inside, files) if inside != files else (names, files):  # of two that fit, the longer way counts
        places |= unambiguous(list(map(stem, way))) | unambiguous(way)
    used = [-1] * len(files)
    path = table.columns.path
    findings, told = list(table.findings), f"of {path.name}"
    for row, name in enumerate(table.files):
        image = places.get(name)
        if image is None and ("\\" in name or name.startswith(".")):
            image = places.get(re.sub(r"^(\./)+", "", name.replace("\\", "/")))
        if image is None:
            findings.append(Finding(name, q.ROW_ALONE, f"row {row + 1} {told}"))
        elif image < 0:
            findings.append(Finding(name, q.ROW_ALONE, "its name fits several pictures"))
        elif used[image] >= 0:
            findings.append(Finding(name, q.ROW_TWICE, f"row {used[image] + 1} is used, row {row + 1} is not"))
        else:
            used[image] = row
    rows = np.array(used)
    if (rows < 0).all():
        raise DataError(
            f"No row of {path} names a picture of the folder: the rows begin with {table.files[:1]}, the pictures with "
            f"{[printable(file) for file in files[:1]]}. Expected file names in the first column, "
            "with or without extension. Mend that column."
        )
    findings += [Finding(files[i], q.IMAGE_ALONE, f"not in {path.name}") for i in np.flatnonzero(rows < 0).tolist()]
    return rows, findings


def stem(file: str) -> str:
    """A picture's name without its extension, which every picture has."""
    return file.rpartition(".")[0]


def unambiguous(names: Sequence[str]) -> dict[str, int]:
    """Name -> its place, or -1 where several have it."""
    places = {name: place for place, name in enumerate(names)}
    if len(places) < len(names):
        places |= {name: -1 for name, count in Counter(names).items() if count > 1}
    return places


def numbers(
    table: Columns, files: Sequence[str], skip: Sequence[str] = ()
) -> tuple[np.ndarray | None, tuple[str, ...], list[Finding]]:
    """Attributes (N, A) float32 of these files with nan for unknown (None where there is none), their names, and what was odd.

    Numbers stay, but for those that are not finite in fp32, which are unknown; -1/1 and yes/no, true/false become 0/1; a text
    column of at most 32 kinds becomes one 0/1 attribute "column=kind" for each kind, unless another column has that name.
    Where most values of a text column are numbers, the others may be mistyped, and are told.
    """
    made: dict[str, np.ndarray] = {}
    findings: list[Finding] = []
    for name in table.names:
        if name in skip:
            continue
        column, place = table[name], f"{table.path.name}:{name}"
        values = meanings(column.kinds)
        odd = [kind[:CELL_SHOWN] for kind, value in (values or {}).items() if np.isnan(value)]
        if odd:
            findings.append(Finding(place, q.NOT_FINITE, f"unknown there: {', '.join(odd[:3])}{', ...' * (len(odd) > 3)}"))
        if len(odd) == len(column.kinds):
            findings.append(Finding(place, q.COLUMN, "no picture has a value"))
            continue
        strange = strangers(column, files) if values is None else ""
        if values is None and len(column.kinds) > MOST_TEXTS:
            told = f"{len(column.kinds)} different texts, at most {MOST_TEXTS} make attributes"
            findings.append(Finding(place, q.COLUMN, f"{strange}, so these are texts: {told}{MEND}" if strange else told))
            continue
        if strange:
            findings.append(Finding(place, q.MIXED, f"{strange}; it is read as kinds{MEND}"))
        each = (
            {name: values} if values is not None else {f"{name}={kind}": is_kind(kind, column) for kind in sorted(column.kinds)}
        )
        for its, meant in each.items():
            if its in made:
                findings.append(Finding(f"{table.path.name}:{its}", q.COLUMN, "another column makes an attribute of this name"))
            else:
                made[its] = column.meaning(meant)
    return np.stack(list(made.values()), axis=1) if made else None, tuple(made), findings


def strangers(column: Column, files: Sequence[str]) -> str:
    """Which values of a text column are no numbers, where most are; "" in any other."""
    each = np.array([meanings([kind]) is None for kind in column.kinds])
    codes, known = column.codes, column.codes >= 0
    odd = np.flatnonzero(np.where(known, each[codes], False))
    right = int(known.sum()) - len(odd)
    if right <= len(odd):
        return ""
    some = [f"{column.kinds[codes[row]][:CELL_SHOWN]!r} of {printable(files[row])}" for row in map(int, odd[:3])]
    said = f"{len(odd):,} {'are' if len(odd) > 1 else 'is'} not: {', '.join(some)}{', ...' * (len(odd) > 3)}"
    return f"{right:,} value{'s are numbers' if right > 1 else ' is a number'} and {said}"


def is_kind(kind: str, column: Column) -> dict[str, float]:
    """1 for one text of a column, 0 for the others."""
    return {other: float(other == kind) for other in column.kinds}


def meanings(kinds: Sequence[str]) -> dict[str, float] | None:
    """What each text of a column means as a number, nan where it is not finite in fp32; None where a text means none."""
    try:
        values = {kind: WORDS[kind.lower()] if kind.lower() in WORDS else float(kind) for kind in kinds}
    except ValueError:
        return None
    finite = {value for value in values.values() if abs(value) <= LARGEST}
    if finite <= {-1.0, 1.0}:
        return {kind: float(value > 0) if value in finite else np.nan for kind, value in values.items()}
    return {kind: value if value in finite else np.nan for kind, value in values.items()}


def label_column(table: Columns) -> tuple[str, np.ndarray, tuple[str, ...]] | None:
    """The column called label, class, target or category, as (name, labels (N,) int64, label names)."""
    for name in table.names:
        if name.lower() in LABEL_COLUMNS:
            column = table[name]
            kinds = sorted(column.kinds, key=natural)
            places = {kind: place for place, kind in enumerate(kinds)}
            return name, np.array([*(places[kind] for kind in column.kinds), -1], np.int64)[column.codes], tuple(kinds)
    return None


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts "2" before "10"."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part)
