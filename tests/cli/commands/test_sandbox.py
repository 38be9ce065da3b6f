"""`spo-data sandbox` as a user starts and stops it."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from typer.testing import CliRunner

from spo_cli.data_app import app
from spo_data.errors import UserError
from spo_data.sandbox.interpreter import Execution, Limits
from spo_data.sandbox.remote import RemoteInterpreter, check_remote
from spo_data.sandbox.token import TOKEN

SPO_DATA = str(Path(sys.executable).with_name("spo-data"))
ANNOUNCED = re.compile(
    r"serving /run_code on (http://[\d.]+:\d+) \((\d+ programs?) at once"
    r"(?:, with all your rights, for whoever reaches that port)?; Ctrl-C ends it\)\n"
)

pytestmark = pytest.mark.slow


@contextmanager
def sandbox(
    *words: str, environment: dict[str, str] | None = None
) -> Iterator[tuple["subprocess.Popen[str]", str, str]]:
    """A running sandbox server, its address, and the number of programs it says it runs at once."""
    command = [SPO_DATA, "sandbox", *(() if "--port" in words else ("--port", "0")), *words]
    known = {**os.environ, **(environment or {})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=known) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            announced = ANNOUNCED.fullmatch(line)
            assert announced is not None, (line, process.poll())
            yield process, announced[1], announced[2]
        finally:
            process.kill()


def refused(*words: str) -> str:
    """The error of a server that does not start."""
    done = CliRunner().invoke(app, ["sandbox", *words])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def run_code(address: str, code: str, **fields: object) -> httpx.Response:
    return httpx.post(f"{address}/run_code", json={"language": "python", "code": code, **fields}, timeout=60)


async def through(address: str, code: str) -> Execution:
    async with RemoteInterpreter(address) as interpreter:
        return await interpreter.run(code, Limits())


def test_it_answers_a_ping_and_runs_programs() -> None:
    with sandbox("--concurrency", "1") as (_, address, programs):
        assert programs == "1 program"
        assert httpx.get(f"{address}/v1/ping").json() == "pong"
        answer = run_code(address, "6 * 7").json()
    assert (answer["status"], answer["run_result"]["stdout"]) == ("Success", "42\n")


def test_a_signal_ends_it_well_and_leaves_no_process() -> None:
    with sandbox("--concurrency", "2") as (process, address, _):
        answers: list[httpx.Response] = []
        programs = [
            threading.Thread(target=lambda: answers.append(run_code(address, "while True: pass", run_timeout=60)))
            for _ in range(4)
        ]
        for program in programs:
            program.start()
        half = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
        half.sendall(
            b"POST /run_code HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
            b"Content-Type: application/json\r\n\r\n{"
        )
        server = psutil.Process(process.pid)
        while len(server.net_connections()) < 6 or len(server.children()) < 2:  # one of them is the listening socket
            time.sleep(0.1)
        time.sleep(1)  # by now the server has read what it accepted
        children = server.children(recursive=True)
        process.terminate()
        assert process.wait(timeout=30) == 0, "it waits neither for the programs, which have 60 s, nor for the request"
        for program in programs:
            program.join(10)
        half.close()
        gone, alive = psutil.wait_procs(children, timeout=5)
        assert (len(gone), alive) == (len(children), [])
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert [answer.status_code for answer in answers] == [503] * 4
    assert {answer.json()["detail"] for answer in answers} == {"the server is ending"}


def test_a_program_whose_client_has_gone_is_killed() -> None:
    with sandbox("--concurrency", "1") as (_, address, _):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{address}/run_code",
                json={"language": "python", "code": "while True: pass", "run_timeout": 600},
                timeout=1,
            )
        assert run_code(address, "print(1)").json()["status"] == "Success", (
            "it waits for the first one, which has ten minutes"
        )


def test_a_port_in_use_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"--host 127.0.0.1 --port {port}: Address already in use; choose another" in refused("--port", port)


def test_an_address_that_is_not_of_this_machine_is_refused_in_one_line() -> None:
    assert "--host 192.0.2.1 --port 0: " in refused("--host", "192.0.2.1", "--port", "0")
    assert "--host a..b --port 0: " in refused("--host", "a..b", "--port", "0")


def test_other_machines_are_not_served_without_a_token() -> None:
    """Whoever reached the port could run programs."""
    assert refused("--host", "0.0.0.0", "--port", "0") == (
        "error: --host 0.0.0.0: other machines could run programs here without a token:"
        " `export SPO_SANDBOX_TOKEN=$(openssl rand -hex 32)`, here and where --sandbox names this server\n"
    )
    assert "SPO_SANDBOX_TOKEN: a token has at least 16 ASCII characters" in refused("--token", "secret")


def test_with_a_token_programs_are_run_for_those_who_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    token = "0123456789abcdef"
    with sandbox("--host", "0.0.0.0", environment={TOKEN: token}) as (process, address, _):
        address = address.replace("0.0.0.0", "localhost")
        assert run_code(address, "6 * 7").status_code == 401
        with pytest.raises(UserError, match=f"answered 401 .*; set {TOKEN} to the server's token"):
            asyncio.run(check_remote(address, Limits()))
        monkeypatch.setenv(TOKEN, token)
        asyncio.run(check_remote(address, Limits()))
        inside = asyncio.run(through(address, "import os; print(sorted(os.environ), open('/proc/1/environ').read())"))
        process.terminate()
        said = "".join(process.communicate(timeout=20))
    assert "PATH" in inside.stdout
    assert TOKEN not in inside.stdout + said
    assert token not in inside.stdout + said


def test_twenty_unfinished_bodies_take_little_memory() -> None:
    """Twenty bodies of 31 MB, each without its last byte, took 685 MB."""
    with sandbox("--concurrency", "1") as (process, address, _):
        server = psutil.Process(process.pid)
        before = server.memory_info().rss
        head = f"POST /run_code HTTP/1.1\r\nHost: localhost\r\nContent-Length: {31 << 20}\r\n\r\n"
        unsent = {}
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
            connection.setblocking(False)
            unsent[connection] = memoryview(head.encode() + bytes((31 << 20) - 1))
        most, moved = before, time.monotonic()
        while time.monotonic() < moved + 1:  # as long as the server takes any of it
            for connection, rest in unsent.items():
                with contextlib.suppress(BlockingIOError):
                    if rest and (sent := connection.send(rest[: 1 << 18])):
                        unsent[connection], moved = rest[sent:], time.monotonic()
            most = max(most, server.memory_info().rss)
        assert run_code(address, "6 * 7").json()["status"] == "Success", "a short request is not held up"
        for connection in unsent:
            connection.close()
    assert most - before < 120 << 20


def test_without_bubblewrap_it_is_refused_in_one_line_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    error = refused("--port", "0")
    assert "bubblewrap" in error
    assert "--sandbox-unsafe" in error


def test_without_a_sandbox_it_says_who_may_do_what() -> None:
    with sandbox("--sandbox-unsafe") as (process, address, _):
        assert run_code(address, "import os; os.getppid() > 0").json()["run_result"]["stdout"] == "True\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_client_outlasts_a_restart() -> None:
    with sandbox("--concurrency", "1") as (process, address, _), ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, through(address, "import time; time.sleep(1); print(42)"))
        while not psutil.Process(process.pid).children():
            time.sleep(0.05)
        process.terminate()
        assert process.wait(timeout=20) == 0
        with sandbox("--port", address.rpartition(":")[2]):
            execution = running.result(timeout=60)
    assert (execution.stdout, execution.return_code) == ("42\n", 0)
