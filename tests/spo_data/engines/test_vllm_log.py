"""The engine's output goes to a file, and the cause of its death is found there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spo_data.engines.vllm_log import last_error

CPU_LOG = """\
INFO 11-23 02:43:20 [core.py:109] Initializing a V1 LLM engine (v0.30.0) with config: model='smollm2'
WARNING 11-23 02:43:21 [cpu.py:118] ValueError is mentioned here: only in passing, for no reason
ERROR 11-23 02:43:25 [multiproc_executor.py:944] WorkerProc failed to start.
ERROR 11-23 02:43:25 [multiproc_executor.py:944] Traceback (most recent call last):
ERROR 11-23 02:43:25 [multiproc_executor.py:944]   File "cpu_worker.py", line 93, in init_device
ERROR 11-23 02:43:25 [multiproc_executor.py:944]     raise ValueError(
ERROR 11-23 02:43:25 [multiproc_executor.py:944] ValueError: Available memory on node 0 (1.2/8.0 GiB) is too small.
(EngineCore pid=2872) Traceback (most recent call last):
(EngineCore pid=2872)   File "core.py", line 1101, in run_engine_core
(EngineCore pid=2872) Exception: WorkerProc initialization failed due to an exception in a background process. \
See stack trace for root cause.
Traceback (most recent call last):
  File "async_llm.py", line 12, in from_vllm_config
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}
"""

DEAD_LOG = """\
(EngineCore pid=9) ERROR 11-23 02:50:01 [core.py:1110] EngineCore encountered a fatal error.
(EngineCore pid=9) ERROR 11-23 02:50:01 [core.py:1110] RuntimeError: CPU Generator does not use offset
(APIServer pid=1) ERROR 11-23 02:50:01 [async_llm.py:708] vllm.v1.engine.exceptions.EngineDeadError: EngineCore \
encountered an issue. See stack trace (above) for the root cause.
Process EngineCore:
KeyboardInterrupt
"""

LINES = [
    (CPU_LOG, "ValueError: Available memory on node 0 (1.2/8.0 GiB) is too small."),
    (DEAD_LOG, "RuntimeError: CPU Generator does not use offset"),
    (
        "MemoryError: no room\nvllm.v1.engine.exceptions.EngineDeadError: EngineCore died unexpectedly.",
        "MemoryError: no room",
    ),
    ("torch.cuda.OutOfMemoryError: CUDA out of memory.", "torch.cuda.OutOfMemoryError: CUDA out of memory."),
    ("\x1b[1;36m(EngineCore pid=3)\x1b[0;0m KeyError: 'x'", "KeyError: 'x'"),
    ("(Worker pid=3) AssertionError", "AssertionError"),
    ("ValueError: first\nValueError: second", "ValueError: second"),
    ("ValueError: the cause\nno error, just text", "ValueError: the cause"),
    ("all is well", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "error"), LINES)
def test_the_last_error_is_the_line_that_names_the_cause(tmp_path: Path, text: str, error: str | None) -> None:
    log = tmp_path / "engine.log"
    log.write_text(text, encoding="utf-8")
    assert last_error(log) == error


def test_an_exception_without_a_more_precise_name_is_a_cause_too(tmp_path: Path) -> None:
    """Only longer names that end in "Exception" were recognised, so a bare `Exception: …` was overlooked."""
    log = tmp_path / "engine.log"
    log.write_text("(EngineCore pid=2) Exception: no free port\n", encoding="utf-8")
    assert last_error(log) == "Exception: no free port"


def test_errors_before_the_offset_are_of_an_earlier_engine(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text("ValueError: é old\n", encoding="utf-8")
    offset = log.stat().st_size
    assert last_error(log, offset) is None
    with log.open("a", encoding="utf-8") as file:
        file.write("INFO fine\nKeyError: 'new'\nINFO bye\n")
    assert last_error(log, offset) == "KeyError: 'new'"


def test_bytes_that_are_no_unicode_do_not_hide_the_error(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_bytes(b"\xff\xfe progress\nValueError: bad \xff byte\n")
    assert last_error(log) == "ValueError: bad \ufffd byte"


PROGRAM = """
import os, subprocess, sys
from pathlib import Path
from spo_data.engines.vllm_log import output_to, terminal

print("before")
display = terminal()
try:
    with output_to(Path(sys.argv[1])):
        print("python out")
        print("python err", file=sys.stderr)
        os.write(1, b"descriptor\\n")
        subprocess.run([sys.executable, "-c", "import sys; print('child'); sys.stderr.write('child err\\\\n')"])
        duplicate = terminal()
        duplicate.write("duplicate\\n")
        display.write("display\\n")
        if sys.argv[2] == "raise":
            raise KeyError("out of the block")
except KeyError:
    print("raised")
print("after")
print("after err", file=sys.stderr)
subprocess.run(["echo", "child after"])
"""


@pytest.mark.parametrize("way_out", ["return", "raise"])
@pytest.mark.slow
def test_output_goes_to_the_file_while_the_block_runs_and_then_back(tmp_path: Path, way_out: str) -> None:
    log = tmp_path / "engine.log"
    log.write_text("earlier\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-u", "-c", PROGRAM, str(log), way_out], capture_output=True, text=True, check=True
    )
    raised = ["raised"] if way_out == "raise" else []
    assert done.stdout.split("\n") == ["before", *raised, "after", "child after", ""]
    assert done.stderr.splitlines() == ["display", "after err"]
    lines = log.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "earlier"
    assert sorted(lines[1:]) == sorted(["python out", "python err", "descriptor", "child", "child err", "duplicate"])


def test_buffered_output_reaches_the_side_it_was_printed_for(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    buffering = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(log), "return"], capture_output=True, text=True, check=True, env=buffering
    )
    assert done.stdout.splitlines()[0] == "before"
    assert "python out" in log.read_text(encoding="utf-8").splitlines()
    assert "python out" not in done.stdout


def test_a_log_on_a_disk_that_fails_leaves_the_terminal_and_the_cause() -> None:
    """The error was written into the log, which could not be written either: the run ended without a word."""
    code = """
import sys
from pathlib import Path
from spo_data.engines.vllm_log import output_to
try:
    with output_to(Path("/dev/full")):
        print("from the engine")
        raise ValueError("the cause")
except ValueError as error:
    print(error)
    print(error, file=sys.stderr)
"""
    buffered = os.environ | {"PYTHONUNBUFFERED": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=buffered)
    assert (done.returncode, done.stdout, done.stderr) == (0, "the cause\n", "the cause\n")
