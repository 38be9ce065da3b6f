"""The launcher with scripted children: what it reports, how it ends, and that it leaves no process behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from spo_train.launch.preparation import Preparation
from spo_train.launch.steps import MetricsFile, Step, read_step
from spo_train.launch.supervise import LaunchOutcome, launch

METRICS = {
    "spo/reward": 0.5,
    "spo/baseline": 0.25,
    "response_length/mean": 40,
    "timing_s/step": 2.5,
    "val-core/aime/acc/mean@16": 0.1,
    "val-core/amc/acc/mean@16": 0.3,
    "val-aux/aime/acc/best@16": 1.0,
}
STEADFAST = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
"""A process that ignores SIGTERM, so it has to be killed."""
PARENT = f"""
import subprocess, sys
quiet = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
print(subprocess.Popen([sys.executable, "-c", {STEADFAST!r}], start_new_session=True, **quiet).pid)
"""
"""The parent ends before its child, which becomes an orphan."""
FAMILY = f"""
import os, subprocess, sys, time
from pathlib import Path
out = Path(sys.argv[1])
own_session = subprocess.Popen([sys.executable, "-c", {STEADFAST!r}], start_new_session=True)
orphan = subprocess.run([sys.executable, "-c", {PARENT!r}], stdout=subprocess.PIPE, text=True).stdout
(out / "pids.new").write_text(f"{{os.getpid()}} {{own_session.pid}} {{orphan}}")
(out / "pids.new").rename(out / "pids")
"""
LAUNCHER = """
import sys
from pathlib import Path
from spo_train.launch.supervise import launch
class Watcher:
    def on_step(self, step): print(step.step, flush=True)
    def on_preparation(self, preparation): pass
    def on_wait(self): pass
    def on_stop(self, seconds): print("stopping", seconds, flush=True)
out = Path(sys.argv[1])
ended = launch(out, {}, Watcher(), [sys.executable, str(out / "child.py"), str(out)], grace=0.5)
print(ended, flush=True)
sys.exit(ended.status)
"""


class Watched:
    """A watcher that records what it is told."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.prepared: list[int] = []
        self.waits = 0

    def on_step(self, step: Step) -> None:
        self.steps.append(step)

    def on_preparation(self, preparation: Preparation) -> None:
        self.prepared.append(preparation.done)

    def on_wait(self) -> None:
        self.waits += 1

    def on_stop(self, seconds: float) -> None:
        self.stopped = seconds


def run(out: Path, program: str, last_step: int | None = None) -> tuple[LaunchOutcome, Watched]:
    watched = Watched()
    command = [sys.executable, "-c", program, str(out)]
    return launch(out, {"SPO_TEST": "given"}, watched, command, grace=0.5, last_step=last_step), watched


def pids(out: Path) -> list[int]:
    wait_for(lambda: (out / "pids").exists())
    return [int(word) for word in (out / "pids").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(holds: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_steps_are_reported_as_they_come(tmp_path: Path) -> None:
    program = f"""
import sys, time
with open(sys.argv[1] + "/metrics.jsonl", "w", buffering=1) as file:
    for step in (1, 2):
        line = '{{"step":%d,"data":%s}}' % (step, {json.dumps(METRICS)!r})
        file.write(line[:30]); file.flush(); time.sleep(0.4); file.write(line[30:] + "\\n"); file.flush()
"""
    ended, watched = run(tmp_path, program)
    assert ended == LaunchOutcome(0)
    assert watched.steps == [Step(number, 0.5, 0.25, 40.0, 2.5, 0.2) for number in (1, 2)]
    assert watched.waits > 1


@pytest.mark.parametrize("line", ["", "{", "[]", '{"step": 1}', '{"step": "x", "data": {}}', '{"step": 1, "data": 3}'])
def test_a_line_that_is_no_step_is_none(line: str) -> None:
    assert read_step(line) is None


def test_metrics_that_verl_left_out_are_none(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    assert metrics.new_steps() == []
    path.write_text('{"step": 0, "data": {"critic/score/mean": 0.5}}\n')
    assert metrics.new_steps() == [Step(0, 0.5, None, None, None, None)]
    assert metrics.new_steps() == []


def test_output_and_environment(tmp_path: Path) -> None:
    ended, _ = run(tmp_path, "import os, sys; print(os.environ['SPO_TEST']); print('noise', file=sys.stderr)")
    assert ended.status == 0
    assert sorted((tmp_path / "verl.log").read_text().splitlines()) == ["given", "noise"]


def test_the_child_s_status_and_cause(tmp_path: Path) -> None:
    (tmp_path / "verl.log").write_text("Traceback (most recent call last):\n  x\nValueError: of the call before\n")
    assert run(tmp_path, "raise SystemExit(3)")[0] == LaunchOutcome(
        3, "the training process ended with exit status 3: it printed nothing"
    )
    assert run(tmp_path, "import sys; sys.exit('bad news')")[0] == LaunchOutcome(
        1, "the training process ended with exit status 1: bad news"
    )
    assert run(tmp_path, "def f():\n    raise ValueError('no such model')\nf()")[0].cause == "ValueError: no such model"
    killed = run(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")[0]
    assert killed == LaunchOutcome(1, "the training process was killed by SIGKILL")


def test_a_training_that_ends_before_its_last_step_has_failed(tmp_path: Path) -> None:
    """Too few epochs ended it early, with exit status 0."""
    program = """
import json, pathlib, sys, time
out = pathlib.Path(sys.argv[1])
(out / "preparation.json").write_text(json.dumps({"done": 3, "total": 4, "seconds": 1}))
time.sleep(0.6)
(out / "metrics.jsonl").write_text('{"step": 40, "data": {}}\\n{"step": 41, "data": {}}\\n')
"""
    ended, watched = run(tmp_path, program, last_step=42)
    assert ended == LaunchOutcome(1, "training ended without an error after step 41 of 42")
    assert watched.prepared == [3]
    assert run(tmp_path, program, last_step=41)[0] == LaunchOutcome(0)


@pytest.mark.slow
def test_the_metrics_of_an_earlier_call_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for number in (1, 2):
        path.write_text(f'{{"step": {number}, "data": {{}}}}\n')
        _, watched = run(tmp_path, "pass")
        assert watched.steps == []
        assert json.loads((tmp_path / f"metrics.{number}.jsonl").read_text())["step"] == number


@pytest.mark.parametrize("how", ["raise RuntimeError('a worker died')", "pass", "os.kill(os.getpid(), 9)"])
@pytest.mark.slow
def test_a_dead_child_leaves_no_process(tmp_path: Path, how: str) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", STEADFAST])
    try:
        ended, _ = run(tmp_path, FAMILY + how)
        assert ended.status == (0 if how == "pass" else 1)
        assert len(pids(tmp_path)) == 3
        assert not any(map(alive, pids(tmp_path)))
        assert alive(bystander.pid)
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.slow
def test_a_signal_ends_all_of_it(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "child.py").write_text(FAMILY + STEADFAST)
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as launcher:
        family = pids(tmp_path)
        assert all(map(alive, family))
        launcher.send_signal(number)
        printed, _ = launcher.communicate(timeout=30)
    assert launcher.returncode == 128 + number
    assert f"signal={int(number)}" in printed
    assert not any(map(alive, family))


@pytest.mark.slow
def test_a_second_signal_kills_what_takes_its_time(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(FAMILY + STEADFAST)
    patient = LAUNCHER.replace("grace=0.5", "grace=600")
    with subprocess.Popen(
        [sys.executable, "-c", patient, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as launcher:
        family = pids(tmp_path)
        launcher.send_signal(signal.SIGINT)
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "stopping 600\n"
        launcher.send_signal(signal.SIGINT)
        launcher.communicate(timeout=30)
    assert launcher.returncode == 130
    assert not any(map(alive, family))


def test_the_training_ends_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(
        "import os, sys, time; from pathlib import Path; from spo_train.launch.process_tree import end_with_launcher\n"
        "end_with_launcher(); assert 'SPO_TRAIN_LAUNCHER' not in os.environ\n"
        "out = Path(sys.argv[1]); (out / 'pids').write_text(str(os.getpid())); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path)]) as launcher:
        wait_for(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text() != "")
        (child,) = pids(tmp_path)
        assert os.getsid(child) == child
        launcher.kill()
        launcher.wait()
        wait_for(lambda: not alive(child))
