"""What `check` and `estimate` say about a dataset, one sentence for each finding: how many, and what to do.

make_notes(prompt_set, examined, "math-verify", ("spo-data", "check", "mmlu.parquet"))
"""

import shlex
from collections import Counter
from collections.abc import Sequence

from spo_data.command_line import set_option
from spo_data.prompts.build import PromptSet
from spo_data.prompts.choices import ASK
from spo_data.prompts.problem import is_choice_gold
from spo_data.prompts.unanswerable import COMPARING
from spo_pipelines.prompt_checks import Examination

_OWN_FUNCTION = "grade them with a function of your own, --verifier FILE.py:FUNCTION"
_TEXT_ONLY = "and the policy reads text only, so they are left out: drop the column if no problem needs it"
REMEDIES = {
    "has_image": f"have an image, {_TEXT_ONLY}",
    "has_video": f"have a video, {_TEXT_ONLY}",
    "has_audio": f"have a recording, {_TEXT_ONLY}",
    "gold_not_an_option": "have options, but a ground truth that names none of them: name the column of the letter, the"
    " number from 0 or the text of the correct one with --answer-column",
    "gold_names_two_options": "have a ground truth that names two of their options: correct these rows",
    "empty_option": "have an empty option before the last one: correct these rows",
    "gold_is_tests": f"have tests of a program for a ground truth, which no answer equals: {_OWN_FUNCTION}",
    "gold_is_constraints": f"have constraints for a ground truth, which no answer equals: {_OWN_FUNCTION}",
    "gold_is_code": f"have a program for a ground truth, which no answer equals: {_OWN_FUNCTION}",
    "gold_is_json": f"have a JSON object for a ground truth, which no answer equals: {_OWN_FUNCTION}, or name one field"
    " with --answer-column COLUMN.FIELD",
    "gold_is_no_answer": 'have a ground truth such as "N/A", "proof" or "see the solution", which no answer equals:'
    " leave these rows out, or name another column with --answer-column",
    "several_ground_truths": "have several ground truths, of which only math-verify accepts any: take --verifier"
    " math-verify, or keep one in each row",
    "ground_truth_is_a_struct": "have a struct for a ground truth: name one field with --answer-column COLUMN.FIELD",
}
"""What to do about rows that are left out, by reason."""


def make_notes(prompt_set: PromptSet, examined: Examination, verifier: str, command: Sequence[str]) -> tuple[str, ...]:
    """Return what to say; `command` is the command line, of which the corrected one is printed."""
    counts = Counter(finding.reason for finding in (*prompt_set.dropped, *examined.bad_golds))
    notes = [f"{counts[reason]:,} rows {remedy} ({reason})" for reason, remedy in REMEDIES.items() if counts[reason]]
    left = prompt_set.without(examined.unusable)
    if written := len(left.written_options.intersection(left.rows)):
        notes.append(f'{written:,} prompts got the options of their rows, as lines "A. …", and "{ASK}"')
    if examined.chat_tokens:
        notes.append(
            f"{len(examined.chat_tokens):,} prompts contain tokens of a chat template"
            f" ({examined.chat_tokens[0].detail.rpartition(' ')[2]} in row {examined.chat_tokens[0].row}), and the"
            " model's template is written around them: name a column with the bare problem (--prompt-column), or sample"
            " them as they are, with --template none and a --chat-template FILE that is {{ messages[0].content }}"
        )
    return (*notes, *_note_letters(left, verifier, command))


def _note_letters(prompt_set: PromptSet, verifier: str, command: Sequence[str]) -> list[str]:
    letters = sum(row in prompt_set.choices for row in prompt_set.rows)
    if not letters or verifier == "choice" or verifier not in COMPARING:
        return []
    said = f"{letters:,} of {len(prompt_set.prompts):,} prompts are multiple choice with a letter for a ground truth"
    if not all(is_choice_gold(prompt.ground_truth) for prompt in prompt_set.prompts):
        return [f"{said}, which choice grades by the letter alone: split the dataset, and grade these with choice"]
    better = shlex.join(set_option(command, "--verifier", "choice"))
    return [f"{said}, which choice grades by the letter alone: {better}"]
