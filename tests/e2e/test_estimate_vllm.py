"""`estimate` from start to finish with real vLLM, the real embedded model and real generated problems.

One engine serves the whole session. The tests of the command itself (signals and recovery) start their own engines. All
compute in float32, which is three times as fast as bfloat16 on a CPU without bfloat16 instructions.
The estimate in test_train_verl.py's `work` fixture uses the default dtype.
"""

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fake_hub.running import client_environment, running_hub
from spo_data.engines.protocol import Engine
from spo_data.engines.vllm import VllmEngine, start_vllm
from spo_data.models.names import resolve_model
from spo_data.options import EngineOptions, GraderOptions, PromptOptions, Sampling, ToolOptions
from spo_data.prompts.identity import Message, prompt_id, sample_seed
from spo_pipelines.estimate import EstimateOutcome, estimate
from spo_pipelines.sampling_plan import EstimateOptions, SamplingPlan
from support.records import journal_of
from support.tool_shots import write_shots

pytestmark = pytest.mark.engine

DATASET = "reasoning-gym:chain_sum?max_terms=2&max_digits=1"
MAX_TOKENS = 48
ENGINE = EngineOptions(enforce_eager=True, max_num_seqs=32, max_model_len=512, dtype="float32")

Run = Callable[..., EstimateOutcome]


class Silent:
    """A watcher that reports nothing."""

    def on_plan(self, plan: SamplingPlan, present: int) -> None: ...
    def on_stage(self, text: str) -> None: ...
    def on_sample(self, progress: object) -> None: ...

    def on_stop(self, progress: object) -> None: ...


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """`estimate` on one engine that lives for the whole session."""
    log = tmp_path_factory.mktemp("engine") / "engine.log"
    with asyncio.Runner() as runner:
        context = start_vllm(
            resolve_model("smollm2-135m"),
            Sampling(),
            ENGINE,
            max_model_len=512,
            log=log,
        )
        engine = runner.run(context.__aenter__())

        @asynccontextmanager
        async def shared(plan: SamplingPlan) -> AsyncIterator[Engine]:
            yield VllmEngine(engine._client, plan.options.sampling, log, 0)

        def run(
            out: Path,
            *,
            dataset: str = DATASET,
            limit: int = 12,
            logprobs: bool = False,
            also: str | None = None,
            tools: bool = False,
            **sampling: int,
        ) -> EstimateOutcome:
            options = EstimateOptions(
                model="smollm2-135m",
                out=out,
                prompts=PromptOptions(dataset=dataset, limit=limit),
                sampling=Sampling(**{"max_tokens": MAX_TOKENS, "logprobs": logprobs, **sampling}),
                grader=GraderOptions(also=also),
                tools=ToolOptions(tools="python", max_tool_turns=2) if tools else ToolOptions(),
                engine=ENGINE,
                command=("spo-data", "estimate"),
            )
            return runner.run(estimate(options, Silent(), start_engine=shared))

        yield run
        runner.run(context.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def complete_run(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EstimateOutcome]:
    """A finished run of 16 rows, n = 8."""
    out = tmp_path_factory.mktemp("complete") / "run"
    return out, run(out, limit=16, n=8, also="dapo")


@pytest.fixture(scope="session")
def reference() -> Any:
    """The same model in transformers; both compute in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(resolve_model("smollm2-135m").path, dtype=torch.float32)


def samples(out: Path) -> list[dict[str, object]]:
    return pq.read_table(out / "samples").to_pylist()


def values(out: Path) -> list[dict[str, object]]:
    return pq.read_table(out / "values").to_pylist()


def test_every_prompt_has_n_samples_and_some_values_are_strictly_inside_0_and_1(
    complete_run: tuple[Path, EstimateOutcome],
) -> None:
    out, outcome = complete_run
    rows = samples(out)
    by_prompt: dict[object, list[object]] = {}
    for row in rows:
        by_prompt.setdefault(row["prompt_id"], []).append(row["sample_index"])
    assert outcome.summary is not None
    assert outcome.summary.complete
    assert len(by_prompt) == len(values(out)) == outcome.summary.prompts
    assert all(indices == list(range(8)) for indices in by_prompt.values())
    assert any(0.0 < row["value"] < 1.0 for row in values(out))  # type: ignore[operator]


def test_a_value_is_the_mean_of_its_samples_scores(complete_run: tuple[Path, EstimateOutcome]) -> None:
    out, _ = complete_run
    scores: dict[object, list[float]] = {}
    for row in samples(out):
        scores.setdefault(row["prompt_id"], []).append(row["score"])  # type: ignore[arg-type]
    for row in values(out):
        assert row["vhat"] == scores[row["prompt_id"]]
        assert row["value"] == pytest.approx(np.mean(scores[row["prompt_id"]]))


def test_samples_carry_their_own_seeds_and_real_tokens(complete_run: tuple[Path, EstimateOutcome]) -> None:
    from spo_data.models.chat import load_chat

    out, _ = complete_run
    tokenizer = load_chat(resolve_model("smollm2-135m")).tokenizer
    rows = samples(out)
    assert len({row["seed"] for row in rows}) == len(rows)
    for row in rows:
        assert row["seed"] == sample_seed(0, row["prompt_id"], row["sample_index"])  # type: ignore[arg-type]
        text, response = tokenizer.decode(row["token_ids"], skip_special_tokens=True), str(row["response"])
        # If the budget cuts a character in half, the engine returns nothing for it.
        assert text == response or (text.startswith(response) and text.endswith("\ufffd"))
        assert row["finish_reason"] == ("stop" if row["token_ids"][-1] == tokenizer.eos_token_id else "length")  # type: ignore[index]
        assert (row["verdict"] == "truncated") == (row["finish_reason"] == "length")


def test_a_second_opinion_is_recorded_for_every_sample_and_compared(complete_run: tuple[Path, EstimateOutcome]) -> None:
    out, outcome = complete_run
    assert outcome.summary is not None
    second = outcome.summary.second
    assert second is not None
    graded = [row for row in samples(out) if row["verdict"] != "truncated"]
    assert (second.verifier, second.compared) == ("dapo", len(graded))
    unboxed = sum(row["verdict"] == "correct" and "\\boxed{" not in str(row["response"]) for row in samples(out))
    assert second.disagree >= unboxed > 0, "the strict box takes no unmarked answer"
    with journal_of(out) as journal:
        assert [grader.verifier for grader in journal.graders()] == ["math-verify", "dapo"]


def test_the_command_checks_the_dataset_and_grades_the_run_again_and_back(
    complete_run: tuple[Path, EstimateOutcome], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(complete_run[0], out)

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("spo-data")
        return subprocess.run([str(program), *words], capture_output=True, text=True, check=False, timeout=300)

    checked = command("check", DATASET, "--limit", "16", "--model", "smollm2-135m")
    assert (checked.returncode, "clean" in checked.stdout) == (0, True), checked.stderr
    before = {path.name: path.read_bytes() for path in sorted(out.glob("*/*.parquet"))}
    reward = tmp_path / "reward.py"
    reward.write_text(
        "def compute_score(data_source, solution_str, ground_truth, extra_info):\n"
        "    assert extra_info['generator'] == 'chain_sum' and data_source.startswith('reasoning-gym:')\n"
        "    return float(ground_truth in solution_str)\n"
    )
    again = command("regrade", str(out), "--verifier", f"{reward}:compute_score", "--json")
    assert again.returncode == 0, again.stderr
    changed = json.loads(again.stdout)
    assert changed["value_mean"]["after"] > changed["value_mean"]["before"]
    assert sum(cell["samples"] for cell in changed["confusion"]) == len(samples(out))
    for row in samples(out):
        expected = "truncated" if row["finish_reason"] == "length" else None
        assert row["verdict"] == (expected or ("correct" if row["score"] else "wrong"))
    back = command("regrade", str(out), "--verifier", "math-verify", "--also", "dapo")
    assert back.returncode == 0, back.stderr
    assert {path.name: path.read_bytes() for path in sorted(out.glob("*/*.parquet"))} == before


def test_the_commands_publish_load_report_join_and_export_a_real_run(
    complete_run: tuple[Path, EstimateOutcome], tmp_path: Path
) -> None:
    out, program = complete_run[0], Path(sys.executable).with_name("spo-data")
    (tmp_path / "hub").mkdir()
    with running_hub(tmp_path / "hub") as server:
        environment = client_environment(server.address, tmp_path / "home") | {"HF_TOKEN": "hf_writer"}

        def command(*words: str | Path) -> str:
            done = subprocess.run(
                [str(program), *map(str, words)], env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        pushed = json.loads(command("push", "me/values", out, "--json"))
        loaded = subprocess.run(
            [sys.executable, "-c", REFERENCE_LOADER, "me/values"],
            env=environment | {"HF_HOME": str(tmp_path / "fresh")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(loaded.stdout) == {row["prompt"]: row["vhat"] for row in values(out)}
        joined = json.loads(command("join", "me/values", f"{DATASET}&size=16", "--json"))
        assert (joined["coverage"], joined["unused"], joined["revision"]) == (1.0, 0, pushed["commit"])
        command("export", "me/values", "--format", "spo-json", "--out", tmp_path / "values.json")
        command("import", tmp_path / "values.json", "--out", tmp_path / "imported")
        command("export", tmp_path / "imported", "--format", "spo-json", "--out", tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == (tmp_path / "values.json").read_bytes()
        command("export", out, "--format", "verl", "--out", tmp_path / "train.parquet")
        verl = json.loads(command("join", out, tmp_path / "train.parquet", "--json"))
        assert (verl["coverage"], verl["template"]) == (1.0, "none")
        command("export", out, "--format", "a-star-po", "--out", tmp_path / "a_star.parquet")
        command("report", out)
        assert (out / "report.html").stat().st_size > 10_000


def test_raising_n_from_4_to_8_leaves_the_first_four_rows_of_each_prompt_as_they_were(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "run", limit=3, n=4)
    first = pq.read_table(tmp_path / "run" / "samples")
    run(tmp_path / "run", limit=3, n=8)
    second = pq.read_table(tmp_path / "run" / "samples")
    kept = second.filter([index < 4 for index in second["sample_index"].to_pylist()])
    assert len(second) == 2 * len(first)
    assert kept.to_pylist() == first.to_pylist()


def test_a_finished_run_is_a_hugging_face_dataset(complete_run: tuple[Path, EstimateOutcome], tmp_path: Path) -> None:
    import datasets

    out, _ = complete_run
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path))["train"]
    assert {item["prompt"]: item["vhat"] for item in loaded} == {row["prompt"]: row["vhat"] for row in values(out)}
    assert len(datasets.load_dataset(str(out), "samples", cache_dir=str(tmp_path))["train"]) == len(samples(out))


def test_logprobs_are_those_that_transformers_gives_the_same_tokens(run: Run, reference: Any, tmp_path: Path) -> None:
    import torch

    from spo_data.models.chat import load_chat

    run(tmp_path / "run", limit=3, n=2, logprobs=True)
    chat = load_chat(resolve_model("smollm2-135m"))
    prompts = {row["prompt_id"]: row["messages"] for row in values(tmp_path / "run")}
    for row in samples(tmp_path / "run"):
        (prompt,) = chat.tokenize([[Message(**turn) for turn in prompts[row["prompt_id"]]]])  # type: ignore[index, attr-defined]
        response = torch.tensor(row["token_ids"])
        with torch.no_grad():
            logits = reference(torch.cat([torch.tensor(prompt, dtype=torch.long), response])[None]).logits[0]
        expected = logits[len(prompt) - 1 : -1].log_softmax(-1).gather(1, response[:, None])[:, 0].numpy()
        assert np.abs(np.asarray(row["token_logprobs"]) - expected).mean() < 0.01


REFERENCE_LOADER = """
import json, sys
from datasets import load_dataset
dataset = load_dataset(sys.argv[1])
print(json.dumps({item['prompt']: item['vhat'] for item in dataset['train']}))
"""

COMMAND = [
    *(sys.executable, "-c", "from spo_cli.data_app import main; main()", "estimate"),
    *("--model", "smollm2-135m", "--dataset", DATASET, "--limit", "8", "--max-tokens", str(MAX_TOKENS)),
    *("--max-num-seqs", "8", "--enforce-eager", "--max-model-len", "512", "--dtype", "float32"),
]


def test_the_real_command_ends_cleanly_at_sigterm_and_is_finished_later(run: Run, tmp_path: Path) -> None:
    """Nothing that was sampled before the signal is lost or sampled again."""
    out = tmp_path / "run"
    stopped = subprocess.Popen([*COMMAND, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_samples(out, 10, stopped)
    stopped.send_signal(signal.SIGTERM)
    _, error = stopped.communicate(timeout=120)
    assert stopped.returncode == 128 + signal.SIGTERM
    assert "nothing that was sampled is lost" in error
    assert "Traceback" not in error
    kept = journaled(out)
    assert len(samples(out)) == len(kept) >= 10
    wait_until_gone(stopped.pid, out)
    # Finish the run as the command would, on the session's engine.
    summary = run(out, limit=8, n=8).summary
    assert summary is not None
    assert summary.complete
    check_finished(out, kept)


@pytest.mark.long
@pytest.mark.parametrize("replicas", [1, 2])
def test_the_real_command_loses_nothing_at_sigkill_and_continues(tmp_path: Path, replicas: int) -> None:
    """The command is killed while it samples; the same command finishes the run, on another number of replicas.

    The coordinator of two replicas stayed alive.
    """
    out = tmp_path / "run"
    command = [*COMMAND, "--out", str(out)]
    killed = subprocess.Popen(
        [*command, "--data-parallel-size", str(replicas)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for_samples(out, 10, killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    kept = journaled(out)
    assert 10 <= len(kept) < 8 * 8
    wait_until_gone(killed.pid, out)
    continued = subprocess.run(command, capture_output=True, text=True, check=False)
    assert continued.returncode == 0, continued.stderr
    check_finished(out, kept)
    timings = json.loads((out / "run.json").read_text())["timings"]
    assert sum(timings["sampled_by_runner"].values()) == timings["sampled"] > 0
    assert timings["engine"]["preemptions"] == 0
    assert 0 < timings["engine"]["kv_seconds"] < timings["engine"]["seconds"]


def check_finished(out: Path, kept: dict[tuple[str, int], list[int]]) -> None:
    """Every prompt has its 8 samples, those that were there before the signal unchanged."""
    rows = samples(out)
    by_place = {(row["prompt_id"], row["sample_index"]): row["token_ids"] for row in rows}
    assert len(by_place) == len(rows) == 8 * len(values(out))
    assert all(by_place[place] == token_ids for place, token_ids in kept.items())


def wait_for_samples(out: Path, count: int, process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> dict:  # type: ignore[type-arg]
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        assert process.poll() is None, "the command ended before it was killed"
        found = journaled(out)
        if len(found) >= count:
            return found
        time.sleep(0.2)
    raise AssertionError(f"no {count} samples in 400 s: {(out / 'engine.log').read_text()[-2000:]}")


def journaled(out: Path) -> dict[tuple[str, int], list[int]]:
    if not (out / "journal.sqlite").exists() or not (out / "run.json").exists():
        return {}
    try:
        with journal_of(out) as journal:
            return {(s.prompt_id, s.sample_index): s.token_ids.tolist() for s in journal.samples()}
    except sqlite3.OperationalError:
        return {}


def wait_until_gone(pid: int, out: Path) -> None:
    """The killed command's engine processes must end by themselves, or a GPU would stay full."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        left = [
            entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit() and holds(entry, out / "engine.log")
        ]
        if not left:
            return
        time.sleep(0.5)
    raise AssertionError(f"processes {left} of the dead command {pid} are still there")


def holds(process: Path, log: Path) -> bool:
    try:
        return any(os.readlink(descriptor) == str(log) for descriptor in (process / "fd").iterdir())
    except OSError:
        return False


def test_prompt_ids_join_the_values_to_freshly_generated_problems(complete_run: tuple[Path, EstimateOutcome]) -> None:
    import reasoning_gym

    out, _ = complete_run
    table = {row["prompt_id"]: row["ground_truth"] for row in values(out)}
    problems = reasoning_gym.create_dataset("chain_sum", max_terms=2, max_digits=1, seed=0, size=16)
    suffix = "\nThe answer format must be: \\boxed{'The final answer goes here.'}"
    for problem in problems:
        assert table[prompt_id([Message("user", problem["question"] + suffix)])] == problem["answer"]


def test_a_real_model_writes_programs_that_really_run_and_its_own_tokens_are_its_own(
    run: Run, reference: Any, tmp_path: Path
) -> None:
    import torch

    out, shots = tmp_path / "run", write_shots(tmp_path / "shots.jsonl")
    outcome = run(out, dataset=str(shots), tools=True, logprobs=True, n=8, max_tokens=96)
    assert outcome.summary is not None
    assert outcome.summary.complete
    assert "tool_error" not in outcome.summary.verdicts
    tokenizer, rows = outcome.plan.chat.tokenizer, samples(out)
    assert sum(row["tool_turns"] > 0 for row in rows) >= 8, "too few programs to say anything"  # type: ignore[operator]
    for row in rows:
        mask, ids = np.asarray(row["response_mask"]), np.asarray(row["token_ids"])
        assert len(ids) == len(mask) <= 96
        edges = np.flatnonzero(np.diff(np.concatenate([[1], mask.astype(int), [1]])))
        outputs = [tokenizer.decode(ids[a:b]) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        # The token limit may end a response before its last program's output is appended.
        assert len(outputs) == row["tool_turns"] or (row["finish_reason"], len(outputs) + 1) == (
            "length",
            row["tool_turns"],
        )
        assert all(each.startswith("<interpreter>\n") and each.endswith("\n</interpreter>\n\n") for each in outputs)
        assert tokenizer.decode(ids, skip_special_tokens=True) == row["response"]
    assert max(row["tool_turns"] for row in rows) <= 2  # type: ignore[type-var]

    # Each of the model's own tokens was sampled given all earlier tokens in the table, tool output included.
    ran = next(row for row in rows if not all(row["response_mask"]))  # type: ignore[call-overload]
    prompt, mask = outcome.plan.token_ids[str(ran["prompt_id"])], np.asarray(ran["response_mask"])
    response = torch.tensor(ran["token_ids"])
    with torch.no_grad():
        logits = reference(torch.cat([torch.tensor(prompt, dtype=torch.long), response])[None]).logits[0]
    expected = logits[len(prompt) - 1 : -1].log_softmax(-1).gather(1, response[:, None])[:, 0].numpy()
    given = np.asarray([np.nan if value is None else value for value in ran["token_logprobs"]])  # type: ignore[attr-defined]
    assert (np.isnan(given) == ~mask).all()
    assert np.abs(given[mask] - expected[mask]).mean() < 0.01
