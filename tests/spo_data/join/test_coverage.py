"""Training data joined to values."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spo_data.errors import UserError
from spo_data.formats.load import load_values
from spo_data.join.coverage import JoinReport, join
from spo_data.options import PromptOptions
from spo_data.prompts.identity import Message, Prompt
from spo_data.prompts.template import load_template
from spo_data.values.schema import values_schema
from spo_data.values.scores import make_value_row
from spo_data.values.table import ValueTable
from support.records import make_manifest

pytestmark = pytest.mark.usefixtures("datasets_cache")

BOXED = load_template("boxed")


def values_of(
    tmp_path: Path, questions: list[str], golds: list[str] | None = None, policy: dict[str, Any] | None = None
) -> ValueTable:
    """Values of questions in the wording of the boxed template."""
    provenance = make_manifest(policy=policy).provenance
    rows = []
    for question, gold in zip(questions, golds or ["4"] * len(questions), strict=True):
        messages = BOXED.apply((Message("user", question),))
        if provenance.policy.system is not None:
            messages = (Message("system", provenance.policy.system), *messages)
        rows.append(make_value_row(Prompt(messages, gold, "d"), [1.0, 0.0]))
    pq.write_table(pa.Table.from_pylist(rows, schema=values_schema(provenance)), tmp_path / "values.parquet")
    return load_values(tmp_path / "values.parquet")


def training(tmp_path: Path, rows: list[dict[str, Any]], **options: Any) -> PromptOptions:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PromptOptions(dataset=str(path), **options)


def problems(*questions: str, gold: str = "4") -> list[dict[str, Any]]:
    return [{"question": question, "answer": gold} for question in questions]


def reasons(joined: JoinReport) -> list[tuple[int, str]]:
    return [(missing.row, missing.near.reason) for missing in joined.missing]


def test_problems_are_worded_as_the_values_were(tmp_path: Path) -> None:
    values = values_of(tmp_path, ["a?", "b?", "c?"], policy={"system": "Be brief."})
    joined = join(values, training(tmp_path, problems("a?", "b?", "a?")))
    assert (joined.rows, joined.prompts, joined.with_value, joined.coverage) == (3, 2, 2, 1.0)
    assert (joined.n_values, joined.unused, joined.missing, joined.template) == (3, 1, [], "boxed")


def test_chat_messages_are_taken_as_they_are(tmp_path: Path) -> None:
    values = values_of(tmp_path, ["a?"])
    (worded,) = BOXED.apply((Message("user", "a?"),))
    rows = [
        {"prompt": [{"role": "user", "content": content}], "answer": "4"} for content in (f" {worded.content}\n", "a?")
    ]
    joined = join(values, training(tmp_path, rows))
    assert joined.with_value == 1
    assert reasons(joined) == [(1, "not in the values")], "the value is another row's already"


def test_missing_prompts_are_counted_by_reason_with_the_difference(tmp_path: Path) -> None:
    values = values_of(tmp_path, ["What is one and one?", "What is two and two?", "What is three and three?"])
    rows = problems("What is one and one?", "What is two  and two?", "Something new")
    joined = join(values, training(tmp_path, rows))
    assert joined.with_value == 1
    assert reasons(joined) == [(1, "whitespace"), (2, "not in the values")]
    assert joined.reasons == {"whitespace": 1, "not in the values": 1}
    assert joined.unused == 2
    assert json.loads(json.dumps(joined.as_dict()))["missing"][0]["near"]["reason"] == "whitespace"


def test_another_template_or_system_prompt_is_what_is_missing(tmp_path: Path) -> None:
    values = values_of(tmp_path, ["What is one and one?"])
    plain = join(values, training(tmp_path, problems("What is one and one?"), template="none"))
    assert reasons(plain) == [(0, "instruction")]
    told = join(values, training(tmp_path, problems("What is one and one?"), system="Be brief."))
    assert reasons(told) == [(0, "system prompt")]


def test_a_prompt_with_another_ground_truth_has_no_value(tmp_path: Path) -> None:
    """Its id is the same but its reward is not, so the baseline would have been that of another task."""
    values = values_of(tmp_path, ["a?", "b?"], ["4", "5"])
    joined = join(values, training(tmp_path, problems("a?", "b?")))
    assert (joined.with_value, joined.unused) == (1, 0)
    (missing,) = joined.missing
    assert missing.near.reason == "other ground truth"
    assert missing.near.detail == "'4' in the training data, '5' in the values"


def test_a_training_prompt_with_two_ground_truths_has_no_value(tmp_path: Path) -> None:
    values = values_of(tmp_path, ["a?"])
    joined = join(values, training(tmp_path, [*problems("a?"), *problems("a?", gold="5")]))
    assert reasons(joined) == [(0, "contradictory ground truth")]


def test_the_nearest_prompt_is_looked_for_of_so_many_and_the_others_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of thousands of missing prompts took minutes and gigabytes, only to find the same reason for each."""
    monkeypatch.setattr("spo_data.join.match.LOOKED_AT", 2)
    values = values_of(tmp_path, ["What is one and one?"])
    joined = join(values, training(tmp_path, problems("a?", "b?", "c?", "d?")))
    assert joined.reasons == {"not in the values": 2, "not looked at": 2}


def test_rows_that_are_no_prompts_are_counted(tmp_path: Path) -> None:
    values = values_of(tmp_path, ["a?"])
    joined = join(values, training(tmp_path, [*problems("a?"), {"question": " ", "answer": "4"}]))
    assert joined.dropped == {"empty_prompt": 1}


def test_values_that_do_not_say_how_they_were_worded_leave_the_template_to_the_user(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a?"], "vhat": [[1.0]]}), tmp_path / "v.parquet")
    values = load_values(tmp_path / "v.parquet")
    rows = problems("a?")
    assert join(values, training(tmp_path, rows, template="none")).coverage == 1.0
    assert join(values, training(tmp_path, rows)).template == "boxed"


def test_a_template_that_was_a_file_must_be_given(tmp_path: Path) -> None:
    values = values_of(tmp_path, ["a?"], policy={"template": "mine.jinja@0123456789ab"})
    with pytest.raises(UserError, match=r"made with the template file mine\.jinja@0123456789ab"):
        join(values, training(tmp_path, problems("a?")))
    (tmp_path / "mine.jinja").write_text("{{ prompt }}" + BOXED.source.removeprefix("{{ prompt }}"))
    options = replace(training(tmp_path, problems("a?")), template=str(tmp_path / "mine.jinja"))
    assert join(values, options).coverage == 1.0


def test_values_that_know_only_a_text_are_joined_by_it_and_this_is_said(tmp_path: Path) -> None:
    """Published values have no system prompt. By an id of the text alone, a prompt with one never had a value."""
    pq.write_table(pa.table({"prompt": ["a?", "b?"], "vhat": [[1.0], [0.0]]}), tmp_path / "v.parquet")
    rows = [
        {"prompt": [{"role": "system", "content": system}, {"role": "user", "content": text}], "answer": "4"}
        for system, text in (("One.", "a?"), ("One.", "b?"), ("Two.", "b?"))
    ]
    joined = join(load_values(tmp_path / "v.parquet"), training(tmp_path, rows))
    assert (joined.with_value, joined.by_text, joined.unused) == (1, 1, 0)
    assert reasons(joined) == [(1, "shared first message"), (2, "shared first message")]
    known = values_of(tmp_path, ["a?"])
    told = [
        {
            "prompt": [
                rows[0]["prompt"][0],
                {"role": "user", "content": BOXED.apply((Message("user", "a?"),))[0].content},
            ],
            "answer": "4",
        }
    ]
    assert reasons(join(known, training(tmp_path, told))) == [(0, "system prompt")], "a run knows that it had none"
