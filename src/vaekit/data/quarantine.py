"""What an ingest left out, or found odd, and why."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

UNREADABLE, EMPTY, NOT_IMAGE, TRUNCATED = "unreadable", "empty file", "not an image", "truncated"
CORRUPT, BOMB, UNSUPPORTED = "corrupt", "decompression bomb", "unsupported format"
CRASH, DUPLICATE = "crashed the decoder", "duplicate"
HUGE, SECOND, REPEATED = "too large a file", "second picture of a sample", "name repeated"
ROW_ALONE, IMAGE_ALONE, ROW_TWICE = "row without image", "image without row", "row repeated"
ROW_BROKEN, COLUMN, NOT_FINITE, MIXED = "row malformed", "column left out", "value not finite", "numbers beside texts"
GROUP, STRAY = "group parted", "beside the labels"
# pictures that are not in the data:
LOST = (UNREADABLE, EMPTY, NOT_IMAGE, TRUNCATED, CORRUPT, BOMB, UNSUPPORTED, CRASH, DUPLICATE, HUGE, SECOND, REPEATED)
STILL = {  # in the data all the same
    IMAGE_ALONE: "used, attributes unknown",
    NOT_FINITE: "used, value unknown",
    MIXED: "used, as kinds",
    GROUP: "used, on the official sides",
    STRAY: "used, and subfolders are no labels: not every picture is in one",
}
WORDED = (ROW_BROKEN, COLUMN, NOT_FINITE, MIXED)  # what is wrong with a table


class Finding(NamedTuple):
    """A file, row or column, one of the reasons above, and what the decoder or the parser said."""

    path: str
    reason: str
    detail: str = ""


class Quarantine:
    """The report of one ingest: pictures left out (`LOST`), table rows and columns not used, files that were never pictures.

    An "image without row" stays in the data with unknown attributes, and so do the pictures with a "value not finite", those
    "beside the labels" and those of a "group parted" by official sides; a column of "numbers beside texts" is used as one of
    kinds. Every other picture named here is left out.

    findings: all of them, or what gives them when they are wanted: of a large table they are many, and opening data is instant.
    ignored: suffix -> files that are no pictures (tables, hidden files, ...).
    """

    def __init__(
        self, findings: Iterable[Finding] | Callable[[], Iterable[Finding]] = (), ignored: Mapping[str, int] | None = None
    ):
        self.told = findings
        self.ignored = dict(ignored or {})

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All of them, in order."""
        return tuple(self.told() if callable(self.told) else self.told)

    @property
    def counts(self) -> dict[str, int]:
        """Findings per reason, most first."""
        return dict(Counter(finding.reason for finding in self.findings).most_common())

    @property
    def lost(self) -> tuple[Finding, ...]:
        """The pictures that are not in the data."""
        return tuple(finding for finding in self.findings if finding.reason in LOST)

    def paths(self, reason: str) -> tuple[str, ...]:
        """The paths with one reason, in order."""
        return tuple(finding.path for finding in self.findings if finding.reason == reason)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quarantine):
            return NotImplemented
        return (self.findings, self.ignored) == (other.findings, other.ignored)

    def __repr__(self) -> str:
        return f"Quarantine({self.counts}, ignored={self.ignored})"

    def __len__(self) -> int:
        return len(self.findings)

    def __bool__(self) -> bool:
        return bool(self.findings)

    def describe(self) -> dict[str, Any]:
        """Plain JSON: counts, findings and ignored files; names as `printable` shows them."""
        findings = [{key: printable(text) for key, text in finding._asdict().items()} for finding in self.findings]
        ignored = {printable(suffix): count for suffix, count in self.ignored.items()}
        return {"counts": self.counts, "lost": len(self.lost), "findings": findings, "ignored": ignored}

    def summary(self, per_reason: int = 3) -> str:
        """A few lines: what is left out, then what else was found, each reason with its count and first paths.

        What is wrong with rows and columns of a table is told in words, because their names alone say nothing of it.
        """
        lines, others = [f"left out: {len(self.lost)} file{'s' * (len(self.lost) != 1)}"], []
        for reason, count in self.counts.items():
            its = [finding for finding in self.findings if finding.reason == reason][:per_reason]
            worded = [f"{each.path} ({each.detail})" if reason in WORDED and each.detail else each.path for each in its]
            some = ", ".join(map(printable, worded)) + ", ..." * (count > per_reason)
            if reason in LOST:
                lines.append(f"  {count} x {reason}: {some}")
            else:
                others.append(f"  {count} x {reason} ({STILL.get(reason, 'not used')}): {some}")
        lines += ["also found:", *others] * bool(others)
        if self.ignored:
            kinds = ", ".join(f"{count} {printable(suffix)}" for suffix, count in sorted(self.ignored.items()))
            lines.append(f"  {sum(self.ignored.values())} other files ignored ({kinds})")
        return "\n".join(lines)


def printable(name: str) -> str:
    """A file name that any terminal can show on one line: control characters and undecodable bytes are escaped."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
