"""What is known of pictures beside their pixels: labels, attributes, groups, official sides, splits."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import sweep, write_atomic
from . import celeba
from .cache import kept_arrays, key_of, locked, stamp, writing
from .dataset import digest_of
from .quarantine import DUPLICATE, GROUP, IMAGE_ALONE, STRAY, Finding, Quarantine, printable
from .scan import Scan, labels_of, strays_of
from .splits import SPLITS, TEST, TRAIN, UNKNOWN, VALIDATION, parted, split, usual_fractions, with_training
from .tables import CLASS, Columns, Table, label_column, match, numbers, read_table, well_named

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
    """The tables that belong to pictures with these names."""

    names: Sequence[str]
    attributes: Path | None = None
    partition: Path | None = None
    identity: Path | None = None
    told: Table | None = None  # what the pictures' own files say, where there is no attribute table

    @cached_property
    def attributes_of(self) -> tuple[Columns | None, np.ndarray, list[Finding]]:
        """The columns of the attribute table, the row of each picture in it or -1, and what did not fit."""
        table = self.told if self.attributes is None else read_table(self.attributes)
        if table is None:
            return None, np.full(len(self.names), -1), []
        table = well_named(table)
        rows, odd = match(table, self.names)
        return table.columns.at(rows), rows, odd

    def stamps(self) -> list[Any]:
        return [None if path is None else stamp(path) for path in (self.attributes, self.partition, self.identity)]


def table_asked(wish: Wish) -> Path | None:
    """The attribute table that was given. Raises DataError where it is not there."""
    attributes = None if wish.attributes is None else Path(wish.attributes)
    if attributes is not None and not attributes.is_file():
        raise DataError(f"There is no attribute table {attributes}. Expected a csv, tsv or txt file. Check the path.")
    return attributes


def tables_of(root: Path, names: Sequence[str], faces: bool, wish: Wish) -> Tables:
    attributes = table_asked(wish)
    if not faces:
        return Tables(names, attributes)
    return Tables(
        names,
        attributes or celeba.table(root, "list_attr_celeba"),
        celeba.table(root, "list_eval_partition"),
        celeba.table(root, "identity_CelebA"),
    )


LABELLING = 3  # raise it when the same pictures and tables give other labels, or other findings, than before


def index_of(
    made_from: Any, listing: Callable[[], tuple[Scan, Tables]], entry: dict[str, Any], wish: Wish, target: Path
) -> dict[str, Any]:
    """All of a Dataset but its name, pixels and description, and the fractions of the split.

    Kept beside the pixels under what it was made from; only where it is not kept yet the pictures are listed.
    """
    kept = target / f"index-{key_of(LABELLING, made_from, wish.group, wish.seed, wish.splits)}.npz"
    parts = ("rest", "findings", *SPLITS)
    arrays = kept_arrays(kept, *parts)
    if arrays is None:
        with writing(target), locked(target.with_name(f"{target.name}.lock")):
            arrays = kept_arrays(kept, *parts)  # another process may have made it while this one waited
            if arrays is None:
                arrays = packed_index(make_index(*listing(), entry, wish))
                sweep(target)
                write_atomic(kept, lambda file: np.savez(file, allow_pickle=False, **arrays))
    fields = {**arrays, **unpacked(arrays["rest"])}
    return {
        "files": tuple(fields["files"]),
        "labels": fields.get("labels"),
        "label_names": tuple(fields["label_names"]),
        "attributes": fields.get("attributes"),
        "attribute_names": tuple(fields["attribute_names"]),
        "splits": {side: fields[side] for side in SPLITS},
        "fractions": tuple(fields["fractions"]),
        "digest": fields["digest"],
        "quarantine": Quarantine(lambda: map(Finding._make, unpacked(arrays["findings"])), fields["ignored"]),
    }


def packed_index(fields: dict[str, Any]) -> dict[str, np.ndarray]:
    """An index as arrays alone, as it is kept."""
    arrays = {key: value for key, value in fields.items() if isinstance(value, np.ndarray)}
    rest = {key: value for key, value in fields.items() if not isinstance(value, np.ndarray)}
    return arrays | {"findings": packed(rest.pop("findings")), "rest": packed(rest)}


def packed(value: Any) -> np.ndarray:
    """Plain JSON as an array of bytes."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def unpacked(array: np.ndarray) -> Any:
    return json.loads(array.tobytes())


def make_index(found: Scan, tables: Tables, entry: dict[str, Any], wish: Wish) -> dict[str, Any]:
    """What `index_of` keeps: arrays, and plain JSON for the rest."""
    columns, rows, odd = tables.attributes_of
    kept, lost = stand_ins(found.names, entry, rows)
    files = [found.names[i] for i in kept.tolist()]
    left = {finding.path for finding in lost}
    odd = [finding for finding in odd if finding.reason != IMAGE_ALONE or finding.path not in left]
    labels, label_names, official = labels_of(files)
    odd += [Finding(name, STRAY) for name in strays_of(files)] if labels is None else []
    attributes, attribute_names = None, ()
    if columns is not None:
        columns = columns.at(kept)
        named = label_column(columns) if labels is None or CLASS in columns.names else None
        if named is not None:
            _, labels, label_names = named
        skip = [column for column in (wish.group, named and named[0]) if column]
        attributes, attribute_names, unused = numbers(columns, files, skip)
        odd += unused
    sides = side_column(tables.partition, "partition", found, kept)
    if sides is not None:
        official = np.array([SIDES.get(side or "", UNKNOWN) for side in sides])
    groups = groups_of(wish.group, columns, side_column(tables.identity, "identity", found, kept))
    keys = files
    if groups is not None:
        odd += parted_groups(groups, files, official, wish.group)
        keys = [f"group {its}" if its else f"file {file}" for its, file in zip(groups, files, strict=True)]
    fractions = wish.splits or usual_fractions(official)
    splits = split(keys, fractions, wish.seed, official)
    digest = digest_of(entry["hash"], entry["shape"], splits, (labels, label_names), (attributes, attribute_names))
    findings = [*found.findings, *lost, *odd]
    arrays = {"labels": labels, "attributes": attributes, **splits}
    return {
        **{name: array for name, array in arrays.items() if array is not None},
        **{"files": files, "label_names": label_names, "attribute_names": attribute_names, "digest": digest},
        **{"findings": findings, "ignored": dict(sorted(found.ignored.items())), "fractions": fractions},
    }


def stand_ins(names: Sequence[str], entry: dict[str, Any], rows: np.ndarray) -> tuple[np.ndarray, list[Finding]]:
    """For each decoded picture the place of the name that stands for it, and the names that are left out.

    Of several names with the same bytes it is the first one with a row in the table, or the first one where none has.
    """
    place = {name: i for i, name in enumerate(names)}
    lost = [Finding(**finding) for finding in entry["findings"]]
    left = {finding.path for finding in lost} | entry["twins"].keys()
    alike: dict[str, list[str]] = {}
    for name, first in entry["twins"].items():
        alike.setdefault(first, [first]).append(name)
    stands: dict[str, str] = {}
    for first, several in alike.items():
        stays = stands[first] = next((name for name in several if rows[place[name]] >= 0), first)
        lost += [Finding(name, DUPLICATE, f"same bytes as {printable(stays)}") for name in several if name != stays]
    kept = [place[stands.get(name, name)] for name in names if name not in left]
    return np.array(kept), sorted(lost)


def parted_groups(
    groups: Sequence[str | None], files: Sequence[str], official: np.ndarray | None, asked: str | None
) -> list[Finding]:
    """The groups that official sides part. Raises DataError where groups were asked for: they cannot be had then."""
    of = [i for i, its in enumerate(groups) if its]
    apart = parted([groups[i] or "" for i in of], None if official is None else official[of])
    if official is None or not apart:
        return []
    names = [SPLITS[side] for side in with_training(official).tolist()]
    told = {group: " and ".join(f"{printable(files[of[i]])} is in {names[of[i]]}" for i in pair) for group, pair in apart.items()}
    if asked is None:
        return [Finding(f"group {group}", GROUP, f"official sides are kept: {its}") for group, its in sorted(told.items())]
    group, its = next(iter(told.items()))
    raise DataError(
        f"group={asked!r} was given, but official sides part {len(told)} of its groups: of {group!r}, {its}. "
        "Expected each group on one official side. Leave the group out, or the official sides: give the folders other names "
        "than train, val and test, or take the partition table away."
    )


def groups_of(group: str | None, table: Columns | None, identity: list[str | None] | None) -> list[str | None] | None:
    """The group of each picture: a column of the attribute table, or CelebA's identities; None where there are no groups."""
    if group is not None and table is not None and group in table.names:
        column = table[group]
        if not column.kinds:
            raise DataError(
                f"group={group!r} was given, but no picture has a value in that column of {table.path}. "
                "Expected the name of a group for some. Fill it, or leave the group out."
            )
        return column.texts()
    if group in (None, "identity") and identity is not None:
        return identity
    if group is None:
        return None
    told = "no attribute table was given" if table is None else f"the columns are {', '.join(table.names)}"
    raise DataError(f"group={group!r} was given, but {told}. Expected one of its columns. Pass attributes= or another column.")


def side_column(path: Path | None, column: str, found: Scan, kept: np.ndarray) -> list[str | None] | None:
    """The one column of a table that has a header only in its csv form, for each kept picture."""
    if path is None:
        return None
    table = read_table(path, None if path.suffix == ".csv" else (column,))
    rows, _ = match(table, found.names)
    return table.columns.columns[0].at(rows[kept]).texts()
