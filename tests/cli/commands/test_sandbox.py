"""`spo-data sandbox` as a user starts and stops it."""

import asyncio
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
from spo_data.sandbox.interpreter import Execution, Limits
from spo_data.sandbox.remote import RemoteInterpreter

SPO_DATA = str(Path(sys.executable).with_name("spo-data"))
ANNOUNCED = re.compile(
    r"serving /run_code on (http://127\.0\.0\.1:\d+) \((\d+ programs?) at once"
    r"(?:, with all your rights, for whoever reaches that port)?; Ctrl-C ends it\)\n"
)

pytestmark = pytest.mark.slow


@contextmanager
def sandbox(*words: str) -> Iterator[tuple["subprocess.Popen[str]", str, str]]:
    """A running sandbox server, its address, and the number of programs it says it runs at once."""
    command = [SPO_DATA, "sandbox", *(() if "--port" in words else ("--port", "0")), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
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
        half.sendall(b"POST /run_code HTTP/1.1\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{")
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
    async def through(address: str) -> Execution:
        async with RemoteInterpreter(address) as interpreter:
            return await interpreter.run("import time; time.sleep(1); print(42)", Limits())

    with sandbox("--concurrency", "1") as (process, address, _), ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, through(address))
        while not psutil.Process(process.pid).children():
            time.sleep(0.05)
        process.terminate()
        assert process.wait(timeout=20) == 0
        with sandbox("--port", address.rpartition(":")[2]):
            execution = running.result(timeout=60)
    assert (execution.stdout, execution.return_code) == ("42\n", 0)
