"""What `estimate --dry-run` prints about the GPUs of pretended machines, which docs/gpus.md shows as a table."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from spo_cli.terminal.progress import EstimateDisplay
from spo_data import UserError
from spo_data.engines.accelerators import Accelerators
from spo_data.grading.verdict import Grade
from spo_data.grading.workers.job import GradeJob
from spo_data.models.embedded import embedded_model
from spo_pipelines import sampling_plan
from spo_pipelines.prompt_source import read_prompts
from spo_pipelines.sampling_plan import SamplingPlan, plan_sampling
from support import scripted

PAGE = Path(__file__).parents[2] / "docs" / "gpus.md"
MACHINES = [(1, 80), (1, 141), (8, 80)]
SIZES = [1, 2, 4]
NAMES = {80: "NVIDIA H100 80GB HBM3", 141: "NVIDIA H200"}


@pytest.fixture(scope="module")
def qwen3_8b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of Qwen3-8B, the index and a part of its weights, with the embedded model's tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "Qwen3-8B"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(embedded_model() / name, folder)
    config = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "max_position_embeddings": 40960}
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8, "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps({**config, **heads}))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 16_381_470_720}}))
    save_file({"norm": torch.zeros(4, dtype=torch.bfloat16)}, folder / "model-00001-of-00005.safetensors")
    return folder


class Pool:
    """Trusts every ground truth."""

    async def grade(self, job: GradeJob) -> Grade:
        return Grade.scored(1.0, job.ground_truth)


def planned(asked: Any) -> SamplingPlan:
    pool: Any = Pool()
    return asyncio.run(plan_sampling(asked, read_prompts(asked.prompts, asked.grader.verifier), pool))


def pretend(patch: pytest.MonkeyPatch, count: int, gigabytes: int) -> None:
    machine = Accelerators(False, NAMES[gigabytes], count, gigabytes << 30)
    patch.setattr(sampling_plan, "find_accelerators", lambda: machine)


def test_the_table_is_what_is_printed(
    qwen3_8b: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for count, gigabytes in MACHINES:
        pretend(monkeypatch, count, gigabytes)
        for size in SIZES:
            asked = scripted.options(
                dataset, tmp_path / "run", model=qwen3_8b, limit=1, template="none", tensor_parallel_size=size
            )
            try:
                with EstimateDisplay() as display:
                    display.on_plan(planned(asked), 0)
                lines = capfd.readouterr().err.splitlines()
                printed = next(line.removeprefix("engine").strip() for line in lines if line.startswith("engine "))
            except UserError as error:
                printed = f"error: {error}"
            rows.append(f"| {count} x {gigabytes} GB | {size} | {printed.replace(str(qwen3_8b), 'Qwen/Qwen3-8B')} |")
    assert [line for line in PAGE.read_text(encoding="utf-8").splitlines() if " GB | " in line] == rows


def test_the_replicas_are_in_the_json_and_not_in_the_policy(
    qwen3_8b: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run may have other GPUs."""
    asked = scripted.options(dataset, tmp_path / "run", model=qwen3_8b, limit=1, template="none")
    alone = planned(asked)
    pretend(monkeypatch, 8, 80)
    plan = planned(asked)
    engine = plan.as_dict()["engine"]
    assert (engine["replicas"], engine["devices"], engine["idle"]) == (8, 8, [])
    assert (alone.replicas.count, alone.manifest.policy) == (1, plan.manifest.policy)


def test_the_engine_gets_the_replicas_of_the_plan(
    qwen3_8b: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spo_pipelines import estimate as module

    given = {}
    monkeypatch.setattr(module, "start_vllm", lambda *options, **_: given.update(options=options[2]))
    pretend(monkeypatch, 8, 80)
    asked = scripted.options(
        dataset, tmp_path / "run", model=qwen3_8b, limit=1, template="none", tensor_parallel_size=2
    )
    module.start_vllm_for(planned(asked))
    assert given["options"].data_parallel_size == 4
    assert asked.engine.data_parallel_size is None
