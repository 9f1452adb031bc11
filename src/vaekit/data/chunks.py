"""What an ingest reads: pictures in chunks, out of a folder or out of tars."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

CONTENT_BYTES = 2 << 20  # of files in one chunk whose contents come along, where one file alone has no more


class Chunk(NamedTuple):
    """Pictures that are decoded together; all but their contents is plain JSON and stays in the journal."""

    names: Sequence[str]
    contents: Sequence[bytes] | None  # of the files; None: the decoding processes read them from the source's folder
    then: Any  # where the source goes on behind this chunk
    share: float  # of the source that is read by then
    beside: dict[str, Any]  # what the source met beside the pictures


class Source(Protocol):
    """Pictures in a fixed order."""

    @property
    def where(self) -> str:
        """For messages."""
        ...

    @property
    def key(self) -> str:
        """Another one where the pictures are others."""
        ...

    @property
    def root(self) -> str | None:
        """The folder in which the names are files; None: contents come along."""
        ...

    @property
    def count(self) -> int | None:
        """How many; None where only reading them tells, and the journal stays as their list."""
        ...

    def chunks(self, most: int, start: Any = None) -> Iterator[Chunk]:
        """All pictures, at most so many at once, from the beginning or from the `then` of a chunk of the same `most` on."""
        ...
