"""The prompts and samples in a report's table, within limits.

    table = PromptTable(journal, find_shared_wording(prompt.text for prompt in journal.prompts()))
    table.keep_samples(suspect)               # before others, if not all samples fit
    table.fill(read_reported_prompts(journal, manifest.n))
    table.json()                              # for a <script type="application/json">
    table.rows, table.without_samples         # every cut is counted

The page must open in a browser, so it has excerpts of at most `MAX_PROMPTS` prompts, and the ends of their responses,
which hold the answers, up to `SAMPLE_BYTES` in all. A prompt has all of its samples in the table or none, and only
responses in the table are read.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from spo_data.printable import printable
from spo_data.report.statistics import VERDICTS, ReportedPrompt
from spo_data.run.journal import Journal
from spo_data.text import excerpt

MAX_PROMPTS = 20_000
SAMPLE_BYTES = 12_000_000
PROMPT_CHARACTERS = 300
ANSWER_CHARACTERS = 120
RESPONSE_CHARACTERS = 400
LEAST_WORDING = 40
"""A shared beginning or end must have this many characters to be left out of the table."""


@dataclass(frozen=True)
class Wording:
    """The text that every prompt begins and ends with: excerpts would show little else."""

    before: str
    after: str

    def own(self, text: str, length: int = PROMPT_CHARACTERS) -> str:
        """The part of a prompt that is not shared by all, on one line, cut to a length."""
        return excerpt(text[len(self.before) : len(text) - len(self.after)], length)


def find_shared_wording(texts: Iterable[str]) -> Wording:
    """The text that all texts begin and end with, cut at a sentence's or line's end; empty if it is short."""
    before = after = None
    shortest = count = 0
    for count, text in enumerate(texts, 1):
        before = text if before is None else _find_common_start(before, text)
        after = text[::-1] if after is None else _find_common_start(after, text[::-1])
        shortest = len(text) if count == 1 else min(shortest, len(text))
    if count < 2 or before is None or after is None:
        return Wording("", "")
    before, after = before[: _find_sentence_end(before)], after[::-1]
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
    """The number that stands for each data source in the rows."""
    rows: int = 0
    without_samples: int = 0
    """Prompts in the table whose samples did not fit."""
    _rows: list[str] = field(default_factory=list)
    _samples: dict[str, str] = field(default_factory=dict)
    """The samples of prompts that are not in the table yet, as JSON."""
    _bytes: int = 0
    _full: bool = False

    def keep_samples(self, prompt: ReportedPrompt) -> None:
        """Add a prompt's samples before those of others."""
        samples = self._fit_samples(prompt)
        if samples is not None:
            self._samples[prompt.prompt_id] = samples

    def fill(self, prompts: Iterable[ReportedPrompt]) -> None:
        """Add prompts in their order, at most `MAX_PROMPTS`."""
        texts = (prompt.text for prompt in self.journal.prompts())
        for prompt, text in islice(zip(prompts, texts, strict=False), MAX_PROMPTS):
            samples = self._samples.pop(prompt.prompt_id, None) or self._fit_samples(prompt)
            self.without_samples += samples is None
            self._rows.append(self._make_row(prompt, text, samples))
            self.rows += 1

    def json(self) -> str:
        """The table as JSON that is safe inside a `<script>`."""
        sources = _dump(list(self.sources))
        rows = ",\n".join(self._rows)
        return f'{{"sources":{sources},"rows":[\n{rows}\n]}}'

    def _make_row(self, prompt: ReportedPrompt, text: str, samples: str | None) -> str:
        value, verdicts = prompt.value, prompt.verdicts
        row = [
            *(prompt.prompt_id, self.wording.own(text), excerpt(prompt.ground_truth, ANSWER_CHARACTERS)),
            self.sources.setdefault(prompt.data_source, len(self.sources)),
            *(_round(number) for number in (value.value, value.value_low, value.value_high)),
            *(verdicts[name] for name in (*VERDICTS, "failed")),
            value.n_undrawn,
            _round(prompt.tokens_mean),
            None if prompt.agreed is None else prompt.agreed.describe(ANSWER_CHARACTERS),
        ]
        return f"[{_dump(row)[1:-1]},{samples or 'null'}]"

    def _fit_samples(self, prompt: ReportedPrompt) -> str | None:
        """A prompt's samples as JSON; None from the first that does not fit, since reading the others takes long."""
        if self._full:
            return None
        found = _dump(self._read_sample_rows(prompt))
        size = len(found.encode())
        self._full = self._bytes + size > SAMPLE_BYTES
        if self._full:
            return None
        self._bytes += size
        return found

    def _read_sample_rows(self, prompt: ReportedPrompt) -> list[list[Any]]:
        """Index, verdict, score, tokens, answer, detail, characters cut off, end of the response."""
        rows: list[list[Any]] = []
        for sample in prompt.samples:
            response = self.journal.response(prompt.prompt_id, sample.sample_index)
            cut = max(0, len(response) - RESPONSE_CHARACTERS)
            answer = None if sample.answer is None else excerpt(sample.answer, ANSWER_CHARACTERS)
            detail = excerpt(sample.detail, RESPONSE_CHARACTERS) if sample.detail else None
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
        rows += [[i, "engine failed", None, None, None, excerpt(error, 400), 0, ""] for i, error in prompt.failures]
        return sorted(rows, key=lambda row: row[0])


def _find_common_start(one: str, other: str) -> str:
    if other.startswith(one):
        return one
    return one[: next((k for k, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(other))]


def _find_sentence_end(text: str) -> int:
    """Where the last sentence or line in a text ends, its white space included."""
    return max((end.end() for end in re.finditer(r"[.:?!]\s+|\n\s*", text)), default=0)


def _round(number: float | None) -> float | int | None:
    if number is None:
        return None
    return int(number) if number == int(number) else round(number, 4)


def _dump(data: list[Any]) -> str:
    """JSON without anything that could end a script element, and with visible escapes in its texts."""
    return json.dumps(_show(data), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _show(data: Any) -> Any:
    if isinstance(data, list):
        return [_show(each) for each in data]
    return printable(data) if isinstance(data, str) else data
