r"""How other people's values are imported: round trips, verl's dump against a real chat template, and hostile files."""

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spo_data.errors import UserError
from spo_data.formats.export import export_values
from spo_data.formats.import_report import ImportReport
from spo_data.formats.import_values import import_values
from spo_data.formats.load import load_values
from spo_data.models.embedded import embedded_model
from spo_data.options import PromptOptions
from spo_data.prompts.identity import Message, Prompt, prompt_id
from spo_data.values.schema import read_provenance, samples_schema, values_schema
from support.made_runs import make_run

USER = Message("user", "What is 2 + 2?")
PROMPTS = [
    Prompt((Message("system", "Be brief."), USER), "4", "sums"),
    Prompt((Message("user", " é🙂 \n"),), "\\frac{1}{2}", "sums", {"index": 3, "level": "hard"}),
    Prompt((USER,), "4", "sums"),
]
DRAWN = [(PROMPTS[0], [1.0, None, 0.5]), (PROMPTS[1], [0.0, 0.0, 1.0]), (PROMPTS[2], [0.0, 1.0])]
N = 2


def samples(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("samples/*.parquet")) for row in pq.read_table(path).to_pylist()]


def rows(folder: Path) -> list[dict[str, Any]]:
    return list(load_values(folder).rows())


def test_a_star_comes_back_with_ids_ground_truths_scores_and_responses(run: Path, tmp_path: Path) -> None:
    path = export_values(str(run), "a-star-po", tmp_path / "a.parquet").path
    imported = import_values(str(path), tmp_path / "in")
    values = load_values(tmp_path / "in")
    keys = [(prompt.prompt_id, prompt.ground_truth, prompt.data_source) for prompt in values.prompts()]
    assert keys == [(prompt.prompt_id, prompt.ground_truth, prompt.data_source) for prompt in PROMPTS]
    assert [row["vhat"] for row in values.rows()] == [[1.0, 0.5], [0.0, 0.0], [0.0, 1.0]]
    drawn = [row for row in samples(run) if row["score"] is not None]
    first = [(row["prompt_id"], row["response"], row["score"]) for row in drawn if row is not drawn[4]]
    assert [(row["prompt_id"], row["response"], row["score"]) for row in samples(tmp_path / "in")] == first
    assert [row["sample_index"] for row in samples(tmp_path / "in")] == [0, 1] * 3
    assert values.provenance is not None
    assert (values.provenance.policy.model, values.provenance.n) == ("org/model", 2)
    (sample_file,) = (tmp_path / "in").glob("samples/*")
    assert read_provenance(pq.read_schema(sample_file)) == values.provenance
    assert json.loads(rows(tmp_path / "in")[1]["extra_info"]) == {"index": 3, "level": "hard", "split": "train"}
    assert (imported.layout, imported.prompts, imported.samples, imported.scores) == ("a-star-po", 3, 6, {2: 3})
    again = export_values(str(tmp_path / "in"), "a-star-po", tmp_path / "b.parquet").path
    assert pq.read_table(again).drop_columns("extra_info") == pq.read_table(path).drop_columns("extra_info")


def test_a_dataset_with_prompt_and_vhat_comes_back(tmp_path: Path) -> None:
    single = make_run(tmp_path / "single", DRAWN[1:], n=2)
    folder = export_values(str(single), "spo-hf", tmp_path / "hf").path
    imported = import_values(str(folder), tmp_path / "in")
    for source in (folder, tmp_path / "in"):
        assert {row["prompt"]: row["vhat"] for row in rows(source)} == {"é🙂": [0.0, 0.0], USER.content: [0.0, 1.0]}
    assert load_values(tmp_path / "in").prompt_ids == [PROMPTS[1].prompt_id, PROMPTS[2].prompt_id]
    assert "ground_truth" in imported.unknown
    assert "n_truncated" in imported.unknown
    assert "vhat" not in imported.unknown


def test_a_run_is_copied_with_its_samples_and_policy(run: Path, tmp_path: Path) -> None:
    imported = import_values(str(run), tmp_path / "in")
    assert rows(tmp_path / "in") == rows(run)
    assert load_values(tmp_path / "in").provenance == load_values(run).provenance
    assert samples(tmp_path / "in") == samples(run)
    assert (imported.prompts, imported.samples, imported.scores) == (3, 8, {3: 1, 2: 2})


def test_the_folder_is_a_dataset_and_says_nothing_of_today(run: Path, tmp_path: Path) -> None:
    import datasets

    path = export_values(str(run), "a-star-po", tmp_path / "a.parquet").path
    for name in ("one", "two"):
        import_values(str(path), tmp_path / name)
    for config, length in ((None, 3), ("samples", 6)):
        loaded = datasets.load_dataset(str(tmp_path / "one"), config, cache_dir=str(tmp_path / "cache"))
        assert len(loaded["train"]) == length
    files = [sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("one", "two")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert [path.name for path in files[0]] == ["README.md", *["train-00000-of-00001.parquet"] * 2]


def write_dump(path: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    """Write a dump as verl's `_write_generations` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def line(text: str = "user\n2 + 2?\nassistant\n", score: Any = 1.0, gts: Any = "4", **more: Any) -> dict[str, Any]:
    return {"input": text, "output": f"out {score}\u2028", "gts": gts, "score": score, "step": 0, **more}


def test_a_dump_without_a_dataset_stands_as_it_is(tmp_path: Path) -> None:
    lines = [line(), line("user\n3?\nassistant\n", 0.0, 3), line(score=math.nan), line(score=None), line(score=0)]
    lines += [line("graded by nobody", None)]
    imported = import_values(str(write_dump(tmp_path / "0.jsonl", lines)), tmp_path / "in")
    first, second = rows(tmp_path / "in")
    assert first["prompt"] == "user\n2 + 2?\nassistant"
    assert first["vhat"] == [1.0, 0.0]
    assert (first["n"], first["n_valid"], first["n_failed"], first["n_correct"]) == (4, 2, 2, 1)
    assert (first["ground_truth"], second["ground_truth"]) == ("4", "3")
    unknown = ("value_low", "value_high", "n_truncated", "n_no_answer", "response_tokens_mean", "data_source")
    assert [first[name] for name in unknown] == [None] * 6
    assert set(unknown) <= set(imported.unknown)
    assert not imported.is_joined
    assert (imported.ungraded, imported.no_value, imported.prompts, imported.samples) == (3, 1, 2, 6)
    assert imported.repeated == 0
    drawn = samples(tmp_path / "in")
    assert [(row["sample_index"], row["score"]) for row in drawn] == [
        *((0, 1.0), (1, None), (2, None), (3, 0.0)),
        *((0, 0.0), (0, None)),
    ]
    assert drawn[0]["response"] == "out 1.0\u2028"
    assert [drawn[0][name] for name in ("seed", "token_ids", "finish_reason", "verdict")] == [None] * 4
    assert "do not join" in (tmp_path / "in" / "README.md").read_text()


@pytest.mark.slow
def test_what_verls_own_trainer_dumps_is_read(tmp_path: Path) -> None:
    if importlib.util.find_spec("verl") is None:
        pytest.skip("verl is not installed")
    dumped = {
        "inputs": ["user\n2 + 2?\nassistant\n"] * 2,
        "outputs": ["4", "5"],
        "gts": ["4"] * 2,
        "scores": [1.0, -1.0],
        "reward_extra_infos_dict": {
            "reward": [1.0, -1.0],
            "acc": [True, False],
            "pred": ["4", None],
            "uid": ["a-b_0_0", "a-b_1_0"],
        },
        "dump_path": str(tmp_path / "validation_data"),
        "global_steps": 0,
    }
    program = (
        "import json, sys; from verl.trainer.ppo.v1.trainer_base import PPOTrainer;"
        "PPOTrainer._write_generations(**json.load(sys.stdin))"
    )
    subprocess.run([sys.executable, "-c", program], input=json.dumps(dumped), text=True, check=True, timeout=300)
    import_values(str(tmp_path / "validation_data"), tmp_path / "in")
    assert [(row["vhat"], row["ground_truth"]) for row in rows(tmp_path / "in")] == [([1.0, 0.0], "4")]
    assert [(row["response"], row["answer"]) for row in samples(tmp_path / "in")] == [("4", "4"), ("5", None)]


def test_acc_goes_before_the_score(tmp_path: Path) -> None:
    lines = [line(score=-1.0, acc=False), line(score=1.0, acc=True), line(score=0.25, acc=None), line(score=-1, acc=1)]
    import_values(str(write_dump(tmp_path / "0.jsonl", lines)), tmp_path / "in")
    assert rows(tmp_path / "in")[0]["vhat"] == [0.0, 1.0, 0.25, 1.0]


def test_many_files_are_one_source(tmp_path: Path) -> None:
    for subset in range(3):
        write_dump(
            tmp_path / f"spo/offline_value_estimation_subset_{subset}/validation_data/0.jsonl",
            [line(f"user\n{subset // 2}?", float(subset == 1))],
        )
    pattern = f"{tmp_path}/spo/offline_value_estimation_subset_*/validation_data/0.jsonl"
    for source, out in ((pattern, "glob"), (str(tmp_path / "spo"), "folder")):
        imported = import_values(source, tmp_path / out)
        assert [row["vhat"] for row in rows(tmp_path / out)] == [[0.0, 1.0], [0.0]]
        assert (len(imported.files.files), imported.repeated) == (3, 1)


def test_later_outputs_of_an_agent_loop_are_not_further_draws(tmp_path: Path) -> None:
    """verl writes one line per output, each with the score of the whole draw, so a draw of two turns counted twice."""
    lines = [line(uid="a-b_0_0"), line("user\nlater", uid="a-b_0_1"), line(score=0.0, uid="a-b_1_0")]
    imported = import_values(str(write_dump(tmp_path / "0.jsonl", lines)), tmp_path / "in")
    assert [row["vhat"] for row in rows(tmp_path / "in")] == [[1.0, 0.0]]
    assert imported.left_out == {"are later outputs of a draw that was counted": 1}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line(), line(), line(score=-1.0)], r"0.jsonl, line 3: score -1.0 is not in \[0, 1\].*the dump needs `acc`"),
        ([line(), line(acc=2)], r"line 2: acc: score 2 is not in \[0, 1\]"),
        ([line(score="1.0")], "line 1: score '1.0' is not a number"),
        ([line(score=math.inf)], r"line 1: score inf is not in \[0, 1\]"),
        ([line(score=[1.0])], r"line 1: score \[1.0\] is not a number"),
        ([line(), line(gts="5")], "two ground truths: .*line 1 says '4', .*line 2 says '5': user 2"),
        ([line(gts=""), line(), line(gts="5")], "two ground truths: .*line 2 says '4', .*line 3 says '5'"),
        ([line(), line(step=10)], "line 1 is of step 0, but .*line 2 of step 10, which is another policy"),
        ([line(), {"prompt": "x", "score": 1}], "line 2 has no input, gts, but prompt, score"),
        ([line(), {"input": "x", "gts": "4"}], "line 2 has no score, but input, gts"),
        ([{}], "line 1 has no input, gts, score, but nothing"),
        ([[1, 2]], r"line 1: .* is not a JSON object"),
        ([line("  ")], r"has no values \(1 rows have an empty input\)"),
        ([line(gts=["4"])], r"has no values \(1 rows have a ground truth that is not text\)"),
        ([line(score=None)], r"has no values \(1 prompts have no graded response\)"),
        ([{**line(), "output": 3}], "line 1: output 3 is not a text"),
        ([], "0.jsonl is empty"),
    ],
)
def test_what_a_dump_cannot_say_is_refused(tmp_path: Path, lines: list[Any], message: str) -> None:
    path = write_dump(tmp_path / "0.jsonl", lines)
    with pytest.raises(UserError, match=message):
        import_values(str(path), tmp_path / "in")
    assert [found.name for found in tmp_path.iterdir()] == ["0.jsonl"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"input": \n', "line 3: not JSON in UTF-8 \\(Expecting value"),
        ('{"input": "é"}\n'.encode("latin-1"), "line 3: not JSON in UTF-8 \\('utf-8' codec"),
        (b"[" * 200_000 + b"\n", "line 3: not JSON in UTF-8 \\(lists and objects are nested more"),
        (
            f'{{"input": "x", "gts": "4", "score": {10**400}, "step": 0}}\n'.encode(),
            r"line 3: score 10{79} is not in \[0, 1\]",
        ),
        (b'{"input": "\\ud800", "gts": "4", "score": 1, "step": 0}\n', "line 3: half a surrogate pair"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, text: bytes, message: str) -> None:
    path = write_dump(tmp_path / "0.jsonl", [line()] * 2)
    path.write_bytes(path.read_bytes() + text)
    with pytest.raises(UserError, match=message):
        import_values(str(path), tmp_path / "in")


def test_a_copied_dump_does_not_count_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_dump(tmp_path / "dumps" / name / "0.jsonl", [line()])
    with pytest.raises(UserError, match=r"b/0.jsonl is a copy of .*a/0.jsonl: its responses would count twice"):
        import_values(str(tmp_path / "dumps"), tmp_path / "in")


TRAINING = [
    {"prompt": [{"role": "user", "content": "Say\nassistant\nor user\n3?"}], "reward_model": {"ground_truth": "3"}},
    {
        "prompt": [{"role": "system", "content": "Count."}, {"role": "user", "content": "\n1, 2, … é🙂 "}],
        "reward_model": {"ground_truth": "3"},
    },
    {"prompt": [{"role": "user", "content": "<|im_end|>twin"}], "reward_model": {"ground_truth": "1"}},
    {"prompt": [{"role": "user", "content": "twin"}], "reward_model": {"ground_truth": "1"}},
]


def verl_input(messages: list[dict[str, str]]) -> str:
    """The input as verl's trainer makes it: rendered and tokenized by transformers, left-padded, decoded."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded_model())
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    return str(tokenizer.decode([tokenizer.pad_token_id] * 7 + ids, skip_special_tokens=True))


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> PromptOptions:
    path = tmp_path_factory.mktemp("training") / "train.jsonl"
    path.write_text("".join(json.dumps({**row, "data_source": "sums"}) + "\n" for row in TRAINING))
    return PromptOptions(dataset=str(path))


def import_dump(tmp_path: Path, lines: Sequence[Mapping[str, Any]], training: PromptOptions) -> ImportReport:
    path = write_dump(tmp_path / "0.jsonl", lines)
    return import_values(str(path), tmp_path / "in", training=training, model="smollm2-135m")


@pytest.mark.slow
def test_inputs_are_recognised_as_the_training_prompts_that_they_render(
    tmp_path: Path, training: PromptOptions
) -> None:
    """The recipe cuts at "user\\n" and "\\nassistant", but a prompt may contain these strings too."""
    inputs = [verl_input(row["prompt"]) for row in TRAINING]
    assert inputs[2] == inputs[3]
    lines = [line(text, score, gts) for text, gts in zip(inputs, "3311", strict=True) for score in (1.0, 0.0)]
    lines += [line("user\nanother policy's prompt\nassistant\n")]
    imported = import_dump(tmp_path, lines, training)
    values = load_values(tmp_path / "in")
    messages = [[Message(**turn) for turn in row["prompt"]] for row in TRAINING[:2]]
    assert values.prompt_ids == [prompt_id(turns) for turns in messages]
    assert [prompt.messages for prompt in values.prompts()] == [tuple(turns) for turns in messages]
    assert [(row["ground_truth"], row["data_source"], row["vhat"]) for row in values.rows()] == [
        ("3", "sums", [1.0, 0.0])
    ] * 2
    assert imported.left_out == {"match two training prompts": 4, "match no training prompt": 1}
    assert imported.example is not None
    assert imported.example.where.endswith("0.jsonl, line 5")
    assert imported.is_joined


@pytest.mark.slow
def test_a_ground_truth_of_another_dataset_is_refused(tmp_path: Path, training: PromptOptions) -> None:
    lines = [line(verl_input(TRAINING[0]["prompt"]), gts="33")]
    refusal = "line 1 was graded with the ground truth '33', but its training prompt has '3'"
    with pytest.raises(UserError, match=refusal):
        import_dump(tmp_path, lines, training)


@pytest.mark.slow
def test_a_dump_of_other_prompts_is_refused_with_both_readings(tmp_path: Path, training: PromptOptions) -> None:
    with pytest.raises(UserError, match=r"1 rows match no training prompt\)\. The first .*'nothing'.*'system You are"):
        import_dump(tmp_path, [line("nothing")], training)


@pytest.mark.slow
def test_a_system_prompt_is_part_of_what_is_recognised(tmp_path: Path, training: PromptOptions) -> None:
    messages = [{"role": "system", "content": "Think."}, *TRAINING[0]["prompt"]]
    with_system = PromptOptions(dataset=training.dataset, system="Think.")
    import_dump(tmp_path, [line(verl_input(messages), gts="3")], with_system)
    assert load_values(tmp_path / "in").prompt_ids == [prompt_id(Message(**turn) for turn in messages)]


def test_the_chat_templates_arguments_are_part_of_what_is_recognised(tmp_path: Path, training: PromptOptions) -> None:
    """A dump of Qwen3 without thinking matched no prompt, because its template writes an empty thinking block."""
    template = {"chat_template": "{{ messages[-1].content.strip() }} /no_think"}
    options = PromptOptions(dataset=training.dataset, chat_template_kwargs=template)
    text = TRAINING[0]["prompt"][-1]["content"].strip()
    import_dump(tmp_path, [line(f"{text} /no_think", gts="3")], options)
    assert load_values(tmp_path / "in").prompt_ids == [prompt_id(Message(**turn) for turn in TRAINING[0]["prompt"])]


def test_a_training_dataset_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("".join(f'{{"question": "2 + 2?", "answer": "{k}"}}\n' for k in (4, 5)))
    with pytest.raises(UserError, match="two ground truths: row 0 says '4', row 1 says '5'"):
        import_dump(tmp_path, [line()], PromptOptions(dataset=str(tmp_path / "train.jsonl")))


def test_a_dataset_needs_a_model_and_a_dump(tmp_path: Path, run: Path, training: PromptOptions) -> None:
    with pytest.raises(UserError, match="give --dataset and --model together"):
        import_values(str(run), tmp_path / "in", training=training)
    with pytest.raises(UserError, match="--dataset and --model are only for dumps"):
        import_values(str(run), tmp_path / "in", training=training, model="smollm2-135m")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def rated(prompt: str = "2 + 2?", rewards: Any = (1.0, 0.0), solution: str = "4", **more: Any) -> dict[str, Any]:
    generations = None if rewards is None else [f"r{k}" for k in range(len(rewards))]
    return {
        "prompt": prompt,
        "solution": solution,
        "pass_rate_generations": generations,
        "pass_rate_rewards": None if rewards is None else list(rewards),
        **more,
    }


def test_open_r1s_rewards_become_scores(tmp_path: Path) -> None:
    given = [rated(), rated("3?", [math.nan, 1.0, None], "3"), rated("nothing?", [], "0"), rated(" 2 + 2? ", [1.0])]
    imported = import_values(str(write_rows(tmp_path / "a.parquet", given)), tmp_path / "in")
    first, second = rows(tmp_path / "in")
    assert (first["prompt"], first["ground_truth"], first["vhat"]) == ("2 + 2?", "4", [1.0, 0.0, 1.0])
    assert (second["vhat"], second["n"], second["n_failed"]) == ([1.0], 3, 2)
    assert [row["response"] for row in samples(tmp_path / "in")] == ["r0", "r1", "r0", "r0", "r1", "r2"]
    assert (imported.layout, imported.repeated, imported.left_out) == ("open-r1", 1, {"have no draws": 1})
    assert imported.ungraded == 2


def test_a_pass_rate_is_a_value_without_scores(tmp_path: Path) -> None:
    given = [{"problem": f"{k}?", "answer": str(k), "pass_rate_72b": rate} for k, rate in enumerate([0.25, 1.0, None])]
    imported = import_values(str(write_rows(tmp_path / "a.parquet", [*given, given[0]])), tmp_path / "in")
    found = rows(tmp_path / "in")
    assert [(row["prompt"], row["ground_truth"], row["value"]) for row in found] == [
        ("0?", "0", 0.25),
        ("1?", "1", 1.0),
    ]
    assert [[row[name] for name in ("vhat", "n", "n_valid", "n_correct", "n_failed")] for row in found] == [
        [None] * 5
    ] * 2
    assert (imported.left_out, imported.repeated, imported.samples) == ({"have no pass rate": 1}, 1, 0)
    assert not (tmp_path / "in" / "samples").exists()


def a_star(evals: Sequence[Any] = (True, False), **more: Any) -> dict[str, Any]:
    return {
        "data_source": "openai/gsm8k",
        "prompt": [{"role": "user", "content": "2 + 2?"}],
        "reward_model": {"ground_truth": "4", "style": "rule"},
        **{f"response_{i}": f"r{i}" for i in range(len(evals))},
        **{f"eval_{i}": score for i, score in enumerate(evals)},
        **more,
    }


def test_a_star_evals_may_be_booleans(tmp_path: Path) -> None:
    import_values(str(write_rows(tmp_path / "a.parquet", [a_star([True, None, False])])), tmp_path / "in")
    (row,) = rows(tmp_path / "in")
    assert (row["vhat"], row["n"], row["n_failed"], row["data_source"]) == ([1.0, 0.0], 3, 1, "openai/gsm8k")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([rated(rewards=[1.0, -1.0])], r"row 0: pass_rate_rewards: score -1.0 is not in \[0, 1\]"),
        ([rated(), rated("3?", [1.0, 7.0])], r"row 1: pass_rate_rewards: score 7.0 is not in"),
        ([rated(rewards=["1", "0"])], "row 0: pass_rate_rewards: score '1' is not a number"),
        ([rated(pass_rate_generations=["one"])], "row 0 has 2 pass_rate_rewards and 1 pass_rate_generations"),
        ([rated(), rated(solution="5")], "two ground truths: .*row 0 says '4', .*row 1 says '5'"),
        ([rated(rewards=[None])], r"has no values \(1 prompts have no graded response\)"),
        ([rated(rewards=None)], r"has no values \(1 rows have no draws\)"),
        ([rated(" ")], r"has no values \(1 rows are not a prompt: empty_prompt\)"),
        ([{"text": "a", "pass_rate_rewards": [1.0]}], "no known prompt column in text"),
        ([{"prompt": "a", "pass_rate": 1.5}], r"row 0: pass_rate: score 1.5 is not in \[0, 1\]"),
        ([{"prompt": "a", "pass_rate": 1.0, "pass_rate_2": 0.0}], "pass_rate, pass_rate_2: choose one with --value-c"),
        ([{"prompt": "a", "pass_rate": "high"}], r"row 0: pass_rate: 'high' is no pass rate \(0.75, 75% or 6/8\)"),
        ([{"prompt": "a", "pass_rate": "9/8"}], r"row 0: pass_rate: '9/8' is more than 1"),
        ([{"prompt": "a", "pass_rate": "1/0"}], r"row 0: pass_rate: '1/0' is more than 1"),
        ([{"prompt": "a", "pass_rate": "120%"}], r"row 0: pass_rate: score 1.2 is not in \[0, 1\]"),
        ([{"prompt": "a", "pass_rate": True}], "has the columns prompt, pass_rate: neither"),
        (
            [{"prompt": "a", "pass_rate": 0.5}, {"prompt": "a ", "pass_rate": 0.25}],
            "the same prompt has two values: .*row 0 says 0.5, .*row 1 says 0.25",
        ),
        ([a_star([2.0])], r"row 0: eval_0: score 2.0 is not in \[0, 1\]"),
        (
            [{"prompt": "a", "eval_0": 1.0, "response_1": "x"}],
            "has 1 eval_i and 1 response_i, but no eval_1, response_0",
        ),
        ([{**a_star(), "eval_3": 1.0}], "has 3 eval_i and 2 response_i, but no eval_2, response_2"),
        ([{"prompt": "a", "score": 1.0}], "has the columns prompt, score: neither prompt and vhat, nor response_i"),
    ],
)
def test_what_a_dataset_cannot_say_is_refused(tmp_path: Path, given: list[Any], message: str) -> None:
    path = write_rows(tmp_path / "a.parquet", given)
    with pytest.raises(UserError, match=message):
        import_values(str(path), tmp_path / "in")
    assert [found.name for found in tmp_path.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": [1.0], "b": [NaN]}', "row 1: score nan is not a number"),
        ('{"a": [-1]}', r"row 0: score -1 is not in \[0, 1\]"),
        (f'{{"a": [{10**400}]}}', r"row 0: score 10{79} is not in \[0, 1\]"),
        ('{"a": [true]}', "row 0: score True is not a number"),
        ('{"a": ["1"]}', "row 0: score '1' is not a number"),
        ('{"a": []}', "not a list with at least one score"),
        ('{"a": 1}', "not a list with at least one score"),
        ('{" ": [1]}', "row 0: ' ' is not a text"),
        ('{"a\\ud800": [1]}', "row 0: .* is not a text"),
        ('{"a": [1], "b": [0], "a": [0]}', "column prompt_id, row 2: repeats the prompt of row 0"),
        ('{"a": [1],\n', "cannot be read as JSON"),
        ('["a"]', "is not a JSON object"),
        ("", "cannot be read as JSON"),
    ],
)
def test_hostile_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """A lone surrogate ended in a traceback from pyarrow, and an integer of 400 digits in one from `isfinite`."""
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(UserError, match=message):
        import_values(str(tmp_path / "v.json"), tmp_path / "in")
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            a_star(),
            a_star([1.0] * 4),
            r"0.parquet is a-star-po with eval_0 to eval_1, .*1.parquet is .*eval_0 to eval_3",
        ),
        (
            a_star([1.0] * 4),
            a_star(),
            r"0.parquet is a-star-po with eval_0 to eval_3, .*1.parquet is .*eval_0 to eval_1",
        ),
        (rated(), {"prompt": "a"}, r"1.parquet has the columns prompt: .*0.parquet is open-r1"),
        (rated(), a_star(), r"0.parquet is open-r1, .*1.parquet is a-star-po"),
        ({"prompt": "a", "pass_rate": 1.0}, {"prompt": "b"}, r"1.parquet has .*0.parquet is pass-rate with pass_rate"),
        ({"prompt": "a", "pass_rate": 1.0}, {"prompt": "a", "pass_rate_2": 1.0}, "pass_rate, .* with pass_rate_2"),
        (rated(), {"problem": "a", "answer": "4", "pass_rate_rewards": [1.0]}, r"in prompt \(text.*in problem \(text"),
    ],
)
def test_files_of_different_layouts_are_refused(tmp_path: Path, first: Any, second: Any, message: str) -> None:
    """All files were read with the first one's columns, so extra draws were lost and absent columns raised KeyError."""
    for number, row in enumerate((first, second)):
        write_rows(tmp_path / "given" / f"{number}.parquet", [row])
    with pytest.raises(UserError, match=message):
        import_values(str(tmp_path / "given"), tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_a_file_without_rows_has_no_layout_of_its_prompts(tmp_path: Path) -> None:
    """An empty file counted as text prompts without ground truths, so no row of the next file counted as a prompt."""
    given = tmp_path / "given"
    table = pa.Table.from_pylist([rated()])
    write_rows(given / "1.parquet", [rated()])
    pq.write_table(table.slice(0, 0), given / "0.parquet")
    import_values(str(given), tmp_path / "in")
    assert [(row["vhat"], row["ground_truth"]) for row in rows(tmp_path / "in")] == [([1.0, 0.0], "4")]


def test_a_ground_truth_that_is_known_goes_before_none(tmp_path: Path) -> None:
    """If only some lines of a prompt had `gts`, the import refused them as two ground truths."""
    lines = [line(gts=""), line(), line(gts=None)]
    import_values(str(write_dump(tmp_path / "0.jsonl", lines)), tmp_path / "in")
    assert [(row["vhat"], row["ground_truth"]) for row in rows(tmp_path / "in")] == [([1.0] * 3, "4")]


def prepare_no_pairs(folder: Path) -> Path:
    (folder / "v.json").write_text("{}")
    return folder / "v.json"


def prepare_no_scores(folder: Path) -> Path:
    schema = pa.schema([("prompt", pa.string()), ("vhat", pa.list_(pa.float64()))])
    pq.write_table(schema.empty_table(), folder / "v.parquet")
    return folder / "v.parquet"


def prepare_no_values(folder: Path) -> Path:
    pq.write_table(values_schema().empty_table(), folder / "v.parquet")
    return folder / "v.parquet"


def prepare_no_rates(folder: Path) -> Path:
    pq.write_table(pa.Table.from_pylist([rated()]).slice(0, 0), folder / "v.parquet")
    return folder / "v.parquet"


@pytest.mark.parametrize("prepare", [prepare_no_pairs, prepare_no_scores, prepare_no_values, prepare_no_rates])
def test_nothing_is_no_import(tmp_path: Path, prepare: Callable[[Path], Path]) -> None:
    """A table without rows became a folder of 0 prompts, with exit status 0."""
    source = prepare(tmp_path)
    with pytest.raises(UserError, match=r"has no values \(no rows\)"):
        import_values(str(source), tmp_path / "in")
    assert not (tmp_path / "in").exists()


def put_samples(run: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    (path,) = run.glob("samples/*")
    pq.write_table(change(pq.read_table(path)), path)


def of_another_seed(table: pa.Table) -> pa.Table:
    provenance = read_provenance(table.schema)
    assert provenance is not None
    return table.replace_schema_metadata(samples_schema(provenance.model_copy(update={"seed": 9})).metadata)


def with_score(table: pa.Table, score: float) -> pa.Table:
    scores = [None if found is None else score for found in table.column("score").to_pylist()]
    return table.set_column(table.column_names.index("score"), "score", pa.array(scores, pa.float64()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_another_seed, "holds samples of another run than the values: different seed"),
        (lambda table: table.slice(3), "has a value but no sample"),
        (lambda table: pa.concat_tables([table, table.slice(7)]), "has 3 samples with a score, but n_valid 2"),
        (lambda table: with_score(table, 0.5), "have the mean 0.5, but its value is 0.75"),
        (lambda table: with_score(table, math.nan), "have the mean nan, but its value is 0.75"),
        (lambda table: table.drop_columns("score"), "has no score: these are not samples"),
        (lambda table: table.set_column(10, "score", table.column("response")), "column score is not float"),
    ],
)
def test_samples_of_another_run_are_refused(
    run: Path, tmp_path: Path, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    """Any files in samples/ were copied next to the values as if they belonged to the same run."""
    put_samples(run, change)
    with pytest.raises(UserError, match=message):
        import_values(str(run), tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_samples_that_say_nothing_of_their_run_are_copied(run: Path, tmp_path: Path) -> None:
    put_samples(run, lambda table: table.replace_schema_metadata(None).drop_columns("verdict"))
    assert import_values(str(run), tmp_path / "in").samples == 8


def test_verls_training_rows_come_back_with_their_values(run: Path, tmp_path: Path) -> None:
    """The import did not recognise the output of `export --format verl`, although it holds prompt ids and values."""
    path = export_values(str(run), "verl", tmp_path / "train.parquet").path
    imported = import_values(str(path), tmp_path / "in")
    values, original = load_values(tmp_path / "in"), load_values(run)
    kept = ("prompt_id", "messages", "ground_truth", "data_source", "value", "n_valid")
    assert list(values.rows(kept)) == list(original.rows(kept))
    assert [[row["vhat"], row["n"], row["n_correct"]] for row in values.rows()] == [[None] * 3] * 3
    assert [json.loads(row["extra_info"]).keys() for row in values.rows()] == [{"index", "split", "level"}] * 3
    assert values.provenance == original.provenance
    assert (imported.layout, imported.samples, imported.left_out) == ("verl", 0, {})
    assert not (tmp_path / "in" / "samples").exists()
    again = export_values(str(tmp_path / "in"), "verl", tmp_path / "again.parquet").path
    keys = [(row["prompt"], row["extra_info"]["value"]) for row in pq.read_table(path).to_pylist()]
    assert [(row["prompt"], row["extra_info"]["value"]) for row in pq.read_table(again).to_pylist()] == keys


ID = prompt_id([USER])


def verl_row(**extra_info: Any) -> dict[str, Any]:
    return {
        "prompt": [USER._asdict()],
        "reward_model": {"ground_truth": "4"},
        "extra_info": {"prompt_id": ID, "value": 0.5, "n_valid": 2.0, **extra_info},
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([verl_row(), verl_row(prompt_id="x")], f"a.parquet, row 1: extra_info.prompt_id is 'x', .* have {ID}"),
        ([verl_row(prompt_id=None)], "row 0: extra_info.prompt_id is None"),
        ([verl_row(value=1.5)], r"row 0: extra_info.value: score 1.5 is not in \[0, 1\]"),
        ([verl_row(n_valid=2.5)], "row 0: extra_info.n_valid 2.5 is not a number of scores"),
        ([verl_row(n_valid=2**31)], "row 0: extra_info.n_valid 2147483648 is not"),
        ([verl_row(), verl_row(n_valid=4.0)], "two values: .*row 0 says 0.5 of 2 scores, .*row 1 says 0.5 of 4 scores"),
        ([verl_row(value=None)], r"has no values \(1 rows have no value\)"),
        (
            [{"prompt": [USER._asdict()], "extra_info": {"value": 1.0}}],
            "nor verl's prompt and extra_info with prompt_id",
        ),
    ],
)
def test_what_verls_rows_cannot_say_is_refused(tmp_path: Path, given: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        import_values(str(write_rows(tmp_path / "a.parquet", given)), tmp_path / "in")


def test_a_value_of_the_datasets_own_is_not_imported_as_ours(tmp_path: Path) -> None:
    """An export kept the dataset's own `value` next to our prompt id, so an import could not tell it from ours."""
    prompt = Prompt((USER,), "4", "sums", {"value": 0.125})
    exported = export_values(str(make_run(tmp_path / "run", [(prompt, [1.0])], n=1)), "verl", tmp_path / "v.parquet")
    assert any("not ours; also not written: prompt_id, n_valid" in sentence for sentence in exported.written.lost)
    with pytest.raises(UserError, match="nor verl's prompt and extra_info with prompt_id and value"):
        import_values(str(exported.path), tmp_path / "in")


def test_the_working_folder_can_be_written_to(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--out .` raised ValueError, because the path has no name from which to name the temporary folder."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        before = Path().stat().st_ino
        if name == "in":
            assert import_values(str(run), Path()).folder == Path()
        else:
            export_values(str(run), "spo-hf", Path(), n=2)
        assert Path().stat().st_ino == before  # a shell in this folder does not end up in a removed one
        with pytest.raises(UserError, match=r"--out \. already exists"):
            import_values(str(run), Path())
    assert rows(tmp_path / "in") == rows(run)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "run"]


def test_a_link_is_taken_and_a_folder_that_loops_is_refused(tmp_path: Path, run: Path) -> None:
    """A dangling link was replaced."""
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="link already exists"):
        import_values(str(run), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    with pytest.raises(UserError, match="loop/in cannot be used"):
        import_values(str(run), tmp_path / "loop" / "in")


def test_an_empty_folder_is_written_to_and_a_full_one_refused(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text('{"a": [1]}')
    (tmp_path / "in").mkdir()
    (tmp_path / ".in.new" / "of a call that was killed").mkdir(parents=True)
    import_values(str(tmp_path / "v.json"), tmp_path / "in")
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["README.md", "values"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "v.json"]
    with pytest.raises(UserError, match="already exists: choose another path, or remove it"):
        import_values(str(tmp_path / "v.json"), tmp_path / "in")
    with pytest.raises(UserError, match=r"v.json already exists"):
        import_values(str(tmp_path / "v.json"), tmp_path / "v.json")


def prepare_nothing(folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.jsonl").write_text("{}")


def prepare_configs(folder: Path) -> None:
    for name in ("data", "filt-0.1-0.9"):
        write_rows(folder / name / "train-0.parquet", [a_star()])


def prepare_two_jsons(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / f"{name}.json").write_text('{"a": [1]}')


def prepare_broken(folder: Path) -> None:
    (folder / "a.parquet").write_text("not parquet")


@pytest.mark.parametrize(
    ("prepare", "source", "message"),
    [
        (prepare_nothing, "", r"has no .parquet, .jsonl, .json file"),
        (prepare_nothing, "/*.jsonl", "no file matches"),
        (prepare_nothing, "/notes.txt", r"notes.txt: .txt files; import reads one format of .parquet, .jsonl, .json"),
        (prepare_nothing, "/absent.json", "no such file or folder, and not a Hub id"),
        (prepare_configs, "", r"has .parquet files in data/, filt-0.1-0.9/: choose one with `spo-data import "),
        (prepare_two_jsons, "", "matches 2 files: name one"),
        (prepare_two_jsons, "/*.json", "matches 2 files: name one"),
        (prepare_broken, "/a.parquet", "a.parquet cannot be read as parquet"),
    ],
)
def test_which_files_are_meant_must_be_clear(
    tmp_path: Path, prepare: Callable[[Path], None], source: str, message: str
) -> None:
    (tmp_path / "given").mkdir()
    prepare(tmp_path / "given")
    with pytest.raises(UserError, match=message):
        import_values(f"{tmp_path}/given{source}", tmp_path / "in")


def test_other_splits_are_not_read_and_said(tmp_path: Path) -> None:
    for name in ("train-0", "train-1", "test-0"):
        prompt = [{"role": "user", "content": name}]
        write_rows(tmp_path / "given" / "data" / f"{name}.parquet", [a_star(prompt=prompt)])
    imported = import_values(str(tmp_path / "given"), tmp_path / "in")
    assert [row["prompt"] for row in rows(tmp_path / "in")] == ["train-0", "train-1"]
    assert imported.files.not_read == ("data/test-0.parquet",)


CLIENT = """
import json, sys
from pathlib import Path
from spo_data.errors import UserError
from spo_data.formats.import_values import import_values
try:
    found = import_values(sys.argv[1], Path(sys.argv[2]), revision=json.loads(sys.argv[3]))
    print(json.dumps({"revision": found.files.revision, "layout": found.layout, "prompts": found.prompts}))
except UserError as error:
    print(json.dumps({"error": str(error)}))
"""


def from_hub(hub: Any, source: str, out: Path, revision: str | None = None) -> dict[str, Any]:
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(hub.home), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", CLIENT, source, str(out), json.dumps(revision)]
    client = subprocess.run(
        command, env={**environment, "NO_PROXY": "127.0.0.1"}, capture_output=True, text=True, check=True, timeout=60
    )
    return dict(json.loads(client.stdout))


@pytest.mark.slow
def test_a_hub_dataset_is_read_at_the_commit_that_is_recorded(hub: Any, tmp_path: Path) -> None:
    write_rows(hub.root / "datasets/org/evals/main/data/train-00000-of-00001.parquet", [a_star()])
    write_rows(hub.root / "datasets/org/rates/main/gen-0-9/train-0.parquet", [rated()])
    write_rows(hub.root / "datasets/org/rates/main/filt/train-0.parquet", [rated()])
    found = from_hub(hub, "org/evals", tmp_path / "in")
    assert (found["layout"], found["prompts"]) == ("a-star-po", 1)
    assert re.fullmatch("[0-9a-f]{40}", found["revision"])
    assert f"`org/evals` at commit `{found['revision']}`" in (tmp_path / "in" / "README.md").read_text()
    error = from_hub(hub, "org/rates", tmp_path / "no")["error"]
    assert "has .parquet files in filt/, gen-0-9/" in error
    assert "hf download org/rates --repo-type dataset --revision" in error
    assert "org/evals has no revision 'v9'" in from_hub(hub, "org/evals", tmp_path / "no", "v9")["error"]
    assert "not on the Hub" in from_hub(hub, "org/absent", tmp_path / "no")["error"]
