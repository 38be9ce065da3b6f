"""Build a run's prompts from a dataset's rows: columns, system prompt, instruction, duplicates, contradictions.

Every row becomes exactly one of four things: a prompt, a duplicate of a prompt (same id, graded alike), a contradiction
of a prompt (same id, another ground truth, or another `extra_info` or `data_source` that the verifier reads), or a
dropped row with a reason. A prompt that can be graded in two ways has no value. What no verifier reads may differ
between duplicates: the first row's is kept, and the others are counted.
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from spo_data.errors import UserError
from spo_data.options import PromptOptions
from spo_data.prompts.columns import Layout, recognise
from spo_data.prompts.differences import Reading, find_read_differences
from spo_data.prompts.identity import DroppedRow, Message, Prompt
from spo_data.prompts.problem import Problem, read_problem
from spo_data.prompts.rows import BadRowError, Rows, load_rows
from spo_data.prompts.stored_json import read_stored
from spo_data.prompts.template import AnswerTemplate, load_template
from spo_data.text import excerpt


@dataclass(frozen=True)
class Contradiction(DroppedRow):
    """A row that repeats an earlier row's prompt with another ground truth, or with something else read otherwise."""

    prompt_id: str = ""
    field: str = "ground_truth"


@dataclass(frozen=True)
class PromptSet:
    """The unique prompts in order, with an account of every row."""

    prompts: tuple[Prompt, ...]
    rows: tuple[int, ...]
    """For each prompt, the position of its row in the dataset."""
    n_rows: int
    repeats: Mapping[int, int]
    """For a prompt's row, the number of later rows that repeat the prompt."""
    dropped: tuple[DroppedRow, ...]
    contradictions: tuple[Contradiction, ...]
    layout: Layout
    template: AnswerTemplate
    source: str = ""
    """The dataset's name, which is the `data_source` of a row without one."""
    n_differing: int = 0
    """Duplicates with another `extra_info` or `data_source` than their prompt's first row, which no verifier reads."""
    choices: frozenset[int] = frozenset()
    """The rows of the prompts whose ground truth is a letter of options that the row or its prompt holds."""
    written_options: frozenset[int] = frozenset()
    """The rows of the prompts whose options were written into the prompt."""

    @property
    def n_duplicates(self) -> int:
        """The number of rows that repeat a prompt and its ground truth."""
        return sum(self.repeats.values())

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the prompts' ids and ground truths; their order does not matter."""
        return fingerprint(self.prompts)

    def without(self, dropped: Iterable[DroppedRow]) -> "PromptSet":
        """Return the set without the prompts of these rows."""
        dropped = tuple(dropped)
        gone = {drop.row for drop in dropped}
        kept = [(prompt, row) for prompt, row in zip(self.prompts, self.rows, strict=True) if row not in gone]
        return replace(
            self,
            prompts=tuple(prompt for prompt, _ in kept),
            rows=tuple(row for _, row in kept),
            dropped=(*self.dropped, *dropped),
        )

    def find_contradicted(self) -> list[DroppedRow]:
        """Return the rows of the prompts that a later row contradicts."""
        rows = {prompt.prompt_id: row for prompt, row in zip(self.prompts, self.rows, strict=True)}
        return [
            DroppedRow(rows[prompt_id], reason)
            for prompt_id, reason in {found.prompt_id: found.reason for found in self.contradictions}.items()
            if prompt_id in rows
        ]

    def refuse_contradictions(self) -> None:
        """Raise UserError, naming both ground truths or what else differs, if the same prompt is graded in two ways."""
        if self.contradictions:
            first, *others = self.contradictions
            more = f" (and {len(others):,} more: spo-data check lists them)" if others else ""
            if first.field == "ground_truth":
                raise UserError(f"the same prompt has two ground truths: {first.detail}{more}")
            raise UserError(
                f"the same prompt has two values of {first.field}, which the verifier reads: {first.detail}{more};"
                " keep one row of each prompt"
            )

    def dropped_by_reason(self) -> dict[str, int]:
        """Return the number of dropped rows by reason, without duplicates."""
        return dict(Counter(drop.reason for drop in self.dropped))


def fingerprint(prompts: Iterable[Prompt]) -> str:
    """See `PromptSet.fingerprint`."""
    lines = sorted(f"{prompt.prompt_id}\0{prompt.ground_truth}\n" for prompt in prompts)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_nothing(_: Prompt) -> Mapping[str, Any]:
    """What a verifier reads beside the ground truth, if it reads nothing."""
    return {}


def read_prompt_set(
    options: PromptOptions, instruction: str = "boxed", reads: Reading = read_nothing
) -> tuple[Rows, PromptSet]:
    """Load a dataset and make its prompts, as the options say; raises UserError if the dataset or a column is wrong."""
    rows = load_rows(options.dataset, config=options.dataset_config, split=options.split, revision=options.revision)
    prompt_set = build_prompt_set(
        rows,
        template=options.template,
        instruction=instruction,
        system=options.system,
        prompt_column=options.prompt_column,
        answer_column=options.answer_column,
        limit=options.limit,
        shuffle_seed=options.shuffle_seed,
        reads=reads,
    )
    return rows, prompt_set


def build_prompt_set(
    rows: Rows,
    *,
    template: str | None = None,
    instruction: str = "boxed",
    system: str | None = None,
    prompt_column: str | None = None,
    answer_column: str | None = None,
    limit: int | None = None,
    shuffle_seed: int | None = None,
    reads: Reading = read_nothing,
) -> PromptSet:
    """Turn rows into prompts.

    `instruction` is the default template for problems. `limit` counts rows, after the shuffle. `reads` returns what the
    verifiers read of a row beside its ground truth: rows that differ in it contradict each other. Raises UserError if
    the layout is unknown or no prompt is left.
    """
    numbered: Iterable[tuple[int, Any]] = enumerate(rows.rows)
    if shuffle_seed is not None:
        shuffled = list(numbered)
        random.Random(shuffle_seed).shuffle(shuffled)
        numbered = shuffled
    stream = iter(numbered if limit is None else islice(numbered, limit))
    peeked = list(islice(stream, 100))
    if not peeked:
        raise UserError(f"--dataset {rows.source} has no rows")
    layout = recognise(
        rows.columns,
        [row for _, row in peeked if not isinstance(row, BadRowError)],
        prompt_column=prompt_column,
        answer_column=answer_column,
    )
    answer_template = load_template(template or ("none" if layout.is_messages else instruction))
    first_row: dict[str, tuple[int, Prompt]] = {}
    dropped: list[DroppedRow] = []
    contradictions: list[Contradiction] = []
    repeats: Counter[int] = Counter()
    choices: set[int] = set()
    written: set[int] = set()
    n_rows = n_differing = 0
    for number, row in chain(peeked, stream):
        n_rows += 1
        try:
            if isinstance(row, BadRowError):
                raise row
            problem = read_problem(row, layout)
            prompt = _make_prompt(row, problem, answer_template, system, rows.source)
        except BadRowError as error:
            dropped.append(DroppedRow(number, error.reason, error.detail))
            continue
        choices |= {number} if problem.is_choice else set()
        written |= {number} if problem.has_written_options else set()
        earlier, twin = first_row.setdefault(prompt.prompt_id, (number, prompt))
        if twin.ground_truth != prompt.ground_truth:
            detail = (
                f"row {earlier} says {twin.ground_truth!r}, row {number} says {prompt.ground_truth!r}:"
                f" {excerpt(prompt.text)}"
            )
            contradictions.append(Contradiction(number, "contradictory_ground_truth", detail, prompt.prompt_id))
        elif earlier == number:
            continue
        elif differences := find_read_differences(twin, prompt, reads):
            field, before, after = differences[0]
            detail = f"row {earlier} says {before}, row {number} says {after}: {excerpt(prompt.text)}"
            contradictions.append(Contradiction(number, f"contradictory_{field}", detail, prompt.prompt_id, field))
        else:
            repeats[earlier] += 1
            n_differing += (twin.extra_info, twin.data_source) != (prompt.extra_info, prompt.data_source)
    if not first_row:
        reasons = Counter(drop.reason for drop in dropped)
        detail = f": {dropped[0].detail}" if dropped[0].detail else ""
        raise UserError(f"--dataset {rows.source}: none of {n_rows} rows is a prompt ({', '.join(reasons)}{detail})")
    return PromptSet(
        tuple(prompt for _, prompt in first_row.values()),
        tuple(number for number, _ in first_row.values()),
        n_rows,
        repeats,
        tuple(dropped),
        tuple(contradictions),
        layout,
        answer_template,
        rows.source,
        n_differing,
        frozenset(choices),
        frozenset(written),
    )


def _make_prompt(row: Any, problem: Problem, template: AnswerTemplate, system: str | None, source: str) -> Prompt:
    messages = template.apply(problem.messages)
    if system is not None:
        messages = (Message("system", system), *(message for message in messages if message.role != "system"))
    return Prompt(
        messages=messages,
        ground_truth=problem.ground_truth,
        data_source=str(row.get("data_source") or source),
        extra_info=row["task"] if source.startswith("reasoning-gym:") else _copy_extra_info(row),
    )


def _copy_extra_info(row: Any) -> dict[str, Any] | None:
    extra_info = read_stored(row.get("extra_info"))
    if not isinstance(extra_info, dict) or not extra_info:
        return None
    return dict(json.loads(json.dumps(extra_info, default=str)))  # as the journal stores it
