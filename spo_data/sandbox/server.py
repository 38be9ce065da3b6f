"""Serve an interpreter to other machines: SandboxFusion's `/run_code` in front of it.

    app = make_app(interpreter)
    await serve(ToolOptions(), "127.0.0.1", 8080, concurrency=None, token=None, announce=print)

* It serves no web page, and other machines only with a token (`spo_data.sandbox.access`).
* It runs Python only, without files; SandboxFusion's other languages and files are refused with 400.
* `run_timeout` and `memory_limit_MB` are obeyed as they are. They are refused with 400 if they exceed the server's own
  maximum, or leave too little memory for Python itself.
* The last expression is shown as a notebook shows it, for clients that do not do this themselves.
* A program waits for its turn as long as necessary. Meanwhile the answer's body begins with spaces, one every few
  seconds: JSON allows them, and they keep the client's read timeout from expiring. If far too many programs wait, more
  are refused with 503 and Retry-After.
* Bodies and connections are bounded (`spo_data.sandbox.bodies`, `spo_data.sandbox.connections`).
* A program is killed if its client hangs up or the server ends.
"""

import asyncio
import ipaddress
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse

from spo_data.errors import UserError, first_line
from spo_data.options import ToolOptions
from spo_data.sandbox.access import AccessGuard
from spo_data.sandbox.bodies import BODY_BYTES, RETRY_SECONDS, BoundedBodies
from spo_data.sandbox.connections import BoundedConnection
from spo_data.sandbox.interpreter import Interpreter, Limits, SandboxError
from spo_data.sandbox.notebook import show_last
from spo_data.sandbox.open import open_interpreter
from spo_data.sandbox.run_code import DEFAULT_MEMORY, Program, RunReply, answer_of
from spo_data.sandbox.token import MAKE_TOKEN

MOST = Limits(seconds=600.0, memory_mb=16_384)
LEAST_MEMORY_MB = 64
"""Python itself starts with 16, numpy is imported with 96."""
CODE_BYTES = 1 << 20
HEARTBEAT_SECONDS = 5.0
ENDING = "the server is ending"


async def serve(
    options: ToolOptions,
    host: str,
    port: int,
    concurrency: int | None,
    token: str | None,
    announce: Callable[[str, int], None],
) -> None:
    """Serve a local interpreter until SIGINT or SIGTERM, then kill its programs; raises UserError if it cannot start.

    `announce` is called with the address and the number of programs run at once, as soon as requests are answered.
    Port 0 chooses any free port. Without a token, only an address of this machine alone is served.
    """
    async with open_interpreter(options, concurrency) as interpreter:
        with _listen(host, port) as listening:
            if token is None and not ipaddress.ip_address(listening.getsockname()[0]).is_loopback:
                raise UserError(
                    f"--host {host}: other machines could run programs here without a token: `{MAKE_TOKEN}`, here and"
                    " where --sandbox names this server"
                )
            shown = f"[{host}]" if ":" in host else host
            address = f"http://{shown}:{listening.getsockname()[1]}"
            app = make_app(interpreter, host, token)
            server = _Server(make_config(app), app.state.runs, lambda: announce(address, interpreter.concurrency))
            await server.serve(sockets=[listening])


def make_app(
    interpreter: Interpreter,
    host: str = "localhost",
    token: str | None = None,
    most: Limits = MOST,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
) -> FastAPI:
    """Return the application; the caller has opened the interpreter and closes it after the application."""
    app = FastAPI(title="spo-data sandbox", docs_url=None, redoc_url=None)
    app.add_middleware(BoundedBodies, held_bytes=BODY_BYTES + (interpreter.concurrency << 21))
    app.add_middleware(AccessGuard, served=host, token=token)  # the last one added is the first one asked
    runs = app.state.runs = _Runs(interpreter)

    @app.get("/v1/ping")
    async def ping() -> str:
        return "pong"

    @app.post("/run_code", response_model=RunReply)
    async def run_code(program: Program, request: Request) -> Response:
        _refuse_unsupported(program, most)
        run = runs.start(program)
        gone = asyncio.create_task(_cancel_once_gone(request, run))
        run.add_done_callback(lambda _: gone.cancel())
        try:
            await asyncio.wait({run}, timeout=heartbeat_seconds)
        except asyncio.CancelledError:
            run.cancel()
            raise
        if not run.done():
            return StreamingResponse(_send_heartbeats(run, heartbeat_seconds), media_type="application/json")
        if run.cancelled():
            raise HTTPException(503, ENDING, {"Retry-After": str(RETRY_SECONDS)})
        return Response(run.result().model_dump_json(), media_type="application/json")

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        # FastAPI's own answer repeats the whole body, which may not even be valid UTF-8.
        said = [f"{'.'.join(map(str, each['loc'][1:])) or 'body'}: {each['msg']}" for each in error.errors()]
        return JSONResponse({"detail": "; ".join(said)}, status_code=422)

    return app


def make_config(app: FastAPI) -> uvicorn.Config:
    """Return how uvicorn serves the application."""
    return uvicorn.Config(
        app,
        http=BoundedConnection,
        limit_concurrency=app.state.runs.most + 256,
        log_level="error",
        access_log=False,
        use_colors=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
    )


class _Runs:
    """The programs that run or wait for their turn."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._tasks: set[asyncio.Task[RunReply]] = set()
        self._ending = False
        self.most = 65 * interpreter.concurrency + 256
        """Programs that run or wait; more are refused."""

    def start(self, program: Program) -> "asyncio.Task[RunReply]":
        """Run a program when its turn comes; raises HTTPException if too many wait or the server is ending."""
        if self._ending or len(self._tasks) > self.most:
            waiting = len(self._tasks) - self._interpreter.concurrency
            detail = ENDING if self._ending else f"{waiting} programs wait already"
            raise HTTPException(503, detail, {"Retry-After": str(RETRY_SECONDS)})
        task = asyncio.create_task(self._answer(program))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def end(self) -> None:
        """Kill all programs, and start no more."""
        self._ending = True
        for task in self._tasks:
            task.cancel()

    async def _answer(self, program: Program) -> RunReply:
        try:
            return answer_of(await self._interpreter.run(_show_once(program.code), _get_limits(program), program.stdin))
        except SandboxError as error:
            return RunReply(status="SandboxError", message=str(error))


def _get_limits(program: Program) -> Limits:
    is_default = program.memory_limit_mb == DEFAULT_MEMORY
    return Limits(program.run_timeout, Limits().memory_mb if is_default else program.memory_limit_mb)


def _refuse_unsupported(program: Program, most: Limits) -> None:
    limits = _get_limits(program)
    # Do not apply a smaller limit: the client would tell the model the one that it requested.
    if limits.seconds > most.seconds:
        raise HTTPException(400, f"run_timeout: at most {most.seconds:g} here")
    if limits.memory_mb > most.memory_mb:
        raise HTTPException(400, f"memory_limit_MB: at most {most.memory_mb} here")
    if limits.memory_mb < LEAST_MEMORY_MB:
        # Python would end before the program starts, and the model would read that as its own failure.
        raise HTTPException(
            400, f"memory_limit_MB: at least {LEAST_MEMORY_MB}, or {DEFAULT_MEMORY} for {Limits().memory_mb}"
        )
    if program.language != "python":
        raise HTTPException(400, f"language {program.language!r}: this sandbox runs python only")
    if program.files or program.fetch_files:
        raise HTTPException(400, "files and fetch_files: this sandbox carries no files, only code, stdin and output")
    if len(program.code.encode()) > CODE_BYTES:
        raise HTTPException(413, f"code: at most {CODE_BYTES >> 20} MB")


_SHOWN = show_last("0").partition("0")[0]


def _show_once(code: str) -> str:
    """Return the program with its last expression shown; unchanged if the client has done that already.

    Doing it twice would print the same, but tracebacks quote the changed line.
    """
    shown = show_last(code)
    return code if 2 * _SHOWN in shown and 2 * _SHOWN not in code else shown


async def _cancel_once_gone(request: Request, run: "asyncio.Task[RunReply]") -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    run.cancel()


async def _send_heartbeats(run: "asyncio.Task[RunReply]", seconds: float) -> AsyncIterator[str]:
    try:
        while not run.done():
            yield " "
            await asyncio.wait({run}, timeout=seconds)
        # The status has been sent already, so the answer itself must report the failure instead of a 503.
        answer = RunReply(status="SandboxError", message=ENDING) if run.cancelled() else run.result()
        yield answer.model_dump_json()
    finally:
        run.cancel()


class _Server(uvicorn.Server):
    """Announces when it accepts requests, kills all programs when it ends, and exits with status 0 at a signal."""

    def __init__(self, config: uvicorn.Config, runs: _Runs, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._runs = runs
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Requests cut off now are no errors, but uvicorn would log them with tracebacks.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._runs.end()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End at either signal. uvicorn's own version raises the signal again, so the exit status would not be 0."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError, TypeError) as error:  # the last two: the host name is invalid
        reason = (getattr(error, "strerror", None) or first_line(error)).partition(" (")[0]
        raise UserError(f"--host {host} --port {port}: {reason}; choose another address or port") from error
