"""Who may ask the studio for something, and how much: every web page in a browser here can reach what listens on this machine.

It can send requests to 127.0.0.1, and by DNS rebinding under a name of its own. So the Host must be ours, an Origin too where
there is one, and nothing is answered without the token that was in the opened address, or the cookie that came instead.
"""

import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

RAW = "application/octet-stream"
BODY = 32 << 20  # bytes of a request
PARSED = 4 << 20  # of one that may be JSON: while it is parsed all others wait
RATE, BURST = 3000.0, 6000.0  # requests a second of one client, and at once
STRANGERS = (401, 403)  # what they are told, who have no use for a connection that stays
ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)


class Guard:
    """Lets through what comes from our own page; every answer gets the headers that keep others out.

    hosts: what the Host header may say, such as 127.0.0.1:8765. policy: of what the page may load. once: opens the page as
    the token does, one time, for a browser that is started by a command, which all on this machine can read.
    """

    def __init__(self, app: App, *, token: str, hosts: frozenset[str], policy: str, once: str | None = None, body: int = BODY):
        self.app, self.token, self.once, self.body = app, token, once, body
        self.hosts = frozenset(host.lower() for host in hosts)  # as browsers write them
        self.origins = frozenset(f"http://{host}" for host in self.hosts)
        self.headers = [*ALWAYS, (b"content-security-policy", policy.encode())]
        # Worth as much as the token, and sent to every port of this machine: other servers here that the browser visits hear it.
        self.secret = secrets.token_urlsafe(24)
        self.cookie = "vaekit-" + "".join(c for c in min(self.hosts) if c.isalnum())
        self.left: dict[str, tuple[float, float]] = {}  # of every client: requests it may still make, and as of when

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})  # there are none
            else:
                await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self.refusal(scope, headers)
        if refusal:
            await self.refuse(send, *refusal, stays=refusal[0] not in STRANGERS or comes_with_body(headers))
        elif self.opens(scope):
            if self.opens_once(scope):
                self.once = None
            await self.welcome(send)
        else:
            await self.pass_on(scope, receive, send, self.limit(scope, headers))

    def refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """The status and the reason why a request is not answered."""
        if headers.get("host", "").lower() not in self.hosts:
            return 403, "This address is not the studio's. Open the one that it printed."
        site = headers.get("sec-fetch-site", "none")
        if headers.get("origin", "").lower() not in ("", *self.origins) or (
            site not in ("none", "same-origin") and not self.opens(scope)
        ):
            return 403, "Another page has no business here."
        if not (self.opens(scope) or self.knows_token(headers)):
            return 401, "The token is missing. Open the address that the studio printed."
        if not self.may_go_on(scope):
            return 429, "Too many requests. Try again in a moment."
        length, limit = headers.get("content-length", "0"), self.limit(scope, headers)
        if not length.isdecimal() or int(length) > limit:
            return 413, f"The request has {length} bytes, the limit is {limit:,}."
        return None

    def limit(self, scope: Scope, headers: dict[str, str]) -> int:
        """Bytes that the body may have: a picture file and float32 are taken as they are, all else may be parsed."""
        kind = headers.get("content-type", "").partition(";")[0].strip()
        return self.body if kind == RAW or scope["path"].endswith("/encode") else min(self.body, PARSED)

    def opens(self, scope: Scope) -> bool:
        """Whether this is an address that was given to open the page."""
        return same(asked(scope, "token"), self.token) or self.opens_once(scope)

    def opens_once(self, scope: Scope) -> bool:
        return self.once is not None and same(asked(scope, "once"), self.once)

    def knows_token(self, headers: dict[str, str]) -> bool:
        pairs = (each.strip().partition("=")[::2] for each in headers.get("cookie", "").split(";"))
        cookies = [value for name, value in pairs if name == self.cookie]  # other servers of this machine have theirs beside it
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        return any(same(value, self.secret) for value in cookies) or same(bearer, self.token)

    def may_go_on(self, scope: Scope) -> bool:
        client, now = (scope.get("client") or ("",))[0], time.monotonic()
        left, before = self.left.get(client, (BURST, now))
        left = min(BURST, left + RATE * (now - before))
        self.left[client] = (left - 1 if left >= 1 else left, now)
        return left >= 1

    async def refuse(self, send: Send, status: int, why: str, *, stays: bool) -> None:
        body = json.dumps({"error": why}).encode()
        kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        more = [] if stays else [(b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": [*kind, *more, *self.headers]})
        await send({"type": "http.response.body", "body": body})

    async def welcome(self, send: Send) -> None:
        """A cookie takes the place of the token, which leaves the address.

        No redirect: where a link on another page was followed, a browser would count it as that page's, without the cookie.
        """
        cookie = f"{self.cookie}={self.secret}; HttpOnly; SameSite=Strict; Path=/"
        where = [(b"refresh", b"0; url=/"), (b"set-cookie", cookie.encode()), (b"cache-control", b"no-store")]
        kind = [(b"content-type", b"text/html"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": [*kind, *where, *self.headers]})
        await send({"type": "http.response.body", "body": b""})

    async def pass_on(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        read = 0

        async def heard() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise HTTPException(413, f"The request goes on past {limit:,} bytes, the limit.")
            return message

        async def said(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self.headers]
            await send(message)

        await self.app(scope, heard, said)


def asked(scope: Scope, name: str) -> str:
    """What stands under a name in the address of the page; nothing where another one is asked for."""
    if (scope["path"], scope["method"]) != ("/", "GET"):
        return ""
    return parse_qs(scope["query_string"].decode("latin-1")).get(name, [""])[0]


def comes_with_body(headers: dict[str, str]) -> bool:
    """Whether a request goes on after its head: where a connection is closed meanwhile, nobody sees the answer."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def same(given: str, expected: str) -> bool:
    """Without saying by how long it takes how much of it was right."""
    return hmac.compare_digest(given.encode(), expected.encode())
