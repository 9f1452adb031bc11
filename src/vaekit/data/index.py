"""What is known of the pictures of a folder beside their pixels: labels, attributes, groups, official sides, splits."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import write_atomic
from . import celeba
from .cache import key_of, stamp, writing
from .dataset import digest_of
from .quarantine import IMAGE_ALONE, Finding, Quarantine
from .scan import Scan, labels_of
from .splits import SPLITS, TEST, TRAIN, UNKNOWN, VALIDATION, split
from .tables import Table, label_column, match, numbers, read_table

FRACTIONS = (0.8, 0.1, 0.1)
SIDES = {"0": TRAIN, "1": VALIDATION, "2": TEST}  # list_eval_partition


@dataclass(frozen=True)
class Wish:
    """What was asked for; None means: derived from the data."""

    size: tuple[int, int] | None = None  # height, width
    crop: str = "center"
    channels: int | None = None
    attributes: str | None = None
    group: str | None = None
    seed: int = 0
    splits: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Tables:
    """The tables that belong to a folder."""

    attributes: Path | None = None
    partition: Path | None = None
    identity: Path | None = None

    def stamps(self) -> list[Any]:
        return [None if path is None else stamp(path) for path in (self.attributes, self.partition, self.identity)]


def tables_of(root: Path, faces: bool, wish: Wish) -> Tables:
    attributes = None if wish.attributes is None else Path(wish.attributes)
    if attributes is not None and not attributes.is_file():
        raise DataError(f"There is no attribute table {attributes}. Expected a csv, tsv or txt file. Check the path.")
    if not faces:
        return Tables(attributes)
    return Tables(
        attributes or celeba.table(root, "list_attr_celeba"),
        celeba.table(root, "list_eval_partition"),
        celeba.table(root, "identity_CelebA"),
    )


def index_of(found: Scan, entry: dict[str, Any], tables: Tables, wish: Wish, target: Path) -> dict[str, Any]:
    """All of a Dataset but its name, pixels and description; kept beside the pixels under what it was made from."""
    made_from = tables.stamps(), wish.group, wish.seed, wish.splits, sorted(found.ignored.items()), found.findings
    kept = target / f"index-{key_of(*made_from)}.npz"
    if not kept.exists():
        fields = make_index(found, entry, tables, wish)
        arrays = {key: value for key, value in fields.items() if isinstance(value, np.ndarray)}
        rest = {key: value for key, value in fields.items() if not isinstance(value, np.ndarray)}
        with writing(target):
            text = np.frombuffer(json.dumps(rest).encode(), np.uint8)
            write_atomic(kept, lambda file: np.savez(file, allow_pickle=False, rest=text, **arrays))
    with np.load(kept, allow_pickle=False) as stored:
        fields = {key: stored[key] for key in stored.files}
    fields.update(json.loads(fields.pop("rest").tobytes()))
    return {
        "files": tuple(fields["files"]),
        "labels": fields.get("labels"),
        "label_names": tuple(fields["label_names"]),
        "attributes": fields.get("attributes"),
        "attribute_names": tuple(fields["attribute_names"]),
        "splits": {side: fields[side] for side in SPLITS},
        "digest": fields["digest"],
        "quarantine": Quarantine(tuple(map(Finding._make, fields["findings"])), fields["ignored"]),
    }


def make_index(found: Scan, entry: dict[str, Any], tables: Tables, wish: Wish) -> dict[str, Any]:
    """What `index_of` keeps: arrays, and plain JSON for the rest."""
    lost = [Finding(**finding) for finding in entry["findings"]]
    left = {finding.path for finding in lost}
    kept = np.array([name not in left for name in found.names])
    files = [name for name in found.names if name not in left]
    labels, label_names, official = labels_of(files)
    attributes, attribute_names, odd = None, (), []
    table = None if tables.attributes is None else read_table(tables.attributes)
    rows = np.full(len(files), -1)
    if table is not None:
        rows, odd = match(table, found.names)
        rows = rows[kept]
        odd = [finding for finding in odd if finding.reason != IMAGE_ALONE or finding.path not in left]
        named = label_column(table, rows) if labels is None else None
        if named is not None:
            _, labels, label_names = named
        skip = [column for column in (wish.group, named and named[0]) if column]
        attributes, attribute_names, unused = numbers(table, rows, skip)
        odd += unused
    groups = groups_of(wish.group, table, rows, side_column(tables.identity, "identity", found, kept))
    keys = (
        files if groups is None else [f"group {its}" if its else f"file {file}" for its, file in zip(groups, files, strict=True)]
    )
    sides = side_column(tables.partition, "partition", found, kept)
    if sides is not None:
        official = np.array([SIDES.get(side or "", UNKNOWN) for side in sides])
    splits = split(keys, wish.splits or FRACTIONS, wish.seed, official)
    digest = digest_of(entry["hash"], entry["shape"], splits, (labels, label_names), (attributes, attribute_names))
    findings = [*found.findings, *lost, *odd]
    arrays = {"labels": labels, "attributes": attributes, **splits}
    return {
        **{name: array for name, array in arrays.items() if array is not None},
        **{"files": files, "label_names": label_names, "attribute_names": attribute_names, "digest": digest},
        **{"findings": findings, "ignored": dict(sorted(found.ignored.items()))},
    }


def groups_of(
    group: str | None, table: Table | None, rows: np.ndarray, identity: list[str | None] | None
) -> list[str | None] | None:
    """The group of each picture: a column of the attribute table, or CelebA's identities; None where there are no groups."""
    if group is not None and table is not None and group in table.columns:
        return table.column(group, rows)
    if group in (None, "identity") and identity is not None:
        return identity
    if group is None:
        return None
    known = "no attribute table was given" if table is None else f"the columns are {', '.join(table.columns)}"
    raise DataError(f"group={group!r} was given, but {known}. Expected one of its columns. Pass attributes= or another column.")


def side_column(path: Path | None, column: str, found: Scan, kept: np.ndarray) -> list[str | None] | None:
    """The one column of a table that has a header only in its csv form, for each kept picture."""
    if path is None:
        return None
    table = read_table(path, None if path.suffix == ".csv" else (column,))
    rows, _ = match(table, found.names)
    return table.column(table.columns[0], rows[kept])
