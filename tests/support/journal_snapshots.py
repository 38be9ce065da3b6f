"""All that a journal holds at one moment, read from a copy, so that reading it repairs nothing.

samples, verdicts = read_snapshot(run)
samples[prompt_id, sample_index]            # its seed, response, token ids and so on
verdicts[grader, prompt_id, sample_index]   # answer, verdict, score and detail, of every grader
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

Snapshot = tuple[dict[tuple[str, int], tuple[Any, ...]], dict[tuple[str, str, int], tuple[Any, ...]]]


def read_snapshot(run: Path) -> Snapshot:
    """Every sample of the journal with all that it holds, and every verdict of every grader, from a copy of it."""
    if not (run / "journal.sqlite").exists():
        return {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-journal"):
            if (run / name).exists():
                shutil.copy(run / name, folder)
        with closing(sqlite3.connect(Path(folder) / "journal.sqlite")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema")}
            if "samples" not in tables:
                return {}, {}
            samples = _index(
                database.execute(
                    "SELECT prompt_id, sample_index, seed, finish_reason, response_tokens, tool_turns, response,"
                    " token_ids, response_mask, token_logprobs FROM samples LEFT JOIN prompts USING (prompt_number)"
                ),
                keys=2,
            )
            verdicts = _index(
                database.execute(
                    "SELECT identity || version, prompt_id, sample_index, answer, verdict, score, detail FROM verdicts"
                    " LEFT JOIN gradings USING (grading) LEFT JOIN prompts USING (prompt_number)"
                ),
                keys=3,
            )
            assert {key[1:] for key in verdicts} <= samples.keys(), "a verdict on no sample"
            ((committed,),) = database.execute("SELECT coalesce(sum(samples), 0) FROM commits")
            assert committed >= len(samples), "samples that no commit counts"
            return samples, verdicts


def _index(rows: Iterable[tuple[Any, ...]], keys: int) -> dict[Any, tuple[Any, ...]]:
    found: dict[Any, tuple[Any, ...]] = {}
    for row in rows:
        assert None not in row[:keys], row
        assert row[:keys] not in found, f"twice: {row[:keys]}"
        found[row[:keys]] = row[keys:]
    return found
