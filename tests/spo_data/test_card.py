"""The dataset card of a run folder."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from records import GRADER, make_manifest

from spo_data.card import write_card
from spo_data.grading.verdict import Verdict
from spo_data.journal import Journal
from spo_data.manifest import GraderRecord, Manifest
from spo_data.prompt import Message, Prompt
from spo_data.sample import Sample
from spo_data.summary import Summary, summarize


def summary_of(folder: Path, manifest: Manifest, drawn: list[tuple[Verdict, float | None]]) -> Summary:
    prompt = Prompt((Message("user", "?"),), "4", "d")
    with Journal(folder / "journal.sqlite", GRADER) as journal:
        journal.set_prompts([prompt], [])
        for index, (verdict, score) in enumerate(drawn):
            ids = np.zeros(1, dtype=np.int32)
            journal.add(Sample(prompt.prompt_id, index, 0, "r", ids, "stop", None, verdict, score))
        journal.commit()
        return summarize(journal, manifest)


def card_manifest(model: str = "org/model", source: str = "org/data") -> Manifest:
    return make_manifest(
        policy={"model": model, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "max_tokens": 16384},
        dataset={"source": source},
        grader=GraderRecord(verifier="math-verify", version="math-verify 0.9.0 rules 1"),
    )


def card(
    folder: Path, drawn: list[tuple[Verdict, float | None]], model: str = "org/model", source: str = "org/data"
) -> str:
    manifest = card_manifest(model, source)
    write_card(folder, manifest, summary_of(folder, manifest, drawn))
    return (folder / "README.md").read_text(encoding="utf-8")


def test_the_card_configures_both_tables_and_values_is_the_default(tmp_path: Path) -> None:
    _, header, _ = card(tmp_path, []).split("---\n", 2)
    values, samples = yaml.safe_load(header)["configs"]
    assert (values["config_name"], values["default"]) == ("values", True)
    assert (samples["config_name"], samples.get("default")) == ("samples", None)
    assert values["data_files"] == [{"split": "train", "path": "values/train-*.parquet"}]
    assert samples["data_files"] == [{"split": "train", "path": "samples/train-*.parquet"}]


def test_the_card_says_what_the_values_belong_to_and_how_they_were_judged(tmp_path: Path) -> None:
    text = card(tmp_path, [(Verdict.CORRECT, 1.0), (Verdict.TRUNCATED, 0.0)])
    for fact in (
        "# Offline values of org/model",
        "`org/model` (revision `abc123`)",
        "`org/data`",
        "| mean value | 0.5000 |",
        "| bounds of the mean | 0.5000 to 1.0000 |",
        "temperature 0.6, top_p 0.95, top_k 20, at most 16,384 tokens",
        "| answer instruction | boxed |",
        "math-verify (math-verify 0.9.0 rules 1)",
        "correct 1, truncated 1",
        "| not valid or missing | 0 of 2 samples |",
    ):
        assert fact in text


def test_the_card_of_a_run_without_values_says_none(tmp_path: Path) -> None:
    text = card(tmp_path, [])
    assert "| mean value | none |" in text
    assert "| bounds of the mean | none |" in text
    assert "| verdicts | none |" in text
    assert "| not valid or missing | 2 of 2 samples |" in text


@pytest.mark.parametrize("name", ["{0}", "{model}", "a---b", "é🙂", "reasoning-gym:chain_sum?seed=1&size=2"])
def test_a_name_with_braces_dashes_or_unicode_is_copied(tmp_path: Path, name: str) -> None:
    text = card(tmp_path, [], model=name, source=name)
    assert f"# Offline values of {name}\n" in text
    assert f"prompts of `{name}`" in text
    assert len(yaml.safe_load(text.split("---\n", 2)[1])["configs"]) == 2


def test_the_same_run_gives_the_same_card_and_leaves_no_other_file(tmp_path: Path) -> None:
    first = card(tmp_path, [(Verdict.CORRECT, 1.0)])
    manifest = card_manifest()
    with Journal(tmp_path / "journal.sqlite", GRADER, read_only=True) as journal:
        write_card(tmp_path, manifest, summarize(journal, manifest))
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == first
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".sqlite"] == ["README.md"]
