"""What an estimate shows on stderr: plain lines if it is a file, a bar on a terminal."""

import os
import pty
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import spo_cli.terminal.progress
from spo_cli.terminal.progress import EstimateDisplay
from spo_pipelines.stream import Progress
from support import scripted

ESCAPE = "\x1b["


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scripted.write_rows(tmp_path_factory.mktemp("display") / "sums.jsonl")


def arguments(dataset: Path, run: Path, *more: str) -> list[str]:
    argv = ["estimate", "--model", scripted.MODEL, "--dataset", str(dataset), "--out", str(run), "--n", "4"]
    return [*argv, "--max-tokens", "64", "--verifier", "exact", "--grader-workers", "1", *more]


def test_stderr_in_a_file_gets_plain_lines(dataset: Path, tmp_path: Path) -> None:
    ended = scripted.server().run({"argv": arguments(dataset, tmp_path / "run")})
    assert ESCAPE not in ended["stderr"]
    assert "\r" not in ended["stderr"]
    lines = ended["stderr"].splitlines()
    progress = [line for line in lines if re.match(r"[\d,]+/24 samples · ", line)]
    assert len(progress) == 1, "one line when the last sample is there, and none in a run of less than 10 s"
    assert progress[0].startswith("24/24 samples")
    assert lines[-1] == "writing tables …"
    assert max(map(len, lines)) > 100, "long lines are not folded"


def test_several_greedy_samples_are_noted(dataset: Path, tmp_path: Path) -> None:
    """Eight copies of one response looked like a measured probability."""
    said = "note: with --temperature 0, the 4 samples of a prompt are nearly the same response: a value is nearly"
    for more, is_noted in ((("--temperature", "0"), True), (("--temperature", "0", "--n", "1"), False)):
        ended = scripted.server().run({"argv": arguments(dataset, tmp_path / "run", *more, "--dry-run")})
        assert ended["status"] == 0, ended["stderr"]
        assert (said in ended["stderr"]) == is_noted


def test_a_terminal_gets_a_bar_that_ends_full(dataset: Path, tmp_path: Path) -> None:
    parent, child = pty.openpty()
    shown = bytearray()

    def read() -> None:
        while True:
            try:
                shown.extend(os.read(parent, 65_536))
            except OSError:
                return

    reader = threading.Thread(target=read)
    reader.start()
    environment = {"TERM": "xterm-256color", "COLUMNS": "140"}
    job = {"argv": arguments(dataset, tmp_path / "run"), "stderr": os.ttyname(child), "environment": environment}
    ended = scripted.server().run(job)
    os.close(child)
    reader.join(timeout=20)
    os.close(parent)
    text = shown.decode()
    assert ended["status"] == 0
    assert ESCAPE in text
    assert "━" in text
    assert "24/24" in text
    assert "/24 samples" not in text, "no plain lines on a terminal"
    assert "writing tables" in text.rpartition("24/24")[2]


def test_the_display_reaches_the_terminal_while_the_engine_has_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from spo_data.engines.vllm_log import output_to

    with EstimateDisplay() as display, output_to(tmp_path / "engine.log"):
        os.write(2, b"noise of the engine\n")
        display.on_stage("sampling")
    assert "sampling …" in capfd.readouterr().err
    assert (tmp_path / "engine.log").read_text() == "noise of the engine\n"


class Clock:
    """time.monotonic, advanced by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(spo_cli.terminal.progress, "time", clock)
    return clock


def progressed(progress: Progress, samples: int, *, failed: int = 0) -> Progress:
    progress.sampled += samples
    progress.tokens += 50 * samples
    progress.score_sum += samples / 2
    progress.n_scored += samples
    progress.failed += failed
    if samples:
        progress.verdicts["correct"] += samples
    return progress


def test_plain_lines_come_at_most_every_ten_seconds(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress(total=2000, present=400, started=clock.now)
    with EstimateDisplay() as display:
        for _ in range(100):
            clock.now += 0.5
            display.on_sample(progressed(progress, 1))
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("420/2,000 samples · 100 tokens/s · mean so far 0.500 · correct 20")


def test_the_time_left_counts_what_is_not_there_yet(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress(total=1000, present=400, started=clock.now)
    with EstimateDisplay() as display:
        display.on_sample(progress)
        clock.now += 20
        display.on_sample(progressed(progress, 100))
    assert capfd.readouterr().err.splitlines()[-1].endswith("about 100 s left")


def test_a_call_in_which_everything_failed_shows_no_mean(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    """If nothing was graded, the list began with a comma: `mean - · , failed 3`."""
    with EstimateDisplay() as display:
        display.on_sample(progressed(Progress(total=3, present=0), 0, failed=3))
    assert clock.now == 100.0
    assert capfd.readouterr().err.startswith("0/3 samples · 0 tokens/s · mean so far - · failed 3")


def test_a_resumed_bar_starts_where_the_run_was(clock: Clock) -> None:
    with EstimateDisplay() as display:
        console = Console(file=open(os.devnull, "w"), force_terminal=True, width=140)  # noqa: SIM115 # closed below
        display._console = console
        display.on_sample(progressed(Progress(total=24, present=10), 1))
        clock.now += 1
        display.on_sample(progressed(Progress(total=24, present=10), 3))
        bar: Any = display._bar
        (task,) = bar.tasks
        assert (task.completed, task.total) == (13, 24)
        display.on_stage("writing tables")
        assert display._bar is None
        console.file.close()


def test_a_prompt_is_previewed_as_the_model_reads_it(tmp_path: Path) -> None:
    """rich replaced `:x:` with an emoji, and would parse `[b]` as markup."""
    dataset = scripted.write_rows(tmp_path / "sums.jsonl", r0={"question": "Let d[:x:y] and [b]f: a:b:c[/b] :smile:"})
    ended = scripted.server().run({"argv": arguments(dataset, tmp_path / "run", "--dry-run")})
    assert ended["status"] == 0
    assert "│ Let d[:x:y] and [b]f: a:b:c[/b] :smile:" in ended["stderr"]


def test_dropped_rows_are_named_with_their_reason(tmp_path: Path) -> None:
    dataset = scripted.write_rows(tmp_path / "sums.jsonl", r1={"answer": ""}, r3={"question": ""})
    ended = scripted.server().run({"argv": arguments(dataset, tmp_path / "run", "--dry-run")})
    assert "1 dropped: no_ground_truth, 1 dropped: empty_prompt" in ended["stderr"]
    assert "row 1: no_ground_truth" in ended["stderr"]
    assert "row 3: empty_prompt" in ended["stderr"]


def test_a_context_that_ends_responses_early_is_noted(dataset: Path, tmp_path: Path) -> None:
    ended = scripted.server().run({"argv": arguments(dataset, tmp_path / "run", "--dry-run", "--max-model-len", "90")})
    assert re.search(r"the context of 90 tokens ends responses before --max-tokens 64: after \d+ at", ended["stderr"])
