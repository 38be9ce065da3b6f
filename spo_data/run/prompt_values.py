"""The value of every prompt of a run, from its journal.

for position, value in estimate_values(journal, manifest.n):
    value.value, value.n_undrawn
"""

from collections.abc import Iterator
from itertools import groupby

from spo_data.grading.verdict import Verdict
from spo_data.run.journal import Journal
from spo_data.values.estimator import PromptValue, estimate_value


def estimate_values(journal: Journal, n: int) -> Iterator[tuple[int, PromptValue]]:
    """(position, value) of all prompts, in order; one of whose samples nothing is known has the bounds 0 and 1."""
    failures = dict(journal.rows("SELECT prompt_number, count(*) FROM failures GROUP BY 1"))
    undrawn = {number: count for number, _, count in journal.undrawn(n)}
    # Without a join to `prompts`, the query walks two indexes and never reads a response.
    rows = journal.rows("SELECT prompt_number, verdict, score FROM graded ORDER BY prompt_number, sample_index")
    values: dict[int, PromptValue] = {}
    for number, group in groupby(rows, key=lambda row: row[0]):
        pairs = ((Verdict(verdict), score) for _, verdict, score in group)
        values[number] = estimate_value(pairs, failures=failures.get(number, 0), undrawn=undrawn.get(number, 0))
    for position, number in journal.rows("SELECT position, prompt_number FROM prompts ORDER BY position"):
        if number in values:
            yield position, values[number]
        else:
            yield position, estimate_value((), failures=failures.get(number, 0), undrawn=undrawn.get(number, 0))
