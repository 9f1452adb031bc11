"""Tars for the data tests, and a server that hands them out, well or badly."""

import io
import tarfile
import threading
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pictures import encoded


def tar_of(path: Path, files: Iterable[tuple[str, bytes]], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> Path:
    """A tar with these files, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, format=form) as tar:  # type: ignore[call-overload]
        for name, content in files:
            tar.addfile(member(name, len(content)), io.BytesIO(content))
    return path


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def packed(folder: Path, out: Path, each: int, suffix: str = "tar") -> list[Path]:
    """The files of a folder in tars of so many, out/0.tar, out/1.tar, ..."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    parts = [names[i : i + each] for i in range(0, len(names), each)]
    mode = "w" if suffix == "tar" else "w:gz"
    return [
        tar_of(out / f"{i}.{suffix}", [(name, (folder / name).read_bytes()) for name in part], mode)
        for i, part in enumerate(parts)
    ]


def inside(files):
    """Names without the tar that they are in."""
    return [file.partition("::")[2] for file in files]


def reasons(data):
    return {finding.path: finding.reason for finding in data.quarantine.findings}


def sample_files(count, **told):
    """WebDataset samples: a picture, and for each other suffix what a function of its number says."""
    for i in range(count):
        yield f"{i:04d}.png", encoded(i, height=8, width=8)
        for suffix, what in told.items():
            if (said := what(i)) is not None:
                yield f"{i:04d}.{suffix}", said if isinstance(said, bytes) else str(said).encode()


class Server(ThreadingHTTPServer):
    """Serves a folder; what it does wrong can be chosen."""

    daemon_threads = True

    def __init__(self, folder: Path, **habits):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.ranges = True  # else it always sends the whole file
        self.stamps = True  # ETag and Last-Modified
        self.lengths = True  # Content-Length
        self.heads = True  # answers HEAD
        self.cuts: dict[str, list[int]] = {}  # name -> after how many bytes each of the next answers breaks off
        self.answers: dict[str, list[int]] = {}  # name -> status of the next GETs
        self.hooks: dict[str, Callable[[], object]] = {}  # name -> what happens before a GET is answered
        self.asked: list[tuple[str, str, int]] = []  # method, name, first byte
        vars(self).update(habits)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def of(self, method: str) -> list[tuple[str, int]]:
        return [(name, start) for how, name, start in self.asked if how == method]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format, *args):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body: bool):
        its, name = self.server, self.path.lstrip("/").partition("?")[0]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        its.asked.append((self.command, name, start))
        path = its.folder / name
        if body and name in its.hooks:
            its.hooks[name]()
        wrong = its.answers[name].pop(0) if body and its.answers.get(name) else None
        wrong = wrong or (404 if not path.is_file() else 405 if not (body or its.heads) else None)
        if wrong:
            self.send_response(wrong)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = path.read_bytes()
        start = start if its.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if its.lengths:
            self.send_header("Content-Length", str(len(content) - start))
        if its.stamps:
            self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        if not its.lengths:
            self.close_connection = True
        self.end_headers()
        if body:
            cut = its.cuts[name].pop(0) if its.cuts.get(name) else None
            if cut is not None:
                self.close_connection = True
            try:
                self.wfile.write(content[start:][:cut])
            except OSError:
                self.close_connection = True  # the client has what it wanted


@contextmanager
def serving(folder: Path, **habits):
    with Server(folder, **habits) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
