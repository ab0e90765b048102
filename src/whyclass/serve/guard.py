"""Who may ask, and how much: nothing reaches a page of the explorer that has not passed here."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whyclass.errors import SettingsError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts that this machine alone can reach."""

LARGEST_BODY = 32 << 20
"""Bytes of a request: a picture and little else."""

SAFE = ("GET", "HEAD")
"""Methods that change nothing; any other has to come from one of the explorer's own pages."""

POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Of every page: pictures, styles and the one script of this server, and nothing of any other."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # with no-referrer browsers would name no origin when a form is sent
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

ENTRANCE = "/enter/"
"""What stands before the secret in the address that the command prints."""


@dataclass(frozen=True)
class Gate:
    """Where the explorer listens, and the secret by which its own browsers are known.

    Attributes
    ----------
    host, port
        Of the server.
    secret
        Drawn anew for each server. The address that the command prints holds it; the browser that opens it
        keeps it as a cookie, and any other browser of this machine is refused.
    """

    host: str
    port: int
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def address(self) -> str:
        """What a browser opens first."""
        return f"{self.origin}{ENTRANCE}{self.secret}"

    @property
    def cookie(self) -> str:
        """Name of the cookie: cookies are of a host, whatever the port."""
        return f"whyclass-{self.port}"

    @property
    def hosts(self) -> frozenset[str]:
        """What a request may call this server: a name that merely resolves to it is none of these."""
        names = (*LOOPBACK[:2], f"[{LOOPBACK[2]}]")
        return frozenset(f"{name}:{self.port}" for name in names)

    def knows(self, secret: str) -> bool:
        """Whether a secret is this server's."""
        return hmac.compare_digest(secret.encode(), self.secret.encode())


def check_host(host: str) -> None:
    """Refuse to listen where others could ask.

    Raises
    ------
    SettingsError
        If the host is not of this machine alone.
    """
    if host not in LOOPBACK:
        raise SettingsError(
            f"--host is {host[:60]!r}; the explorer listens on this machine alone: {', '.join(LOOPBACK)}. "
            "From another machine, forward its port: ssh -L 8765:127.0.0.1:8765 MACHINE"
        )


class _TooLargeError(Exception):
    """A request of more bytes than any of the explorer's own."""


class Guard:
    """Passes a request on to the application, or refuses it."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app, self.gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Of ASGI."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        if (refused := self._refused(scope)) is not None:
            await refused(scope, receive, _headed(send))
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await _headed(send)(message)

        try:
            await self.app(scope, _bounded(receive), sending)
        except _TooLargeError:
            if not begun:
                await _too_large()(scope, receive, _headed(send))

    def _refused(self, scope: Scope) -> Response | None:
        headers, gate = Headers(scope=scope), self.gate
        if headers.get("host", "") not in gate.hosts:
            return PlainTextResponse("This server answers to its own address alone.", 421)
        if scope["path"].startswith(ENTRANCE) and scope["method"] in SAFE:
            return self._entered(scope["path"].removeprefix(ENTRANCE))
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return PlainTextResponse(
                "Another site asked for this; open it from the explorer's own pages.", 403
            )
        if not gate.knows(cookie_parser(headers.get("cookie", "")).get(gate.cookie, "")):
            return PlainTextResponse(
                "This browser is not known here. Open the address that whyclass serve printed.", 403
            )
        if scope["method"] not in SAFE and headers.get("origin") != f"http://{headers['host']}":
            return PlainTextResponse("Only the explorer's own pages may change anything.", 403)
        if int(length if (length := headers.get("content-length", "0")).isdigit() else 0) > LARGEST_BODY:
            return _too_large()
        return None

    def _entered(self, secret: str) -> Response:
        if not self.gate.knows(secret):
            return PlainTextResponse("This address is of another run of whyclass serve.", 403)
        found = RedirectResponse("/", 303)
        found.set_cookie(self.gate.cookie, self.gate.secret, httponly=True, samesite="strict", path="/")
        return found


def _too_large() -> Response:
    return PlainTextResponse(f"That is more than {LARGEST_BODY >> 20} MB; bring a smaller picture.", 413)


def _bounded(receive: Receive) -> Receive:
    """What a request's body comes by, until it is too long, whatever its headers promised."""
    seen = 0

    async def receiving() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > LARGEST_BODY:
            raise _TooLargeError
        return message

    return receiving


def _headed(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            if "cache-control" not in headers:
                headers["cache-control"] = "no-store"
        await send(message)

    return sending
