"""`spo-train`: what it prints, refuses, writes and resumes, with a scripted child process instead of verl."""

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import Result
from filelock import FileLock

pytest.importorskip("omegaconf", reason="verl is not installed")
from omegaconf import OmegaConf
from typer.testing import CliRunner

import spo_train.data.verl_files
import spo_train.launch.supervise
import spo_train.plan.tool_options
from spo_cli.train_app import app
from spo_data.errors import SpoError
from spo_data.files import folder_lock
from spo_data.formats.load import load_values
from spo_data.grading.verifiers.registry import RULES, verifier_version
from spo_data.models.chat import load_chat
from spo_data.models.names import resolve_model
from spo_data.options import PUBLISHED_PROMPTS, PromptOptions, ToolOptions
from spo_data.prompts.identity import Message, Prompt
from spo_data.prompts.template import TOOL_WORDING
from spo_data.provenance import Completeness, ToolsRecord
from spo_data.values.schema import values_schema
from spo_train.data.verl_files import read_values_file
from spo_train.launch.supervise import LaunchOutcome
from spo_train.plan.assemble import plan_training
from spo_train.plan.folder import write_folder
from spo_train.plan.record import refuse_folder
from spo_train.plan.train_options import TrainOptions
from support import scripted
from support.made_checkpoints import make_checkpoint, mark_latest
from support.made_runs import make_run
from support.moments import call_in_fork, choose_place, passed_places
from support.records import make_manifest

pytestmark = pytest.mark.slow  # each call composes verl's configuration

MODEL = "smollm2-135m"
STEPS = """
import json, sys
from omegaconf import OmegaConf
config = OmegaConf.load(sys.argv[1] + "/config.yaml")
with open(sys.argv[1] + "/metrics.jsonl", "w") as file:
    for step in (1, 2, config.trainer.total_training_steps):
        data = {"spo/reward": min(step, 3) / 4, "spo/baseline": 0.5, "response_length/mean": 40, "timing_s/step": 2}
        file.write(json.dumps({"step": step, "data": data}) + "\\n")
"""
SCRIPT = Path(__file__).parents[2] / "training" / "run_spo.sh"


def ask(number: int) -> Prompt:
    return Prompt((Message("user", f"What is {number} + {number}?"),), str(2 * number), "sums")


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spo_data.models.chat.load_chat", scripted.shared_chat(load_chat))


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Values of 20 prompts that belong to the embedded model."""
    folder = tmp_path_factory.mktemp("values")
    model = resolve_model(MODEL)
    policy = {"model": model.name, "revision": model.revision, "max_tokens": 32, "max_model_len": 8192}
    policy |= {"chat_template": load_chat(model).template_sha256, "template": "none"}
    grader = {"verifier": "exact", "version": verifier_version("exact")}
    provenance = make_manifest(policy=policy, grader=grader).provenance
    run = make_run(folder / "run", {ask(number): (1.0, float(number % 2)) for number in range(20)}, n=2)
    table = load_values(run).table.replace_schema_metadata(values_schema(provenance).metadata)
    pq.write_table(table, folder / "sums.parquet")
    return folder / "sums.parquet"


TOOLS = ToolsRecord(interpreter="python", max_turns=3, seconds=5.0, memory_mb=512, output_chars=300)


@pytest.fixture(scope="module")
def tool_values(values: Path) -> Path:
    """The same values, as if the model had had an interpreter and its prompts had mentioned it."""
    provenance = load_values(values).provenance
    assert provenance is not None
    policy = provenance.policy.model_copy(update={"tools": TOOLS, "template": "retool", "max_tokens": 512})
    table = load_values(values).table.replace_schema_metadata(
        values_schema(provenance.model_copy(update={"policy": policy})).metadata
    )
    pq.write_table(table, values.with_name("with_tools.parquet"))
    return values.with_name("with_tools.parquet")


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[ToolOptions]:
    """The interpreters that were checked; the check itself is replaced, so it needs no sandbox on this machine."""
    found: list[ToolOptions] = []
    monkeypatch.setattr(spo_train.plan.tool_options, "check_interpreter", found.append)
    return found


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Runs a program instead of verl, with the output folder as its argument."""
    launch = spo_train.launch.supervise.launch

    def stand_in(program: str) -> None:
        def launched(out: Path, environment: Any, watcher: Any, last_step: int | None) -> LaunchOutcome:
            command = [sys.executable, "-c", program, str(out)]
            return launch(out, environment, watcher, command, grace=0.5, last_step=last_step)

        monkeypatch.setattr(spo_train.launch.supervise, "launch", launched)

    return stand_in


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Result:
    argv = [str(argument) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["spo-train", *argv])
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, argv)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refusal(result: Result) -> str:
    """The one error line on stderr."""
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith(("counting", "note: "))]
    assert line.startswith("error: ")
    return line


def test_a_dry_run_prints_parity_and_settings_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, values: Path, tmp_path: Path
) -> None:
    result = call(monkeypatch, "--offline-values", values, "--out", tmp_path / "out", "--dry-run", "--gpus-per-node", 1)
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert lines["temperature"].split() == ["temperature", "1", "1"]
    assert "20 of 20 prompts have a value" in lines["coverage"]
    assert "spo (spo_sync), preset demo" in lines["method"]
    assert "16 prompts x 1, 2 updates a step" in lines["batch"]
    assert "at most 64 per prompt, 32 per response" in lines["tokens"]
    assert "rate 1e-05, clip 0.2 / 0.28" in lines["learning"]
    assert "none (--val-files)" in lines["validation"]
    assert "note: no accelerator: verl runs on the CPU" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_json_is_the_plan_and_how_it_ended(
    monkeypatch: pytest.MonkeyPatch, values: Path, tmp_path: Path, child: Callable[[str], None]
) -> None:
    given = ("--offline-values", values, "--out", tmp_path / "out", "--gpus-per-node", 1, "--json")
    refused = call(monkeypatch, *given, "actor_rollout_ref.rollout.temperature=0.6")
    assert refusal_in_json(refused)["parity"]["temperature"] == ("1", "0.6", "differs", False)
    dry = call(monkeypatch, *given, "--dry-run")
    assert dry.exit_code == 0, dry.output
    plan = json.loads(dry.stdout)
    assert (plan["method"], plan["preset"], plan["values"]["source"]) == ("spo", "demo", str(values))
    assert (plan["prompts"], plan["prompts_per_step"], plan["responses_per_prompt"]) == (20, 16, 1)
    assert (plan["max_response_tokens"], plan["clip"], plan["outcome"]) == (32, [0.2, 0.28], None)
    assert (plan["out"], plan["checkpoints"]) == (str(tmp_path / "out"), f"{tmp_path}/out/checkpoints")
    assert not (tmp_path / "out").exists()
    child(STEPS + "raise RuntimeError('a worker died')")
    failed = json.loads(call(monkeypatch, *given).stdout)
    assert {**plan, "outcome": failed["outcome"]} == failed
    assert failed["outcome"] == {
        "status": 1,
        "cause": "RuntimeError: a worker died",
        "signal": None,
        "steps": 20,
        "checkpoint": None,
        "log": f"{tmp_path}/out/verl.log",
        "metrics": f"{tmp_path}/out/metrics.jsonl",
    }


def refusal_in_json(result: Result) -> dict[str, Any]:
    """The plan on stdout, with its parity by field, after one error line on stderr."""
    assert result.exit_code == 2, result.output
    assert result.stderr.splitlines()[-1].startswith("error: ")
    plan = json.loads(result.stdout)
    plan["parity"] = {
        row["field"]: (row["values"], row["rollout"], row["status"], row["allowed"]) for row in plan["parity"]
    }
    return plan


def test_an_override_of_the_rollout_is_seen_by_the_parity_check(monkeypatch: pytest.MonkeyPatch, values: Path) -> None:
    given = ("--offline-values", values, "--dry-run", "actor_rollout_ref.rollout.temperature=0.6")
    result = call(monkeypatch, *given)
    said = refusal(result)
    assert "temperature (values: 1; training: 0.6;" in said
    assert "to train anyway: --allow-mismatch temperature" in said
    allowed = call(monkeypatch, *given, "--allow-mismatch", "temperature")
    assert allowed.exit_code == 0
    assert "allowed" in next(line for line in allowed.stdout.splitlines() if line.startswith("temperature"))
    tokens = refusal(call(monkeypatch, "--offline-values", values, "--dry-run", "data.max_response_length=16"))
    assert "max_tokens (values: 32; training: 16;" in tokens
    assert call(monkeypatch, *given, "--method", "grpo").exit_code == 0, "GRPO has no baseline"


def test_the_address_of_a_cluster_that_has_ended_is_refused(monkeypatch: pytest.MonkeyPatch, values: Path) -> None:
    """Ray tried for minutes to reach it, and said nothing meanwhile."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    said = refusal(call(monkeypatch, "--offline-values", values, "--dry-run"))
    assert said.startswith("error: RAY_ADDRESS is 127.0.0.1:1, where no Ray cluster answers (")


def test_the_values_of_an_unfinished_run_are_refused_until_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch, values: Path, tmp_path: Path
) -> None:
    """They were taken silently: the prompts that finished first are those with short, often right responses."""
    unfinished = Completeness(prompts=80, unfinished=60, without_value=0)
    schema = values_schema(load_values(values).provenance, unfinished)
    pq.write_table(load_values(values).table.replace_schema_metadata(schema.metadata), tmp_path / "sums.parquet")
    given = ("--offline-values", tmp_path / "sums.parquet", "--dry-run")
    said = refusal(call(monkeypatch, *given))
    assert "values are missing: complete (values: 20 of 80 prompts finished, 60 unfinished; training: every" in said
    assert "the values of the finished run); to train anyway: --allow-mismatch complete" in said
    allowed = call(monkeypatch, *given, "--allow-mismatch", "complete")
    assert allowed.exit_code == 0
    assert "allowed" in next(line for line in allowed.stdout.splitlines() if line.startswith("complete"))
    assert call(monkeypatch, *given, "--method", "grpo").exit_code == 0, "GRPO has no baseline"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("data.train_batch_size",), "data.train_batch_size: not a setting; write key=value"),
        (("data.train_bach_size=8",), "did you mean data.train_batch_size"),
        (("data.train_batch_size=100",), "100 is more than the 20 training prompts: data.train_batch_size=20 fits"),
        (("actor_rollout_ref.model.path=x",), "actor_rollout_ref.model.path=x: use --model"),
        (("data.train_files=[x]",), "data.train_files=[x]: use --train-files"),
        (("+data.apply_chat_template_kwargs.enable_thinking=false",), "use --chat-template-kwargs"),
        (("trainer.n_gpus_per_node=8",), "use --gpus-per-node"),
        (("trainer.save_freq=null",), "trainer.save_freq=null: wanted a whole number"),
        (("actor_rollout_ref.rollout.temperature=null",), "temperature=null: wanted a number"),
        (("trainer.device=cuda",), "this machine has no accelerator: trainer.device=cpu"),
        (("trainer.val_before_train=true",), "there are no validation prompts; give --val-files"),
        (("--nodes", "0"), "--nodes 0: must be at least 1"),
        (("--gpus-per-node", "0"), "--gpus-per-node 0: must be at least 1"),
        (("--allow-mismatch", "temprature"), "did you mean temperature?"),
        (("--chat-template-kwargs", "{"), "--chat-template-kwargs {: not JSON"),
        (("--verifier", "mathverify"), "--verifier mathverify: choose one of"),
        (("--model", "smolm2-135m"), "did you mean smollm2-135m"),
        (("--revision", "main"), "is local: --revision main does not apply"),
        (("--resume",), "has no training run to resume: the command without --resume starts one"),
        (("--train-files", "absent.parquet"), "absent.parquet: no such file"),
        (("--split", "test"), "--dataset-config, --split and the columns say how to read --train-files"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, values: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    out = tmp_path / "out"
    said = refusal(call(monkeypatch, "--offline-values", values, "--out", out, *arguments))
    assert says in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "no run in runs/: name its folder, as in `spo-train --offline-values RUN`"),
        (("--method", "grpo"), "--method grpo needs --offline-values, or --train-files and --model"),
        (("--offline-values", "absent.json"), "absent.json: no such file or folder"),
    ],
)
def test_a_training_starts_from_something(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in refusal(call(monkeypatch, "--out", "runs/nowhere", *arguments))


@pytest.mark.parametrize(
    ("misspelt", "right"), [("--offline-vlues", "--offline-values"), ("--gpu-per-node", "--gpus-per-node")]
)
def test_a_misspelt_option_is_refused_with_the_right_one(
    monkeypatch: pytest.MonkeyPatch, misspelt: str, right: str
) -> None:
    result = call(monkeypatch, misspelt, "x")
    assert result.exit_code == 2
    assert f"No such option: {misspelt}" in result.stderr
    assert right in result.stderr


def test_a_training_writes_its_folder_and_reports_its_steps(
    monkeypatch: pytest.MonkeyPatch, values: Path, tmp_path: Path, child: Callable[[str], None]
) -> None:
    out = tmp_path / "out"
    child(STEPS + "print('verl was here')")
    result = call(monkeypatch, "--offline-values", values, "--out", out, "--val-files", values_as_rows(tmp_path))
    assert result.exit_code == 0, result.output
    assert f"logs      {out}/verl.log, {out}/metrics.jsonl" in result.stderr
    assert "step 1/20 · reward 0.250 · baseline 0.500 · 2.0 s · 38 s left · 40 tokens" in result.stderr
    assert "last      step 20 of 20: reward 0.750" in result.stderr
    assert "verl was here" not in result.output
    assert (out / "verl.log").read_text() == "verl was here\n"
    config = OmegaConf.load(out / "config.yaml")
    assert config.data.train_files == [f"{out}/train.parquet"]
    assert config.trainer.resume_mode == "disable"
    assert Path(config.actor_rollout_ref.model.path).is_dir()
    assert len(pq.read_table(out / "train.parquet")) == 20
    assert len(pq.read_table(out / "val.parquet")) == 2
    assert list(read_values_file(out / "values.parquet").counts) == [2] * 20
    (loop,) = yaml.safe_load((out / "agent_loop.yaml").read_text())
    assert loop == {
        "name": "spo_agent",
        "_target_": "spo_train.hooks.agent_loop.SPOAgentLoop",
        "stop": [],
        "template_kwargs": {},
        "seed": 0,
    }
    record = json.loads((out / "run_train.json").read_text())
    assert record["values"]["provenance"]["policy"]["model"] == MODEL
    assert (record["method"], record["model"], record["prompts"]) == ("spo", MODEL, 20)
    assert record["commands"][0].startswith("spo-train --offline-values")
    assert {"verl", "ray", "spo-data"} <= record["packages"].keys()


def test_a_training_renders_with_the_chat_template_of_its_values(
    monkeypatch: pytest.MonkeyPatch, values: Path, tmp_path: Path, child: Callable[[str], None]
) -> None:
    """The template's file may be on another machine: its text is in the values."""
    text = "{% for m in messages %}\n<{{ m.role }}>{{ m.content }}\n\n{% endfor %}<you>  "
    provenance = load_values(values).provenance
    assert provenance is not None
    own = load_chat(resolve_model(MODEL), template=text)
    policy = provenance.policy.model_copy(
        update={"chat_template": own.template_sha256, "chat_template_text": text, "system": None}
    )
    metadata = values_schema(provenance.model_copy(update={"policy": policy})).metadata
    given = tmp_path / "given.parquet"
    pq.write_table(load_values(values).table.replace_schema_metadata(metadata), given)
    child(STEPS)
    result = call(monkeypatch, "--offline-values", given, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    config = OmegaConf.load(tmp_path / "out" / "config.yaml")
    OmegaConf.resolve(config)
    assert config.actor_rollout_ref.model.custom_chat_template == text
    (tmp_path / "other.jinja").write_text(text + "!")
    said = refusal(call(monkeypatch, "--offline-values", given, "--chat-template", tmp_path / "other.jinja"))
    assert "chat_template (values: " in said
    assert "to make them equal: no --chat-template); to train anyway: --allow-mismatch chat_template" in said
    (tmp_path / "other.jinja").write_text("{{ messages[0].content }} ${x}")
    said = refusal(call(monkeypatch, "--offline-values", given, "--chat-template", tmp_path / "other.jinja"))
    assert said == "error: --chat-template: verl's configuration cannot hold ${ in a template; write {{ '$' }} for $"
    said = refusal(call(monkeypatch, "--offline-values", given, "actor_rollout_ref.model.custom_chat_template=x"))
    assert said.endswith("use --chat-template")


def test_a_training_has_the_tools_of_its_values(
    monkeypatch: pytest.MonkeyPatch,
    values: Path,
    tool_values: Path,
    tmp_path: Path,
    child: Callable[[str], None],
    checked: list[ToolOptions],
) -> None:
    child(STEPS)
    out = tmp_path / "out"
    result = call(monkeypatch, "--offline-values", tool_values, "--out", out, "--sandbox", "http://localhost:8080")
    assert result.exit_code == 0, result.output
    tools = next(line for line in result.stdout.splitlines() if line.startswith("tools"))
    assert tools.count("python (3 turns, 5 s, 512 MB, 300 characters)") == 2
    asked = ToolOptions("python", 3, 5.0, 512, 300, "http://localhost:8080")
    assert checked == [asked]
    (loop,) = yaml.safe_load((out / "agent_loop.yaml").read_text())
    assert loop["interpreter"] == TOOLS.model_dump()
    assert (loop["sandbox"], loop["sandbox_unsafe"], loop["template"]) == ("http://localhost:8080", False, "retool")
    assert loop["workers"] >= 1
    record = json.loads((out / "run_train.json").read_text())
    assert (record["tools"], record["wording"]) == (TOOLS.model_dump(), "retool")
    longest = [
        plan_training(TrainOptions(offline_values=str(each), out=tmp_path / "x")).choice.longest_prompt
        for each in (values, tool_values)
    ]
    assert longest[1] > longest[0] + 100, "the wording is part of what the model reads"
    again = ("--offline-values", tool_values, "--out", out, "--resume", "--max-tool-turns", 2)
    said = refusal(call(monkeypatch, *again, "--allow-mismatch", "tools"))
    assert "tools (there: python (3 turns, 5 s, 512 MB, 300 characters); now: python (2 turns" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--tools", "none"), "to make them equal: --tools python); to train anyway: --allow-mismatch tools"),
        (("--max-tool-turns", "4"), "to make them equal: --max-tool-turns 3)"),
        (("--tools", "none", "--allow-mismatch", "tools"), "--template retool tells the model of an interpreter"),
        (("--tools", "none", "--tool-seconds", "4"), "--tool-seconds: responses have no interpreter"),
        (
            ("actor_rollout_ref.rollout.multi_turn.enable=true",),
            "spo-train uses no tools of verl; --tools python gives the model Python",
        ),
    ],
)
def test_other_tools_than_the_values_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    tool_values: Path,
    checked: list[ToolOptions],
    arguments: tuple[str, ...],
    says: str,
) -> None:
    given = ("--offline-values", tool_values, "--out", "runs/nowhere", "--dry-run")
    assert says in refusal(call(monkeypatch, *given, *arguments))
    assert not checked, "no sandbox is looked for in vain"


def test_tools_for_values_without_them_are_told_of_where_the_template_says_so(
    monkeypatch: pytest.MonkeyPatch, values: Path, checked: list[ToolOptions]
) -> None:
    given = ("--offline-values", values, "--out", "runs/nowhere", "--dry-run", "--tools", "python")
    assert "to make them equal: --tools none)" in refusal(call(monkeypatch, *given))
    result = call(monkeypatch, *given, "--allow-mismatch", "tools")
    assert result.exit_code == 0, result.output
    assert "the prompt does not tell the model about its interpreter: use --template retool" in result.stderr
    assert "python (8 turns, 30 s, 1,024 MB, 2,000 characters), run by local" in result.stdout
    assert checked == [ToolOptions("python")]


def test_problems_without_a_template_are_told_of_tools_as_in_an_estimate(tmp_path: Path) -> None:
    """If the values name no template, the default is `retool` with tools and `boxed` without."""
    (tmp_path / "v.json").write_text(json.dumps({f"What is {n} + {n}?": [1.0, 0.0] for n in range(16)}))
    rows = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(16)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = PromptOptions(dataset=str(tmp_path / "t.jsonl"))
    options = TrainOptions(str(tmp_path / "v.json"), model=MODEL, train=files, out=tmp_path / "out")
    plain, told = plan_training(options), plan_training(replace(options, tools="python"))
    assert (plain.data.template, told.data.template) == ("boxed", "retool")
    assert plain.data.prompt_ids == told.data.prompt_ids
    assert (plain.chat.wording, told.chat.wording) == (None, TOOL_WORDING)
    assert not any("no prompt tells" in note for note in told.notes)


def test_a_sandbox_that_is_not_there_is_found_before_verl_starts(
    monkeypatch: pytest.MonkeyPatch, tool_values: Path
) -> None:
    """Without this check every response would fail, minutes after the start."""
    given = ("--offline-values", tool_values, "--out", "runs/nowhere", "--dry-run")
    assert "http://127.0.0.1:9" in refusal(call(monkeypatch, *given, "--sandbox", "http://127.0.0.1:9"))


def values_as_rows(tmp_path: Path) -> Path:
    path = tmp_path / "val.jsonl"
    path.write_text("".join(json.dumps({"question": f"{n} + 1?", "answer": str(n + 1)}) + "\n" for n in range(2)))
    return path


def test_a_failure_ends_with_its_cause(
    monkeypatch: pytest.MonkeyPatch, values: Path, tmp_path: Path, child: Callable[[str], None]
) -> None:
    out = tmp_path / "out"
    child("def run():\n    raise RuntimeError('a worker died')\nrun()")
    result = call(monkeypatch, "--offline-values", values, "--out", out)
    assert result.exit_code == 1
    again, last = result.stderr.splitlines()[-2:]
    assert again.endswith(f"spo-train --offline-values {values} --out {out} --resume")
    assert last == f"error: RuntimeError: a worker died (full log: {out}/verl.log)"


def test_a_signal_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, values: Path, tmp_path: Path, child: Callable[[str], None]
) -> None:
    child("import os, signal, time\nos.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(600)")
    result = call(monkeypatch, "--offline-values", values, "--out", tmp_path / "out")
    assert result.exit_code == 128 + 15
    last = result.stderr.splitlines()[-1]
    assert last.startswith("interrupted: all processes have ended; to continue from the last checkpoint: ")


def test_a_training_is_resumed_as_itself_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, values: Path, tmp_path: Path, child: Callable[[str], None]
) -> None:
    out = tmp_path / "out"
    given = ("--offline-values", values, "--out", out)
    child(STEPS)
    assert call(monkeypatch, *given).exit_code == 0
    assert call(monkeypatch, *given).exit_code == 0, "nothing is lost: there is no checkpoint"
    save_checkpoint(out, 10)
    said = refusal(call(monkeypatch, *given))
    assert said.endswith(
        f"has a training run, at step 10; to continue it: spo-train --offline-values {values} --out {out} --resume"
    )
    fewer = pq.read_table(values).slice(0, 18)
    pq.write_table(fewer, tmp_path / "fewer.parquet")
    assert "method (there: spo; now: grpo)" in refusal(call(monkeypatch, *given, "--resume", "--method", "grpo"))
    changed = refusal(call(monkeypatch, "--offline-values", tmp_path / "fewer.parquet", "--out", out, "--resume"))
    assert "prompts (there: 20, " in changed
    assert "start a new one with another --out" in changed
    dapo = ("--resume", "--verifier", "dapo", "--allow-mismatch", "verifier")
    assert "verifier (there: exact" in refusal(call(monkeypatch, *given, *dapo))
    lines = call(monkeypatch, *given, "--resume", "--dry-run").stdout.splitlines()
    assert any(f"continues from step 10 of 20 ({out}/checkpoints/global_step_10)" in line for line in lines)
    assert not [line for line in lines if line.startswith("changed")]
    rates = ("actor_rollout_ref.actor.optim.lr=3e-6", "trainer.spo.rho_max=0.9")
    resumed = call(monkeypatch, *given, "--resume", *rates)
    assert resumed.exit_code == 0
    _, _, after = resumed.stdout.partition("changed")
    shown = {line.strip() for line in after.splitlines()[:2]}
    assert shown == {"actor_rollout_ref.actor.optim.lr: 1e-05 → 3e-06", "trainer.spo.rho_max: 0.96 → 0.9"}
    config = OmegaConf.load(out / "config.yaml")
    assert config.trainer.resume_mode == "auto"
    assert len(json.loads((out / "run_train.json").read_text())["commands"]) == 2
    assert (out / "metrics.2.jsonl").exists(), "the metrics of the calls before are kept"


def save_checkpoint(out: Path, step: int) -> None:
    """Leave a checkpoint of the training run as verl would have."""
    make_checkpoint(out / "checkpoints", step, read_values_file(out / "values.parquet").prompt_ids)
    mark_latest(out / "checkpoints", step)


def test_what_a_training_run_continues_from_is_looked_at_first(
    monkeypatch: pytest.MonkeyPatch, values: Path, tmp_path: Path, child: Callable[[str], None]
) -> None:
    """It trained from step 1 if the checkpoint was missing, and ended with status 0 if it had finished."""
    out = tmp_path / "out"
    given = ("--offline-values", values, "--out", out, "--gpus-per-node", 1)
    child(STEPS)
    dry = call(monkeypatch, *given, "--dry-run")
    assert "every 10 steps, the newest 2 kept: at most 3.2 GB (2 x 1.6 GB)" in dry.stdout
    assert call(monkeypatch, *given).exit_code == 0
    save_checkpoint(out, 10)
    shutil.rmtree(out / "checkpoints" / "global_step_10" / "actor")
    assert "names 10, but global_step_10 has no weights in actor/" in refusal(call(monkeypatch, *given, "--resume"))
    assert "resume_mode=disable: --resume" in refusal(
        call(monkeypatch, *given, "--resume", "trainer.resume_mode=disable")
    )
    save_checkpoint(out, 20)
    said = refusal(call(monkeypatch, *given, "--resume"))
    assert "the training run has finished: its checkpoint is at step 20 of 20; to train longer: " in said
    program, *command = shlex.split(said.rpartition("longer: ")[2])
    assert (program, command[-1]) == ("spo-train", "trainer.total_training_steps=40")
    plan = json.loads(call(monkeypatch, *command, "--dry-run", "--json").stdout)
    assert (plan["continues_from"], plan["checkpoints_kept"]) == (20, 2)
    assert plan["checkpoint_disk_bytes"] == 2 * plan["checkpoint_bytes"]
    other = ("--offline-values", values, "--out", tmp_path / "new", f"trainer.default_local_dir={out}/checkpoints")
    assert "has another training run, at step 20: choose another folder" in refusal(call(monkeypatch, *other))


def test_a_training_run_that_ends_early_has_failed(
    monkeypatch: pytest.MonkeyPatch, values: Path, tmp_path: Path, child: Callable[[str], None]
) -> None:
    given = ("--offline-values", values, "--out", tmp_path / "out")
    child("")
    ended = call(monkeypatch, *given)
    assert ended.exit_code == 1
    assert "error: training ended without an error after step 0 of 20 (full log: " in ended.stderr
    epochs = ("trainer.total_epochs=3", "trainer.total_training_steps=5")
    assert "trainer.total_epochs=3 ends training after 3 steps" in refusal(call(monkeypatch, *given, *epochs))


def test_a_training_run_from_before_an_upgrade_is_resumed_with_the_command_that_is_printed(
    monkeypatch: pytest.MonkeyPatch, values: Path, tmp_path: Path, child: Callable[[str], None]
) -> None:
    """Its values are from before the upgrade too, but grading them again would make it another training run."""
    provenance = load_values(values).provenance
    assert provenance is not None
    grader = provenance.grader.model_copy(update={"version": "rules 1"})
    metadata = values_schema(provenance.model_copy(update={"grader": grader})).metadata
    pq.write_table(load_values(values).table.replace_schema_metadata(metadata), tmp_path / "old.parquet")
    out = tmp_path / "out"
    given = ("--offline-values", tmp_path / "old.parquet", "--out", out)
    child(STEPS)
    assert call(monkeypatch, *given, "--allow-mismatch", "verifier").exit_code == 0
    save_checkpoint(out, 10)
    record = json.loads((out / "run_train.json").read_text())
    (out / "run_train.json").write_text(json.dumps(record | {"verifier_version": "rules 1", "allowed_mismatches": []}))
    said = refusal(call(monkeypatch, *given, "--resume"))
    assert f"began with another version of the verifier (there: exact (rules 1); now: exact (rules {RULES}))" in said
    program, *command = shlex.split(said.rpartition(": ")[2])
    assert program == "spo-train"
    assert call(monkeypatch, *command).exit_code == 0
    assert json.loads((out / "run_train.json").read_text())["verifier_version"] == f"rules {RULES}"


def test_a_folder_that_is_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch, values: Path, tmp_path: Path, child: Callable[[str], None]
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run_train.json").write_text("{}")
    given = ("--offline-values", values, "--out")
    assert "file is a file" in refusal(call(monkeypatch, *given, tmp_path / "file"))
    assert "neither a training run nor empty" in refusal(call(monkeypatch, *given, tmp_path / "mine"))
    assert "is not the record of a training run: method: Field required" in refusal(
        call(monkeypatch, *given, tmp_path / "broken")
    )
    child(STEPS)
    (tmp_path / "busy").mkdir()
    monkeypatch.setattr("spo_data.files.LOCK_SECONDS", 0)
    with FileLock(tmp_path / "busy" / ".lock"):
        assert "another spo-train is writing to" in refusal(call(monkeypatch, *given, tmp_path / "busy"))


def test_a_failed_download_leaves_nothing(monkeypatch: pytest.MonkeyPatch, values: Path, tmp_path: Path) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("the network is gone")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    plan = plan_training(TrainOptions(offline_values=str(values), out=tmp_path / "out"))
    plan = replace(plan, model=replace(plan.model, path="org/on-the-hub"))
    with folder_lock(plan.out, "spo-train"), pytest.raises((ConnectionError, SpoError)):
        write_folder(plan)
    assert {path.name for path in plan.out.iterdir()} <= {".lock"}


def test_a_preparation_killed_at_random_moments_is_taken_for_a_training_run_and_made_again_whole(
    values: Path, tmp_path: Path
) -> None:
    plan = plan_training(TrainOptions(offline_values=str(values), out=tmp_path / "out"))

    def prepare() -> None:
        with folder_lock(plan.out, "spo-train"):
            write_folder(plan)

    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in plan.out.iterdir()}

    prepare()
    whole = contents()
    shutil.rmtree(plan.out)
    chance, places, kills = random.Random(0), passed_places(prepare), 0
    assert contents() == whole
    for _ in range(5):
        shutil.rmtree(plan.out)
        for _ in range(chance.randint(1, 3)):
            kills += call_in_fork(choose_place(places, chance), prepare) == -9
            refuse_folder(plan.out, plan.checkpoints, resume=False, again="")
        prepare()
        assert contents() == whole
    assert kills >= 5


def test_a_folder_that_was_left_half_written_is_started_again(
    monkeypatch: pytest.MonkeyPatch, values: Path, tmp_path: Path, child: Callable[[str], None]
) -> None:
    child(STEPS)
    given = ("--offline-values", values, "--out", tmp_path / "out")
    with monkeypatch.context() as broken:

        def full(*_: Any) -> None:
            (tmp_path / "out" / "train.parquet").write_bytes(b"")
            raise SpoError("the disk is full")

        broken.setattr(spo_train.data.verl_files, "write_training_data", full)
        assert call(broken, *given).exit_code != 0
    assert call(monkeypatch, *given).exit_code == 0
    assert len(pq.read_table(tmp_path / "out" / "train.parquet")) == 20


def test_values_of_another_maker_are_joined_by_their_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text(json.dumps({f"What is {n} + {n}?": [1.0, 0.0] for n in range(16)}))
    rows = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(16)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ("--offline-values", tmp_path / "v.json", "--dry-run")
    assert "has no ground truths to train on" in refusal(call(monkeypatch, *given, "--model", MODEL))
    files = ("--train-files", tmp_path / "t.jsonl", "--template", "none")
    assert "does not name the model of its values: give --model" in refusal(call(monkeypatch, *given, *files))
    result = call(monkeypatch, *given, *files, "--model", MODEL)
    assert result.exit_code == 0, result.output
    assert "16 of 16 prompts have a value by prompt text" in result.stdout
    assert "the values do not record the policy they belong to" in result.stderr


def test_other_methods_need_no_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = ("--method", "grpo", "--model", MODEL, "--train-files", values_as_rows(tmp_path), "--dry-run")
    result = call(monkeypatch, *given)
    assert result.exit_code == 0, result.output
    assert "2 prompts x 8, 2 updates a step" in result.stdout
    assert "runs/train-val-grpo" in result.stdout
    assert "temperature" not in result.stdout


def script(environment: dict[str, str], *arguments: str, program: str = "echo") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(SCRIPT), *arguments],
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "SPO_TRAIN": program, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "command"),
    [
        ({"SPO_OFFLINE_VALUES": "v.json"}, "--method spo --offline-values v.json"),
        ({"SPO_ENABLE": "False", "MODEL_PATH": "m"}, "--method grpo --model m"),
        ({"METHOD": "GRPO", "N_TRAIN": "16"}, "--method grpo actor_rollout_ref.rollout.n=16"),
        ({"METHOD": "SPO", "N_TRAIN": "16"}, "--method spo"),
        (
            {"OUTPUT_DIR": "o", "EXP_NAME": "e", "TRAIN_DATA_DIR": "d", "OFFLINE_VALUES": "v"},
            "--method spo --offline-values v --train-files d --out o/spo/e",
        ),
        (
            {"RESPONSE_LENGTH": "8192", "N_VAL": "4", "VAL_BEFORE_TRAIN": "True"},
            "--method spo data.max_response_length=8192 actor_rollout_ref.rollout.val_kwargs.n=4"
            " trainer.val_before_train=True",
        ),
    ],
)
def test_the_recipe_s_environment_variables(environment: dict[str, str], command: str) -> None:
    done = script(environment, "--dry-run", "a=b c")
    assert done.stdout.strip() == f"{command} --dry-run a=b c"


def test_an_unknown_method_of_the_recipe_is_refused() -> None:
    done = script({"METHOD": "PPO"})
    assert (done.returncode, done.stderr) == (2, "error: METHOD=PPO: must be SPO or GRPO\n")


def test_the_recipe_s_script_starts_spo_train(values: Path, tmp_path: Path) -> None:
    environment = {"SPO_OFFLINE_VALUES": str(values), "MODEL_PATH": MODEL, "OUTPUT_DIR": str(tmp_path), "EXP_NAME": "e"}
    program = str(Path(sys.executable).with_name("spo-train"))
    done = script(environment, "--dry-run", "data.train_batch_size=8", program=program)
    assert done.returncode == 0, done.stderr
    assert "8 prompts x 1" in done.stdout
    assert f"{tmp_path}/spo/e" in done.stdout


def test_published_values_stand_for_the_papers_model_interpreter_and_prompts(tmp_path: Path) -> None:
    """`spo-train --offline-values ORG/NAME` with the published prompt/vhat table, which names no model or tools."""
    from spo_train.plan.train_options import TrainOptions, of_the_paper

    file = tmp_path / "published.parquet"
    pq.write_table(pa.table({"prompt": ["What is 1 + 1?"], "vhat": [[1.0, 0.0]]}), file)
    notes: list[str] = []
    options = of_the_paper(TrainOptions(offline_values=str(file)), load_values(str(file)), notes.append)
    assert options.model == "Qwen/Qwen3-8B"
    assert options.tools == "python"
    assert options.train == PUBLISHED_PROMPTS
    assert len(notes) == 3
    asked = TrainOptions(offline_values=str(file), model="mine", train=PromptOptions(dataset="mine.jsonl"))
    assert of_the_paper(asked, load_values(str(file)), notes.append) == asked
    assert len(notes) == 3
