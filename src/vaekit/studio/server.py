"""The studio's server: the page, its files, and /api, behind a guard."""

import errno
import hashlib
import re
import secrets
import socket
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from .. import __version__
from ..errors import UsageError, VaekitError
from .api import Problem, first_problem, routes
from .batching import Busy
from .connections import MOST, Prompt
from .guard import Guard
from .shown import Changed, NotYet, Wish, shown_of

EVERYWHERE = ("0.0.0.0", "::")
OWN = ("127.0.0.1", "localhost", "[::1]")  # how a machine calls itself
TAKEN = (errno.EADDRINUSE, errno.EACCES)  # what another port may cure
STATUS: dict[type[VaekitError], int] = {Busy: 429, NotYet: 409, Changed: 409}
KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
STATIC = files("vaekit.studio") / "static"


def application(
    paths: list[Path],
    *,
    executor: Executor,
    token: str,
    once: str | None = None,
    hosts: frozenset[str],
    wish: Wish = Wish(),  # noqa: B008 (it cannot be changed)
) -> Guard:
    """The studio of these runs as an ASGI application. Raises UsageError on what is no run.

    executor: where models compute; one thread is right, torch uses all cores by itself. once: see `Guard`. hosts: what a Host
    header may say.
    """
    app = FastAPI(
        title="vaekit studio",
        version=__version__,
        description="Codes, pictures and everything between them, of the runs that this studio was opened with.",
        docs_url=None,  # they load from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
        telemetry={"tracing": False, "metrics": False, "logs": False},  # nobody hears of it, and each request would pay for it
    )
    app.include_router(routes(shown_of(paths, executor, wish)))

    @app.exception_handler(VaekitError)
    async def known(_: Request, error: VaekitError) -> JSONResponse:
        status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 422)
        return JSONResponse({"error": str(error)}, status)

    @app.exception_handler(OSError)
    async def gone(_: Request, error: OSError) -> JSONResponse:
        return JSONResponse({"error": f"A file of the run cannot be read: {error}. Restore it, or open another run."}, 422)

    @app.exception_handler(ClientDisconnect)
    async def left(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": first_problem(error.errors())}, 422)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)

    index = (STATIC / "index.html").read_text()
    pages = {place.name: place for place in STATIC.iterdir() if place.is_file()}

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return Response(index, media_type="text/html")

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:
        return Response(status_code=204)  # browsers ask before the page has said that there is none

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        place = pages.get(name)
        if place is None:
            raise HTTPException(404, f"There is no {name!r}.")
        kind = KINDS[Path(name).suffix]
        return Response(place.read_bytes(), media_type=kind, headers={"cache-control": "no-cache"})

    describe(app)
    return Guard(app, token=token, once=once, hosts=hosts, policy=policy(index))


def describe(app: FastAPI) -> None:
    """Let the schema say what every error looks like; FastAPI's own idea of a 422 is another."""
    plain: Callable[[], dict[str, Any]] = app.openapi

    def schema() -> dict[str, Any]:
        found = plain()
        schemas = found["components"]["schemas"]
        schemas["Problem"] = Problem.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        return found

    app.openapi = schema


def policy(page: str) -> str:
    """What the page may load: its own files, and the inline scripts that it has."""
    inline = [
        hashlib.sha256(script.encode()).digest() for script in re.findall(r"<script(?![^>]*src=)[^>]*>(.*?)</script>", page, re.S)
    ]
    hashes = " ".join(f"'sha256-{b64encode(digest).decode()}'" for digest in inline)
    return (
        f"default-src 'none'; script-src 'self' {hashes} 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def serve(
    paths: list[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    wish: Wish = Wish(),  # noqa: B008 (it cannot be changed)
    opened: Callable[[str], object] = print,
    browser: Callable[[str], object] | None = None,
    reachable: Callable[[str], object] = print,
) -> None:
    """Serve the studio of these runs until it is interrupted; port 0: a free one.

    `opened` hears the address with its token; `browser`, before that, one that works once: what a browser is started with all on
    this machine can read; `reachable`, where the host is 0.0.0.0 or ::, each by which others reach it.

    Raises UsageError on what is no run and on an address that cannot be had.
    """
    if not 0 <= port <= 65_535:
        raise UsageError(f"--port {port} is no port. Expected 0 to 65535; 0: a free one.")
    token, once = secrets.token_urlsafe(24), secrets.token_urlsafe(24) if browser else None
    executor = ThreadPoolExecutor(1, "model")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        try:
            listener.bind((host, port))
        except OSError as error:
            wrong = "--port" if error.errno in TAKEN else "--host"
            raise UsageError(f"{host}:{port} cannot be listened to: {error.strerror}. Give another {wrong}, or none.") from error
        port = listener.getsockname()[1]
        hosts = frozenset(f"{name}:{port}" for name in names_of(host)) | (names_of(host) if port == 80 else frozenset())
        app = application(paths, executor=executor, token=token, once=once, hosts=hosts, wish=wish)
        config = uvicorn.Config(
            app,
            http=Prompt,
            log_level="warning",
            access_log=False,  # which costs time for lines that nobody sees
            timeout_keep_alive=30,
            timeout_graceful_shutdown=2,
            h11_max_incomplete_event_size=64 << 10,
            server_header=False,
            proxy_headers=False,  # there is no proxy; who says so wants to be somebody else
            ws="none",
        )
        listener.listen(MOST)
        here = f"http://{OWN[0] if host in EVERYWHERE else written(host)}:{port}"
        if browser:
            browser(f"{here}/?once={once}")
        opened(f"{here}/?token={token}")
        for address in addresses_of(host) if host in EVERYWHERE else ():
            reachable(f"http://{address}:{port}/?token={token}")
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        listener.close()
        executor.shutdown(wait=False, cancel_futures=True)


def written(host: str) -> str:
    """As it stands in an address."""
    return f"[{host}]" if ":" in host else host


def names_of(host: str) -> frozenset[str]:
    """What a Host header may call a server that listens there."""
    names = {*OWN, written(host)}
    if host in EVERYWHERE:
        names |= {socket.gethostname().lower(), *addresses_of(host)}
    return frozenset(names)


def addresses_of(host: str) -> list[str]:
    """By which others reach a server that listens everywhere, as they stand in an address.

    Without those that want the name of a network card beside them: no browser takes it.
    """
    kinds = (socket.AF_INET,) if host == "0.0.0.0" else (socket.AF_INET, socket.AF_INET6)
    cards = psutil.net_if_addrs().values()
    found = {written(its.address) for card in cards for its in card if its.family in kinds and "%" not in its.address}
    return sorted(found.difference(OWN))
