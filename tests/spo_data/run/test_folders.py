"""Where a run goes if no folder is named."""

from pathlib import Path

import pytest

from spo_data.errors import UserError
from spo_data.run.folders import default_folder, find_only_run


@pytest.mark.parametrize(
    ("model", "dataset", "folder"),
    [
        ("Qwen3-8B", "open-r1/DAPO-Math-17k-Processed", "runs/Qwen3-8B-DAPO-Math-17k-Processed"),
        ("Qwen/Qwen3-8B", "open-r1/DAPO-Math-17k-Processed", "runs/Qwen3-8B-DAPO-Math-17k-Processed"),
        ("smollm2-135m", "reasoning-gym:chain_sum?max_terms=2&max_digits=1", "runs/smollm2-135m-chain_sum"),
        ("/models/mine/", "data/train.parquet", "runs/mine-train"),
        ("mine", "data/part-*.jsonl", "runs/mine-part"),
        ("mine", "../v1.5 sets/", "runs/mine-v1.5-sets"),
        ("mine", "*.json", "runs/mine-run"),
    ],
)
def test_a_run_is_named_after_its_model_and_dataset(model: str, dataset: str, folder: str) -> None:
    assert default_folder(model, dataset) == Path(folder)


def test_the_only_run_is_found_and_several_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no run in runs/: name its folder, as in `show RUN`"):
        find_only_run("show {run}")
    for name in ("a", "b c"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
        if name == "a":
            assert find_only_run("show {run}") == Path("runs/a")
    with pytest.raises(UserError, match=r"2 runs in runs/.*`show 'runs/b c'`"):
        find_only_run("show {run}")
