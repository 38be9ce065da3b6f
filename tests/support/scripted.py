r"""A scripted engine, and a server that runs estimates with it, each in its own process.

    engine = ScriptedEngine(script, golds)        # answers from a request's seed alone, out of order
    ended = server().run({"argv": ["estimate", ...], "engine": {"fail_every": 5}, "kill": {"at": "sql", "nth": 9}})
    ended["status"]                               # the exit status, or minus the signal that killed the process

The server (`python scripted.py`) imports everything once and forks a process per job, so a job takes only tenths of a
second. A job runs the real command line with the scripted engine instead of vLLM, and forks its grading processes from
one that has imported everything too, unless the job says `spawn_graders`. It can SIGKILL itself before or after
the n-th call of a function, or of an SQL statement of the journal, or at a moment of `moments`; and the server can kill
it, and its grading processes, from outside.
"""

import asyncio
import atexit
import contextlib
import functools
import importlib
import itertools
import json
import multiprocessing
import multiprocessing.forkserver
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from support import moments

MODEL = "smollm2-135m"
TESTS = Path(__file__).parents[1]
JOB_SECONDS = 30
"""A job that hangs for longer is killed by SIGALRM: status -14."""


@dataclass
class Script:
    """How the engine behaves. `*_after` counts the submissions of one call, from 1."""

    capacity: int = 4
    delay: float = 0.008
    fail_every: int = 0
    """A request fails if its seed is a multiple of this."""
    fail_all: bool = False
    die_after: int = 0
    signal: int = 0
    signal_after: int = 0
    signal_group: bool = False
    slow_prompt: int = -1
    """The prompt whose sample 0 takes `slow_seconds`."""
    slow_seconds: float = 0.0
    code: str = ""
    """If set, each response runs this program `programs` times before it answers; SEED in it is the turn's seed."""
    programs: int = 2
    runner: str = ""
    """If set, the engine reports this model runner, a half full cache, and a preemption for every response."""
    hook: Callable[[int], None] | None = None
    """Called with the number of each submission."""
    submitted: list[tuple[str, int, int]] = field(default_factory=list)
    """(prompt id, sample index, seed) in the order of submission."""
    finished: list[tuple[str, int]] = field(default_factory=list)
    in_flight: list[int] = field(default_factory=list)
    """The number of requests in flight after each submission and each completion."""
    seen: Any = None
    """The plan with which the engine was started."""


class ScriptedEngine:
    """See `spo_data.engines.protocol.Engine`."""

    def __init__(self, script: Script, plan: Any) -> None:
        self.script = script
        self.capacity = script.capacity
        self._golds = {prompt.prompt_id: prompt.ground_truth for prompt in plan.prompt_set.prompts}
        self._positions = {prompt_id: position for position, prompt_id in enumerate(self._golds)}
        self._logprobs = plan.options.sampling.logprobs
        self._tokenizer = plan.chat.tokenizer if script.code else None
        self._flying = 0
        self._dead = False

    @property
    def devices(self) -> Any:
        """More cores than any real machine has."""
        from spo_data.engines.protocol import Devices

        return Devices("scripted core", 3)

    @property
    def use(self) -> Any:
        """What the script reports, or nothing."""
        from spo_data.engines.use import EngineUse

        count = len(self.script.finished)
        return EngineUse(count, 100 * count, 0.25, 0.5, self.script.runner) if self.script.runner else None

    async def submit(self, request: Any) -> Any:
        """Answer after a short delay that depends on the seed."""
        from spo_data.engines.protocol import EngineError, RequestError

        script = self.script
        script.submitted.append((request.prompt_id, request.sample_index, request.seed))
        number = len(script.submitted)
        if script.hook is not None:
            script.hook(number)
        if script.signal and number == script.signal_after:
            (os.killpg if script.signal_group else os.kill)(os.getpid(), script.signal)
        self._dead = self._dead or bool(script.die_after and number >= script.die_after)
        self._flying += 1
        script.in_flight.append(self._flying)
        try:
            slow = self._positions[request.prompt_id] == script.slow_prompt and request.sample_index == 0
            await asyncio.sleep(script.slow_seconds if slow else script.delay * random.Random(request.seed).random())
            if self._dead:
                raise EngineError("vLLM died: RuntimeError: the script says so")
            if script.fail_all or (script.fail_every and request.seed % script.fail_every == 0):
                raise RequestError("ValueError: [/INST] the script refuses this request")
            script.finished.append((request.prompt_id, request.sample_index))
            if script.code:
                return self._turn(request)
            return completion(request, self._golds[request.prompt_id], logprobs=self._logprobs)
        finally:
            self._flying -= 1
            script.in_flight.append(self._flying)

    def _turn(self, request: Any) -> Any:
        """A program in each early turn, the ground truth in the last. The tool loop needs real token ids."""
        import numpy as np

        from spo_data.engines.protocol import Completion

        if request.turn < self.script.programs:
            code = self.script.code.replace("SEED", str(request.seed))
            text, end = f"turn {request.turn}: <code>\n```python\n{code}\n```\n</code>", []
        else:
            text, end = f"so \\boxed{{{self._golds[request.prompt_id]}}}", [self._tokenizer.eos_token_id]
        ids = [*self._tokenizer(text)["input_ids"], *end]
        reason: Any = "stop" if len(ids) <= request.max_tokens else "length"
        token_ids = np.asarray(ids[: request.max_tokens], dtype=np.int32)
        drawn = np.full(len(token_ids), -0.25, dtype=np.float32) if self._logprobs else None
        return Completion(text, token_ids, reason, drawn)


def completion(request: Any, gold: str, *, logprobs: bool = False) -> Any:
    """The scripted answer, by seed: right, wrong, no answer or truncated."""
    import numpy as np

    from spo_data.engines.protocol import Completion

    source = random.Random(request.seed)
    kind = request.seed % 4
    said = " ".join(source.choice(("so", "then", "hence", "thus", "now")) for _ in range(source.randint(1, 40)))
    end = (f"\\boxed{{{gold}}}", f"\\boxed{{{gold}1}}", "I cannot tell.", f"\\boxed{{{gold}}} and")[kind]
    length = request.max_tokens if kind == 3 else source.randint(1, min(60, request.max_tokens))
    token_ids = np.asarray([source.randrange(49_152) for _ in range(length)], dtype=np.int32)
    drawn = np.asarray([-source.random() for _ in range(length)], dtype=np.float32) if logprobs else None
    return Completion(f"{said} {end}", token_ids, "length" if kind == 3 else "stop", drawn)


def starter(script: Script) -> Callable[[Any], Any]:
    """A `start_engine` for `estimate`."""

    @asynccontextmanager
    async def start(plan: Any) -> AsyncIterator[ScriptedEngine]:
        script.seen = plan
        yield ScriptedEngine(script, plan)

    return start


def write_rows(path: Path, n: int = 6, **changed: Mapping[str, str]) -> Path:
    """A dataset of n sums; `r2={"answer": "5"}` changes columns of row 2."""
    rows = [{"question": f"What is {i} + {i + 3}?", "answer": str(2 * i + 3)} for i in range(n)]
    for name, columns in changed.items():
        rows[int(name[1:])].update(columns)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def journal_rows(run: Path) -> list[tuple[str, int, int, str]]:
    """(prompt id, sample index, seed, verdict) of every sample, read from a copy of the journal."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("journal.sqlite", "journal.sqlite-wal"):
            if (run / name).exists():
                (Path(folder) / name).write_bytes((run / name).read_bytes())
        database = sqlite3.connect(Path(folder) / "journal.sqlite")
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        try:
            return database.execute(
                "SELECT prompt_id, sample_index, seed, verdict FROM samples JOIN prompts USING (prompt_number)"
                " JOIN verdicts USING (prompt_number, sample_index)"
                " ORDER BY position, sample_index"
            ).fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            database.close()


def tables(run: Path) -> dict[str, bytes]:
    """The bytes of a run's published files, without the card's line on sampling time."""
    files = [*sorted(run.glob("values/*")), *sorted(run.glob("samples/*")), run / "histogram.png"]
    card = [line for line in (run / "README.md").read_bytes().splitlines() if not line.startswith(b"| sampling time")]
    return {str(path.relative_to(run)): path.read_bytes() for path in files} | {"README.md": b"\n".join(card)}


class Recorder:
    """A watcher that records what it is told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.present: int | None = None
        self.verdicts: list[int] = []
        self.failed = 0

    def on_plan(self, plan: Any, present: int) -> None:  # noqa: ARG002 # the protocol's
        self.present = present

    def on_stage(self, text: str) -> None:
        self.stages.append(text)

    def on_sample(self, progress: Any) -> None:
        self.verdicts.append(progress.sampled)
        self.failed = progress.failed

    def on_stop(self, progress: Any) -> None:
        self.stages.append(f"stopping: {progress.grading}")


def options(dataset: Path | str, out: Path, **asked: Any) -> Any:
    """EstimateOptions with each keyword in its own group, and cheap defaults for the rest."""
    from spo_data.options import EngineOptions, GraderOptions, PromptOptions, Sampling, ToolOptions
    from spo_pipelines.sampling_plan import EstimateOptions

    asked = {"n": 4, "max_tokens": 64, "verifier": "exact", "grader_workers": 1, **asked}
    groups = {"prompts": PromptOptions, "sampling": Sampling, "engine": EngineOptions}
    groups |= {"grader": GraderOptions, "tools": ToolOptions}
    made = {
        name: group(**{key: asked.pop(key) for key in [*asked] if key in group.__dataclass_fields__})
        for name, group in groups.items()
        if name != "prompts"
    }
    prompts = PromptOptions(dataset=str(dataset), **{k: asked.pop(k) for k in [*asked] if k not in ("model",)})
    model = asked.pop("model", MODEL)
    command = ("spo-data", "estimate", "--model", str(model), "--dataset", str(dataset), "--out", str(out))
    return EstimateOptions(model=str(model), out=out, prompts=prompts, command=command, **made)


def estimate(asked: Any, script: Script | None = None, **named: Any) -> Any:
    """Run `spo_pipelines.estimate.estimate` in this process, with the scripted engine unless another is given."""
    from spo_pipelines.estimate import estimate as run_estimate

    named = {"start_engine": starter(script or Script()), **named}
    return asyncio.run(run_estimate(asked, named.pop("watcher", Recorder()), **named))


def hash_the_embedded_model_once(patch: Any) -> None:
    """Hash the embedded model only once. Every call that resolves it hashes its 270 MB, which takes longer than the
    rest of a test.

    Any other folder is hashed each time, as in production.
    """
    import spo_data.models.names as model_module
    from spo_data.models.embedded import embedded_model

    fingerprint, embedded = model_module.folder_fingerprint, embedded_model()
    of_the_embedded = functools.cache(functools.partial(fingerprint, embedded))
    patch.setattr(
        model_module, "folder_fingerprint", lambda path: of_the_embedded() if path == embedded else fingerprint(path)
    )


def make_run(folder: Path, rows: int = 6, **asked: Any) -> tuple[Path, Path]:
    """A dataset and its finished run, made outside of a test, as in a fixture that many tests copy."""
    import pytest

    with pytest.MonkeyPatch.context() as patch:
        cheap_chat(patch)
        fork_graders(patch)
        dataset = write_rows(folder / "sums.jsonl", rows)
        estimate(options(dataset, folder / "run", **asked))
    return dataset, folder / "run"


def cheap_chat(patch: Any) -> None:
    """Load each tokenizer once in this process, and keep the datasets' cache out of the user's."""
    import spo_pipelines.sampling_plan as plan_module

    patch.setattr(plan_module, "load_chat", shared_chat(plan_module.load_chat))
    patch.setenv("TOKENIZERS_PARALLELISM", "false")


@functools.cache
def shared_chat(load: Callable[..., Any]) -> Callable[..., Any]:
    """`load_chat`, but each model's tokenizer is loaded once in this process."""
    return _once_per_model(load)


def fork_graders(patch: Any) -> None:
    """Fork grading processes from one that has imported everything. Each new interpreter would import it again, which
    takes longer than the rest of a test. They are no children of this process then, nor in its session."""
    patch.setattr("spo_data.grading.workers.processes.multiprocessing", SimpleNamespace(get_context=_forking))


@functools.cache
def _forking(_method: str) -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["spo_data.grading.workers.job", "sympy", "math_verify"])
    return context


class Server:
    """Runs jobs one at a time, each in a process forked from one that has imported everything."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="spo-scripted-")
        environment = os.environ | {
            "TOKENIZERS_PARALLELISM": "false",
            "HF_DATASETS_CACHE": f"{self._folder.name}/datasets",
            "HF_HUB_OFFLINE": "1",
        }
        environment.pop("COLUMNS", None)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(TESTS), environment.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._count = itertools.count(1)

    def run(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Run a job to its end. Returns its status, stdout, stderr, and the requests that the engine received."""
        place = Path(self._folder.name) / str(next(self._count))
        place.mkdir()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**job, "place": str(place)}) + "\n")
        self._process.stdin.flush()
        ended = json.loads(self._process.stdout.readline())
        for name in ("stdout", "stderr"):
            ended[name] = (place / name).read_text() if (place / name).exists() else ""
        submitted = place / "submitted"
        lines = submitted.read_text().splitlines(keepends=True) if submitted.exists() else []
        ended["submitted"] = [tuple(json.loads(line)) for line in lines if line.endswith("\n")]
        return ended

    def close(self) -> None:
        """Stop the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._folder.cleanup()


@functools.cache
def server() -> Server:
    """The server that this whole test session shares."""
    started = Server()
    atexit.register(started.close)
    return started


def main() -> None:
    """Read jobs as JSON lines from stdin, and write each result when the job has ended."""
    import datasets  # noqa: F401
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import ruamel.yaml  # noqa: F401

    import spo_pipelines.estimate  # noqa: F401
    import spo_pipelines.sampling_plan as plan_module
    from spo_cli import data_app  # noqa: F401

    _forking("")
    multiprocessing.forkserver.ensure_running()
    hash_the_embedded_model_once(SimpleNamespace(setattr=setattr))
    plan_module.load_chat = _once_per_model(plan_module.load_chat)
    plan_module.load_chat(plan_module.resolve_model(MODEL), {})
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _perform(job)
        began = time.monotonic()
        waited = _wait(pid, began, **job.get("outside", {}))
        seconds = time.monotonic() - began
        if waited:
            _mend_forkserver()
        ended = {"status": os.waitstatus_to_exitcode(waited), "pid": pid, "seconds": seconds}
        print(json.dumps(ended), flush=True)


def _wait(pid: int, began: float, seconds: float = 0.0, whom: str = "", marks: str = "", term: float = 0.0) -> int:
    """Wait for a job; `seconds` after it `began`, kill it alone, its grading processes alone, or both (`whom` is job,
    graders or all). If `term` is given, the job gets SIGTERM, and SIGKILL that many seconds later. Returns its status,
    as the system gives it."""
    for second, number in ((seconds, signal.SIGTERM), (seconds + term, signal.SIGKILL)) if term else ((seconds, 9),):
        while seconds and time.monotonic() < began + second:
            ended, waited = os.waitpid(pid, os.WNOHANG)
            if ended:
                return waited
            time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError):
            if whom == "all":
                os.killpg(pid, number)
            elif whom == "job":
                os.kill(pid, number)
    for mark in Path(marks).glob("spo-data-graders-*/[0-9]*") if whom in ("all", "graders") else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(mark.name), signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def _mend_forkserver() -> None:
    """Start the forkserver again: a job that is killed while it asks for a grading process takes it along."""
    for _ in range(100):
        with contextlib.suppress(OSError, EOFError):
            asked = _forking("").Process(target=os.getpid)
            asked.start()
            asked.join()
            if asked.exitcode == 0:
                return
        time.sleep(0.02)


def _once_per_model(load: Callable[..., Any]) -> Callable[..., Any]:
    loaded: dict[str, Any] = {}

    def cached(model: Any, template_kwargs: Mapping[str, Any] | None = None, **named: Any) -> Any:
        if named.get("template") is not None:
            return load(model, template_kwargs, **named)
        if model.path not in loaded:
            loaded[model.path] = load(model, {})
        import dataclasses

        return dataclasses.replace(loaded[model.path], template_kwargs=dict(template_kwargs or {}))

    return cached


def _perform(job: dict[str, Any]) -> None:
    """The body of the forked process. It never returns."""
    place = Path(job["place"])
    status = 70
    try:
        os.setsid()
        signal.alarm(JOB_SECONDS)
        _redirect(0, os.devnull, os.O_RDONLY)
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            _redirect(descriptor, job.get(name) or str(place / name), os.O_WRONLY | os.O_CREAT | os.O_NOCTTY)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(fd, mode) for fd, mode in ((0, "r"), (1, "w"), (2, "w")))
        script = Script(**job.get("engine", {}))
        script.hook = functools.partial(_note_submitted, script, place)
        os.environ.update(job.get("environment", {}))
        _prepare(job, script)
        sys.argv = ["spo-data", *job["argv"]]
        from spo_cli.data_app import main as spo_data

        spo_data()
        status = 0
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _redirect(descriptor: int, path: str, flags: int) -> None:
    opened = os.open(path, flags, 0o644)
    os.dup2(opened, descriptor)
    os.close(opened)


def _note_submitted(script: Script, place: Path, _number: int) -> None:
    with (place / "submitted").open("a") as file:
        file.write(json.dumps(script.submitted[-1]) + "\n")


def _prepare(job: Mapping[str, Any], script: Script) -> None:
    import spo_data.files
    import spo_data.run.journal
    import spo_pipelines.estimate as module

    module.estimate = functools.partial(module.estimate, start_engine=starter(script))
    if not job.get("spawn_graders"):
        import spo_data.grading.workers.processes

        multiprocessing.forkserver._forkserver.ensure_running = lambda: None  # it is our parent's child, and it runs
        spo_data.grading.workers.processes.multiprocessing = SimpleNamespace(get_context=_forking)
    spo_data.run.journal.COMMIT_SAMPLES = job.get("commit_samples", spo_data.run.journal.COMMIT_SAMPLES)
    spo_data.files.LOCK_SECONDS = job.get("lock_seconds", spo_data.files.LOCK_SECONDS)
    if job.get("grader_fails"):
        _fail_grading(int(job["grader_fails"]))
    if job.get("kill"):
        arm(**job["kill"])
    if job.get("interpreter"):
        _script_interpreter(**job["interpreter"])
    if job.get("temporary"):
        moments.use_temporary_folder(job["temporary"])
    if job.get("commits"):
        moments.note_commits(job["commits"])
    if job.get("moment"):
        moments.arm(job["moment"])


def _script_interpreter(fail_every: int) -> None:
    """Make programs print their length, and the interpreter fail for about one program in `fail_every`, always."""
    import spo_pipelines.estimate as module
    from spo_data.sandbox.interpreter import Execution, SandboxError

    class Scripted:
        concurrency = 2

        async def run(self, code: str, _limits: Any, _stdin: str = "") -> Any:
            if fail_every and sum(code.encode()) % fail_every == 0:
                raise SandboxError("http://there gave no answer in 5 attempts: 503")
            return Execution(f"{len(code)}\n", "", 0)

    @asynccontextmanager
    async def opened(*_: Any) -> AsyncIterator[Scripted]:
        yield Scripted()

    module.open_interpreter = opened


def _fail_grading(every: int) -> None:
    """Make the grader time out on about one response in `every`."""
    from spo_data.grading.verdict import Grade, Verdict
    from spo_data.grading.workers.pool import GraderPool

    grade = GraderPool.grade

    async def failing(self: Any, job: Any) -> Any:
        if job.response is not None and sum(job.response.encode()) % every == 0:
            return Grade.failed(Verdict.GRADER_TIMEOUT, "over 10 s")
        return await grade(self, job)

    GraderPool.grade = failing  # type: ignore[method-assign]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(at: str, nth: int = 1, when: str = "before", under: str = "", signal: int = signal.SIGKILL) -> None:
    """Raise a signal before or after the n-th call of `module:Class.function` or of the journal's SQL (`sql:COMMIT`).

    If `under` is given, only calls whose first argument is a path below it count.
    """
    if at.startswith("sql"):
        _arm_sql(at.removeprefix("sql").removeprefix(":"), nth, when)
        return
    die = functools.partial(os.kill, os.getpid(), signal)
    module, _, names = at.partition(":")
    *outer, name = names.split(".")
    owner = functools.reduce(getattr, outer, importlib.import_module(module))
    original = getattr(owner, name)
    calls = itertools.count(1)

    def hit(arguments: Sequence[Any]) -> bool:
        return str(arguments[0] if arguments else "").startswith(under) and next(calls) == nth

    def wrapped(*arguments: Any, **named: Any) -> Any:
        here = hit(arguments)
        if here and when == "before":
            die()
        result = original(*arguments, **named)
        if here and when == "after":
            die()
        return result

    async def wrapped_coroutine(*arguments: Any, **named: Any) -> Any:
        here = hit(arguments)
        if here and when == "before":
            die()
        result = await original(*arguments, **named)
        if here and when == "after":
            die()
        return result

    setattr(owner, name, wrapped_coroutine if asyncio.iscoroutinefunction(original) else wrapped)


def _arm_sql(statement: str, nth: int, when: str) -> None:
    import spo_data.run.journal

    calls = itertools.count(1)

    class Dying(sqlite3.Connection):
        def _run(self, run: Callable[..., Any], sql: str, *arguments: Any) -> Any:
            here = statement in sql and next(calls) == nth
            if here and when == "before":
                _die()
            if here and when == "half":
                super().execute(sql.strip().partition(";")[0])
                _die()
            result = run(sql, *arguments)
            if here:
                _die()
            return result

        def execute(self, sql: str, *arguments: Any) -> Any:
            return self._run(super().execute, sql, *arguments)

        def executemany(self, sql: str, *arguments: Any) -> Any:
            return self._run(super().executemany, sql, *arguments)

        def executescript(self, sql: str) -> Any:
            return self._run(super().executescript, sql)

    connect = functools.partial(sqlite3.connect, factory=Dying)
    spo_data.run.journal.sqlite3 = SimpleNamespace(connect=connect, Error=sqlite3.Error, Connection=sqlite3.Connection)


if __name__ == "__main__":
    main()
