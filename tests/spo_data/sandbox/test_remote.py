"""A remote interpreter against servers that fail in every way a server can, over real HTTP."""

import asyncio
import base64
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tenacity import wait_fixed, wait_none

from spo_data.errors import UserError
from spo_data.sandbox.interpreter import Execution, Limits, SandboxError
from spo_data.sandbox.remote import RemoteInterpreter, check_remote
from spo_data.sandbox.retry import ATTEMPTS
from spo_data.sandbox.run_code import answer_of, execution_of
from spo_data.sandbox.token import TOKEN

RESULT = {"status": "Finished", "execution_time": 0.1, "return_code": 0, "stdout": "42\n", "stderr": ""}
RIGHT = json.dumps({"status": "Success", "message": "", "compile_result": None, "run_result": RESULT, "files": {}})
FAULT = json.dumps({"status": "SandboxError", "message": "no space left\non device", "run_result": None})


def finished(status: str = "Failed", **changes: Any) -> str:
    return json.dumps({"status": status, "message": "", "run_result": {**RESULT, **changes}})


@dataclass
class Faulty:
    """A server that answers with the lines of a script in turn and then repeats the last one."""

    address: str
    script: Sequence["tuple[int, str] | str"]
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    users: list[str | None] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(*script: "tuple[int, str] | str", headers: dict[str, str] | None = None) -> Iterator[Faulty]:
    """Answer each request with a status and a body. `hang` sends no answer, and `cut` closes the connection."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            known.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            known.paths.append(self.path)
            known.users.append(self.headers.get("Authorization"))
            line = script[min(len(known.bodies), len(script)) - 1]
            if line == "hang":
                known.released.wait(30)
            if isinstance(line, str):
                self.close_connection = True
                return
            self.send_response(line[0])
            self.send_header("Content-Length", str(len(line[1].encode())))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(line[1].encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known = Faulty(f"http://127.0.0.1:{server.server_port}", script)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield known
    finally:
        known.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def ask(url: str, use: Callable[[RemoteInterpreter], Awaitable[Any]] | None = None, **options: Any) -> Any:
    async def go() -> Any:
        async with RemoteInterpreter(url, **{"wait": wait_none(), **options}) as interpreter:
            return await (use(interpreter) if use else interpreter.run("print(6 * 7)", Limits()))

    return asyncio.run(go())


def unused_port() -> int:
    with serving((200, RIGHT)) as server:
        return int(server.address.rpartition(":")[2])


@pytest.mark.parametrize("suffix", ["", "/", "/run_code", "/run_code/"])
def test_a_program_is_asked_for_in_the_protocols_words(suffix: str) -> None:
    with serving((200, RIGHT)) as server:
        execution = ask(server.address + suffix, lambda it: it.run("print(input())", Limits(3.0, 256), "é"))
    assert execution == Execution("42\n", "", 0, None, 0.1)
    assert server.paths == ["/run_code"]
    assert server.bodies == [
        {
            "compile_timeout": 3.0,
            "run_timeout": 3.0,
            "memory_limit_MB": 256,
            "code": "print(input())",
            "stdin": "é",
            "language": "python",
            "files": {},
            "fetch_files": [],
        }
    ]


@pytest.mark.parametrize(
    ("body", "execution"),
    [
        (finished(return_code=1, stdout="", stderr="ValueError: x"), Execution("", "ValueError: x", 1, None, 0.1)),
        (finished(return_code=-11), Execution("42\n", "", -11, None, 0.1)),
        (finished(return_code=None), Execution("42\n", "", 1, None, 0.1)),
        (finished("Success", execution_time=None, stderr=None), Execution("42\n", "", 0, None, 0.0)),
        (finished(return_code=-9, stopped="memory"), Execution("42\n", "", None, "memory", 0.1)),
        (finished(return_code=-9, stopped="output"), Execution("42\n", "", None, "output", 0.1)),
        (finished(return_code=0, stdout="\udc80|"), Execution("?|", "", 0, None, 0.1)),
        (
            json.dumps({"status": "Failed", "run_result": {"status": "TimeLimitExceeded", "stdout": "a"}}),
            Execution("a", "", None, "time", 0.0),
        ),
    ],
)
def test_what_a_program_does_is_an_execution_at_the_first_attempt(body: str, execution: Execution) -> None:
    with serving((200, body)) as server:
        assert ask(server.address) == execution
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "fault",
    [
        (503, "busy"),
        (500, ""),
        (429, "slower"),
        (408, ""),
        (200, "<html>a proxy</html>"),
        (200, "[]"),
        (200, json.dumps({"status": "Success"})),
        (200, json.dumps({"status": "Perfect", "run_result": RESULT})),
        (200, FAULT),
        "cut",
    ],
)
def test_a_fault_that_passes_is_tried_again(fault: "tuple[int, str] | str") -> None:
    with serving(fault, fault, (200, RIGHT)) as server:
        assert ask(server.address) == Execution("42\n", "", 0, None, 0.1)
    assert len(server.bodies) == 3
    assert server.bodies[0] == server.bodies[2]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ((500, "Internal Server Error"), "answered 500 (Internal Server Error)"),
        ((503, '{"detail": "385 programs wait already"}'), "answered 503 (385 programs wait already)"),
        ((200, "<html>\na proxy</html>"), "not an answer of SandboxFusion's /run_code: '<html> a proxy</html>'"),
        ((200, FAULT), "the sandbox failed: no space left on device"),
        ("cut", "the connection failed (Server disconnected without sending a response.)"),
    ],
)
def test_a_fault_for_ever_is_a_sandbox_error_in_one_line(fault: "tuple[int, str] | str", reason: str) -> None:
    with serving(fault) as server, pytest.raises(SandboxError) as raised:
        ask(server.address)
    assert str(raised.value) == f"{server.address}: {reason} ({ATTEMPTS} attempts)"
    assert len(server.bodies) == ATTEMPTS == 5


@pytest.mark.slow
def test_a_server_that_hangs_is_given_up_after_the_programs_time_and_its_queues() -> None:
    with serving("hang") as server, pytest.raises(SandboxError, match=r"no answer within 0\.3 seconds \(2 attempts\)"):
        ask(server.address, lambda it: it.run("", Limits(0.1)), attempts=2, queue_seconds=0.2)
    assert len(server.bodies) == 2


def test_nobody_listening_is_a_sandbox_error() -> None:
    with pytest.raises(SandboxError, match=r"All connection attempts failed\) \(5 attempts\)"):
        ask(f"http://127.0.0.1:{unused_port()}")


@pytest.mark.parametrize("status", [400, 404, 413, 422, 307])
def test_what_would_be_refused_again_is_not_tried_again(status: int) -> None:
    with serving((status, '{"detail": "language: no"}'), (200, RIGHT)) as server, pytest.raises(SandboxError) as raised:
        ask(server.address)
    assert str(raised.value) == f"{server.address}: answered {status} (language: no)"
    assert len(server.bodies) == 1


@pytest.mark.slow
def test_a_server_that_says_how_long_to_wait_is_waited_for() -> None:
    async def timed(interpreter: RemoteInterpreter) -> float:
        began = asyncio.get_running_loop().time()
        await interpreter.run("", Limits())
        return asyncio.get_running_loop().time() - began

    with serving((503, ""), (200, RIGHT), headers={"Retry-After": "1"}) as server:
        assert ask(server.address, timed) >= 1.0


def test_a_password_in_the_address_is_not_shown() -> None:
    with serving((500, "")) as server, pytest.raises(SandboxError) as raised:
        ask(server.address.replace("//", "//me:secret@"), attempts=1)
    assert str(raised.value) == f"{server.address}: answered 500 (1 attempt)"


def test_user_and_password_come_from_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving((200, RIGHT)) as server:
        ask(server.address)
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret")
        ask(server.address)
        (tmp_path / "netrc").write_text("machine 127.0.0.1 nonsense")
        with pytest.raises(UserError, match=r"netrc cannot be read: "):
            ask(server.address)
    assert server.users == [None, f"Basic {base64.b64encode(b'me:secret').decode()}"]


def test_the_token_of_the_environment_is_sent_and_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv(TOKEN, "0123456789abcdef")
    with serving((200, RIGHT), (401, '{"detail": "Authorization: not the token"}')) as server:
        ask(server.address)
        with pytest.raises(UserError) as raised:
            asyncio.run(check_remote(server.address, Limits()))
    assert server.users == ["Bearer 0123456789abcdef"] * 2, "a refused token is not tried again"
    assert str(raised.value) == (
        f"--sandbox {server.address}: answered 401 (Authorization: not the token); set {TOKEN} to the server's token"
    )


@pytest.mark.parametrize("token", ["short", "0123456789 abcdef", "0123456789abcdef\n", "0123456789abcdefé"])
def test_a_token_that_cannot_be_sent_or_is_easy_to_guess_is_wrong_input(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, token)
    with pytest.raises(UserError) as raised:
        RemoteInterpreter("http://127.0.0.1:1")
    assert str(raised.value) == (
        f"{TOKEN}: a token has at least 16 ASCII characters and no spaces;"
        f" `export {TOKEN}=$(openssl rand -hex 32)` makes one"
    )


def test_what_is_no_address_is_wrong_input() -> None:
    with pytest.raises(UserError, match="--sandbox http://host:port"):
        RemoteInterpreter("http://host:port")


@pytest.mark.slow
def test_no_more_programs_are_sent_at_once_than_it_says() -> None:
    async def many(interpreter: RemoteInterpreter) -> int:
        assert interpreter.concurrency == 2
        programs = [asyncio.create_task(interpreter.run("", Limits())) for _ in range(5)]
        while len(server.bodies) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        sent = len(server.bodies)
        for program in programs:
            program.cancel()
        await asyncio.gather(*programs, return_exceptions=True)
        return sent

    with serving("hang") as server:
        assert ask(server.address, many, concurrency=2) == 2


def test_a_program_that_waits_for_its_next_attempt_is_in_nobodys_way() -> None:
    """A program kept its slot for half a minute or more while it waited. If all slots were taken so, nothing ran."""

    async def both(interpreter: RemoteInterpreter) -> str:
        waiting = asyncio.create_task(interpreter.run("", Limits()))
        while not server.bodies:
            await asyncio.sleep(0.01)
        execution = await asyncio.wait_for(interpreter.run("", Limits()), 20)
        waiting.cancel()
        return execution.stdout

    with serving((503, ""), (200, RIGHT)) as server:
        assert ask(server.address, both, concurrency=1, wait=wait_fixed(60)) == "42\n"


@pytest.mark.slow
def test_64_programs_at_once_are_all_answered() -> None:
    async def many(interpreter: RemoteInterpreter) -> list[Execution]:
        return list(await asyncio.gather(*(interpreter.run(str(i), Limits()) for i in range(200))))

    with serving((200, RIGHT)) as server:
        assert {execution.stdout for execution in ask(server.address, many)} == {"42\n"}
    assert sorted(int(body["code"]) for body in server.bodies) == list(range(200))


def test_checking_passes_where_the_answer_is_right() -> None:
    with serving((200, RIGHT)) as server:
        asyncio.run(check_remote(server.address, Limits()))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ((200, finished("Success", stdout="43\n")), "print(6 * 7) did not print 42 but '43'"),
        ((200, finished(return_code=1, stdout="", stderr="a\nOSError: no\n")), "did not print 42 but 'OSError: no'"),
        ((404, "not found"), "answered 404 (not found)"),
        ((200, "<html>"), "not an answer of SandboxFusion's /run_code: '<html>' (2 attempts)"),
    ],
)
def test_checking_says_in_one_line_what_is_wrong_and_what_serves_one(line: tuple[int, str], message: str) -> None:
    with serving(line) as server, pytest.raises(UserError) as raised:
        asyncio.run(check_remote(f"{server.address}/", Limits()))
    assert str(raised.value).startswith(f"--sandbox {server.address}: ")
    assert message in str(raised.value)
    assert str(raised.value).endswith("; start a server with `spo-data sandbox`")
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_checking_an_address_where_nobody_listens_is_wrong_input() -> None:
    with pytest.raises(UserError, match="All connection attempts failed"):
        asyncio.run(check_remote(f"http://127.0.0.1:{unused_port()}", Limits()))


@pytest.mark.parametrize(
    "execution",
    [
        Execution("a\n", "b", 0, None, 1.5),
        Execution("", "Traceback", 1, None, 0.5),
        Execution("", "", -11),
        Execution("a", "", None, "time", 30.0),
        Execution("a", "", None, "memory"),
        Execution("a", "", None, "output"),
    ],
)
def test_an_execution_is_the_same_after_it_went_through_the_protocol(execution: Execution) -> None:
    answer = answer_of(execution)
    assert execution_of(type(answer).model_validate_json(answer.model_dump_json())) == execution
    assert answer.status == ("Success" if execution.return_code == 0 else "Failed")
