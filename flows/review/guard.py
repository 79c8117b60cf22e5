"""Who may talk to the review's server: this machine alone, or whoever holds the token; and what a page may do."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "rushes-review"
HEADER = "x-rushes-review"
"""A page of another site cannot send it without asking first, and nobody answers that question."""
MOST_BODY = 64 * 1024
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    return host in ("127.0.0.1", "::1", "localhost")


def cookie_of(token: str) -> str:
    """The cookie of a board. Browsers share cookies between the ports of a host: each board has its own name."""
    return f"{COOKIE}-{hashlib.sha256(token.encode()).hexdigest()[:8]}"


class Guard:
    """Lets requests through to the app, or answers them itself. ASGI.

    Args:
        token: what a visitor has to show, in the address (`?token=`), from then on as a cookie; None asks for none.
        hosts: names by which the server may be called where there is no token, so that a page whose name was made to
            lead here (DNS rebinding) gets nothing.
    """

    def __init__(self, app: App, *, token: str | None, hosts: frozenset[str]) -> None:
        self._app, self._token, self._hosts = app, token, hosts
        self._cookie = cookie_of(token or "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        if self._token is not None and not self._has_cookie(headers):
            shown = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if not self._is_token(shown):
                await _answer(send, 401, "The token is missing or wrong: open the address that was printed.")
                return
            # From here on the cookie; the address without the token does not end in histories and logs.
            cookie = f"{self._cookie}={shown}; HttpOnly; SameSite=Strict; Path=/"
            await _answer(send, 303, "", {"location": "/" + scope["path"].lstrip("/"), "set-cookie": cookie})
            return

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        await self._app(scope, receive, with_headers)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        if self._token is None and _name_of(headers.get("host", "")) not in self._hosts:
            return 403, "This server answers to its own name only."
        if scope["method"] in ("GET", "HEAD"):
            return None
        if scope["method"] != "POST":
            return 405, "GET and POST only."
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or HEADER not in headers:
            return 403, "A verdict comes from the review's own page only."
        try:
            length = int(headers.get("content-length", "-1"))
        except ValueError:
            length = -1
        return None if 0 <= length <= MOST_BODY else (413, f"A verdict has at most {MOST_BODY} bytes.")

    def _has_cookie(self, headers: dict[str, str]) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return found is not None and self._is_token(found.value)

    def _is_token(self, shown: str) -> bool:
        return self._token is not None and hmac.compare_digest(shown.encode(), self._token.encode())


def _name_of(host: str) -> str:
    """A Host header without its port."""
    return host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host


async def _answer(send: Send, status: int, text: str, more: dict[str, str] | None = None) -> None:
    headers = {**_HEADERS, "content-type": "text/plain; charset=utf-8", "cache-control": "no-store", **(more or {})}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": text.encode()})
