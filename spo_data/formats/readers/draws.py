"""Collect draws of prompts in any order, and turn them into the rows of the two tables.

    with DrawStore(folder / "draws.sqlite") as store:
        store.add(FoundPrompt(prompt, (ForeignDraw(1.0, "4"), ForeignDraw(0.0, "5")), "0.jsonl, line 1"))
        make_table(store.value_rows())

Draws of one prompt may lie anywhere in a source of a million responses, but the tables need them together. They are
kept in a database on disk, so memory holds one prompt at a time.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

from spo_data.errors import UserError
from spo_data.prompts.identity import Message, Prompt
from spo_data.text import excerpt
from spo_data.values.scores import make_value_row


@dataclass(frozen=True, slots=True)
class ForeignDraw:
    """One response and its score, as far as they are known."""

    score: float | None
    """None if it was not graded."""
    response: str | None = None
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class FoundPrompt:
    """Draws of one prompt, found at one place."""

    prompt: Prompt
    draws: tuple[ForeignDraw, ...]
    origin: str
    """The row, or the file if a row holds a single draw."""
    where: str
    """File and row, for messages."""
    value: float | None = None
    """A value that the source gives without its draws."""
    n_valid: int | None = None
    """The number of scores behind that value, if the source gives it."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that was left out, and why."""

    reason: str
    where: str
    text: str = ""


def read_score(score: Any, where: str) -> float | None:
    """A score in [0, 1], None for a draw that was not graded; raises UserError for anything else."""
    if score is None or score != score:  # NaN differs from itself
        return None
    if not isinstance(score, (bool, int, float)):
        raise UserError(f"{where}: score {score!r:.80} is not a number")
    if not 0 <= score <= 1:
        raise UserError(f"{where}: score {score!r:.80} is not in [0, 1]: a value is a success probability")
    return float(score)


class DrawStore:
    """Draws by prompt, with prompts in the order in which they were found."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path)
        self._database.executescript(_SCHEMA)
        self.repeated: set[str] = set()
        """The ids of prompts that have several origins."""
        self.n_responses = 0
        self.n_draws = 0

    def __enter__(self) -> "DrawStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._database.close()

    def add(self, found: FoundPrompt) -> None:
        """Add what was found; raises UserError if the prompt already has a different ground truth or value.

        A known ground truth replaces an unknown one.
        """
        prompt = found.prompt
        known = self._database.execute(
            "SELECT number, ground_truth, value, n_valid, place, origin FROM prompts WHERE prompt_id = ?",
            (prompt.prompt_id,),
        ).fetchone()
        if known is None:
            number = self._insert(found)
        else:
            number, ground_truth, value, n_valid, place, origin = known
            if prompt.ground_truth and not ground_truth:
                self._database.execute(
                    "UPDATE prompts SET ground_truth = ?, place = ? WHERE number = ?",
                    (prompt.ground_truth, found.where, number),
                )
            elif prompt.ground_truth and ground_truth != prompt.ground_truth:
                raise UserError(
                    f"the same prompt has two ground truths: {place} says {ground_truth!r}, {found.where} says"
                    f" {prompt.ground_truth!r}: {excerpt(prompt.text)}"
                )
            if (value, n_valid) != (found.value, found.n_valid):
                raise UserError(
                    f"the same prompt has two values: {place} says {_describe_value(value, n_valid)}, {found.where}"
                    f" says {_describe_value(found.value, found.n_valid)}: {excerpt(prompt.text)}"
                )
            if origin != found.origin:
                self.repeated.add(prompt.prompt_id)
        self._database.executemany(
            "INSERT INTO draws VALUES (?, ?, ?, ?)",
            [(number, draw.score, draw.response, draw.answer) for draw in found.draws],
        )
        self.n_draws += len(found.draws)
        self.n_responses += sum(draw.response is not None for draw in found.draws)

    def value_rows(self) -> Iterator[dict[str, Any]]:
        """A row of `values` for each prompt that has a value."""
        scores = self._read_scores()
        for number, messages, ground_truth, data_source, extra_info, value, n_valid in self._database.execute(
            "SELECT number, messages, ground_truth, data_source, extra_info, value, n_valid FROM prompts"
            " ORDER BY number"
        ):
            prompt = Prompt(tuple(Message(*turn) for turn in json.loads(messages)), ground_truth, data_source)
            if value is not None:
                unknown = dict.fromkeys(("vhat", "n", "n_correct"))
                yield {**make_value_row(prompt, [value]), **unknown, "n_valid": n_valid, "extra_info": extra_info}
                continue
            found, drawn = next(scores)
            assert found == number
            valid = [score for score in drawn if score is not None]
            if valid:
                n_failed = len(drawn) - len(valid)
                yield make_value_row(prompt, valid, n=len(drawn), n_failed=n_failed, extra_info=extra_info)

    def sample_rows(self) -> Iterator[dict[str, Any]]:
        """A row of `samples` for each draw, in the order of the values; unknown columns are null."""
        found = self._database.execute(
            "SELECT prompt_id, score, response, answer FROM prompts JOIN draws USING (number)"
            " ORDER BY number, draws.rowid"
        )
        for prompt_id, draws in groupby(found, key=lambda row: str(row[0])):
            for index, (_, score, response, answer) in enumerate(draws):
                yield {
                    "prompt_id": prompt_id,
                    "sample_index": index,
                    "response": response,
                    "answer": answer,
                    "score": score,
                }

    def without_value(self) -> int:
        """The number of prompts without a value: none of their draws was graded."""
        ((count,),) = self._database.execute(
            "SELECT count(*) FROM prompts WHERE value IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM draws WHERE draws.number = prompts.number AND score IS NOT NULL)"
        )
        return int(count)

    def count_ungraded(self) -> int:
        """The number of draws without a score."""
        ((count,),) = self._database.execute("SELECT count(*) FROM draws WHERE score IS NULL")
        return int(count)

    def scores_a_prompt(self) -> dict[int, int]:
        """The number of prompts by number of scores."""
        counts = Counter(sum(score is not None for score in scores) for _, scores in self._read_scores())
        return {n: counts[n] for n in sorted(counts, reverse=True) if n}

    def _insert(self, found: FoundPrompt) -> int:
        prompt = found.prompt
        cursor = self._database.execute(
            "INSERT INTO prompts (prompt_id, messages, ground_truth, data_source, extra_info, value, n_valid, place,"
            " origin) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                prompt.prompt_id,
                json.dumps(prompt.messages),
                prompt.ground_truth,
                prompt.data_source,
                None if prompt.extra_info is None else json.dumps(prompt.extra_info, sort_keys=True),
                found.value,
                found.n_valid,
                found.where,
                found.origin,
            ),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _read_scores(self) -> Iterator[tuple[int, list[float | None]]]:
        found = self._database.execute("SELECT number, score FROM draws ORDER BY number, rowid")
        for number, rows in groupby(found, key=lambda row: int(row[0])):
            yield number, [score for _, score in rows]


def _describe_value(value: float | None, n_valid: int | None) -> str:
    return f"{value}" if n_valid is None else f"{value} of {n_valid} scores"


_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE prompts (
    number INTEGER PRIMARY KEY,
    prompt_id TEXT NOT NULL UNIQUE,
    messages TEXT NOT NULL,
    ground_truth TEXT NOT NULL,
    data_source TEXT NOT NULL,
    extra_info TEXT,
    value REAL,
    n_valid INTEGER,
    place TEXT NOT NULL,
    origin TEXT NOT NULL
);
CREATE TABLE draws (number INTEGER NOT NULL, score REAL, response TEXT, answer TEXT);
CREATE INDEX draws_by_prompt ON draws (number);
"""
