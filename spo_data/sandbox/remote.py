"""Run programs on a server: `spo-data sandbox`, or SandboxFusion.

    async with RemoteInterpreter("http://sandbox:8080") as interpreter:
        execution = await interpreter.run("print(6 * 7)", Limits(seconds=30))

Failures that may be temporary are tried again: no connection, no answer in time, 408, 425, 429 and 5xx, an answer that
does not follow the protocol, and an answer that reports a failed sandbox. A program may therefore run twice, each time
in a fresh Python. `run` returns the program's own result or raises SandboxError; it never invents one from a failure.
"""

import asyncio
import json
import netrc
import os
from collections.abc import Generator
from types import TracebackType
from typing import Self

import httpx
from pydantic import ValidationError
from tenacity.wait import wait_base, wait_fixed

from spo_data.errors import UserError, first_line, retry_after
from spo_data.sandbox.interpreter import Execution, Limits, SandboxError
from spo_data.sandbox.retry import ATTEMPTS, WAIT, PassingError, retry
from spo_data.sandbox.run_code import Program, RunReply, execution_of
from spo_data.sandbox.token import TOKEN, check_token

CONCURRENCY = 64
QUEUE_SECONDS = 60.0
_PASSING = frozenset({408, 425, 429})
_TOKEN_FIX = f"set {TOKEN} to the server's token"


class RemoteInterpreter:
    """Runs programs through SandboxFusion's protocol."""

    def __init__(
        self,
        url: str,
        *,
        concurrency: int = CONCURRENCY,
        attempts: int = ATTEMPTS,
        wait: wait_base = WAIT,
        queue_seconds: float = QUEUE_SECONDS,
    ) -> None:
        """`url` is http://HOST:PORT, with or without `/run_code`; raises UserError if it is not a valid address.

        We wait `queue_seconds` longer than a program's time limit, because it may have to queue on the server.
        """
        try:
            self._url = httpx.URL(_make_endpoint(url))
        except httpx.InvalidURL as error:
            raise UserError(f"--sandbox {url}: {error}") from error
        self.name = str(self._url.copy_with(username=None, password=None)).removesuffix("/run_code")
        """The address for messages, without user and password: messages reach logs and journals."""
        self._auth = _read_token() or _read_netrc()
        self._concurrency = concurrency
        self._attempts = attempts
        self._wait = wait
        self._queue_seconds = queue_seconds
        self._slots = asyncio.Semaphore(concurrency)
        self._client: httpx.AsyncClient | None = None

    @property
    def concurrency(self) -> int:
        """The number of programs sent at once; the number that the server runs at once is not known here."""
        return self._concurrency

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def run(self, code: str, limits: Limits, stdin: str = "") -> Execution:
        """Run a program on the server; raises SandboxError after the last attempt. Cancelling hangs up and kills it."""
        program = Program(
            code=code,
            stdin=stdin,
            language="python",
            compile_timeout=limits.seconds,
            run_timeout=limits.seconds,
            memory_limit_MB=limits.memory_mb,
        )
        body = program.model_dump_json(by_alias=True).encode()
        return await retry(lambda: self._try_once(body, limits), self.name, attempts=self._attempts, wait=self._wait)

    async def _try_once(self, body: bytes, limits: Limits) -> Execution:
        async with self._slots:  # a program that waits for its next attempt holds no slot
            return await self._send(body, limits)

    async def _send(self, body: bytes, limits: Limits) -> Execution:
        if self._client is None:
            # Drop an idle connection before the server closes it. The pool needs no limit: the slots are one.
            kept = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=4.0)
            self._client = httpx.AsyncClient(limits=kept, auth=self._auth)
        seconds = limits.seconds + self._queue_seconds
        timeout = httpx.Timeout(connect=10.0, read=seconds, write=30.0, pool=None)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        try:
            response = await self._client.post(self._url, content=body, headers=headers, timeout=timeout)
            if response.is_server_error or response.status_code in _PASSING:
                response.raise_for_status()
        except httpx.ReadTimeout as error:
            raise PassingError(f"no answer within {seconds:g} seconds") from error
        except httpx.HTTPStatusError as error:
            raise PassingError(_describe_answer(error.response), retry_after(error)) from error
        except httpx.RequestError as error:
            raise PassingError(f"the connection failed ({first_line(error)})") from error
        if not response.is_success:
            fix = f"; {_TOKEN_FIX}" if response.status_code == 401 else ""
            raise SandboxError(f"{self.name}: {_describe_answer(response)}{fix}")
        try:
            return execution_of(RunReply.model_validate(json.loads(response.content)))
        except (ValidationError, ValueError, RecursionError) as error:
            raise PassingError(f"not an answer of SandboxFusion's /run_code: {_shorten(response.text)!r}") from error
        except SandboxError as error:
            raise PassingError(f"the sandbox failed: {_shorten(str(error))}") from error


async def check_remote(url: str, limits: Limits) -> None:
    """Run a tiny program there under the run's limits; raises UserError, in one line with the fix, if it fails."""
    fix = "start a server with `spo-data sandbox`"
    try:
        async with RemoteInterpreter(url, attempts=2, wait=wait_fixed(1), queue_seconds=20.0) as interpreter:
            execution = await interpreter.run("print(6 * 7)", limits)
    except SandboxError as error:
        # A server that refuses us says what it needs, and need not be started.
        raise UserError(f"--sandbox {error}" + ("" if TOKEN in str(error) else f"; {fix}")) from error
    if execution.stdout != "42\n":
        said = _shorten(execution.stderr.strip().rpartition("\n")[2] or execution.stdout)
        raise UserError(f"--sandbox {interpreter.name}: print(6 * 7) did not print 42 but {said!r}; {fix}")


def _make_endpoint(url: str) -> str:
    address = url.strip().rstrip("/")
    return address if address.endswith("/run_code") else f"{address}/run_code"


class _Bearer(httpx.Auth):
    """Sends a token with each request."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the token."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def _read_token() -> httpx.Auth | None:
    token = check_token(os.environ.get(TOKEN))
    return None if token is None else _Bearer(token)


def _read_netrc() -> httpx.Auth | None:
    """Return user and password from ~/.netrc, as curl does; in the address they would be published with the run."""
    path = os.path.expanduser(os.environ.get("NETRC") or "~/.netrc")
    if not os.path.isfile(path):  # also if there is no home folder
        return None
    try:
        return httpx.NetRCAuth(path)
    except (netrc.NetrcParseError, OSError) as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}") from error


def _describe_answer(response: httpx.Response) -> str:
    """Return the status of a failed request with the detail that a FastAPI server gives."""
    try:
        said = response.json()["detail"]
    except (ValueError, TypeError, LookupError):
        said = response.text
    short = _shorten(str(said))
    return f"answered {response.status_code}" + (f" ({short})" if short else "")


def _shorten(text: str, characters: int = 200) -> str:
    """Return the text on one line, cut after `characters`."""
    line = " ".join(text[: 4 * characters].split())
    return line if len(line) <= characters else f"{line[:characters]}..."
