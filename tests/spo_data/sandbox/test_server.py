"""The sandbox server over real HTTP: what it refuses, how it waits, and when it kills a program."""

import asyncio
import contextlib
import json
import logging
import math
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import pytest
import uvicorn
from tenacity import wait_none

from spo_data.errors import UserError
from spo_data.options import ToolOptions
from spo_data.sandbox.bodies import BODY_BYTES
from spo_data.sandbox.connections import BoundedConnection
from spo_data.sandbox.interpreter import CAPTURED_BYTES, Execution, Interpreter, Limits, SandboxError
from spo_data.sandbox.notebook import show_last
from spo_data.sandbox.open import open_interpreter
from spo_data.sandbox.remote import RemoteInterpreter, check_remote
from spo_data.sandbox.server import CODE_BYTES, LEAST_MEMORY_MB, make_app, make_config, serve

MANY_PROCESSES = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        break
kept = b"x" * (100 << 20)
time.sleep(60)
"""
JSON = {"Content-Type": "application/json"}


@dataclass
class Scripted:
    """An interpreter that runs nothing: `hang` never ends, `fault` raises, everything else echoes what it was given."""

    concurrency: int = 2
    seen: list[tuple[str, Limits, str]] = field(default_factory=list)
    killed: int = 0
    end_programs: Callable[[], object] = lambda: None
    """Ends all programs, as the command does on a signal. `serving` sets it."""

    def ask(self, body: Any, headers: dict[str, str] = JSON, **options: Any) -> httpx.Response:
        """Send a request to the application in this process."""

        async def go() -> httpx.Response:
            app = make_app(self, most=Limits(40.0, 2048), **options)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
                return await client.post("/run_code", content=json.dumps(body), headers=headers)

        return asyncio.run(go())

    async def run(self, code: str, limits: Limits, stdin: str = "") -> Execution:
        self.seen.append((code, limits, stdin))
        if code.startswith("fault"):
            raise SandboxError("no bubblewrap")
        if code.startswith("bug"):
            raise RuntimeError("a bug")
        try:
            await asyncio.sleep(1000 if code.startswith("hang") else 0.4 if code.startswith("slow") else 0)
        except asyncio.CancelledError:
            self.killed += 1
            raise
        return Execution(code, "", 0)


@contextmanager
def serving(
    interpreter: Callable[[], Any], most: Limits | None = None, heartbeat_seconds: float = 5.0
) -> Iterator[str]:
    """Serve what `interpreter` opens, in a thread, and yield the address."""
    listening = socket.create_server(("127.0.0.1", 0))
    server: list[uvicorn.Server] = []
    ready = threading.Event()

    async def go() -> None:
        async with interpreter() as opened:
            app = make_app(opened, most=most or Limits(40.0, 2048), heartbeat_seconds=heartbeat_seconds)
            opened.end_programs = partial(asyncio.get_running_loop().call_soon_threadsafe, app.state.runs.end)
            server.append(uvicorn.Server(make_config(app)))
            serve = asyncio.create_task(server[0].serve(sockets=[listening]))
            ready.set()
            await serve

    thread = threading.Thread(target=lambda: asyncio.run(go()), daemon=True)
    thread.start()
    try:
        assert ready.wait(30)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        if server:
            server[0].should_exit = True
        thread.join(30)


@contextmanager
def scripted(**options: Any) -> Iterator[tuple[str, Scripted]]:
    interpreter = Scripted()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Scripted]:
        yield interpreter

    with serving(opened, **options) as address:
        yield address, interpreter


@pytest.fixture
def app() -> Scripted:
    return Scripted()


@pytest.fixture(scope="module")
def real() -> Iterator[str]:
    """The address of a server with the interpreter that users get."""
    with serving(lambda: open_interpreter(ToolOptions(), 2)) as address:
        yield address


def post(address: str, code: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{address}/run_code", json={"language": "python", "code": code, **fields}, timeout=60)


def until(holds: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not holds():
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(wait(), 10))


def test_a_ping_is_answered() -> None:
    with scripted() as (address, _):
        assert httpx.get(f"{address}/v1/ping").json() == "pong"


@pytest.mark.parametrize(
    ("fields", "limits", "stdin"),
    [
        ({}, Limits(10.0, 1024), ""),
        ({"run_timeout": 2.5, "memory_limit_MB": 512, "stdin": "é\n"}, Limits(2.5, 512), "é\n"),
        ({"run_timeout": 40, "memory_limit_MB": 2048, "stdin": None}, Limits(40.0, 2048), ""),
        ({"run_timeout": 1, "memory_limit_MB": -1, "args": [], "another": "field"}, Limits(1.0, 1024), ""),
    ],
)
@pytest.mark.slow
def test_a_programs_limits_are_the_clients(fields: Any, limits: Limits, stdin: str) -> None:
    with scripted() as (address, interpreter):
        answer = post(address, "x = 1", **fields)
    assert answer.json() == {
        "status": "Success",
        "message": "",
        "compile_result": None,
        "run_result": {
            "status": "Finished",
            "execution_time": 0.0,
            "return_code": 0,
            "stdout": "x = 1",
            "stderr": "",
            "stopped": None,
        },
        "executor_pod_name": None,
        "files": {},
    }
    assert interpreter.seen == [("x = 1", limits, stdin)]


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"run_timeout": 40.5}, "run_timeout: at most 40 here"),
        ({"memory_limit_MB": 2049}, "memory_limit_MB: at most 2048 here"),
    ],
)
def test_limits_beyond_the_servers_are_refused_and_not_made_smaller(fields: Any, detail: str) -> None:
    """The model was told the limit that the client had requested, while a lower one applied."""
    with scripted() as (address, interpreter):
        answer = post(address, "x = 1", **fields)
    assert answer.status_code == 400
    assert answer.json()["detail"] == detail
    assert interpreter.seen == []


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"code": "", "language": "cpp"}, 400, "language 'cpp': this sandbox runs python only"),
        ({"code": "", "language": "python", "files": {"a": "eA=="}}, 400, "this sandbox carries no files"),
        ({"code": "", "language": "python", "fetch_files": ["a"]}, 400, "this sandbox carries no files"),
        ({"code": "#" * (CODE_BYTES + 1), "language": "python"}, 413, "code: at most 1 MB"),
        ({"language": "python"}, 422, "code: Field required"),
        ({"code": None, "language": "python"}, 422, "code: Input should be a valid string"),
        ({"code": "", "language": "python", "run_timeout": 0}, 422, "run_timeout: Input should be greater than 0"),
        ({"code": "", "language": "python", "run_timeout": float("inf")}, 422, "run_timeout: "),
        ([], 422, "body: "),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason(body: Any, status: int, detail: str) -> None:
    with scripted() as (address, interpreter):
        answer = httpx.post(f"{address}/run_code", content=json.dumps(body), headers=JSON)
    assert answer.status_code == status
    assert detail in answer.json()["detail"]
    assert interpreter.seen == []


def test_text_that_utf8_cannot_hold_is_carried_with_a_question_mark() -> None:
    body = json.dumps({"language": "python", "code": "x = '\ud800'", "stdin": "\udfff"})
    with scripted() as (address, interpreter):
        assert httpx.post(f"{address}/run_code", content=body, headers=JSON).status_code == 200
        assert remote(address, "x = '\ud800'", Limits(), "\udfff").stdout == "x = '?'"
    assert {(code, stdin) for code, _, stdin in interpreter.seen} == {("x = '?'", "?")}


def test_a_body_that_is_too_long_is_refused_and_the_next_request_served() -> None:
    with scripted() as (address, interpreter):
        answer = httpx.post(f"{address}/run_code", content=b"x" * (BODY_BYTES + 1), headers=JSON)
        assert (answer.status_code, answer.json()["detail"]) == (413, "body: at most 32 MB")
        assert post(address, "1 + 1").status_code == 200
    assert len(interpreter.seen) == 1


@pytest.mark.parametrize(
    ("fields", "status", "detail"),
    [
        ({"memory_limit_MB": LEAST_MEMORY_MB - 1}, 400, "memory_limit_MB: at least 64, or -1 for 1024"),
        ({"memory_limit_MB": 0}, 400, "memory_limit_MB: at least 64, or -1 for 1024"),
        ({"memory_limit_MB": -2}, 400, "memory_limit_MB: at least 64, or -1 for 1024"),
        ({"memory_limit_MB": 10**40}, 400, "memory_limit_MB: at most 2048 here"),
        ({"memory_limit_MB": "512"}, 422, "memory_limit_MB: Input should be a valid integer"),
        ({"memory_limit_MB": True}, 422, "memory_limit_MB: Input should be a valid integer"),
        ({"memory_limit_MB": 512.5}, 422, "memory_limit_MB: Input should be a valid integer"),
        ({"memory_limit_MB": math.nan}, 422, "memory_limit_MB: Input should be a valid integer"),
        ({"run_timeout": "10"}, 422, "run_timeout: Input should be a valid number"),
        ({"run_timeout": True}, 422, "run_timeout: Input should be a valid number"),
        ({"run_timeout": math.nan}, 422, "run_timeout: Input should be"),
        ({"run_timeout": -1}, 422, "run_timeout: Input should be greater than 0"),
        ({"run_timeout": 1e308}, 400, "run_timeout: at most 40"),
        ({"compile_timeout": math.inf}, 422, "compile_timeout: Input should be a finite number"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(fields: Any, status: int, detail: str, app: Scripted) -> None:
    """A limit too low for Python itself ran as a program that fails; "512", true and 0 were read as limits."""
    answer = app.ask({"language": "python", "code": "x = 1", **fields})
    assert (answer.status_code, answer.json()["detail"][: len(detail)]) == (status, detail)
    assert app.seen == []


@pytest.mark.parametrize(
    ("headers", "options", "status"),
    [
        ({}, {}, 200),
        ({"Origin": "http://evil.example"}, {}, 403),
        ({"Host": "box"}, {}, 403),
        ({"Host": "box"}, {"host": "box"}, 200),
        ({"Host": "box"}, {"token": "0123456789abcdef"}, 401),
        ({"Host": "box", "Authorization": "Bearer 0123456789abcdef"}, {"token": "0123456789abcdef"}, 200),
    ],
)
def test_whoever_may_not_run_programs_runs_none(
    headers: dict[str, str], options: Any, status: int, app: Scripted
) -> None:
    """Any page that a browser showed, and whoever reached the port, could run programs."""
    answer = app.ask({"language": "python", "code": "x = 1"}, JSON | headers, **options)
    assert (answer.status_code, len(app.seen)) == (status, status == 200)


def test_without_a_token_no_other_machine_is_served() -> None:
    options = ToolOptions(tools="python", sandbox_unsafe=True)
    with pytest.raises(UserError, match=r"--host 0\.0\.0\.0: other machines could run programs here without a token"):
        asyncio.run(serve(options, "0.0.0.0", 0, 1, None, lambda *_: pytest.fail("it serves")))


def test_a_silent_connection_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedConnection, "patience_seconds", 0.1)
    with scripted() as (address, _):
        host, _, port = address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), 10) as connection, contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


@pytest.mark.slow
def test_python_itself_runs_with_the_least_memory_that_is_accepted(real: str) -> None:
    answer = post(real, "import json, math\nprint(6 * 7)", memory_limit_MB=LEAST_MEMORY_MB)
    assert answer.json()["run_result"]["stdout"] == "42\n"


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_body_that_a_page_may_send_unasked_is_no_program(content_type: str | None, app: Scripted) -> None:
    """FastAPI before 0.132 reads a body without a content type as JSON: a page of another site may send that."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = app.ask({"language": "python", "code": "x = 1"}, headers)
    assert (answer.status_code, app.seen) == (422, [])


def test_a_sandbox_that_fails_says_so_in_the_protocol() -> None:
    with scripted() as (address, _):
        answer = post(address, "fault = 1")
        with pytest.raises(SandboxError, match=r"the sandbox failed: no bubblewrap \(2 attempts\)"):
            remote(address, "fault = 1", Limits(), attempts=2)
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["message"]) == ("SandboxError", "no bubblewrap")
    assert answer.json()["run_result"] is None


def test_a_bug_of_ours_is_never_an_execution(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with scripted() as (address, interpreter), pytest.raises(SandboxError, match="answered 500"):
        remote(address, "bug = 1", Limits(), attempts=1)
    assert len(interpreter.seen) == 1


@pytest.mark.parametrize("heartbeat_seconds", [600.0, 0.05], ids=["before it began", "after it began"])
@pytest.mark.slow
def test_a_program_whose_client_hangs_up_is_killed(heartbeat_seconds: float) -> None:
    async def hang_up(address: str, interpreter: Scripted) -> None:
        async with RemoteInterpreter(address, wait=wait_none()) as client:
            running = asyncio.create_task(client.run("hang = 1", Limits()))
            while not interpreter.seen:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    with scripted(heartbeat_seconds=heartbeat_seconds) as (address, interpreter):
        asyncio.run(hang_up(address, interpreter))
        until(lambda: interpreter.killed == 1)
        assert post(address, "x = 1").status_code == 200
    assert interpreter.killed == 1


@pytest.mark.slow
def test_a_program_that_takes_long_outlasts_its_clients_patience() -> None:
    with scripted(heartbeat_seconds=0.05) as (address, interpreter):
        answer = httpx.post(f"{address}/run_code", json={"language": "python", "code": "slow = 1"}, timeout=0.3)
        assert remote(address, "slow = 1", Limits(0.1), queue_seconds=0.2).stdout == "slow = 1"
    assert answer.text.startswith("  ")
    assert answer.json()["run_result"]["stdout"] == "slow = 1"
    assert len(interpreter.seen) == 2


def test_when_the_server_ends_each_program_is_told_so() -> None:
    """A program whose answer has begun cannot get the status 503 any more, so its answer says it."""
    with scripted(heartbeat_seconds=0.05) as (address, interpreter):
        body = {"language": "python", "code": "hang = 1"}
        with httpx.stream("POST", f"{address}/run_code", json=body, timeout=30) as answer:
            assert answer.status_code == 200  # sent with the first heartbeat
            interpreter.end_programs()
            answer.read()
        refused = post(address, "x = 1")
    assert (answer.json()["status"], answer.json()["message"]) == ("SandboxError", "the server is ending")
    assert (refused.status_code, refused.json()["detail"]) == (503, "the server is ending")


@pytest.mark.slow
def test_where_far_too_many_wait_more_are_told_to_come_back() -> None:
    async def crowd(address: str, interpreter: Scripted) -> httpx.Response:
        most = 65 * interpreter.concurrency + 257
        async with RemoteInterpreter(address, concurrency=1000) as client:
            running = [asyncio.create_task(client.run("hang = 1", Limits())) for _ in range(most)]
            while len(interpreter.seen) < most:
                await asyncio.sleep(0.05)
            refused = await asyncio.to_thread(post, address, "x = 1")
            for program in running:
                program.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return refused

    with scripted() as (address, interpreter):
        refused = asyncio.run(crowd(address, interpreter))
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert refused.json()["detail"] == "385 programs wait already"
        until(lambda: interpreter.killed == 387)
        assert post(address, "x = 1").status_code == 200


def remote(address: str, code: str, limits: Limits, stdin: str = "", **options: Any) -> Execution:
    async def go() -> Execution:
        async with RemoteInterpreter(address, wait=wait_none(), **options) as interpreter:
            _: Interpreter = interpreter
            return await interpreter.run(code, limits, stdin)

    return asyncio.run(go())


@pytest.mark.parametrize("code", ["6 * 7", show_last("6 * 7"), "print(42)"])
def test_the_last_expression_is_shown_once_whoever_asks_for_it(real: str, code: str) -> None:
    assert post(real, code).json()["run_result"]["stdout"] == "42\n"


def test_a_traceback_is_the_same_here_and_there(real: str) -> None:
    async def local() -> Execution:
        async with open_interpreter(ToolOptions()) as interpreter:
            return await interpreter.run(show_last("x = 0\n1 / x"), Limits())

    here, there = asyncio.run(local()), remote(real, show_last("x = 0\n1 / x"), Limits())
    assert "ZeroDivisionError" in there.stderr
    assert (there.stdout, there.stderr, there.return_code) == (here.stdout, here.stderr, here.return_code)


@pytest.mark.parametrize(
    ("code", "stdin", "execution"),
    [
        ("print(input()[::-1])", "héllo\n", Execution("olléh\n", "", 0)),
        ("import sys; sys.exit(3)", "", Execution("", "", 3)),
        ("import os; os.kill(os.getpid(), 11)", "", Execution("", "", -11)),
        ("while True: pass", "", Execution("", "", None, "time")),
        ("x = []\nwhile True: x.append(bytearray(1 << 24))", "", Execution("", "", 1)),
        (MANY_PROCESSES, "", Execution("", "", None, "memory")),
        (f"while True: print('x' * {CAPTURED_BYTES})", "", Execution("", "", None, "output")),
    ],
)
@pytest.mark.slow
def test_a_program_ends_there_as_it_would_here(real: str, code: str, stdin: str, execution: Execution) -> None:
    limits = Limits(1.0 if execution.stopped == "time" else 10.0, 256)

    async def both() -> tuple[Execution, Execution]:
        async with open_interpreter(ToolOptions()) as local, RemoteInterpreter(real, wait=wait_none()) as remote:
            here, there = await asyncio.gather(*(each.run(code, limits, stdin) for each in (local, remote)))
            return here, there

    here, there = asyncio.run(both())
    assert (there.return_code, there.stopped) == (here.return_code, here.stopped)
    assert there.stopped == execution.stopped
    if execution.stopped is None:
        assert (there.stdout, there.return_code) == (execution.stdout, execution.return_code)


@pytest.mark.slow
def test_many_programs_at_once_are_each_answered_with_their_own_output(real: str) -> None:
    async def many() -> list[Execution]:
        options = ToolOptions(tools="python", sandbox=real)
        async with open_interpreter(options) as interpreter:
            return list(await asyncio.gather(*(interpreter.run(f"print({i})", Limits()) for i in range(40))))

    assert [execution.stdout for execution in asyncio.run(many())] == [f"{i}\n" for i in range(40)]


def test_the_server_passes_its_clients_check(real: str) -> None:
    asyncio.run(check_remote(real, Limits()))


@pytest.mark.slow  # importing verl is slow
@pytest.mark.parametrize(
    ("code", "stdin", "expected", "result", "status"),
    [
        ("print(int(input()) * 7)", "6", "42", True, "success"),
        ("print(41)", None, "42", False, "wrong_answer"),
        ("1 / 0", "", "42", -2, "runtime_error"),
        ("while True: pass", "", "42", -3, "timeout"),
        ("x = []\nwhile True: x.append(bytearray(1 << 24))", "", "42", -2, "runtime_error"),
    ],
)
def test_verls_own_client_is_served(real: str, code: str, stdin: str, expected: str, result: Any, status: str) -> None:
    client = pytest.importorskip("verl.utils.reward_score.sandbox_fusion.utils")
    found, told = client._process_single_case(0, stdin, expected, f"{real}/run_code", code, 2, 256, "python")
    assert (found, told["status"]) == (result, status), told


@pytest.mark.slow
def test_verls_client_is_served_a_function_call_too(real: str) -> None:
    client = pytest.importorskip("verl.utils.reward_score.sandbox_fusion.utils")
    program = "def add(a, b):\n    return a + b"
    found, told = client._process_single_case(
        0, "1\n2", "3", f"{real}/run_code", program, 10, 1024, "python", fn_name="add"
    )
    assert (found, told["status"]) == (True, "success"), told
