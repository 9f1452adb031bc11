"""Files over http: what they are, and their bytes as if no connection were ever lost."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import DataError

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each new try; bytes that arrive begin them anew
FIRST_TRIES = 3  # of an address that was never reached
TIMEOUT = (10, 60)  # seconds for a connection, and for the next bytes
BUSY = (408, 425, 429, 500, 502, 503, 504)  # answers that another try may change
NO_HEAD = (400, 403, 405, 501)  # answers of servers, or of signed addresses, that only allow GET
SKIPPED = 1 << 20


def described(address: str) -> tuple[int, list[Any]]:
    """The size of a file, and what tells one state of it from another: its ETag, else its date, else its size alone.

    Raises DataError where it cannot be had, or the server does not say how long it is.
    """
    with response("HEAD", address, allowed=NO_HEAD) as answer:
        if answer.ok and "Content-Length" in answer.headers:
            return size_of(answer), state_of(answer)
    with response("GET", address) as answer:
        return size_of(answer), state_of(answer)


def size_of(answer: Any) -> int:
    size = answer.headers.get("Content-Length", "")
    if not size.isdigit():
        raise DataError(
            f"The server of {answer.url} does not say how many bytes it has, so that a lost connection would look like its end. "
            "Expected a Content-Length. Fetch it, and name the local file."
        )
    return int(size)


def state_of(answer: Any) -> list[Any]:
    return [answer.headers.get("ETag") or answer.headers.get("Last-Modified")]


@contextmanager
def response(method: str, address: str, allowed: tuple[int, ...] = ()) -> Iterator[Any]:
    """The answer of a server, tried several times. Raises DataError."""
    tries = Tries(address, FIRST_TRIES)
    while True:
        try:
            answer = asked(method, address, allowed=allowed)
            break
        except OSError as error:  # requests' errors are OSErrors
            tries.failed(error)
    try:
        yield answer
    finally:
        answer.close()


def asked(method: str, address: str, start: int = 0, allowed: tuple[int, ...] = ()) -> Any:
    """One try. Raises OSError where another may go better, DataError where none will."""
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        answer = requests.request(method, address, headers=headers, stream=True, allow_redirects=True, timeout=TIMEOUT)
    except ValueError as error:  # so requests says it of an address that is none
        raise DataError(f"{address} cannot be had: {error}. Expected http://host/path.tar. Check the address.") from None
    if answer.status_code in (200, 206, *allowed):
        return answer
    answer.close()
    told = f"{answer.status_code} {answer.reason}"
    if answer.status_code in BUSY:
        raise OSError(f"the server answered {told}")
    raise DataError(f"{address} cannot be had: the server answered {told}. Expected a tar there. Check the address.")


class Tries:
    """Counts what went wrong since it last went well."""

    def __init__(self, address: str, most: int | None = None):
        self.address = address
        self.most = most or len(WAITS) + 1
        self.count = 0

    def failed(self, error: Exception) -> None:
        """Wait for the next try. Raises DataError after the last."""
        if self.count + 1 == self.most:
            raise DataError(
                f"{self.address} cannot be read, after {self.most} tries: {error}. Expected a server that answers. "
                "What is decoded is kept: the same command goes on there."
            ) from None
        time.sleep(WAITS[self.count])
        self.count += 1


class Remote(io.RawIOBase):
    """A file over http, from its beginning to its end; a lost connection is made again where it was lost."""

    def __init__(self, address: str, size: int, state: list[Any]):
        self.address, self.size, self.state = address, size, state
        self.at = 0
        self.answer: Any = None
        self.tries = Tries(address)

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any, /) -> int:
        """Raises DataError where the server stays away, or has another file there by now."""
        from urllib3.exceptions import HTTPError

        while self.at < self.size:
            try:
                data = (self.answer or self.connect()).raw.read(len(buffer))
                if not data:
                    raise OSError(f"the connection ended at byte {self.at:,} of {self.size:,}")
            except (OSError, HTTPError) as error:
                self.hang_up()
                self.tries.failed(error)
                continue
            self.tries.count = 0
            self.at += len(data)
            buffer[: len(data)] = data
            return len(data)
        return 0

    def connect(self) -> Any:
        """Ask for what is left; a server that sends all again is read up to there."""
        self.answer = answer = asked("GET", self.address, self.at)
        part = answer.status_code == 206
        told = [f"bytes {self.at}-{self.size - 1}/{self.size}"] if part else [str(self.size), None]
        if answer.headers.get("Content-Range" if part else "Content-Length") not in told or state_of(answer) != self.state:
            raise DataError(
                f"{self.address} changed while it was read. Expected the same {self.size:,} bytes to the end. "
                "Run the command again."
            )
        left = 0 if part else self.at
        while left:
            passed = len(answer.raw.read(min(left, SKIPPED)))
            if not passed:
                raise OSError(f"the connection ended before byte {self.at:,}")
            left -= passed
        return answer

    def hang_up(self) -> None:
        if self.answer is not None:
            self.answer.close()
            self.answer = None

    def close(self) -> None:
        self.hang_up()
        super().close()
