"""The three commands that README begins with, as they are typed there, against a loopback hub.

The hub has stand-ins of what they need: Qwen/Qwen3-8B as a tokenizer and a configuration of its dimensions, the prompts
of open-r1/DAPO-Math-17k-Processed in their layout, and the published values in theirs: `prompt` and `vhat`, nothing
else. The machine pretends to have eight GPUs.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("omegaconf", reason="verl is not installed")

from fake_hub.running import Hub, hub_with_clients
from spo_data.models.embedded import embedded_model
from spo_data.prompts.template import BUILT_IN
from support import command_client
from support.command_client import Ended
from support.qwen_shapes import qwen3_config

pytestmark = pytest.mark.slow

PUBLISHED = "dingzihan737/SPO_Qwen3-8B_DAPO_16k_ReTool_Binary"
OURS = "me/SPO_Qwen3-8B"
PROMPTS = 2048
"""As many as the paper's batch."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root, home = tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("home")
    add_model(root / "models" / "Qwen" / "Qwen3-8B" / "main")
    problems = [f"What is {k} + {k}?" for k in range(PROMPTS)]
    add_prompts(root / "datasets" / "open-r1" / "DAPO-Math-17k-Processed" / "main", problems)
    add_values(root / "datasets" / PUBLISHED / "main", problems)
    with hub_with_clients(root, home, command_client.prepare) as hub:
        hub.ask(command_client.pretend_gpus, 8)
        hub.ask(command_client.script_engine)
        yield hub


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the commands are typed."""
    return tmp_path_factory.mktemp("place")


def add_model(folder: Path) -> None:
    """The tokenizer of the embedded model, and the dimensions of Qwen3-8B. There are no weights."""
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(embedded_model() / name, folder)
    config = qwen3_config("Qwen3-8B").to_dict() | {"architectures": ["Qwen3ForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))


def add_prompts(folder: Path, problems: list[str]) -> None:
    rows = [
        {
            "prompt": problem,
            "solution": str(2 * k),
            "data_source": "math_dapo",
            "source_prompt": [{"role": "user", "content": f"Solve the following math problem. {problem}"}],
            "ability": "MATH",
            "reward_model": {"ground_truth": str(2 * k), "style": "rule-lighteval/MATH_v2"},
            "extra_info": {"index": f"id-{k}"},
        }
        for k, problem in enumerate(problems)
    ]
    (folder / "en").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "en" / "train-00000-of-00001.parquet")
    header = "configs:\n- config_name: en\n  data_files:\n  - split: train\n    path: en/train-*\n"
    (folder / "README.md").write_text(f"---\n{header}---\n")


def add_values(folder: Path, problems: list[str]) -> None:
    """The first user message with its answer instruction, and eight scores."""
    instruction = BUILT_IN["boxed"].removeprefix("{{ prompt }}")
    scores = [[float((k + j) % 3 == 0) for j in range(8)] for k in range(len(problems))]
    table = pa.table({"prompt": [problem + instruction for problem in problems], "vhat": scores})
    (folder / "data").mkdir(parents=True)
    pq.write_table(table, folder / "data" / "train-00000-of-00001.parquet")
    header = "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n"
    (folder / "README.md").write_text(f"---\n{header}---\n")


def spo_data(hub: Hub, place: Path, *words: str) -> Ended:
    return cast(Ended, hub.ask(command_client.spo_data, place, words, {"HF_TOKEN": "hf_writer"}))


def spo_train(hub: Hub, place: Path, *words: str) -> Ended:
    return cast(Ended, hub.ask(command_client.spo_train, place, words, {"HF_TOKEN": "hf_writer"}))


def facts(printed: str) -> dict[str, str]:
    """The rows of a table by their first word, with single spaces."""
    words = [line.split() for line in printed.splitlines()]
    return {first: " ".join(rest) for first, *rest in filter(None, words)}


def test_estimate_needs_only_a_model(hub: Hub, place: Path) -> None:
    """`spo-data estimate --model Qwen3-8B` ended with "Missing option '--dataset'", and then '--out'."""
    done = spo_data(hub, place, "estimate", "--model", "Qwen3-8B", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "open-r1/DAPO-Math-17k-Processed, configuration en (--dataset names others)" in done.stderr
    assert "the run folder is runs/Qwen3-8B-DAPO-Math-17k-Processed (--out names another)" in done.stderr
    said = facts(done.stderr)
    assert said["model"].startswith("Qwen/Qwen3-8B at ")
    assert said["policy"] == "temperature 1, top_p 1, top_k off, template boxed, verifier math-verify"
    assert said["plan"].startswith("2,048 prompts x 8 = 16,384 samples (0 already drawn)")
    assert said["engine"] == (
        "8 x NVIDIA H100 80GB HBM3: 8 replicas of 1 GPU each (--tensor-parallel-size 1); the size of the weights is not"
        " known before they are loaded"
    )
    assert not (place / "runs").exists()


def test_a_size_that_does_not_fit_the_model_ends_before_anything_is_loaded(hub: Hub, place: Path) -> None:
    done = spo_data(hub, place, "estimate", "--model", "Qwen3-8B", "--dry-run", "--tensor-parallel-size", "3")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "error: --tensor-parallel-size 3: 3 does not divide the 32 attention heads of Qwen/Qwen3-8B; use 1, 2, 4 or 8",
    )


def test_the_same_command_continues_and_the_only_run_is_pushed_and_trained(hub: Hub, place: Path) -> None:
    estimate = ("estimate", "--model", "Qwen3-8B", "--limit", "6", "--n", "2")
    first = spo_data(hub, place, *estimate)
    assert "12 of 12 drawn" in first.stdout, first.stderr
    again = spo_data(hub, place, *estimate)
    assert "(12 already drawn)" in again.stderr, again.stderr

    pushed = spo_data(hub, place, "push", OURS)
    assert pushed.returncode == 0, pushed.stderr
    assert f"/datasets/{OURS} (public)" in pushed.stdout

    small = ("--dry-run", "data.train_batch_size=4")
    alone = spo_train(hub, place, *small)
    assert alone.returncode == 0, alone.stderr
    assert "the values are those of runs/Qwen3-8B-DAPO-Math-17k-Processed, the only run in runs/" in alone.stderr
    published = spo_train(hub, place, "--offline-values", OURS, *small)
    assert published.returncode == 0, published.stderr
    for name in ("model", "prompts", "batch", "tokens"):
        assert facts(published.stdout)[name] == facts(alone.stdout)[name]


def test_the_published_values_train_in_the_paper_s_preset(hub: Hub, place: Path) -> None:
    done = spo_train(hub, place, "--offline-values", PUBLISHED, "--dry-run")
    assert done.returncode == 0, done.stderr
    said = facts(done.stdout)
    assert said["coverage"] == "2,048 prompts 2,048 of 2,048 prompts have a value by prompt text"
    assert said["method"] == "spo (spo_sync), preset paper"
    assert said["model"].startswith("Qwen/Qwen3-8B at ")
    assert said["values"].startswith(f"{PUBLISHED} at ")
    assert said["batch"] == "2,048 prompts x 1, 8 updates a step"
    assert said["steps"] == "500"
    assert said["tokens"] == "at most 2,048 per prompt, 16,384 per response"
    assert said["learning"] == "rate 1e-06, clip 0.2 / 0.28"
    assert said["tools"].startswith("python (8 turns")
    assert said["device"] == "8 x NVIDIA H100 80GB HBM3"
    for filled in ("--model Qwen/Qwen3-8B", "--tools python", "--train-files open-r1/DAPO-Math-17k-Processed"):
        assert filled in done.stderr
    assert not (place / "runs" / f"train-{PUBLISHED.partition('/')[2]}-spo").exists()


@pytest.mark.parametrize(
    ("machine", "nodes", "gpus", "gigabytes", "tensor_parallel"),
    [
        ("1 x 80 GB", 1, 1, 80, 1),
        ("1 x 141 GB", 1, 1, 141, 1),
        ("8 x 80 GB", 1, 8, 80, 1),
        ("8 x 80 GB", 1, 8, 80, 2),
        ("8 x 80 GB", 1, 8, 80, 4),
        ("2 x 8 x 80 GB", 2, 8, 80, 4),
    ],
)
def test_a_dry_run_shows_what_the_document_says_of_a_machine(
    hub: Hub, place: Path, machine: str, nodes: int, gpus: int, gigabytes: int, tensor_parallel: int
) -> None:
    """The paper's preset was shown as if it fitted one GPU, and ran out of memory after a whole rollout."""
    document = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (row,) = [line.split(" | ") for line in document.splitlines() if line.startswith(f"| Qwen3-8B | {machine} |")]
    size = f"actor_rollout_ref.rollout.tensor_model_parallel_size={tensor_parallel}"
    hub.ask(command_client.pretend_gpus, gpus, gigabytes)
    try:
        done = spo_train(hub, place, "--offline-values", PUBLISHED, "--dry-run", "--nodes", str(nodes), size)
        told = spo_train(hub, place, "--offline-values", PUBLISHED, "--dry-run", "--nodes", str(nodes), size, "--json")
    finally:
        hub.ask(command_client.pretend_gpus, 8)
    assert done.returncode == 0, done.stderr
    said = facts(done.stdout)
    assert said["memory"].startswith(f"at an update {row[7]} of {gigabytes}.0 GiB a GPU: ")
    assert said["method"] == f"spo (spo_sync), preset {row[2]}"
    assert ("--preset small: 256 responses a step" in done.stderr) is (row[2] == "small")
    memory = json.loads(told.stdout)["memory"]
    assert round(memory["update"]["total"] / 2**30, 1) == float(row[7])
    assert round(max(memory["host"]["loading"], memory["host"]["offloaded"]) / 2**30, 1) == float(row[8])


def test_a_model_that_does_not_fit_is_refused_before_anything_is_loaded(hub: Hub, place: Path) -> None:
    setting = "actor_rollout_ref.actor.fsdp_config.offload_policy=false"
    hub.ask(command_client.pretend_gpus, 2)
    try:
        done = spo_train(hub, place, "--offline-values", PUBLISHED, "--dry-run", setting)
        hub.ask(command_client.pretend_gpus, 1)
        refused = spo_train(hub, place, "--offline-values", PUBLISHED, "--dry-run", setting)
    finally:
        hub.ask(command_client.pretend_gpus, 8)
    assert done.returncode == 0, done.stderr
    assert "note: an update takes 76.3 GiB of a GPU's 80.0 GiB" in done.stderr
    assert refused.returncode == 2
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("error:")]
    assert "an update does not fit: it takes 152.6 of 80.0 GiB a GPU" in line


def test_without_a_gpu_the_published_values_say_what_to_give(hub: Hub, place: Path) -> None:
    """ "give --model" led to a second refusal, which did not name the prompts of the published values."""
    demo = ("--offline-values", PUBLISHED, "--dry-run", "--preset", "demo")
    first = spo_train(hub, place, *demo)
    assert first.returncode == 2
    assert "give --model, or --preset paper, which trains Qwen/Qwen3-8B" in first.stderr
    second = spo_train(hub, place, *demo, "--model", "Qwen3-8B")
    assert second.returncode == 2
    files = ("--train-files", "open-r1/DAPO-Math-17k-Processed", "--dataset-config", "en")
    assert " ".join(files) in second.stderr
    third = spo_train(hub, place, *demo, "--model", "Qwen3-8B", *files)
    assert third.returncode == 0, third.stderr
