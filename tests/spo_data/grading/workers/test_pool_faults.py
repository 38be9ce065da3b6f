"""The fault matrix: a response or a reward function that fails affects only its own job, which gets a typed verdict."""

import asyncio
import contextlib
import math
import random
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from spo_data.errors import UserError
from spo_data.grading.verdict import Grade, Verdict
from spo_data.grading.verifiers.registry import verifier_version
from spo_data.grading.workers.import_guard import ChangedGraderError
from spo_data.grading.workers.job import GradeJob
from spo_data.grading.workers.pool import GraderPool

pytestmark = pytest.mark.slow

T = TypeVar("T")

CORRECT, WRONG, NO_ANSWER = Verdict.CORRECT, Verdict.WRONG, Verdict.NO_ANSWER
TIMEOUT, ERROR = Verdict.GRADER_TIMEOUT, Verdict.GRADER_ERROR

LIMIT = 2.0

REWARD = '''
"""Does what the response says."""
import asyncio, collections, ctypes, fractions, math, os, re, signal, subprocess, sys, threading, time
import numpy

class Text(str): pass
class Stop(BaseException): pass

def allocate():
    kept = []
    while True: kept.append(bytes(1 << 26))

def recurse(): return recurse()
def spin():
    while True: pass
def deaf(): signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)
def deaf_later(): signal.signal(signal.SIGTERM, signal.SIG_IGN); return 1.0
def threads():
    for _ in range(5): threading.Thread(target=time.sleep, args=(1000,)).start()
    return 1.0
def raises(error): raise error
def both(first, second): return second

def judge(data_source, solution_str, ground_truth, extra_info):
    if solution_str == "seen":
        return float(extra_info == {"parts": [1], "name": "\\u00e9"} and data_source == "a/b" and ground_truth == "5")
    if solution_str == "mutate":
        extra_info["parts"].append(2); extra_info["name"] = "gone"; return 1.0
    if solution_str == "ok": return 1.0
    return eval(solution_str)

async def later(data_source, solution_str, ground_truth, extra_info):
    await asyncio.sleep(0.01)
    return judge(data_source, solution_str, ground_truth, extra_info)
'''


def run(coroutine: Coroutine[None, None, T], seconds: float = 60) -> T:
    """The limit is less than the time after which the pool replaces processes that all seem stuck."""
    return asyncio.run(asyncio.wait_for(coroutine, seconds))


def write(folder: Path, source: str | bytes, name: str = "reward.py") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    return str(path)


class Shared:
    """One pool for many cases, so that damage by one case shows in the next."""

    def __init__(self, file: str) -> None:
        self.judge, self.later = f"{file}:judge", f"{file}:later"
        self.pool = GraderPool(
            "math-verify", "dapo", "exact", "choice", self.judge, self.later, workers=2, seconds=LIMIT, memory_gb=2
        )

    def grade(self, response: str, gold: str = "5", verifier: str | None = None, **named: Any) -> Grade:
        return run(self.pool.grade(GradeJob(response, gold, verifier=verifier, **named)))

    def works(self) -> None:
        """Both processes serve the next jobs."""
        jobs = [GradeJob("ok", "5", verifier=self.judge), GradeJob(r"\boxed{\frac{10}{2}}", "5")] * 4

        async def grade() -> list[Grade]:
            return await asyncio.gather(*map(self.pool.grade, jobs))

        assert [graded.verdict for graded in run(grade())] == [CORRECT] * len(jobs)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    shared = Shared(write(tmp_path_factory.mktemp("reward"), REWARD))
    run(shared.pool.__aenter__())
    shared.works()
    yield shared
    run(shared.pool.__aexit__(None, None, None))


FAULTS = [
    ("spin()", TIMEOUT, "a hang in Python"),
    ("re.match(r'(a+)+$', 'a' * 60 + 'b')", TIMEOUT, "a hang in C that lets signals through"),
    ("sum(range(10**12))", TIMEOUT, "a hang in C that lets none through"),
    ("deaf()", TIMEOUT, "a hang that ignores SIGTERM"),
    ("bytes(1 << 40)", ERROR, "one allocation beyond the limit"),
    ("allocate()", ERROR, "many allocations that add up"),
    ("recurse()", ERROR, "endless recursion"),
    ("os._exit(3)", ERROR, "the process leaves"),
    ("os.killpg(0, signal.SIGKILL)", ERROR, "its process group is killed, which is its own"),
    ("ctypes.string_at(0)", ERROR, "the process crashes"),
    ("sys.exit()", ERROR, "sys.exit is no verdict"),
    ("raises(SystemExit(0))", ERROR, "nor is SystemExit"),
    ("raises(KeyboardInterrupt)", ERROR, "nor KeyboardInterrupt"),
    ("raises(GeneratorExit)", ERROR, "nor GeneratorExit"),
    ("raises(asyncio.CancelledError)", ERROR, "nor a cancellation of the reward's own"),
    ("raises(TimeoutError('mine'))", ERROR, "a timeout of the reward's own is not ours"),
    ("raises(ValueError)", ERROR, "an exception without a message"),
    ("os.closerange(3, 4096)", ERROR, "the pipe to the parent is closed"),
    ("None", ERROR, "no reward"),
    ("'1'", ERROR, "text"),
    ("math.nan", ERROR, "not a number"),
    ("math.inf", ERROR, "infinite"),
    ("-1", ERROR, "below the range"),
    ("2", ERROR, "above the range"),
    ("10**400", ERROR, "above any float"),
    ("(1.0, 'x')", ERROR, "a tuple"),
    ("{}", ERROR, "a dict without a score"),
    ("{'score': -1.0}", ERROR, "a score below the range, and no acc"),
    ("numpy.array([1.0, 0.0])", ERROR, "two rewards"),
]


@pytest.mark.parametrize(("response", "verdict"), [case[:2] for case in FAULTS], ids=[case[2] for case in FAULTS])
def test_a_reward_function_that_fails_fails_alone(shared: Shared, response: str, verdict: Verdict) -> None:
    graded = shared.grade(response, verifier=shared.judge)
    assert (graded.verdict, graded.score) == (verdict, None)
    assert graded.detail
    assert "\n" not in graded.detail
    shared.works()


def test_a_process_that_leaves_with_status_0_is_no_verdict(shared: Shared) -> None:
    """pebble takes status 0 for a normal exit, so the job gets its typed verdict only at the time limit."""
    graded = shared.grade("os._exit(0)", verifier=shared.judge)
    assert graded.verdict in (ERROR, TIMEOUT)
    assert graded.score is None
    shared.works()


REWARDS = [
    ("True", 1.0, None),
    ("False", 0.0, None),
    ("0.5", 0.5, None),
    ("1", 1.0, None),
    ("fractions.Fraction(1, 4)", 0.25, None),
    ("numpy.float64(1.0)", 1.0, None),
    ("numpy.float32(0.5)", 0.5, None),
    ("numpy.bool_(True)", 1.0, None),
    ("{'score': 0.5}", 0.5, None),
    ("{'score': -1.0, 'acc': False, 'pred': '5'}", 0.0, "5"),
    ("{'score': 1.0, 'acc': True, 'pred': '5'}", 1.0, "5"),
    ("{'acc': numpy.bool_(False), 'pred': 5}", 0.0, None),
    ("{'score': 1.0, 'pred': lambda: 5}", 1.0, None),
    ("{'score': 1.0, 'pred': '\\udcff\\0'}", 1.0, "\udcff\0"),
    ("collections.defaultdict(float, score=1.0)", 1.0, None),
    ("both(os.chdir('/'), 1.0)", 1.0, None),
    ("both(os.environ.clear(), 1.0)", 1.0, None),
    ("threads()", 1.0, None),
    ("deaf_later()", 1.0, None),
    ("float(sys.stdin.read() == '')", 1.0, None),
]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_reward_is_the_number_or_the_dict_that_verl_knows(shared: Shared, asynchronous: bool) -> None:
    verifier = shared.later if asynchronous else shared.judge
    for response, score, answer in REWARDS:
        graded = shared.grade(response, verifier=verifier)
        assert graded == Grade(CORRECT if score == 1.0 else WRONG, score, answer), response
    shared.works()


def test_an_async_reward_fails_as_any_other(shared: Shared) -> None:
    for response, verdict in (("spin()", TIMEOUT), ("None", ERROR), ("raises(KeyError('x'))", ERROR)):
        assert shared.grade(response, verifier=shared.later).verdict is verdict
    shared.works()


def test_data_source_and_extra_info_arrive_as_they_are_and_no_job_sees_what_another_changed(shared: Shared) -> None:
    info = {"parts": [1], "name": "\u00e9"}
    for response in ("seen", "mutate", "seen", "mutate", "seen", "seen"):
        graded = shared.grade(response, verifier=shared.judge, extra_info=info, data_source="a/b")
        assert graded.verdict is CORRECT, response
    assert info == {"parts": [1], "name": "\u00e9"}


@pytest.mark.parametrize("response", ["{'score': 1.0, 'pred': Text('5')}", "raises(Stop('now'))"])
def test_what_only_the_reward_s_own_module_can_unpickle_does_not_break_the_parent(
    tmp_path: Path, response: str
) -> None:
    """The module `spo_reward_…` exists only in the grading process. An answer of a class from the reward's file, or a
    BaseException defined there, ended the parent's thread that reads results. Every job under way then waited for
    minutes."""
    name = f"{write(tmp_path, REWARD)}:judge"

    async def grade() -> list[Grade]:
        async with GraderPool(name, workers=2, seconds=LIMIT) as pool:
            jobs = [GradeJob(text, "5") for text in ("ok", response, *["ok"] * 10)]
            return await asyncio.gather(*map(pool.grade, jobs))

    try:
        first, broken, *others = run(grade(), 30)
    except TimeoutError:
        pytest.fail("no job was answered after the one that the parent could not read")
    assert {graded.verdict for graded in (first, *others)} == {CORRECT}
    assert broken.verdict in (CORRECT, ERROR)


def nested(left: str, right: str, depth: int) -> str:
    return rf"\boxed{{{left * depth}2{right * depth}}}"


HUGE_NUMBERS = ["2^{5000000000}", "(10^{9})!", "10^{10^{10}}", r"\binom{10^9}{5\cdot10^8}"]
OURS = (TIMEOUT, ERROR)
INPUTS = [
    *((rf"\boxed{{{number}}}", (WRONG,), f"a number too large to write: {number}") for number in HUGE_NUMBERS),
    (r"\boxed{2^{5000000000}x}", (WRONG, *OURS), "such a number times x"),
    (r"\boxed{((100!)!)!}", (WRONG, ERROR), "a number too large for an exponent"),
    (r"\boxed{\sum_{k=1}^{1000000} \sin(k^2)}", (WRONG, *OURS), "a sum without closed form"),
    (nested("(", ")", 3000), OURS, "nested parentheses"),
    (nested("{", "}", 3000), OURS, "nested braces"),
    (nested("\\frac{1}{", "}", 900), OURS, "nested fractions"),
    (nested("\\sqrt{", "}", 1200), OURS, "nested roots"),
    (r"\boxed{" + "x+" * 1_000_000 + "1}", (ERROR,), "two megabytes in a box"),
    (r"\boxed{" + "7" * 1_000_000 + "}", (ERROR,), "a number of a million digits"),
    (r"\boxed{" + "7" * 9_000 + "}", (WRONG,), "more digits than Python converts"),
    ("word " * 400_000 + r"\boxed{5}", (CORRECT,), "an answer after two megabytes"),
    ("{" * 500_000, (NO_ANSWER,), "braces that never close"),
    ("\\boxed{" * 100_000, (NO_ANSWER,), "boxes that never close"),
    ("", (NO_ANSWER,), "nothing"),
    ("\0" * 1000, (NO_ANSWER,), "nothing but NUL"),
    ("\0\\boxed{5}\0", (CORRECT,), "NUL around the box"),
    ("\\boxed{6\0}", (WRONG,), "NUL in the box"),
    ("\udcff\\boxed{5}", (CORRECT,), "a lone surrogate before the box"),
    ("\\boxed{\udcff}", (WRONG,), "a lone surrogate for an answer"),
    ("\\boxed{x + \ud800}", (WRONG,), "a lone surrogate in a formula"),
]


@pytest.mark.parametrize(("response", "verdicts"), [case[:2] for case in INPUTS], ids=[case[2] for case in INPUTS])
def test_math_verify_outlives_a_response(shared: Shared, response: str, verdicts: tuple[Verdict, ...]) -> None:
    """A response gets a score only if its answer was read and compared. An unreadable answer is not a wrong one."""
    graded = shared.grade(response)
    assert graded.verdict in verdicts, graded.detail
    assert (graded.score is None) == (graded.verdict in OURS)
    shared.works()


@pytest.mark.parametrize("verifier", ["dapo", "exact", "choice"])
def test_the_plain_verifiers_judge_every_such_response(shared: Shared, verifier: str) -> None:
    gold = "A" if verifier == "choice" else "5"
    for response, _, label in INPUTS:
        graded = shared.grade(response, gold, verifier)
        assert graded.verdict in (CORRECT, WRONG, NO_ANSWER), label
        assert graded.verdict is not CORRECT or "\\boxed{5}" in response, label


def test_each_job_is_graded_by_the_verifier_that_it_names(shared: Shared) -> None:
    half = r"\boxed{0.5}"
    assert shared.grade(half, r"\frac12").verdict is CORRECT, "the first one is the default"
    assert shared.grade(half, r"\frac12", "math-verify").verdict is CORRECT
    assert shared.grade(half, r"\frac12", "dapo").verdict is WRONG
    assert shared.grade(half, r"\frac12", "exact").verdict is WRONG
    assert shared.grade("0.25", r"\frac12", shared.judge) == Grade(WRONG, 0.25)
    assert shared.grade(r"\boxed{B}", "B", "choice").verdict is CORRECT
    unknown = shared.grade(half, "5", "guess")
    assert (unknown.verdict, unknown.score) == (ERROR, None)


@pytest.mark.parametrize("verifier", ["math-verify", "exact", "choice", "dapo", "reward"])
def test_thinking_that_the_prompt_opened_and_the_response_never_closes_holds_no_answer(
    shared: Shared, verifier: str
) -> None:
    open_ended, closed = r"\boxed{A}", r"hm </think> \boxed{A}"
    reads_thinking = verifier in ("math-verify", "exact", "choice")
    if verifier == "reward":
        verifier, open_ended, closed = shared.judge, "ok", "both('</think>', 1.0)"
    assert shared.grade(closed, "A", verifier, thinking=True).verdict is CORRECT
    assert shared.grade(open_ended, "A", verifier, thinking=False).verdict is CORRECT
    expected = NO_ANSWER if reads_thinking else CORRECT
    assert shared.grade(open_ended, "A", verifier, thinking=True).verdict is expected


def test_the_import_of_a_reward_function_is_not_charged_to_the_first_job(tmp_path: Path) -> None:
    """Only one process loaded the function before its first job. In all others, including those that replace killed
    ones, the first job's time included the import, and two of six equal jobs timed out."""
    source = "import time\ntime.sleep(1.2)\ndef judge(**_):\n    time.sleep(1)\n    return 1.0\n"

    async def grade() -> list[Grade]:
        async with GraderPool(f"{write(tmp_path, source)}:judge", workers=2, seconds=2) as pool:
            return await asyncio.gather(*(pool.grade(GradeJob("", "5")) for _ in range(4)))

    assert [graded.verdict for graded in run(grade())] == [CORRECT] * 4


def test_what_a_reward_prints_reaches_nobody_s_stdout_and_no_terminal_obeys_it(tmp_path: Path) -> None:
    reward = write(
        tmp_path,
        "import os, subprocess, sys\nprint('at import', flush=True)\n"
        "def judge(**_):\n    print('x' * 3_000_000, flush=True)\n    os.write(1, b'y' * 1_000_000)\n"
        "    print('\\x1b[2J', file=sys.stderr, flush=True)\n"
        "    subprocess.run(['echo', 'child'])\n    return 1.0\n",
    )
    script = write(
        tmp_path,
        "import asyncio, sys\nfrom spo_data.grading.workers.pool import GradeJob, GraderPool\n"
        "async def main():\n    async with GraderPool(sys.argv[1], workers=1) as pool:\n"
        "        for _ in range(3): print((await pool.grade(GradeJob('', '5'))).verdict, flush=True)\n"
        "if __name__ == '__main__': asyncio.run(main())\n",
        "main.py",
    )
    command = [sys.executable, script, f"{reward}:judge"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "correct\n" * 3
    assert ended.stderr == "\\x1b[2J\n" * 3


def test_no_child_process_of_a_reward_outlives_the_pool(tmp_path: Path) -> None:
    """The children of a grading process that was killed at the time limit kept running. A reward that runs a response's
    code starts one child per job, so they piled up outside every memory limit."""
    mark = f"{1000 + random.SystemRandom().random():.9f}"
    responses = [f"subprocess.run(['sleep', '{mark}'])", f"both(subprocess.Popen(['sleep', '{mark}']), 1.0)"]

    def killed_by_us() -> int:
        left = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[-1:] == [mark]:
                    left.append(process)
        _, left = psutil.wait_procs(left, timeout=2)  # one that was killed may need a moment to end
        for process in left:
            process.kill()
        return len(left)

    async def grade() -> tuple[Grade, int, Grade]:
        async with GraderPool(f"{write(tmp_path, REWARD)}:judge", workers=1, seconds=1) as pool:
            hung = await pool.grade(GradeJob(responses[0], "5"))
            return hung, killed_by_us(), await pool.grade(GradeJob(responses[1], "5"))

    hung, left, right = run(grade())
    assert (hung.verdict, right.verdict) == (TIMEOUT, CORRECT)
    assert left == 0, "it ends with its parent, not with the pool"
    assert killed_by_us() == 0


def test_a_reward_that_changes_the_folder_hides_no_other_reward_s_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, REWARD)
    write(tmp_path, "def judge(**_): return 0.5\n", "other.py")
    monkeypatch.chdir(tmp_path)

    async def grade() -> list[Grade]:
        async with GraderPool("reward.py:judge", "other.py:judge", workers=2, seconds=10) as pool:
            moves = [GradeJob("both(os.chdir('/'), time.sleep(0.4) or 1.0)", "5") for _ in range(4)]
            await asyncio.gather(*map(pool.grade, moves))
            slow = [GradeJob("time.sleep(0.4) or 1.0", "5"), GradeJob("", "5", verifier="other.py:judge")]
            return await asyncio.gather(*(pool.grade(job) for job in slow * 4))

    assert {(graded.score, graded.detail) for graded in run(grade())} == {(1.0, None), (0.5, None)}


def test_two_reward_functions_of_different_folders_are_refused(tmp_path: Path) -> None:
    """If both folders held a `helper.py`, the second function imported the first one's and gave its scores."""
    names = [f"{write(tmp_path / folder, 'def judge(**_): return 1')}:judge" for folder in ("a", "b")]
    with pytest.raises(UserError, match="must be in one folder"):
        GraderPool(*names)


UNLOADABLE = [
    (None, "cannot be read: No such file"),
    ("def judge(:\n", "is not Python: invalid syntax"),
    (b"\0", "is not Python"),
    ("def other(): pass\n", "has no function judge"),
    ("judge = 3\n", "has no function judge"),
    ("raise ValueError('no key\\nat all')\n", "does not load: ValueError: no key"),
    ("import no_such_module_at_all\n", "No module named 'no_such_module_at_all'"),
    ("raise SystemExit(3)\n", "does not load: SystemExit"),
    ("raise KeyboardInterrupt\n", "does not load: KeyboardInterrupt"),
    ("while True: pass\n", "does not load: not imported in 1 s"),
    ("import os\nos._exit(1)\n", "does not load"),
    ("import ctypes\nctypes.string_at(0)\n", "does not load"),
    ("x = bytes(1 << 45)\n", "does not load: MemoryError"),
]


@pytest.mark.parametrize(("source", "message"), UNLOADABLE, ids=[case[1] + f" {case[0]!r:.20}" for case in UNLOADABLE])
def test_a_reward_function_that_does_not_load_is_one_clear_line(
    tmp_path: Path, source: str | bytes | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spo_data.grading.workers.pool.START_SECONDS", 1.0)
    file = str(tmp_path / "reward.py") if source is None else write(tmp_path, source)

    async def enter() -> None:
        async with GraderPool(f"{file}:judge", workers=1, seconds=4):
            pass

    with pytest.raises(UserError) as caught:
        run(enter())
    line = str(caught.value)
    assert message in line
    assert line.startswith(f"--verifier {file}:judge")
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("__import__('hel' + 'per')\n", UserError, "does not load: {}/helper.py is imported by a computed name"),
        ("import helper\n", ChangedGraderError, "{}/helper.py changed during grading: sha256 0123456789abcdef is"),
    ],
)
def test_a_reward_function_whose_version_is_another_is_one_clear_line(
    tmp_path: Path, source: str, error: type[Exception], message: str
) -> None:
    name = f"{write(tmp_path, source + 'def judge(**_): return 1.0')}:judge"
    write(tmp_path, "", "helper.py")
    version = verifier_version(name)
    if "helper.py" in version:
        version = f"{version.rpartition(' ')[0]} 0123456789abcdef"

    async def enter() -> None:
        async with GraderPool(name, versions={name: version}, workers=1):
            pass

    with pytest.raises(error) as caught:
        run(enter())
    assert message.format(tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_verdicts_do_not_depend_on_the_workers_the_order_or_what_was_graded_before(tmp_path: Path) -> None:
    reward = write(
        tmp_path,
        "def judge(solution_str, ground_truth, **_):\n    if not solution_str: raise ValueError('nothing')\n"
        "    return {'score': len(solution_str) % 3 / 2, 'pred': solution_str[::-1]}\n",
    )
    verifiers = ("math-verify", "dapo", "exact", "choice", f"{reward}:judge")
    answers = ["5", "5.0", r"\frac{10}{2}", "A", "(A)", "x+1", "1+x", r"\{1,2\}", "2,1", "1/0", "(10^{9})!", r"\sqrt{"]
    responses = [*(rf"\boxed{{{answer}}}" for answer in answers), "", "The answer is 5."]
    golds = ["5", "A", "x+1", r"\{1,2\}"]
    jobs = [GradeJob(response, gold, verifier=name) for response in responses for gold in golds for name in verifiers]
    jobs = random.Random(0).sample(jobs, 150)

    async def grade(workers: int, seed: int) -> dict[GradeJob, set[Grade]]:
        seen: dict[GradeJob, set[Grade]] = {job: set() for job in jobs}
        async with GraderPool(*verifiers, workers=workers) as pool:
            shuffled = random.Random(seed).choices(jobs, k=80) + random.Random(seed).sample(jobs, len(jobs))
            for job, graded in zip(shuffled, await asyncio.gather(*map(pool.grade, shuffled)), strict=True):
                seen[job].add(graded)
        return seen

    one, three = (run(grade(workers, seed)) for workers, seed in ((1, 1), (3, 2)))
    assert {len(graded) for graded in one.values()} == {1}
    assert one == three
    found = {graded.verdict for several in one.values() for graded in several}
    assert found >= {CORRECT, WRONG, NO_ANSWER, ERROR}
    assert all(graded.score is None or math.isfinite(graded.score) for several in one.values() for graded in several)
