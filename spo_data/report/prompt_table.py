"""The prompts and samples that a report carries: what its table shows, within limits.

    table = PromptTable(journal, find_shared_wording(prompt.text for prompt in journal.prompts()))
    table.keep_samples(suspect)               # these first, where not all samples fit
    table.fill(read_tried_prompts(journal))
    table.json()                              # for a <script type="application/json">
    table.rows, table.without_samples         # every cut is counted

A page has to open in a browser: at most `MAX_PROMPTS` prompts, each an excerpt, and of the samples the ends of the
responses, where the answers are, up to `SAMPLE_BYTES` in all. A prompt's samples are there all or none, and responses
are read for these prompts alone.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from spo_data.report.statistics import VERDICTS, TriedPrompt
from spo_data.run.journal import Journal
from spo_data.text import excerpt

MAX_PROMPTS = 20_000
SAMPLE_BYTES = 12_000_000
PROMPT_CHARACTERS = 300
ANSWER_CHARACTERS = 120
RESPONSE_CHARACTERS = 400
LEAST_WORDING = 40
"""Characters that all prompts must share at an end for these to be left out of the table."""


@dataclass(frozen=True)
class Wording:
    """What every prompt begins and ends with: an excerpt would show little else."""

    before: str
    after: str

    def own(self, text: str, length: int = PROMPT_CHARACTERS) -> str:
        """What a prompt does not share with all others, on one line, cut to a length."""
        return excerpt(text[len(self.before) : len(text) - len(self.after)], length)


def find_shared_wording(texts: Iterable[str]) -> Wording:
    """What all of several texts begin and end with, cut where a sentence or a line ends; empty where that is short."""
    before = after = None
    shortest = count = 0
    for count, text in enumerate(texts, 1):
        before = text if before is None else _common_start(before, text)
        after = text[::-1] if after is None else _common_start(after, text[::-1])
        shortest = len(text) if count == 1 else min(shortest, len(text))
    if count < 2 or before is None or after is None:
        return Wording("", "")
    before, after = before[: _sentence_end(before)], after[::-1]
    after = after[after.index("\n") :] if "\n" in after else ""
    if len(before) + len(after) >= shortest:
        return Wording("", "")
    return Wording(*(wording if len(wording) >= LEAST_WORDING else "" for wording in (before, after)))


@dataclass
class PromptTable:
    """The rows of the report's table, in prompt order."""

    journal: Journal
    wording: Wording
    sources: dict[str, int] = field(default_factory=dict)
    """The data sources, by their numbers in the rows."""
    rows: int = 0
    without_samples: int = 0
    """Prompts in the table whose samples did not fit."""
    _rows: list[str] = field(default_factory=list)
    _samples: dict[str, str] = field(default_factory=dict)
    """Of prompts that are not in the table yet."""
    _bytes: int = 0
    _full: bool = False

    def keep_samples(self, prompt: TriedPrompt) -> None:
        """Take a prompt's samples before those of others."""
        samples = self._fitting(prompt)
        if samples is not None:
            self._samples[prompt.prompt_id] = samples

    def fill(self, prompts: Iterable[TriedPrompt]) -> None:
        """Take prompts, all in their order or the first of them."""
        texts = (prompt.text for prompt in self.journal.prompts())
        for prompt, text in islice(zip(prompts, texts, strict=False), MAX_PROMPTS):
            samples = self._samples.pop(prompt.prompt_id, None) or self._fitting(prompt)
            self.without_samples += samples is None
            self._rows.append(self._row(prompt, text, samples))
            self.rows += 1

    def json(self) -> str:
        """The table as JSON that is safe inside of a `<script>`."""
        sources = _dump(list(self.sources))
        rows = ",\n".join(self._rows)
        return f'{{"sources":{sources},"rows":[\n{rows}\n]}}'

    def _row(self, prompt: TriedPrompt, text: str, samples: str | None) -> str:
        value, verdicts = prompt.value, prompt.verdicts
        row = [
            *(prompt.prompt_id, self.wording.own(text), excerpt(prompt.ground_truth, ANSWER_CHARACTERS)),
            self.sources.setdefault(prompt.data_source, len(self.sources)),
            *(_round(number) for number in (value.value, value.value_low, value.value_high)),
            *(verdicts[name] for name in (*VERDICTS, "failed")),
            _round(prompt.tokens_mean),
            None if prompt.suspect_gold is None else excerpt(prompt.suspect_gold, ANSWER_CHARACTERS),
        ]
        return f"[{_dump(row)[1:-1]},{samples or 'null'}]"

    def _fitting(self, prompt: TriedPrompt) -> str | None:
        """A prompt's samples as JSON, None from the first that does not fit on: reading those behind it takes long."""
        if self._full:
            return None
        found = _dump(self._sample_rows(prompt))
        size = len(found.encode())
        self._full = self._bytes + size > SAMPLE_BYTES
        if self._full:
            return None
        self._bytes += size
        return found

    def _sample_rows(self, prompt: TriedPrompt) -> list[list[Any]]:
        """Index, verdict, score, tokens, answer, why it failed, characters cut off, end of the response."""
        rows: list[list[Any]] = []
        for sample in prompt.samples:
            response = self.journal.response(prompt.prompt_id, sample.sample_index)
            cut = max(0, len(response) - RESPONSE_CHARACTERS)
            answer = None if sample.answer is None else excerpt(sample.answer, ANSWER_CHARACTERS)
            detail = None if sample.verdict.is_observation else excerpt(sample.detail or "", RESPONSE_CHARACTERS)
            score = _round(sample.score)
            rows.append(
                [
                    sample.sample_index,
                    sample.verdict,
                    score,
                    sample.response_tokens,
                    answer,
                    detail,
                    cut,
                    response[cut:],
                ]
            )
        rows += [[i, "not drawn", None, None, None, excerpt(error, 400), 0, ""] for i, error in prompt.failures]
        return sorted(rows, key=lambda row: row[0])


def _common_start(one: str, other: str) -> str:
    if other.startswith(one):
        return one
    return one[: next((k for k, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(other))]


def _sentence_end(text: str) -> int:
    """Where the last sentence or line in a text ends, its white space included."""
    return max((end.end() for end in re.finditer(r"[.:?!]\s+|\n\s*", text)), default=0)


def _round(number: float | None) -> float | int | None:
    if number is None:
        return None
    return int(number) if number == int(number) else round(number, 4)


def _dump(data: object) -> str:
    """JSON without anything that could end a script element; text that is none (lone surrogates) becomes '?'."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="replace").decode().replace("<", "\\u003c")
