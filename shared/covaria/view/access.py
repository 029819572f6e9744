"""Who may ask: a one-time token opens a session, and every answer carries a strict policy."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from covaria.view.accounts import Account

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
ACCOUNT = "covaria.account"
"""Where a question carries who asks."""
ASKED_BY = "x-covaria"
"""A header that no form and no foreign page can send without this server's leave: every POST carries it."""
ALIVE = "/livez"
"""Answers everybody: whether the server runs."""
NEEDED = (
    "This address needs its token, which opens one session. Open the whole address that `covaria view` printed; "
    "if it has been used by another browser, start `covaria view` again.\n"
)


@dataclass(frozen=True)
class SignedIn:
    """header: in small letters; proxies: addresses or networks whose word is believed."""

    header: str
    proxies: frozenset[str]

    def account(self, peer: str, headers: Mapping[str, str]) -> Account | None:
        """Who asks; None where nobody whom this machine knows is named by whom it believes."""
        try:
            believed = any(ip_address(peer) in ip_network(proxy) for proxy in self.proxies)
        except ValueError:
            return None
        return Account.of(headers.get(self.header, "")) if believed else None


@dataclass
class Access:
    """What opens the door.

    base     path before every address, behind a proxy: "" or "/covaria"
    hosts    names by which the server may be called; empty: any (another machine asks, by a name that we do not know)
    standing a token that opens any number of sessions; else one is drawn that opens one
    signed_in  header in which a proxy names the user, and the proxy's own addresses: then nobody needs a token
    """

    base: str = ""
    hosts: frozenset[str] = frozenset()
    standing: str | None = None
    signed_in: SignedIn | None = None
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    sessions: set[str] = field(default_factory=set)
    spent: bool = False

    def open(self, said: str) -> str | None:
        """A new session's secret for the right token, once; None else."""
        expected = self.token if self.standing is None else self.standing
        if self.spent or not secrets.compare_digest(said.encode(), expected.encode()):
            return None
        self.spent = self.standing is None
        session = secrets.token_urlsafe(24)
        self.sessions.add(session)
        return session

    @property
    def cookie(self) -> str:
        return f"covaria_view{self.base.replace('/', '_')}"

    def knows(self, cookies: str) -> bool:
        """Whether a Cookie header names a session."""
        try:
            found = SimpleCookie(cookies).get(self.cookie)
        except CookieError:
            return False
        return found is not None and any(secrets.compare_digest(found.value, one) for one in self.sessions)


class Gate:
    """Lets in who may ask; the rest is told what is missing."""

    def __init__(self, app: App, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        base = self.access.base
        if base and (scope["path"] == base or scope["path"].startswith(base + "/")):
            scope = {**scope, "path": scope["path"][len(base) :] or "/"}

        async def with_policy(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                said = {name for name, _ in message["headers"]}
                more = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in said]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        answer = self._refusal(scope)
        await (answer or self.app)(scope, receive, with_policy)

    def _refusal(self, scope: Scope) -> Response | None:
        """What is answered instead of the page; None: come in."""
        sent = [name for name, _ in scope["headers"]]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["path"] == ALIVE and scope["method"] == "GET":
            return PlainTextResponse("ok\n")
        if self.access.hosts and headers.get("host", "") not in self.access.hosts:
            return PlainTextResponse(f"This server is not called {headers.get('host', '')}.\n", 403)
        if self.access.signed_in is not None:
            name = self.access.signed_in.header
            account = self.access.signed_in.account((scope.get("client") or ("",))[0], headers)
            if account is None or sent.count(name.encode()) != 1:
                return PlainTextResponse(f"Nobody is signed in: the proxy's header {name} names no user.\n", 403)
            scope[ACCOUNT] = account
            return self._asked_elsewhere(scope, headers)
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if scope["path"] == "/" and scope["method"] == "GET" and token:
            session = self.access.open(token[0])
            if session is not None:
                return self._welcome(session)
        if not self.access.knows(headers.get("cookie", "")):
            if scope["path"] == "/":
                return PlainTextResponse(NEEDED, 403)
            return JSONResponse({"message": "no session", "hint": NEEDED.strip()}, 403)
        if token and scope["path"] == "/":
            return RedirectResponse(f"{self.access.base}/", 303)
        return self._asked_elsewhere(scope, headers)

    @staticmethod
    def _asked_elsewhere(scope: Scope, headers: Mapping[str, str]) -> Response | None:
        if scope["method"] != "GET" and headers.get(ASKED_BY) != "1":
            return JSONResponse({"message": "asked from another page", "hint": "use the page itself"}, 403)
        return None

    def _welcome(self, session: str) -> Response:
        answer = RedirectResponse(f"{self.access.base}/", 303)
        answer.set_cookie(self.access.cookie, session, path=f"{self.access.base}/", httponly=True, samesite="strict")
        return answer
