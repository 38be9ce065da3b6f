"""One stored response per prompt: which sample, from which file, and how much of the samples is read to find it."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fake_hub.running import client_environment, running_hub
from spo_data.errors import UserError
from spo_data.formats.load import load_values
from spo_data.grading.verdict import Verdict
from spo_data.prompts.identity import Message, Prompt
from spo_data.provenance import ToolsRecord
from spo_data.run.journal import Journal
from spo_data.run.parquet_tables import write_tables
from spo_data.run.sample import Sample
from spo_data.run.summary import summarize
from spo_train.data.first_responses import (
    DECIDING,
    TOKEN_IDS,
    _read_tables,
    check_samples_are_cached,
    read_first_responses,
)
from support.hub_cache import use_offline, write_cached
from support.made_runs import make_run
from support.records import GRADER, make_manifest

PROMPTS = [Prompt((Message("user", f"{number}?"),), "4", "d") for number in range(4)]
SCORES: list[list[float | None]] = [[1.0, 0.0], [None, None, 0.5], [0.0], [None, 1.0, 1.0]]
DRAWN = list(zip(PROMPTS, SCORES, strict=True))
N = 3
EXPECTED: list[list[int] | None] = [[0, 1], [0, 1, 2, 3], [0, 1], [0, 1, 2], None]
"""make_run gives sample k the tokens 0 to k + 1. A score of None is a sample that we failed to grade."""
IDS = [*(prompt.prompt_id for prompt in PROMPTS), "of no prompt"]

CLIENT = """
import json, sys
from spo_data.formats.load import load_values
from spo_train.data.first_responses import read_first_responses as first_responses

found = first_responses(load_values(sys.argv[1]), sys.argv[2:])
print(json.dumps([None if each is None else each.token_ids.tolist() for each in found]))
"""


def found_in(place: Path) -> list[list[int] | None]:
    found = read_first_responses(load_values(place), IDS)
    assert all(each is None or (each.token_ids.dtype == np.int32 and each.mask is None) for each in found)
    return [None if each is None else each.token_ids.tolist() for each in found]


def test_the_first_sample_that_was_observed_stands_for_each_prompt(run: Path) -> None:
    """A sample that our grader failed on says nothing about the policy, so the next one is used."""
    assert found_in(run) == EXPECTED


def test_a_run_whose_samples_were_not_tabled_is_read_from_its_journal(run: Path) -> None:
    shutil.rmtree(run / "samples")
    assert found_in(run) == EXPECTED


def test_a_user_s_own_file_beside_the_table_is_not_read(run: Path) -> None:
    """A backup beside the table was read as a part of it, though it is not published and gives no values."""
    (path,) = (run / "samples").glob("*.parquet")
    table = pq.read_table(path)
    other = table.set_column(table.schema.get_field_index("token_ids"), "token_ids", [[[99]] * len(table)])
    pq.write_table(other, run / "samples" / "a-backup.parquet")
    assert found_in(run) == EXPECTED


def test_the_lowest_index_wins_whatever_the_order_of_files_and_groups(run: Path) -> None:
    (path,) = (run / "samples").glob("*.parquet")
    table = pq.read_table(path).sort_by([("sample_index", "descending")])
    path.unlink()
    pq.write_table(table.slice(0, 4), run / "samples" / "train-00000-of-00002.parquet", row_group_size=2)
    pq.write_table(table.slice(4), run / "samples" / "train-00001-of-00002.parquet", row_group_size=1)
    assert found_in(run) == EXPECTED


def masked(prompt: Prompt, index: int, verdict: Verdict, mask: list[bool] | None) -> Sample:
    """A sample of four tokens, some of which are tool output."""
    return Sample(
        prompt_id=prompt.prompt_id,
        sample_index=index,
        seed=index,
        response="r",
        token_ids=np.arange(4, dtype=np.int32),
        finish_reason="tool_error" if verdict is Verdict.TOOL_ERROR else "stop",
        answer=None,
        verdict=verdict,
        score=None if verdict is Verdict.TOOL_ERROR else 1.0,
        tool_turns=1,
        response_mask=None if mask is None else np.array(mask),
    )


@pytest.mark.parametrize("tabled", [True, False])
def test_tool_output_in_a_response_is_masked(tmp_path: Path, tabled: bool) -> None:
    """D counts only the model's own tokens. A response that failed in the sandbox says nothing about the policy."""
    run = make_run(tmp_path / "run", dict.fromkeys(PROMPTS[:2], ()), n=2)
    with Journal(run / "journal.sqlite", GRADER) as journal:
        journal.add(masked(PROMPTS[0], 0, Verdict.TOOL_ERROR, [True] * 4))
        journal.add(masked(PROMPTS[0], 1, Verdict.CORRECT, [True, False, False, True]))
        journal.add(masked(PROMPTS[1], 0, Verdict.CORRECT, None))
        journal.commit()
        policy = {"tools": ToolsRecord(interpreter="python", max_turns=8, seconds=1, memory_mb=512, output_chars=9)}
        manifest = make_manifest(policy, n=2)
        write_tables(journal, run, manifest.provenance, summarize(journal, manifest).completeness)
    if not tabled:
        shutil.rmtree(run / "samples")
    first, second = read_first_responses(load_values(run), IDS[:2])
    assert first is not None
    assert second is not None
    assert first.own.tolist() == [True, False, False, True]
    assert first.own.dtype == np.bool_
    assert second.own.tolist() == [True] * 4


def test_a_mask_of_another_length_is_one_line(run: Path) -> None:
    (path,) = (run / "samples").glob("*.parquet")
    table = pq.read_table(path)
    masks = pa.array([[True]] * len(table), pa.list_(pa.bool_()))
    pq.write_table(table.append_column("response_mask", masks), path)
    with pytest.raises(UserError, match=r"its samples cannot be read: a response of 2 tokens has a mask of 1"):
        read_first_responses(load_values(run), IDS)


def test_values_alone_have_no_responses(run: Path, tmp_path: Path) -> None:
    copied = tmp_path / "values.parquet"
    shutil.copy(next((run / "values").glob("*.parquet")), copied)
    assert found_in(copied) == [None] * 5
    (tmp_path / "values.json").write_text(json.dumps({"0?": [1.0]}))
    assert found_in(tmp_path / "values.json") == [None] * 5


def test_samples_without_token_ids_or_verdicts_are_passed_over(run: Path) -> None:
    """An import of another maker's samples has only their text."""
    (path,) = (run / "samples").glob("*.parquet")
    table = pq.read_table(path)
    nulls = table.set_column(
        table.schema.get_field_index("token_ids"), "token_ids", pa.nulls(len(table), pa.list_(pa.int32()))
    )
    pq.write_table(nulls, path)
    assert found_in(run) == [None] * 5
    pq.write_table(table.drop_columns(["token_ids"]), path)
    assert found_in(run) == [None] * 5


def test_samples_that_cannot_be_read_are_one_line(run: Path) -> None:
    next((run / "samples").glob("*.parquet")).write_bytes(b"PAR1 half a file")
    with pytest.raises(UserError, match=r"run: its samples cannot be read: "):
        read_first_responses(load_values(run), IDS)


def test_without_a_network_samples_of_the_hub_must_be_cached(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a network only parts of them are downloaded, so a cache that values were read from has none of them."""
    use_offline(monkeypatch, tmp_path)
    files = {path.relative_to(run).as_posix(): path.read_bytes() for path in run.glob("*/*.parquet")}
    samples = {name: files.pop(name) for name in list(files) if name.startswith("samples/")}
    cache = tmp_path / "datasets--org--values"
    write_cached(cache, files, names=[*files, *samples])
    values = load_values("org/values")
    for read in (check_samples_are_cached, lambda values: read_first_responses(values, IDS)):
        with pytest.raises(UserError, match=r"lacks samples/train-00000-of-00001\.parquet: "):
            read(values)
    write_cached(cache, samples)
    check_samples_are_cached(values)
    found = read_first_responses(values, IDS)
    assert [None if each is None else each.token_ids.tolist() for each in found] == EXPECTED


class Counted(io.BytesIO):
    """A file that counts the bytes read from it."""

    read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        Counted.read_bytes += len(data)
        return data


def test_only_deciding_columns_and_needed_row_groups_are_read(tmp_path: Path) -> None:
    """A full run has gigabytes of text, all of which would have been downloaded from a Hub dataset."""
    random = np.random.default_rng(0)
    groups, per_group, length = 20, 50, 1_000
    n = groups * per_group
    table = pa.table(
        {
            "prompt_id": [f"p{row // per_group}" for row in range(n)],
            "sample_index": pa.array([row % per_group for row in range(n)], pa.int32()),
            "response": [random.bytes(2 * length).hex() for _ in range(n)],
            "token_ids": pa.array(random.integers(0, 150_000, (n, length)).tolist(), pa.list_(pa.int32())),
            "verdict": ["correct"] * n,
        }
    )
    pq.write_table(table, tmp_path / "samples.parquet", row_group_size=per_group)
    content = (tmp_path / "samples.parquet").read_bytes()
    Counted.read_bytes = 0
    found = _read_tables(["samples.parquet"], lambda _: Counted(content), {"p3", "p11"})
    assert {name: each.token_ids.tolist() for name, each in found.items()} == {
        name: table.column("token_ids")[per_group * number].as_py() for name, number in (("p3", 3), ("p11", 11))
    }
    needed = {(group, name) for group in range(groups) for name in DECIDING} | {(3, TOKEN_IDS), (11, TOKEN_IDS)}
    footer = pq.read_metadata(tmp_path / "samples.parquet").serialized_size + (1 << 16)  # and the tail searched for it
    assert Counted.read_bytes <= size_of(tmp_path / "samples.parquet", needed) + footer < len(content) / 5


def size_of(path: Path, chunks: set[tuple[int, str]]) -> int:
    """The total bytes of these column chunks, each given as (row group, first part of the column's path)."""
    metadata = pq.read_metadata(path)
    sizes = {
        (group, metadata.row_group(group).column(place).path_in_schema.partition(".")[0]): metadata.row_group(group)
        .column(place)
        .total_compressed_size
        for group in range(metadata.num_row_groups)
        for place in range(metadata.num_columns)
    }
    return sum(sizes[chunk] for chunk in chunks)


@pytest.mark.slow
def test_the_hub_s_samples_are_read_at_the_commit_of_the_values(run: Path, tmp_path: Path) -> None:
    """The real client runs in a separate process, because it reads its environment when imported."""
    with running_hub(tmp_path / "hub") as server:
        shutil.copytree(
            run, server.root / "datasets" / "org" / "values" / "main", ignore=shutil.ignore_patterns("*.sqlite")
        )
        client = subprocess.run(
            [sys.executable, "-c", CLIENT, "org/values", *IDS],
            env=client_environment(server.address, tmp_path / "home"),
            stdout=subprocess.PIPE,
            check=True,
            timeout=120,
        )
        assert json.loads(client.stdout) == EXPECTED
        resolved = [line for line in server.requests() if "samples/" in line and "/resolve/" in line]
    assert resolved
    assert not any("/resolve/main/" in line for line in resolved)
