"""The two tables of a run folder, and that `load_dataset` finds them."""

import hashlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spo_data.card.write import make_card, write_card
from spo_data.errors import SpoError
from spo_data.grading.verdict import Verdict
from spo_data.prompts.identity import Message, Prompt
from spo_data.provenance import Completeness
from spo_data.report.statistics import read_reported_prompts
from spo_data.run import parquet_tables as tables
from spo_data.run.journal import Journal
from spo_data.run.journal_rows import SAMPLES_IN_ORDER
from spo_data.run.parquet_tables import write_tables
from spo_data.run.sample import Sample
from spo_data.run.summary import summarize
from spo_data.values.schema import read_completeness, read_provenance
from support.records import GRADER, make_manifest

PROMPTS = [
    Prompt((Message("system", "Be brief."), Message("user", f" What is {k} + {k}?\n")), str(2 * k), "sums")
    for k in range(4)
]
PROVENANCE = make_manifest(n=4).provenance
COMPLETENESS = Completeness(prompts=4, unfinished=0, without_value=2)
CORRECT, WRONG, TRUNCATED, FAILED = (Verdict.CORRECT, 1.0), (Verdict.WRONG, 0.0), (Verdict.TRUNCATED, 0.0), None


def make_samples(logprobs: bool = False) -> list[Sample]:
    """Prompt 0: right, wrong, truncated. Prompt 1: not graded, right. Prompt 2: not graded. Prompt 3: no sample.

    The engine failed to draw the others of their four samples.
    """
    drawn = [(0, 0, CORRECT), (0, 1, WRONG), (0, 2, TRUNCATED), (1, 0, FAILED), (1, 1, CORRECT), (2, 0, FAILED)]
    samples = []
    for prompt, index, scored in drawn:
        verdict, score = scored or (Verdict.GRADER_TIMEOUT, None)
        ids = np.arange(index + 2, dtype=np.int32)
        samples.append(
            Sample(
                prompt_id=PROMPTS[prompt].prompt_id,
                sample_index=index,
                seed=2**63 - 1 - index,
                response=f"é🙂 {prompt} {index}\0",
                token_ids=ids,
                finish_reason="length" if verdict is Verdict.TRUNCATED else "stop",
                answer=None if scored is None else "4",
                verdict=verdict,
                score=score,
                token_logprobs=-np.arange(index + 2, dtype=np.float32) if logprobs else None,
            )
        )
    return samples


def make_run(run: Path, samples: list[Sample], tried: int = 4) -> Path:
    run.mkdir()
    with Journal(run / "journal.sqlite", GRADER) as journal:
        journal.set_prompts(PROMPTS, [])
        for sample in samples:
            journal.add(sample)
        for prompt in PROMPTS:
            drawn = {sample.sample_index for sample in samples if sample.prompt_id == prompt.prompt_id}
            for index in set(range(tried)) - drawn:
                journal.add_failure(prompt.prompt_id, index, "too long")
        journal.commit()
        write_tables(journal, run, PROVENANCE, COMPLETENESS)
    return run


def rewrite(run: Path) -> None:
    with Journal(run / "journal.sqlite", GRADER, read_only=True) as journal:
        write_tables(journal, run, PROVENANCE, COMPLETENESS)


def hashes(run: Path) -> dict[str, str]:
    files = sorted(run.glob("*/*.parquet"))
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows(run: Path, table: str) -> list[dict[str, Any]]:
    return [row for path in sorted((run / table).iterdir()) for row in pq.read_table(path).to_pylist()]


def test_the_same_journal_gives_the_same_bytes_wherever_and_in_whatever_order_it_was_written(tmp_path: Path) -> None:
    first = make_run(tmp_path / "one", make_samples())
    second = make_run(tmp_path / "another", make_samples()[::-1])
    other = make_run(tmp_path / "other", [replace(make_samples()[0], answer="5"), *make_samples()[1:]])
    before = hashes(first)
    rewrite(first)
    assert hashes(first) == before == hashes(second)
    assert len(before) == 2
    assert hashes(other) != before


def test_values_has_the_columns_of_the_design(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", make_samples()) / "values" / "train-00000-of-00001.parquet"
    text, number, count = pa.string(), pa.float64(), pa.int32()
    message = pa.struct([("role", text), ("content", text)])
    schema = pq.read_schema(path).remove_metadata()
    assert [(field.name, field.type) for field in schema] == [
        ("prompt", text),
        ("prompt_id", text),
        ("messages", pa.list_(message)),
        ("ground_truth", text),
        ("data_source", text),
        ("vhat", pa.list_(number)),
        ("value", number),
        ("value_low", number),
        ("value_high", number),
        ("n", count),
        ("n_valid", count),
        ("n_correct", count),
        ("n_truncated", count),
        ("n_no_answer", count),
        ("n_failed", count),
        ("n_disputed", count),
        ("response_tokens_mean", number),
        ("tool_turns_mean", number),
        ("suspect_gold", pa.string()),
        ("extra_info", pa.string()),
    ]


@pytest.mark.parametrize("logprobs", [False, True])
def test_samples_has_the_columns_of_the_design_and_log_probs_only_where_asked_for(
    tmp_path: Path, logprobs: bool
) -> None:
    path = make_run(tmp_path / "run", make_samples(logprobs)) / "samples" / "train-00000-of-00001.parquet"
    text, count = pa.string(), pa.int32()
    columns = [
        ("prompt_id", text),
        ("sample_index", count),
        ("seed", pa.int64()),
        ("response", text),
        ("token_ids", pa.list_(pa.int32())),
        ("finish_reason", text),
        ("response_tokens", count),
        ("tool_turns", count),
        ("answer", text),
        ("verdict", text),
        ("score", pa.float64()),
        ("detail", text),
    ]
    expected = [*columns, ("token_logprobs", pa.list_(pa.float32()))] if logprobs else columns
    assert [(field.name, field.type) for field in pq.read_schema(path)] == expected


def test_a_prompt_without_a_valid_sample_has_no_row(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_samples())
    assert [row["prompt_id"] for row in rows(run, "values")] == [prompt.prompt_id for prompt in PROMPTS[:2]]


def test_a_row_of_values_says_what_the_samples_say(tmp_path: Path) -> None:
    first, second = rows(make_run(tmp_path / "run", make_samples()), "values")
    assert first == {
        "prompt": "What is 0 + 0?",
        "prompt_id": PROMPTS[0].prompt_id,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " What is 0 + 0?\n"}],
        "ground_truth": "0",
        "data_source": "sums",
        "vhat": [1.0, 0.0, 0.0],
        "value": 1 / 3,
        "value_low": 0.25,
        "value_high": 0.75,
        "n": 4,
        "n_valid": 3,
        "n_correct": 1,
        "n_truncated": 1,
        "n_no_answer": 0,
        "n_failed": 1,
        "n_disputed": None,
        "response_tokens_mean": 3.0,
        "tool_turns_mean": 0.0,
        "suspect_gold": None,
        "extra_info": None,
    }
    assert (second["vhat"], second["value"], second["value_low"], second["value_high"]) == ([1.0], 1.0, 0.25, 1.0)
    assert (second["n"], second["n_failed"]) == (4, 3)


def test_a_prompt_with_undrawn_samples_has_no_row(tmp_path: Path) -> None:
    """Its row had the mean of the responses that ended first, and bounds without the others."""
    run = make_run(tmp_path / "run", make_samples(), tried=3)
    assert rows(run, "values") == []
    assert len(rows(run, "samples")) == 6


def test_samples_has_every_sample_in_prompt_order(tmp_path: Path) -> None:
    written = make_samples(logprobs=True)
    read = rows(make_run(tmp_path / "run", written[::-1]), "samples")
    assert [(row["prompt_id"], row["sample_index"]) for row in read] == [(s.prompt_id, s.sample_index) for s in written]
    for row, sample in zip(read, written, strict=True):
        assert row["seed"] == sample.seed
        assert row["response"] == sample.response
        assert row["token_ids"] == sample.token_ids.tolist()
        assert row["token_logprobs"] == sample.token_logprobs.tolist()  # type: ignore[union-attr]
        assert row["response_tokens"] == len(sample.token_ids)
        assert (row["verdict"], row["score"], row["answer"]) == (str(sample.verdict), sample.score, sample.answer)


def test_files_are_zstd_with_a_page_index(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_samples())
    for path in run.glob("*/*.parquet"):
        column = pq.ParquetFile(path).metadata.row_group(0).column(0)
        assert column.compression == "ZSTD"
        assert column.has_offset_index


@pytest.mark.parametrize(("size", "counts"), [(4, [4, 2]), (3, [3, 3]), (5, [5, 1]), (2, [2, 2, 2]), (6, [6])])
def test_samples_are_split_over_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, counts: list[int]
) -> None:
    monkeypatch.setattr(tables, "SAMPLES_PER_FILE", size)
    run = make_run(tmp_path / "run", make_samples())
    files = sorted((run / "samples").iterdir())
    n_files = len(counts)
    assert [path.name for path in files] == [f"train-{k:05d}-of-{n_files:05d}.parquet" for k in range(n_files)]
    assert [pq.read_metadata(path).num_rows for path in files] == counts
    assert [row["response"] for row in rows(run, "samples")] == [sample.response for sample in make_samples()]


def test_files_of_an_earlier_write_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tables, "SAMPLES_PER_FILE", 2)
        run = make_run(tmp_path / "run", make_samples())
    assert len(list((run / "samples").iterdir())) == 3
    rewrite(run)
    assert [path.name for path in (run / "samples").iterdir()] == ["train-00000-of-00001.parquet"]


def test_leftovers_of_a_killed_write_are_cleaned(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_samples())
    before = hashes(run)
    for name in (".values.new", ".values.old", ".samples.new", ".samples.old"):
        (run / name).mkdir()
        (run / name / "train-00000-of-00001.parquet").write_bytes(b"half")
    (run / "values").rename(run / "gone")
    rewrite(run)
    shutil.rmtree(run / "gone")
    assert hashes(run) == before
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_the_files_of_a_user_stay_in_the_folders_of_the_tables(tmp_path: Path) -> None:
    """They were deleted without a word, with the tables that were replaced."""
    run = make_run(tmp_path / "run", make_samples())
    before = hashes(run)
    (run / "values" / "notes.txt").write_text("mine")
    (run / "samples" / "plots").mkdir()
    (run / "samples" / "plots" / "a.png").write_bytes(b"mine")
    for _ in range(2):
        rewrite(run)
    assert hashes(run) == before
    assert (run / "values" / "notes.txt").read_text() == "mine"
    assert [path.name for path in (run / "samples" / "plots").iterdir()] == ["a.png"]


@pytest.mark.parametrize("is_swapped", [False, True])
def test_the_files_of_a_user_stay_if_a_call_is_killed_while_it_swaps_a_table(tmp_path: Path, is_swapped: bool) -> None:
    run = make_run(tmp_path / "run", make_samples())
    before = hashes(run)
    (run / "values").rename(run / ".values.old")
    (run / ".values.old" / "notes.txt").write_text("mine")
    if is_swapped:
        shutil.copytree(run / ".values.old", run / "values", ignore=shutil.ignore_patterns("notes.txt"))
    rewrite(run)
    assert hashes(run) == before
    assert sorted(path.name for path in (run / "values").iterdir()) == ["notes.txt", "train-00000-of-00001.parquet"]
    assert not (run / ".values.old").exists()


def test_a_table_that_was_moved_to_another_disk_is_written_there(tmp_path: Path) -> None:
    """The link was renamed and could not be deleted, so the second call after it failed."""
    run = make_run(tmp_path / "run", make_samples())
    before = hashes(run)
    (tmp_path / "disk").mkdir()
    (run / "samples").rename(tmp_path / "disk" / "samples")
    (run / "samples").symlink_to(tmp_path / "disk" / "samples")
    for _ in range(2):
        rewrite(run)
    assert hashes(run) == before
    assert (run / "samples").is_symlink()


def test_a_file_in_a_table_s_place_is_left_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_samples())
    shutil.rmtree(run / "samples")
    (run / "samples").write_text("mine")
    with pytest.raises(SpoError, match="samples is not a folder: move it elsewhere"):
        rewrite(run)
    assert (run / "samples").read_text() == "mine"


def test_every_file_says_what_its_numbers_belong_to(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_samples())
    files = sorted(run.glob("*/*.parquet"))
    assert [read_provenance(pq.read_schema(path)) for path in files] == [PROVENANCE, PROVENANCE]
    assert [read_completeness(pq.read_schema(path)) for path in files] == [None, COMPLETENESS]


def test_a_file_that_does_not_say_what_it_belongs_to_or_says_nonsense_has_no_provenance() -> None:
    assert read_provenance(pa.schema([])) is None
    assert read_completeness(pa.schema([])) is None
    assert read_provenance(pa.schema([], {b"spo": b'{"schema_version": 99}'})) is None


def test_what_a_reward_function_needs_is_in_the_table(tmp_path: Path) -> None:
    """A published table was not enough for training, because reasoning-gym's verifier needs a problem's origin."""
    prompt = replace(PROMPTS[0], extra_info={"index": 3, "generator": "chain_sum"})
    (tmp_path / "run").mkdir()
    with Journal(tmp_path / "run" / "journal.sqlite", GRADER) as journal:
        journal.set_prompts([prompt, PROMPTS[1]], [])
        for sample in make_samples()[:5]:
            journal.add(sample)
        journal.commit()
        write_tables(journal, tmp_path / "run", make_manifest(n=2).provenance, COMPLETENESS)
    assert [row["extra_info"] for row in rows(tmp_path / "run", "values")] == [
        '{"generator": "chain_sum", "index": 3}',
        None,
    ]


def test_a_journal_without_samples_gives_empty_tables(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [])
    assert rows(run, "values") == []
    assert rows(run, "samples") == []


def test_load_dataset_finds_both_tables_by_the_card(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_samples(logprobs=True))
    manifest = make_manifest(dataset={"source": "d: #1"}, n=4, logprobs=True)
    with Journal(run / "journal.sqlite", GRADER, read_only=True) as journal:
        write_card(run, make_card(journal, manifest, summarize(journal, manifest)))
    program = (
        "import sys, datasets\n"
        "values = datasets.load_dataset(sys.argv[1])\n"
        "samples = datasets.load_dataset(sys.argv[1], 'samples')\n"
        "assert list(values) == list(samples) == ['train'], (values, samples)\n"
        "assert datasets.get_dataset_config_names(sys.argv[1]) == ['values', 'samples']\n"
        "print(values['train'].num_rows, samples['train'].num_rows, samples['train'][1]['seed'])\n"
        "print(values['train'][0]['messages'][0]['role'], values['train'][0]['vhat'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(run)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin", "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"2 6 {2**63 - 2}", "system [1.0, 0.0, 0.0]"]


def test_reading_samples_in_order_sorts_no_responses(tmp_path: Path) -> None:
    """SQLite sorted whole samples, blobs included, in a temporary file as large as the journal."""
    with Journal(tmp_path / "journal.sqlite", GRADER) as journal:
        plan = [row[-1] for row in journal.query(f"EXPLAIN QUERY PLAN {SAMPLES_IN_ORDER}")]
    assert not any("TEMP B-TREE" in step for step in plan), plan


def test_suspect_ground_truths_are_in_the_table_but_not_those_with_few_answers(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    golds = [Prompt((Message("user", text),), truth, "d") for text, truth in (("12?", "13"), ("No?", "yes"))]
    with Journal(run / "journal.sqlite", GRADER) as journal:
        journal.set_prompts(golds, [])
        for prompt, answer in zip(golds, ("12", "no"), strict=True):
            for index in range(4):
                ids = np.zeros(1, dtype=np.int32)
                journal.add(Sample(prompt.prompt_id, index, 0, "r", ids, "stop", answer, *WRONG))
        journal.commit()
        write_tables(journal, run, PROVENANCE, COMPLETENESS)
    assert [row["suspect_gold"] for row in rows(run, "values")] == ["12", None]


@pytest.mark.parametrize(("score", "suspects"), [(0.0, 1), (1.0, 0)])
def test_a_truncated_response_that_was_graded_right_clears_its_ground_truth(
    tmp_path: Path, score: float, suspects: int
) -> None:
    """With `--truncated grade`, its verdict is still `truncated`, so a right one looked like none."""
    wrong = Sample("", 0, 0, "r", np.zeros(1, np.int32), "stop", "5", Verdict.WRONG, 0.0)
    prompt = Prompt((Message("user", "What is 2 + 2?"),), "4", "sums")
    last = replace(wrong, sample_index=3, finish_reason="length", answer="4", verdict=Verdict.TRUNCATED, score=score)
    with Journal(tmp_path / "journal.sqlite", GRADER) as journal:
        journal.set_prompts([prompt], [])
        for sample in (*(replace(wrong, sample_index=index) for index in range(3)), last):
            journal.add(replace(sample, prompt_id=prompt.prompt_id))
        journal.commit()
        assert len(summarize(journal, make_manifest(n=4)).suspects) == suspects
        assert sum(found.agreed is not None for found in read_reported_prompts(journal, 4)) == suspects
        write_tables(journal, tmp_path, PROVENANCE, COMPLETENESS)
    table = pq.read_table(tmp_path / "values")
    assert table.num_rows - table.column("suspect_gold").null_count == suspects
