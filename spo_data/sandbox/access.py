"""Who may use the sandbox server: no web page, and nobody without the token if there is one.

    app.add_middleware(AccessGuard, served="127.0.0.1", token=None)

A browser on a machine that reaches the server carries out the requests of any page that it shows:

* It adds an Origin to a page's POST, so a request with an Origin is refused.
* A page can make its own name point to this machine (DNS rebinding) and then needs no Origin to read an answer. Its
  requests still carry that name as Host. So, without a token, Host must be an address, `localhost` or the name served.

With a token, each request must carry it: as `Authorization: Bearer TOKEN`, or as the password of HTTP's Basic scheme,
which requests and curl take from ~/.netrc.
"""

import base64
import binascii
import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from spo_data.sandbox.token import TOKEN


class AccessGuard:
    """Refuses requests before anything of their body is read."""

    def __init__(self, app: ASGIApp, served: str, token: str | None) -> None:
        """`served` is the host name or address that the server listens on."""
        self._app = app
        self._served = served
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer why it is refused."""
        refusal = self._refuse(Headers(scope=scope))
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refuse(self, headers: Headers) -> JSONResponse | None:
        if "origin" in headers:
            return JSONResponse({"detail": "Origin: a web page may not run programs here"}, 403)
        if self._token is None:
            if _is_local_name(host := headers.get("host", ""), self._served):
                return None
            name = ascii(host[:100])
            detail = (
                f"Host: {name} is neither an address nor the name served; for other names, set {TOKEN} on both sides"
            )
            return JSONResponse({"detail": detail}, 403)
        given = _find_token(headers.get("authorization", ""))
        if given is not None and hmac.compare_digest(given, self._token.encode()):
            return None
        detail = f"Authorization: {'no token' if given is None else 'not the token'} of this server"
        return JSONResponse({"detail": detail}, 401, {"WWW-Authenticate": "Bearer"})


def _is_local_name(host: str, served: str) -> bool:
    """Whether a Host header names an address, this machine or what is served, whatever its port."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in ("localhost", served.lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _find_token(authorization: str) -> bytes | None:
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return given.strip().encode()
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(given.strip(), validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return None
