"""From values to the trainer's input, and the two files that hold it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spo_data.errors import SpoError, UserError
from spo_data.formats.export import export_values
from spo_data.formats.load import load_values
from spo_data.grading.verifiers.registry import load_verifier
from spo_data.options import PromptOptions
from spo_data.prompts.identity import Message, Prompt
from spo_data.prompts.template import BUILT_IN, load_template
from spo_data.values.schema import read_provenance, values_schema
from spo_data.values.scores import make_table, make_value_row
from spo_data.values.table import ValueTable
from spo_train.data.first_responses import FirstResponse
from spo_train.data.training_rows import TrainingData, make_training_data
from spo_train.data.validation_rows import make_validation_rows
from spo_train.data.verl_files import read_values_file, write_training_data
from support.records import make_manifest

pytestmark = pytest.mark.usefixtures("datasets_cache")

QUESTIONS = ("What is one and one?", "What is two and two?", "What is three and three?")
GOLDS = ("2", "4", "6")
SCORES = ([1.0, 0.0, 1.0], [0.0, 0.0, None], [0.25, 1.0, 0.5])


def ask(question: str, gold: str = "4", *, template: str = "boxed", system: str | None = None, **more: Any) -> Prompt:
    """A prompt worded as an estimate words it."""
    messages = load_template(template).apply((Message("user", question),))
    return Prompt(((Message("system", system),) if system else ()) + messages, gold, "sums", **more)


PROMPTS = [ask(question, gold) for question, gold in zip(QUESTIONS, GOLDS, strict=True)]
DRAWN = list(zip(PROMPTS, SCORES, strict=True))
N = 3


def values_of(
    tmp_path: Path, rows: list[dict[str, Any]], policy: dict[str, Any] | None = None, *, anonymous: bool = False
) -> ValueTable:
    """Values in a parquet file. `anonymous` values do not name their policy."""
    provenance = None if anonymous else make_manifest(policy=policy, n=1).provenance
    pq.write_table(make_table(rows).cast(values_schema(provenance)), tmp_path / "values.parquet")
    return load_values(tmp_path / "values.parquet")


def published(tmp_path: Path, *texts: str) -> ValueTable:
    """The published columns, with a value of one half for each text."""
    pq.write_table(pa.table({"prompt": texts, "vhat": [[1.0, 0.0]] * len(texts)}), tmp_path / "published.parquet")
    return load_values(tmp_path / "published.parquet")


def training(tmp_path: Path, rows: list[dict[str, Any]], **options: Any) -> PromptOptions:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PromptOptions(dataset=str(path), **options)


def verl_file(path: Path, rows: list[tuple[list[dict[str, str]], str]]) -> PromptOptions:
    """A training file in verl's layout."""
    data = [
        {"data_source": "d", "prompt": turns, "reward_model": {"style": "rule", "ground_truth": gold}}
        for turns, gold in rows
    ]
    pq.write_table(pa.Table.from_pylist(data), path)
    return PromptOptions(dataset=str(path))


def problems(*questions: str, gold: str = "4") -> list[dict[str, Any]]:
    return [{"question": question, "answer": gold} for question in questions]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def totals(data: TrainingData) -> list[tuple[float, int]]:
    return list(zip(data.score_totals.tolist(), data.score_counts.tolist(), strict=True))


def test_a_run_is_trained_on_its_own_prompts_and_ground_truths(run: Path) -> None:
    """A sample that we failed to grade has no score, so its prompt has two scores, not three."""
    data = make_training_data(load_values(run))
    assert totals(data) == [(2.0, 3), (0.0, 2), (1.75, 3)]
    assert (data.score_totals.dtype, data.score_counts.dtype) == (np.float64, np.int64)
    assert data.prompts == tuple(PROMPTS)
    assert (data.coverage.prompts, data.coverage.with_value, data.coverage.without_value) == (3, 3, 0)
    assert (data.coverage.n_values, data.coverage.unused, data.coverage.dropped) == (3, 0, {})
    assert data.coverage.joined_by == "prompt id"
    assert (data.template, data.system) == ("boxed", None)
    assert data.rows.column_names == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
    first = data.rows.to_pylist()[0]
    assert first["prompt"] == [user(PROMPTS[0].text)]
    assert first["reward_model"] == {"style": "rule", "ground_truth": "2"}
    assert first["extra_info"] == {
        "index": 0,
        "split": "train",
        "prompt_id": PROMPTS[0].prompt_id,
        "value": pytest.approx(2 / 3),
        "n_valid": 3,
    }


def test_scores_between_0_and_1_are_summed_as_they_are_and_said(run: Path) -> None:
    """The reference uses int(score > 0), and would treat a prompt with scores 0.25, 0.5 and 1 as always right."""
    data = make_training_data(load_values(run))
    assert data.score_totals[2] == 1.75
    assert "2 of 8 scores lie between 0 and 1 and are used unchanged" in data.notes


def test_a_prompt_without_ground_truth_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [make_value_row(replace(PROMPTS[0], ground_truth=" "), [1.0]), make_value_row(PROMPTS[1], [1.0, 1.0])]
    data = make_training_data(values_of(tmp_path, rows))
    assert [prompt.prompt_id for prompt in data.prompts] == [PROMPTS[1].prompt_id]
    assert totals(data) == [(2.0, 2)]
    assert data.coverage.dropped == {"have no ground truth": 1}
    assert (data.coverage.prompts, data.coverage.unused) == (1, 0)
    assert "1 prompts have no ground truth and are left out" in data.notes


@pytest.mark.parametrize("name", ["values.json", "published.parquet"])
def test_values_without_any_ground_truth_want_training_data(tmp_path: Path, name: str) -> None:
    (tmp_path / "values.json").write_text(json.dumps({"a?": [1, 0]}))
    published(tmp_path, "a?")
    with pytest.raises(UserError, match=r"has no ground truths to train on: .* --train-files"):
        make_training_data(load_values(tmp_path / name))


def test_a_data_source_that_the_values_lack_is_what_they_were_loaded_from(tmp_path: Path) -> None:
    """A null data source would form its own group in verl's metrics, or raise an error."""
    values = values_of(tmp_path, [make_value_row(replace(PROMPTS[0], data_source=""), [1.0])], anonymous=True)
    assert make_training_data(values).rows.column("data_source").to_pylist() == [values.source]


def test_a_value_without_scores_counts_as_what_it_is_the_mean_of(tmp_path: Path) -> None:
    unknown = {"vhat": None, "n": None, "n_correct": None}
    rows = [
        {**make_value_row(PROMPTS[0], [0.25]), **unknown, "n_valid": 8},
        {**make_value_row(PROMPTS[1], [0.25]), **unknown, "n_valid": None},
        make_value_row(PROMPTS[2], [1.0]),
    ]
    data = make_training_data(values_of(tmp_path, rows, anonymous=True))
    assert totals(data) == [(2.0, 8), (0.25, 1), (1.0, 1)]
    assert any(note.startswith("2 prompts have a value but no scores") for note in data.notes)


def test_training_files_are_worded_as_the_values_were_and_joined_by_id(tmp_path: Path) -> None:
    policy = {"system": "Be brief."}
    worded = [ask(question, system="Be brief.") for question in QUESTIONS[:2]]
    values = values_of(tmp_path, [make_value_row(prompt, [1.0, 0.0]) for prompt in worded], policy)
    rows = problems(QUESTIONS[1], "Something new", QUESTIONS[1])
    data = make_training_data(values, training(tmp_path, rows))
    assert totals(data) == [(1.0, 2), (0.0, 0)]
    assert [row["prompt"] for row in data.rows.to_pylist()] == [
        [message._asdict() for message in prompt.messages] for prompt in data.prompts
    ]
    assert data.prompts[0].messages == worded[1].messages
    coverage = data.coverage
    assert (coverage.prompts, coverage.with_value, coverage.n_values, coverage.unused) == (2, 1, 2, 1)
    assert (coverage.reasons, coverage.joined_by) == ({"not in the values": 1}, "prompt id")
    assert (data.template, data.system) == ("boxed", "Be brief.")
    assert "1 rows repeat a prompt: each prompt counts once in training" in data.notes
    assert [row["extra_info"]["value"] for row in data.rows.to_pylist()] == [0.5, None]


def test_the_messages_are_those_that_were_sampled_to_the_last_space(tmp_path: Path, run: Path) -> None:
    """Equal ids allow different white space around a message, and the model would have read different tokens."""
    options = verl_file(tmp_path / "train.parquet", [([user(f"{PROMPTS[1].text}\n\n")], "4")])
    data = make_training_data(load_values(run), options)
    assert totals(data) == [(0.0, 2)]
    assert data.rows.to_pylist()[0]["prompt"] == [user(PROMPTS[1].text)]
    assert data.prompts[0].messages == PROMPTS[1].messages


def test_a_prompt_with_another_ground_truth_stays_and_has_no_scores(tmp_path: Path, run: Path) -> None:
    """Another ground truth means another reward, so the values' baseline would be for a different task."""
    data = make_training_data(load_values(run), training(tmp_path, problems(QUESTIONS[0], gold="3")))
    assert totals(data) == [(0.0, 0)]
    assert data.coverage.reasons == {"other ground truth": 1}
    assert data.coverage.examples == {"other ground truth": "'3' in the training data, '2' in the values"}
    assert data.coverage.unused == 2


def test_two_ground_truths_of_a_training_prompt_are_refused_naming_both(tmp_path: Path, run: Path) -> None:
    rows = [*problems(QUESTIONS[1], gold="4"), *problems(QUESTIONS[1], gold="22")]
    with pytest.raises(UserError, match="two ground truths: row 0 says '4', row 1 says '22'"):
        make_training_data(load_values(run), training(tmp_path, rows))


def test_rows_that_are_no_prompts_are_counted(tmp_path: Path, run: Path) -> None:
    rows = [*problems(QUESTIONS[1]), *problems(QUESTIONS[0], gold="")]
    assert make_training_data(load_values(run), training(tmp_path, rows)).coverage.dropped == {"no_ground_truth": 1}


def test_values_that_know_only_a_text_are_joined_by_it_whatever_the_system_prompt(tmp_path: Path) -> None:
    values = published(tmp_path, PROMPTS[0].text, PROMPTS[1].text)
    rows = [([{"role": "system", "content": "Be brief."}, user(f" {PROMPTS[1].text}\n")], "4")]
    data = make_training_data(values, verl_file(tmp_path / "train.parquet", rows))
    assert totals(data) == [(1.0, 2)]
    assert (data.coverage.joined_by, data.coverage.by_text, data.coverage.unused) == ("prompt text", 1, 1)
    assert data.rows.to_pylist()[0]["prompt"] == rows[0][0]
    assert (data.template, data.system) == ("none", None)


def test_json_is_joined_by_text_to_problems_that_get_the_usual_instruction(tmp_path: Path) -> None:
    (tmp_path / "values.json").write_text(json.dumps({PROMPTS[0].text: [1, 0, 0], "another": [1]}))
    data = make_training_data(load_values(tmp_path / "values.json"), training(tmp_path, problems(*QUESTIONS)))
    assert totals(data) == [(1.0, 3), (0.0, 0), (0.0, 0)]
    assert data.template == "boxed"
    plain = make_training_data(
        load_values(tmp_path / "values.json"), training(tmp_path, problems(*QUESTIONS), template="none")
    )
    assert plain.coverage.with_value == 0
    assert "--template" in plain.coverage.examples["instruction"]


def test_a_text_that_two_training_prompts_share_is_nobodys_value(tmp_path: Path) -> None:
    """The value of a prompt with one system prompt was also used for the same text with another."""
    systems = ["Be brief.", "Think first."]
    rows = [([{"role": "system", "content": system}, user("a?")], "4") for system in systems]
    data = make_training_data(published(tmp_path, "a?"), verl_file(tmp_path / "train.parquet", rows))
    assert totals(data) == [(0.0, 0), (0.0, 0)]
    assert data.coverage.reasons == {"shared first message": 2}


def test_values_of_a_known_policy_are_never_joined_by_text(tmp_path: Path, run: Path) -> None:
    rows = [([{"role": "system", "content": "Be brief."}, user(PROMPTS[0].text)], "2")]
    data = make_training_data(load_values(run), verl_file(tmp_path / "train.parquet", rows))
    assert data.coverage.with_value == 0
    assert data.coverage.reasons == {"system prompt": 1}


def test_a_policy_with_a_system_prompt_that_was_published_as_texts_is_joined_by_them(tmp_path: Path) -> None:
    """An export for the reference trainer records the policy but drops the system prompts from its messages."""
    row = make_value_row(ask(QUESTIONS[1]), [1.0, 0.0])
    values = values_of(tmp_path, [{**row, "ground_truth": None}], {"system": "Be brief."})
    data = make_training_data(values, training(tmp_path, problems(QUESTIONS[1])))
    assert (data.coverage.with_value, data.coverage.joined_by) == (1, "prompt text")
    assert (data.template, data.system) == ("boxed", "Be brief.")


def test_dapo_s_own_messages_are_the_prompts_of_values_that_were_worded_like_them(tmp_path: Path) -> None:
    """DAPO-Math-17k has its instruction in each message and repeats every prompt. Its values use `--template dapo`."""
    values = values_of(tmp_path, [make_value_row(ask(QUESTIONS[1], template="dapo"), [1.0])], {"template": "dapo"})
    before, after = BUILT_IN["dapo"].split("{{ prompt }}")
    rows = [([user(f"{before}{QUESTIONS[1]}{after}")], "4")] * 3
    data = make_training_data(values, verl_file(tmp_path / "dapo.parquet", rows))
    assert (data.coverage.prompts, data.coverage.with_value) == (1, 1)
    assert data.template == "dapo", "equal ids prove the wording, wherever it came from"


def test_an_export_for_verl_can_be_the_training_data(tmp_path: Path, run: Path) -> None:
    exported = export_values(str(run), "verl", tmp_path / "export.parquet").path
    data = make_training_data(load_values(run), PromptOptions(dataset=str(exported)))
    own = make_training_data(load_values(run))
    assert totals(data) == totals(own)
    assert (data.template, data.coverage) == ("boxed", own.coverage)
    assert [row["extra_info"]["value"] for row in data.rows.to_pylist()] == [
        pytest.approx(v) for v in (2 / 3, 0, 1.75 / 3)
    ]


def test_what_a_generated_problem_s_grader_needs_is_kept(tmp_path: Path) -> None:
    """Without `extra_info`, reasoning-gym's own scorer cannot run, and every response would count as our failure."""
    dataset = PromptOptions(dataset="reasoning-gym:chain_sum?size=3&max_terms=2")
    values = published(tmp_path, "another")
    data = make_training_data(values, dataset)
    write_training_data(data, [None] * 3, tmp_path / "out")
    verifier = load_verifier("reasoning-gym")
    for row in pq.read_table(tmp_path / "out" / "train.parquet").to_pylist():
        gold = row["reward_model"]["ground_truth"]
        assert verifier.grade(rf"\boxed{{{gold}}}", gold, row["extra_info"]).score == 1.0


def test_validation_keeps_repeats_and_is_named_after_its_file(tmp_path: Path, run: Path) -> None:
    """AIME's 30 problems, each repeated 32 times, are 960 rows. verl groups its metrics by data source."""
    (tmp_path / "aime.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems("a?", "b?", "a?", " ")))
    said: list[str] = []
    rows = make_validation_rows(PromptOptions(dataset=str(tmp_path / "aime.jsonl")), load_values(run), said.append)
    worded = [ask(question).text for question in ("a?", "a?", "b?")]
    assert [row["prompt"][0]["content"] for row in rows.to_pylist()] == worded
    assert rows.column("data_source").to_pylist() == ["aime"] * 3
    assert {row["extra_info"]["split"] for row in rows.to_pylist()} == {"test"}
    assert said == [f"{tmp_path / 'aime.jsonl'}: 1 of 4 rows are left out of validation: empty_prompt"]


def test_validation_sets_with_different_fields_are_one_table(tmp_path: Path, run: Path) -> None:
    """verl concatenates its validation files, and fails if their extra_info fields differ."""
    (tmp_path / "aime.jsonl").write_text(json.dumps(problems("a?")[0]) + "\n")
    generated = PromptOptions(dataset="reasoning-gym:chain_sum?size=1")
    rows = make_validation_rows([PromptOptions(dataset=str(tmp_path / "aime.jsonl")), generated], load_values(run))
    assert rows.column("data_source").to_pylist() == ["aime", "reasoning-gym:chain_sum"]
    assert [row["extra_info"]["generator"] for row in rows.to_pylist()] == [None, "chain_sum"]


def test_the_files_are_read_as_they_were_written_and_say_whose_values_they_are(tmp_path: Path, run: Path) -> None:
    data = make_training_data(load_values(run))
    mask = np.array([True, False, True])
    responses = [FirstResponse(np.array([1, 2, 3], np.int32), mask), None, FirstResponse(np.array([7], np.int32))]
    write_training_data(data, responses, tmp_path / "out")
    values = read_values_file(tmp_path / "out" / "values.parquet")
    assert list(values.prompt_ids) == data.prompt_ids
    assert values.totals.tolist() == data.score_totals.tolist()
    assert values.counts.tolist() == data.score_counts.tolist()
    assert (values.totals.dtype, values.counts.dtype) == (np.float64, np.int64)
    first, second, third = values.responses
    assert first is not None
    assert third is not None
    assert (first.token_ids.dtype, first.token_ids.tolist(), second) == (np.int32, [1, 2, 3], None)
    assert (first.own.dtype, first.own.tolist()) == (np.bool_, [True, False, True])
    assert (third.token_ids.tolist(), third.mask, third.own.tolist()) == ([7], None, [True])
    trained = pq.read_table(tmp_path / "out" / "train.parquet")
    assert [row["extra_info"]["prompt_id"] for row in trained.to_pylist()] == data.prompt_ids
    for name in ("train.parquet", "values.parquet"):
        assert read_provenance(pq.read_schema(tmp_path / "out" / name)) == load_values(run).provenance
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["train.parquet", "values.parquet"]


def test_many_prompts_stay_aligned_over_row_groups_and_bytes_repeat(tmp_path: Path) -> None:
    prompts = [ask(f"What is {number}?") for number in range(2_500)]
    values = values_of(
        tmp_path, [make_value_row(prompt, [float(n % 2)] * (1 + n % 3)) for n, prompt in enumerate(prompts)]
    )
    responses = [
        None if number % 7 == 0 else FirstResponse(np.arange(number % 5 + 1, dtype=np.int32)) for number in range(2_500)
    ]
    written = []
    for folder in ("one", "two"):
        write_training_data(make_training_data(values), responses, tmp_path / folder)
        written.append([(tmp_path / folder / name).read_bytes() for name in ("train.parquet", "values.parquet")])
    assert written[0] == written[1]
    read = read_values_file(tmp_path / "one" / "values.parquet")
    assert read.prompt_ids == tuple(prompt.prompt_id for prompt in prompts)
    assert read.counts.tolist() == [1 + number % 3 for number in range(2_500)]
    assert [None if each is None else len(each.token_ids) for each in read.responses] == [
        None if each is None else len(each.token_ids) for each in responses
    ]


def test_a_method_without_values_trains_on_its_files(tmp_path: Path) -> None:
    """GRPO gets a table without rows."""
    data = make_training_data(
        ValueTable(values_schema().empty_table(), "no values"), training(tmp_path, problems("a?", "b?"))
    )
    assert totals(data) == [(0.0, 0), (0.0, 0)]
    assert (data.coverage.n_values, data.coverage.with_value, data.template) == (0, 0, "boxed")
    write_training_data(data, [None, None], tmp_path / "out")
    assert read_values_file(tmp_path / "out" / "values.parquet").responses == [None, None]


@pytest.mark.parametrize("content", [b"no parquet", None], ids=["garbage", "other columns"])
def test_a_file_that_holds_no_training_values_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "x.parquet")
    else:
        (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(
        UserError, match=r"x\.parquet (cannot be read as parquet|has the columns prompt, not prompt_id)"
    ):
        read_values_file(tmp_path / "x.parquet")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, run: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(SpoError, match=r"taken cannot be written"):
        write_training_data(make_training_data(load_values(run)), [None] * 3, tmp_path / "taken")


def test_a_mask_of_another_length_is_refused(tmp_path: Path) -> None:
    """If it were accepted, some tool tokens would count as the model's own."""
    row = {"prompt_id": "p", "score_total": 1.0, "score_count": 1, "response_ids": [1, 2], "response_mask": [True]}
    data = make_training_data(ValueTable(values_schema().empty_table(), "none"), training(tmp_path, problems("a?")))
    write_training_data(data, [None], tmp_path / "out")
    path = tmp_path / "out" / "values.parquet"
    pq.write_table(pa.Table.from_pylist([row], schema=pq.read_schema(path)), path)
    with pytest.raises(UserError, match=r"a response of 2 tokens has a mask of 1"):
        read_values_file(path)


def test_own_prompts_may_be_told_of_tools_where_their_words_are_the_same(tmp_path: Path) -> None:
    """`boxed` and `retool` word prompts identically. Only the chat's wording mentions the interpreter."""
    boxed = values_of(tmp_path, [make_value_row(ask("What is 1?"), [1.0])])
    assert make_training_data(boxed).template == "boxed"
    assert make_training_data(boxed, template="retool").template == "retool"
    assert make_training_data(boxed, template="dapo").template == "boxed", "a template of other files"
    bare = values_of(tmp_path, [make_value_row(Prompt((Message("user", "What is 1?"),), "1", "d"), [1.0])])
    assert make_training_data(bare, template="boxed").template == "boxed"
    with pytest.raises(UserError, match="--template retool: the prompts of the values are without its answer"):
        make_training_data(bare, template="retool")


def test_files_may_be_told_of_tools_where_the_values_prompts_were_not(tmp_path: Path, run: Path) -> None:
    """Equal prompts were taken to mean an equal template, so `--template retool` was silently ignored."""
    values = load_values(run)
    rows = problems(QUESTIONS[0], gold=GOLDS[0])
    told = make_training_data(values, training(tmp_path, rows, template="retool"))
    assert (told.coverage.with_value, told.template) == (1, "retool")
    assert make_training_data(values, training(tmp_path, rows)).template == "boxed"


@pytest.mark.slow
def test_verl_loads_the_rows_in_their_order(tmp_path: Path, run: Path) -> None:
    """verl's own dataset class decides whether it can load the file."""
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset

    data = make_training_data(load_values(run))
    write_training_data(data, [None] * 3, tmp_path / "out")
    config = OmegaConf.create({"cache_dir": str(tmp_path / "cache"), "filter_overlong_prompts": False})
    dataset = RLHFDataset(str(tmp_path / "out" / "train.parquet"), None, config)
    rows = [dataset[number] for number in range(len(dataset))]
    assert [row["extra_info"]["prompt_id"] for row in rows] == data.prompt_ids
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert [row["raw_prompt"] for row in rows] == [[user(prompt.text)] for prompt in PROMPTS]
    assert [row["reward_model"]["ground_truth"] for row in rows] == list(GOLDS)


@pytest.mark.parametrize(
    ("verifier", "extra_info", "source", "noted"),
    [
        ("mine.py:score", {"index": 7, "level": 2, "split": "train"}, None, False),
        ("mine.py:score", {"index": 7, "level": 3}, None, True),
        ("mine.py:score", {"index": 7, "level": 2}, "other", True),
        ("math-verify", {"index": 7, "level": 3}, "other", False),
    ],
)
def test_rows_that_the_verifier_reads_otherwise_than_the_values_are_noted(
    tmp_path: Path, verifier: str, extra_info: dict[str, Any], source: str | None, noted: bool
) -> None:
    """The value of such a prompt is another reward's; only ground truths were compared."""
    prompt = ask(QUESTIONS[0], extra_info={"index": 7, "level": 2})
    row = make_value_row(prompt, [1.0, 0.0]) | {"extra_info": json.dumps(prompt.extra_info)}
    provenance = make_manifest(grader={"verifier": verifier, "version": "1"}).provenance
    pq.write_table(make_table([row]).cast(values_schema(provenance)), tmp_path / "values.parquet")
    given = [problems(QUESTIONS[0])[0] | {"extra_info": extra_info} | ({"data_source": source} if source else {})]
    data = make_training_data(load_values(tmp_path / "values.parquet"), training(tmp_path, given))
    assert data.coverage.with_value == 1
    notes = [note for note in data.notes if "the verifier reads it" in note]
    assert len(notes) == noted
    if noted:
        field = "data_source" if source else "extra_info"
        assert notes[0].startswith(f"1 prompts have another {field} than in the values, ")
