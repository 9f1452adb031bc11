"""A tar, read as it streams by: a member at a time, in memory that does not grow, and nothing is ever written.

The headers are read by Python's `tarfile`. Its own stream would keep every member it has met, load a header of any size, and take
a damaged one for the end of the tar without a word.
"""

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedReader
from tarfile import (
    DIRTYPE,
    GNUTYPE_LONGLINK,
    GNUTYPE_LONGNAME,
    GNUTYPE_SPARSE,
    REGULAR_TYPES,
    SOLARIS_XHDTYPE,
    SUPPORTED_TYPES,
    XGLTYPE,
    XHDTYPE,
    HeaderError,
    TarInfo,
)

from . import quarantine as q
from .decode import Broken

BLOCK = 512
NOTE_BYTES = 1 << 20  # of a long name or an extended header, at most
SKIPPED = 1 << 20  # bytes read at once over what nobody wants
GZIP = b"\x1f\x8b"
NOTES = (GNUTYPE_LONGNAME, GNUTYPE_LONGLINK, XHDTYPE, XGLTYPE, SOLARIS_XHDTYPE)
Stream = BufferedReader | gzip.GzipFile


class Member:
    """One member; its content can be read until the next one is asked for."""

    def __init__(self, name: str, size: int, kind: bytes, file: Stream):
        self.name, self.size, self.file = name, size, file
        self.regular = kind in REGULAR_TYPES and kind != GNUTYPE_SPARSE
        self.folder = kind == DIRTYPE
        holds = kind in REGULAR_TYPES or kind not in SUPPORTED_TYPES  # a link may tell a size, but has no content
        self.left = padded(size) if holds else 0

    def content(self) -> bytes:
        """Raises Broken where the tar ends in it."""
        self.left -= self.size
        return exactly(self.file, self.size)

    def skip(self) -> None:
        while self.left:
            self.left -= len(exactly(self.file, min(self.left, SKIPPED)))


def unpacked(file: BufferedReader) -> Stream:
    """The bytes of the tar, where it may be compressed by gzip."""
    return gzip.GzipFile(fileobj=file) if file.peek(len(GZIP)).startswith(GZIP) else file


def members(file: Stream) -> Iterator[Member]:
    """The members of a tar, or of several one after the other. Raises Broken behind the last good one."""
    name, size, ended, at = None, None, False, 0
    while block := some(file, BLOCK):
        at += len(block)
        if not any(block) and len(block) == BLOCK:
            ended = True
            continue
        try:
            head = TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except HeaderError as error:
            cut = len(block) < BLOCK
            raise Broken(q.TRUNCATED if cut else q.CORRUPT, f"no tar header before byte {at:,}: {error}") from None
        ended = False
        if head.type in NOTES:
            if not 0 <= head.size <= NOTE_BYTES:
                raise Broken(q.CORRUPT, f"a header of {head.size:,} bytes before byte {at:,}")
            note = exactly(file, padded(head.size))[: head.size]
            at += padded(head.size)
            if head.type == GNUTYPE_LONGNAME:
                name = text(note.rstrip(b"\0"))
            elif head.type in (XHDTYPE, SOLARIS_XHDTYPE):
                fields = extended(note)
                name, size = fields.get("path", name), fields.get("size", size)
            continue
        length = int(size) if size is not None else head.size
        if length < 0:
            raise Broken(q.CORRUPT, f"a size of {length} before byte {at:,}")
        member = Member(head.name if name is None else name, length, head.type, file)
        at += member.left
        yield member
        member.skip()
        name = size = None
    if not ended:
        raise Broken(q.TRUNCATED, f"it ends at byte {at:,}, without the mark of a tar's end" if at else "it is empty")


def extended(note: bytes) -> dict[str, str]:
    """The records of a pax header: "length key=value", each with a newline."""
    fields = {}
    while note:
        length, _, rest = note.partition(b" ")
        key, equals, _ = rest.partition(b"=")
        end = int(length) if length.isdigit() and len(length) < 9 else 0
        value = note[len(length) + 1 + len(key) + 1 : end - 1]
        if not equals or not 0 < end <= len(note) or (key == b"size" and not (value.isdigit() and len(value) < 19)):
            raise Broken(q.CORRUPT, "an extended header that is none")
        fields[text(key)] = text(value)
        note = note[end:]
    return fields


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def padded(size: int) -> int:
    """Content is followed by zeros up to a whole block."""
    return -(-size // BLOCK) * BLOCK


def exactly(file: Stream, count: int) -> bytes:
    data = some(file, count)
    if len(data) < count:
        raise Broken(q.TRUNCATED, f"{count - len(data):,} bytes are missing")
    return data


def some(file: Stream, count: int) -> bytes:
    """So many bytes, or what is left. Raises Broken where the compression is at fault."""
    try:
        return file.read(count)
    except EOFError as error:
        raise Broken(q.TRUNCATED, str(error)) from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise Broken(q.CORRUPT, str(error)) from None
