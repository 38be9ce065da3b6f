"""What `check` finds in a dataset, and that an estimate finds the same."""

import asyncio
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import spo_pipelines.check as check_module
from spo_data import UserError
from spo_data.options import GraderOptions, PromptOptions
from spo_data.run.manifest import read_manifest
from spo_pipelines.check import CheckOptions, CheckReport
from support import scripted
from support.records import journal_of

estimate, options = scripted.estimate, scripted.options


def bad_rows() -> list[dict[str, Any]]:
    """Fifty rows, including fourteen offenders and three duplicates."""
    pairs: list[tuple[str, str | None]] = [(f"What is {i} + {i + 1}?", str(2 * i + 1)) for i in range(20)]
    pairs += [(f"What is {i} + {i + 1}?", str(2 * i + 1)) for i in range(3)]  # 20 to 22: duplicates
    pairs += [("What is 3 + 4?", "8"), ("What is 4 + 5?", "10")]  # 23, 24: contradict 3 and 4
    pairs += [("", "4"), ("   ", "5")]  # 25, 26: empty
    pairs += [("Unparseable one", "?"), ("Unparseable two", "\\frac{"), ("Unparseable three", "{")]  # 27 to 29
    pairs += [("Nothing", ""), ("None", None)]  # 30, 31: no ground truth
    pairs += [("Very long " + "word " * 9_000, "7")]  # 32
    pairs += [("What is 6*7? The answer is 42.", "42"), ("Compute 2^5.\nAnswer: 32", "32")]  # 33, 34: leaks
    pairs += [(r"Simplify. \boxed{x+1}", "x+1"), ("What is 5+5?\n10", "10")]  # 35, 36: leaks
    pairs += [(f"Solve x + {i} = 0.", str(-i)) for i in range(37, 50)]
    return [{"question": question, "answer": answer} for question, answer in pairs]


CONTRADICTIONS = {(23, "contradictory_ground_truth"), (24, "contradictory_ground_truth")}
DROPPED = {(25, "empty_prompt"), (26, "empty_prompt"), (30, "no_ground_truth"), (31, "no_ground_truth")}
LEAKS = {(row, "answer_in_prompt") for row in (33, 34, 35, 36)}
TOO_LONG = {(32, "prompt_too_long")}


def bad_golds(*rows: int) -> set[tuple[int, str]]:
    return {(row, "gold_unparseable") for row in rows}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module", autouse=True)
def _one_tokenizer() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check_module, "load_chat", scripted.shared_chat(check_module.load_chat))
        yield


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("check") / "bad.jsonl", bad_rows())


def check(dataset: Path, verifier: str | None = "exact", model: str | None = None, **asked: Any) -> CheckReport:
    length = asked.pop("max_model_len", None)
    prompts = PromptOptions(dataset=str(dataset), **asked)
    grader = GraderOptions(verifier=verifier, grader_workers=1)
    return asyncio.run(check_module.check(CheckOptions(prompts, grader, model, max_model_len=length)))


@pytest.fixture(scope="module")
def checked(bad: Path) -> Callable[..., CheckReport]:
    """Reports on the bad rows, each made once."""
    made: dict[tuple[str | None, str | None], CheckReport] = {}

    def report(verifier: str | None, model: str | None = None) -> CheckReport:
        if (verifier, model) not in made:
            made[verifier, model] = check(bad, verifier, model)
        return made[verifier, model]

    return report


def found(report: CheckReport) -> set[tuple[int, str]]:
    pairs = [(offender.row, offender.reason) for offender in report.offenders]
    assert len(pairs) == len(set(pairs))
    return set(pairs)


# Every offender, by row and reason. `exact` accepts "?" as a ground truth like any other.

NUMBERS_ONLY = {  # `choice` accepts only a letter as a ground truth
    *(row for row in range(20)),
    *(27, 28, 29, 32, 33, 34, 35, 36),
    *range(37, 50),
}
BAD_GOLDS = {
    None: bad_golds(27, 28, 29),
    "math-verify": bad_golds(27, 28, 29),
    "exact": bad_golds(28, 29),
    "dapo": bad_golds(28, 29),
    "choice": bad_golds(*NUMBERS_ONLY),
}


@pytest.mark.parametrize("verifier", BAD_GOLDS, ids=str)
def test_every_offender_is_found_by_row_and_reason_and_no_other(
    verifier: str | None, checked: Callable[..., CheckReport]
) -> None:
    report = checked(verifier)
    assert found(report) == CONTRADICTIONS | DROPPED | LEAKS | BAD_GOLDS[verifier]
    assert [offender.row for offender in report.offenders] == sorted(offender.row for offender in report.offenders)
    assert report.verifier == (verifier or "math-verify")
    assert (report.preview, report.longest_prompt, report.context_length) == (None, None, None)


def test_a_model_adds_what_is_too_long_a_preview_and_the_longest_prompt(checked: Callable[..., CheckReport]) -> None:
    report = checked("math-verify", scripted.MODEL)
    assert found(report) == CONTRADICTIONS | DROPPED | LEAKS | TOO_LONG | BAD_GOLDS["math-verify"]
    assert report.context_length == 8192
    assert report.longest_prompt is not None
    assert report.longest_prompt > 9_000
    assert report.preview is not None
    assert "What is 0 + 1?\nThe answer format must be: \\boxed{" in report.preview


def test_the_context_length_that_is_asked_for_is_what_prompts_are_held_against(bad: Path) -> None:
    report = check(bad, "exact", scripted.MODEL, max_model_len=20)
    assert report.context_length == 20
    assert {row for row, reason in found(report) if reason == "prompt_too_long"} == (
        set(range(20)) | set(range(27, 30)) | set(range(32, 50))
    )
    assert report.prompts == 0


@pytest.mark.parametrize("model", [None, scripted.MODEL])
def test_the_counts_add_up(model: str | None, checked: Callable[..., CheckReport]) -> None:
    report = checked("math-verify", model)
    assert (report.rows, report.duplicates) == (50, 3)
    contradicted = 2  # rows 3 and 4, because the later rows count as the offenders
    left_out = {offender.row for offender in report.offenders if offender.reason != "answer_in_prompt"}
    assert report.rows == report.prompts + report.duplicates + len(left_out) + contradicted
    assert report.prompts == (35 if model else 36)


def test_an_offender_says_what_is_wrong_with_it(checked: Callable[..., CheckReport]) -> None:
    by_row = {offender.row: offender for offender in checked("math-verify", scripted.MODEL).offenders}
    assert by_row[23].detail.startswith("row 3 says '7', row 23 says '8'")
    assert by_row[27].prompt.startswith("Unparseable one")
    assert "'?'" in by_row[27].detail
    assert "8192" in by_row[32].detail
    assert by_row[33].detail == "the prompt says '42'"
    assert by_row[34].detail == "the prompt says '32'"
    assert all(len(offender.prompt) <= 160 for offender in by_row.values())


def test_the_report_goes_into_json_and_back(checked: Callable[..., CheckReport]) -> None:
    report = checked("math-verify", scripted.MODEL)
    assert json.loads(json.dumps(report.as_dict()))["offenders"] == [vars(one) for one in _plain(report)]


def _plain(report: CheckReport) -> list[Any]:
    from types import SimpleNamespace

    return [SimpleNamespace(**dataclasses.asdict(offender)) for offender in report.offenders]


def test_limit_counts_rows(bad: Path) -> None:
    report = check(bad, "exact", limit=26)
    assert found(report) == CONTRADICTIONS | {(25, "empty_prompt")}
    assert (report.rows, report.duplicates, report.prompts) == (26, 3, 18)


def test_a_shuffle_keeps_the_rows_numbers(bad: Path) -> None:
    """The shuffle decides which of two contradicting rows comes first. Every other offender keeps its row number."""
    report = check(bad, "exact", shuffle_seed=3)
    contradicting = {row for row, reason in found(report) if reason == "contradictory_ground_truth"}
    assert len(contradicting) == 2
    assert contradicting <= {3, 4, 23, 24}
    assert {pair for pair in found(report) if pair[0] not in contradicting} == DROPPED | LEAKS | BAD_GOLDS["exact"]


def test_a_clean_dataset_has_no_offender(dataset: Path) -> None:
    report = check(dataset, "math-verify", scripted.MODEL)
    assert report.offenders == ()
    assert (report.rows, report.prompts, report.duplicates) == (6, 6, 0)
    assert report.template == "boxed"


def test_duplicates_are_no_offence(tmp_path: Path) -> None:
    rows = [{"question": "What is 1 + 1?", "answer": "2"}] * 5
    report = check(write(tmp_path / "same.jsonl", rows))
    assert (report.offenders, report.rows, report.prompts, report.duplicates) == ((), 5, 1, 4)


def test_a_prompt_with_three_ground_truths_is_one_prompt_left_out(tmp_path: Path) -> None:
    rows = [{"question": "What is 1 + 1?", "answer": answer} for answer in ("2", "3", "4", "2")]
    rows.append({"question": "What is 1 + 2?", "answer": "3"})
    report = check(write(tmp_path / "three.jsonl", rows))
    assert found(report) == {(1, "contradictory_ground_truth"), (2, "contradictory_ground_truth")}
    assert (report.prompts, report.duplicates) == (1, 1)


def test_a_reward_function_checks_the_ground_truths_in_its_own_way(dataset: Path, tmp_path: Path) -> None:
    reward = tmp_path / "odd.py"
    reward.write_text(
        "def compute_score(data_source, solution_str, ground_truth, extra_info):\n"
        "    if ground_truth == '7':\n        raise RuntimeError('seven [/red]')\n"
        "    return float(ground_truth != '5' and solution_str.endswith('#### ' + ground_truth))\n"
    )
    report = check(dataset, f"{reward}:compute_score")
    assert found(report) == bad_golds(1, 2)
    assert report.offenders[1].detail == "RuntimeError: seven [/red]"


@pytest.mark.parametrize(
    ("source", "says"),
    [("def compute_score(:", "is not Python"), ("x = 1", "has no function compute_score"), ("1 / 0", "ZeroDivision")],
)
def test_a_reward_function_that_does_not_load_is_refused(source: str, says: str, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(UserError, match=says):
        check(dataset, f"{tmp_path / 'broken.py'}:compute_score")


def test_the_verl_layout_with_its_extra_info_is_checked(tmp_path: Path) -> None:
    rows = [
        {
            "data_source": "made/up",
            "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": gold},
            "extra_info": {"index": index, "split": "train"},
        }
        for index, (content, gold) in enumerate(
            [("What is 1 + 1?", "2"), ("What is 2 + 2?\nAnswer: 4", "4"), ("", "6"), ("What is 3 + 3?", "\\frac{")]
        )
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "verl.parquet")
    reward = tmp_path / "indexed.py"
    reward.write_text(
        "def compute_score(data_source, solution_str, ground_truth, extra_info):\n"
        "    assert data_source == 'made/up' and extra_info['split'] == 'train'\n"
        "    return float(extra_info['index'] != 3)\n"
    )
    for verifier in ("exact", f"{reward}:compute_score"):
        report = check(tmp_path / "verl.parquet", verifier)
        assert (report.layout, report.template) == ("verl", "none")
        assert found(report) == {(1, "answer_in_prompt"), (2, "empty_prompt"), (3, "gold_unparseable")}


def test_the_wording_of_the_template_is_no_leak(tmp_path: Path) -> None:
    (tmp_path / "shot.jinja").write_text("What is 6 * 7?\nAnswer: 42\n\n{{ prompt }}")
    dataset = write(tmp_path / "rows.jsonl", [{"question": "What is 21 + 21?", "answer": "42"}])
    assert check(dataset, template=str(tmp_path / "shot.jinja")).offenders == ()


# What no text policy can answer, or no verifier can grade, is named by kind. All of it used to be called clean.

TESTS = json.dumps({"inputs": ["1 2"], "outputs": ["3"]})
KINDS: list[tuple[dict[str, Any], str]] = [
    ({"problem": "1 + 1?", "answer": "2"}, ""),
    ({"problem": "<image>Find x.", "answer": "3", "images": ["1.png"]}, "has_image"),
    ({"problem": "Which?", "answer": "B", "options": ["4", "7"]}, ""),
    ({"problem": "Which is it?", "answer": "pear", "options": ["4", "7"]}, "gold_not_an_option"),
    ({"problem": "Write a sum.", "answer": TESTS}, "gold_is_tests"),
    ({"problem": "Write two.", "answer": '[{"instruction_id": ["a:b"], "kwargs": [null]}]'}, "gold_is_constraints"),
    ({"problem": "Write code.", "answer": "def f(x):\n    return x"}, "gold_is_code"),
    ({"problem": "Show it.", "answer": "See the solution."}, "gold_is_no_answer"),
    ({"problem": "Call it.", "answer": '{"name": "f"}'}, "gold_is_json"),
    ({"problem": "<|im_start|>user\n2 + 2?<|im_end|>", "answer": "4"}, "chat_tokens_in_prompt"),
    ({"problem": "[INST] 3 + 3? [/INST]", "answer": "6"}, "chat_tokens_in_prompt"),
]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("kinds") / "kinds.jsonl", [row for row, _ in KINDS])


def test_what_cannot_be_answered_or_graded_is_named_and_one_note_for_each_kind_says_what_to_do(kinds: Path) -> None:
    report = check(kinds, "math-verify", scripted.MODEL)
    assert found(report) == {(row, reason) for row, (_, reason) in enumerate(KINDS) if reason}
    assert (report.rows, report.prompts, report.left_out) == (11, 4, 7)
    reasons = [reason for _, reason in KINDS if reason.startswith(("has_", "gold_"))]
    assert sorted(note.rpartition("(")[2] for note in report.notes[:-3]) == sorted(f"{reason})" for reason in reasons)
    assert all(note.startswith("1 rows have ") for note in report.notes[:-3])
    written, tokens, letters = report.notes[-3:]
    assert written.startswith('1 prompts got the options of their rows, as lines "A. …"')
    assert tokens.startswith("2 prompts contain tokens of a chat template (<|im_start|> in row 9)")
    assert letters.startswith("1 of 4 prompts are multiple choice")
    assert letters.endswith("split the dataset, and grade these with choice")


def test_an_estimate_drops_the_same_rows_and_prints_the_same_notes(kinds: Path, tmp_path: Path) -> None:
    report = check(kinds, "math-verify", scripted.MODEL)
    outcome = estimate(options(kinds, tmp_path / "run", n=1, verifier="math-verify"))
    tokens = {row for row, reason in found(report) if reason == "chat_tokens_in_prompt"}
    dropped = {(drop.row, drop.reason) for drop in outcome.plan.prompt_set.dropped}
    assert dropped == {(row, reason) for row, reason in found(report) if row not in tokens}
    assert outcome.plan.notes == report.notes
    assert outcome.plan.as_dict()["notes"] == list(report.notes)
    assert outcome.summary.drawn == outcome.summary.prompts == 4


def test_a_function_may_grade_whatever_no_answer_equals(kinds: Path, tmp_path: Path) -> None:
    (tmp_path / "any.py").write_text("def compute_score(*_, **__):\n    return 1.0\n")
    report = check(kinds, f"{tmp_path / 'any.py'}:compute_score")
    assert {reason for _, reason in found(report)} == {"has_image", "gold_not_an_option", "chat_tokens_in_prompt"}


def test_letters_of_options_get_the_command_with_choice_and_only_under_another_verifier(tmp_path: Path) -> None:
    rows = [{"question": f"Which of {k}?", "choices": ["4", "7"], "answer": 1} for k in range(3)]
    dataset = write(tmp_path / "mmlu.jsonl", rows)
    command = ("spo-data", "check", str(dataset))
    grader = GraderOptions(verifier="exact", grader_workers=1)
    asked = CheckOptions(PromptOptions(dataset=str(dataset)), grader, command=(*command, "--verifier", "exact"))
    report = asyncio.run(check_module.check(asked))
    assert report.offenders == ()
    assert report.notes[-1] == (
        "3 of 3 prompts are multiple choice with a letter for a ground truth, which choice grades by the letter alone:"
        f" {' '.join(command)} --verifier choice"
    )
    assert len(check(dataset, "choice").notes) == 1


def test_chat_tokens_are_no_finding_if_the_model_reads_the_prompt_as_it_is(tmp_path: Path) -> None:
    dataset = write(tmp_path / "chat.jsonl", [{"prompt": "<|im_start|>user\n2 + 2?<|im_end|>\n", "answer": "4"}])
    (tmp_path / "raw.jinja").write_text("{{ messages[0].content }}")
    for template, reasons in ((None, {"chat_tokens_in_prompt"}), (str(tmp_path / "raw.jinja"), set())):
        report = check(dataset, "exact", scripted.MODEL, template="none", chat_template=template)
        assert {reason for _, reason in found(report)} == reasons


def test_an_estimate_of_a_code_set_is_refused_with_what_can_grade_it(tmp_path: Path) -> None:
    dataset = write(tmp_path / "code.jsonl", [{"prompt": f"Write {k}.", "answer": TESTS} for k in range(2)])
    with pytest.raises(
        UserError, match=r"no prompt is left to sample \(2 gold_is_tests; .*--verifier FILE.py:FUNCTION"
    ):
        estimate(options(dataset, tmp_path / "run"))


# An estimate runs the same checks first.


@pytest.fixture
def sampleable(tmp_path: Path) -> Path:
    """The bad rows, with the two contradicting rows turned into duplicates so that row numbers stay the same."""
    rows = bad_rows()
    rows[23], rows[24] = rows[3], rows[4]
    return write(tmp_path / "sampleable.jsonl", rows)


@pytest.mark.slow
@pytest.mark.parametrize("verifier", ["exact", "math-verify"])
def test_an_estimate_drops_what_check_found_and_names_the_leaks(
    verifier: str, sampleable: Path, tmp_path: Path
) -> None:
    expected = found(check(sampleable, verifier, scripted.MODEL))
    outcome = estimate(options(sampleable, tmp_path / "run", n=1, verifier=verifier))
    plan = outcome.plan
    assert {(drop.row, drop.reason) for drop in plan.prompt_set.dropped} == expected - LEAKS
    assert {(leak.row, leak.reason) for leak in plan.leaks} == expected & LEAKS == LEAKS
    assert outcome.summary.dropped == Counter(reason for _, reason in expected - LEAKS)
    assert outcome.summary.drawn == outcome.summary.prompts == 50 - 5 - len(expected - LEAKS)
    assert plan.as_dict()["leaks"] == 4


def test_an_estimate_refuses_contradictions_and_names_check(bad: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"row 3 says '7', row 23 says '8'.*and 1 more: spo-data check lists them"):
        estimate(options(bad, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_skip_check_keeps_prompts_whose_samples_cannot_be_judged_and_never_calls_them_wrong(tmp_path: Path) -> None:
    """An unreadable ground truth says nothing about the policy, so none of its samples may count as wrong."""
    run = tmp_path / "run"
    dataset = scripted.write_rows(tmp_path / "sums.jsonl", 3, r1={"answer": "\\frac{"})
    asked = dataclasses.replace(options(dataset, run, n=8, verifier="math-verify"), skip_check=True)
    outcome = estimate(asked)
    assert outcome.summary.dropped == {}
    assert outcome.plan.leaks == ()
    bad_prompt = outcome.plan.prompt_set.prompts[1].prompt_id
    with journal_of(run) as journal:
        of_bad = [one for one in journal.samples() if one.prompt_id == bad_prompt]
    answered = [one for one in of_bad if "\\boxed" in one.response and one.finish_reason == "stop"]
    assert answered
    assert {(str(one.verdict), one.score) for one in answered} == {("gold_unparseable", None)}
    assert outcome.summary.not_valid >= len(answered)
    assert (outcome.summary.unfinished, outcome.summary.prompts_without_value) == (0, 1)
    assert not outcome.summary.complete
    manifest = read_manifest(run)
    assert manifest is not None
    assert manifest.counts is not None
    assert manifest.counts.not_valid == outcome.summary.not_valid
    values = {row["prompt_id"]: row for row in pq.read_table(run / "values").to_pylist()}
    assert bad_prompt not in values or values[bad_prompt]["value"] is None, "its value is unknown, not 0"
    assert len(values) == 2
