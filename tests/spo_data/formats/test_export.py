"""What trainers read from an export, using their own code if it is installed, and what an export leaves out."""

import importlib.util
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_data.errors import UserError
from spo_data.formats.export import ExportReport, export_values
from spo_data.formats.load import load_values
from spo_data.formats.writers.a_star_po import v_star
from spo_data.prompts.build import build_prompt_set
from spo_data.prompts.identity import Message, Prompt
from spo_data.prompts.rows import load_rows
from spo_data.values.schema import read_provenance
from spo_data.values.scores import make_table, make_value_row
from support.made_runs import make_run


def ask(text: str, gold: str = "4", system: str | None = None, **extra: Any) -> Prompt:
    turns = [Message("user", text)] if system is None else [Message("system", system), Message("user", text)]
    return Prompt(tuple(turns), gold, "sums", extra or None)


PLAIN, PADDED, MORE, FEWER, UNGRADED = (
    ask('What is 2 + 2?\n "quoted" \\boxed{} é🙂'),
    ask("  padded with white space \n"),
    ask("more samples"),
    ask("fewer samples", system="Be brief."),
    ask("never graded"),
)
DRAWN = [
    (PLAIN, [1.0, 0.0, 0.0]),
    (PADDED, [0.5, 1.0, 0.1]),
    (MORE, [0.0, None, 1.0, 1.0, 0.0]),
    (FEWER, [1.0, None, 0.0]),
    (UNGRADED, [None, None, None]),
]
N = 3


def export(run: Path, format: str, name: str = "out", **options: Any) -> ExportReport:  # noqa: A002
    suffix = {"spo-json": ".json", "spo-hf": "", "verl": ".parquet", "a-star-po": ".parquet"}[format]
    return export_values(str(run), format, run.parent / f"{name}{suffix}", **options)


def left_out(exported: ExportReport) -> dict[str, int]:
    return {reason: count for reason, count in exported.written.left_out.items() if count}


def test_json_is_what_the_recipe_writes(run: Path) -> None:
    exported = export(run, "spo-json")
    expected = {
        'What is 2 + 2?\n "quoted" \\boxed{} é🙂': [1.0, 0.0, 0.0],
        "padded with white space": [0.5, 1.0, 0.1],
        "more samples": [0.0, 1.0, 1.0],
    }
    assert exported.path.read_text(encoding="utf-8") == json.dumps(expected, indent=2)  # the recipe's own call
    assert left_out(exported) == {"have fewer than 3 scores": 1}
    assert exported.written.cut == 1
    assert exported.values.completeness is not None
    assert exported.values.completeness.without_value == 1


def test_the_reference_trainers_three_lines_read_the_dataset(run: Path) -> None:
    import datasets

    folder = export(run, "spo-hf", n=2).path
    dataset = datasets.load_dataset(str(folder), cache_dir=str(run.parent / "cache"))
    values = {item["prompt"]: item["vhat"] for item in dataset["train"]}
    assert values == {
        'What is 2 + 2?\n "quoted" \\boxed{} é🙂': [1.0, 0.0],
        "padded with white space": [0.5, 1.0],
        "more samples": [0.0, 1.0],
        "fewer samples": [1.0, 0.0],
    }
    assert dataset["train"].column_names == ["prompt", "vhat"]
    provenance = read_provenance(pq.read_schema(folder / "data/train-00000-of-00001.parquet"))
    assert provenance is not None
    assert (provenance.policy.model, provenance.n) == ("org/model", 2)
    assert load_values(folder).provenance == provenance


def test_prompts_that_share_their_first_message_are_all_left_out(tmp_path: Path) -> None:
    """The trainer's dict kept only the last one, so a prompt got the value for another system prompt."""
    twins = [(ask("2 + 2?", system="A"), [1.0]), (ask("3 + 3?"), [0.0]), (ask(" 2 + 2? ", system="B"), [0.0])]
    run = make_run(tmp_path / "run", twins, n=1)
    exported = export(run, "spo-json")
    assert json.loads(exported.path.read_text()) == {"3 + 3?": [0.0]}
    assert left_out(exported) == {"share their first user message with another prompt": 2}
    assert not any("system prompt" in sentence for sentence in exported.written.lost)


def test_a_system_prompt_that_is_lost_is_said(tmp_path: Path) -> None:
    exported = export(make_run(tmp_path / "run", [(ask("2 + 2?", system="A"), [1.0])], n=1), "spo-hf")
    assert any("system prompt or further turns of 1 prompts" in sentence for sentence in exported.written.lost)


def test_without_a_policy_n_is_what_most_prompts_have(run: Path, tmp_path: Path) -> None:
    table = load_values(run).table.replace_schema_metadata(None)
    pq.write_table(table, tmp_path / "copied.parquet")
    exported = export_values(str(tmp_path / "copied.parquet"), "spo-json", tmp_path / "x.json")
    assert exported.written.n == 3  # 3, 3, 4 and 2 scores
    assert exported.values.completeness is None
    pq.write_table(table.slice(2, 2), tmp_path / "tied.parquet")
    assert export_values(str(tmp_path / "tied.parquet"), "spo-json", tmp_path / "y.json").written.n == 2


def test_values_without_scores_go_to_verl_alone(tmp_path: Path) -> None:
    row = {**make_value_row(ask("2 + 2?"), [0.25]), "vhat": None, "n": None, "n_valid": None, "n_correct": None}
    pq.write_table(make_table([row]), tmp_path / "rates.parquet")
    with pytest.raises(UserError, match="has values but no scores: use --format verl"):
        export_values(str(tmp_path / "rates.parquet"), "spo-json", tmp_path / "x.json")
    exported = export_values(str(tmp_path / "rates.parquet"), "verl", tmp_path / "x.parquet")
    (extra,) = pq.read_table(exported.path).column("extra_info").to_pylist()
    assert (extra["value"], extra["n_valid"]) == (0.25, None)


def test_verl_rows_become_the_very_same_prompts_again(run: Path) -> None:
    exported = export(run, "verl")
    again = build_prompt_set(load_rows(str(exported.path)))
    key = [(prompt.prompt_id, prompt.ground_truth, prompt.data_source) for prompt in load_values(run).prompts()]
    assert [(prompt.prompt_id, prompt.ground_truth, prompt.data_source) for prompt in again.prompts] == key
    assert again.layout.name == "verl"
    rows = pq.read_table(exported.path).to_pylist()
    assert rows[3] == {
        "data_source": "sums",
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "fewer samples"}],
        "ability": "sums",  # the verifier `exact` is not one of mathematics
        "reward_model": {"style": "rule", "ground_truth": "4"},
        "extra_info": {
            "index": 3,
            "split": "train",
            "prompt_id": FEWER.prompt_id,
            "value": 0.5,
            "n_valid": 2,
        },
    }


# This runs in its own process, because importing verl changes how rich measures the terminal.
VERL = """
import json, sys
from omegaconf import OmegaConf
from transformers import AutoTokenizer
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

config = OmegaConf.create({"max_prompt_length": 200, "filter_overlong_prompts_workers": 1})
dataset = RLHFDataset(sys.argv[1], AutoTokenizer.from_pretrained(sys.argv[2]), config)
batch = collate_fn([dataset[row] for row in range(len(dataset))])
keys = ("index", "raw_prompt", "extra_info", "reward_model", "data_source")
print(json.dumps({key: list(batch[key]) for key in keys}))
"""


@pytest.mark.slow
def test_verls_own_dataset_loads_the_rows(run: Path) -> None:
    if importlib.util.find_spec("verl") is None:
        pytest.skip("verl is not installed")
    from spo_data.models.embedded import embedded_model

    command = [sys.executable, "-c", VERL, str(export(run, "verl").path), str(embedded_model())]
    loaded = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    batch = json.loads(loaded.stdout.splitlines()[-1])
    assert batch["index"] == [0, 1, 2, 3]
    assert batch["raw_prompt"][3] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "fewer samples"},
    ]
    assert [extra["prompt_id"] for extra in batch["extra_info"]] == load_values(run).prompt_ids
    assert [model["ground_truth"] for model in batch["reward_model"]] == ["4"] * 4
    assert batch["data_source"] == ["sums"] * 4


EXTRA = {
    "one": ask("a", index=7, level={"name": "hard", "tags": ["x"]}, mixed=1, wide=1, empty={}),
    "two": ask("b", index=8, level={"name": "easy", "points": 2.5}, mixed="text", wide=2.5, only=[1]),
    "three": ask("c"),
}


def extra_infos(exported: ExportReport) -> list[dict[str, Any]]:
    return [row["extra_info"] for row in pq.read_table(exported.path).to_pylist()]


def test_a_reward_function_gets_the_extra_info_that_the_runs_grader_got(tmp_path: Path) -> None:
    exported = export(make_run(tmp_path / "run", [(p, [1.0]) for p in EXTRA.values()], n=1), "verl")
    one, two, three = extra_infos(exported)
    assert (one["index"], two["index"], three["index"]) == (7, 8, None)
    assert one["level"] == {"name": "hard", "tags": ["x"], "points": None}
    assert two["level"] == {"name": "easy", "tags": None, "points": 2.5}
    assert (one["mixed"], two["mixed"], three["mixed"]) == ("1", '"text"', None)
    assert (one["wide"], two["wide"], one["empty"], two["only"]) == (1.0, 2.5, "{}", [1])
    assert [extra["prompt_id"] for extra in (one, two, three)] == [p.prompt_id for p in EXTRA.values()]
    notes = "\n".join(exported.written.lost)
    assert "extra_info keeps the dataset's own index, not ours" in notes
    assert "extra_info.mixed does not fit one column type: written as JSON text" in notes
    assert "extra_info.empty does not fit one column type" in notes
    assert "extra_info.wide" not in notes
    assert "lacks" in notes


def test_extra_info_keeps_its_types_over_many_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A field took its type from the first batch, so text in a later batch ended the export."""
    monkeypatch.setattr("spo_data.values.verl_rows.BATCH", 2)
    prompts = [ask(f"q{k}", late=k if k < 3 else str(k), whole=k if k < 3 else k + 0.5) for k in range(5)]
    exported = export(make_run(tmp_path / "run", [(p, [1.0]) for p in prompts], n=1), "verl")
    assert [extra["late"] for extra in extra_infos(exported)] == ["0", "1", "2", '"3"', '"4"']
    assert [extra["whole"] for extra in extra_infos(exported)] == [0.0, 1.0, 2.0, 3.5, 4.5]


def test_a_value_of_an_earlier_export_gives_way_to_this_runs(tmp_path: Path) -> None:
    """If another policy was run on an exported file, the next export carried the first policy's value."""
    first = export(make_run(tmp_path / "run", [(PLAIN, [1.0, 1.0])], n=2), "verl")
    again = build_prompt_set(load_rows(str(first.path))).prompts
    assert again[0].extra_info is not None
    assert again[0].extra_info["value"] == 1.0
    second = export(make_run(tmp_path / "other", [(again[0], [0.0, 0.0])], n=2), "verl", name="second")
    assert [(extra["value"], extra["prompt_id"]) for extra in extra_infos(second)] == [(0.0, PLAIN.prompt_id)]


def test_a_foreign_value_in_extra_info_stays_and_is_said(tmp_path: Path) -> None:
    exported = export(make_run(tmp_path / "run", [(ask("a", value="dear", prompt_id="x"), [1.0])], n=1), "verl")
    assert [(extra["value"], extra["prompt_id"]) for extra in extra_infos(exported)] == [("dear", "x")]
    kept = "extra_info keeps the dataset's own prompt_id, value, not ours"
    assert any(kept in sentence for sentence in exported.written.lost)


def test_rows_without_a_ground_truth_cannot_be_trained(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text(json.dumps({"2 + 2?": [1.0]}))
    with pytest.raises(UserError, match=r"no prompt can be written as verl \(1 have no ground truth\)"):
        export_values(str(tmp_path / "v.json"), "verl", tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["v.json"]


def test_a_star_po_has_responses_rewards_and_v_star(run: Path) -> None:
    exported = export(run, "a-star-po", beta=0.25)
    rows = pq.read_table(exported.path).to_pylist()
    assert [row["extra_info"]["prompt_id"] for row in rows] == [PLAIN.prompt_id, PADDED.prompt_id, MORE.prompt_id]
    # Sample 1 of the third prompt was not graded: samples 0, 2 and 3 are its first three.
    assert [rows[2][f"response_{i}"].split()[2] for i in range(3)] == ["0", "2", "3"]
    assert [rows[2][f"eval_{i}"] for i in range(3)] == [0.0, 1.0, 1.0]
    for row in rows:  # as rl_dataset.py of github.com/ZhaolinGao/A-PO computes it
        evals = np.array([row[f"eval_{i}"] for i in range(3)])
        assert row["v_star"] == pytest.approx(np.log(np.exp(evals / 0.25).mean()) * 0.25)
    assert "eval_3" not in rows[0]
    assert left_out(exported) == {"have fewer than 3 scores": 1}
    assert exported.written.cut == 1
    assert any("data.num_gen_to_use=3 data.beta1=0.25" in sentence for sentence in exported.written.lost)


@pytest.mark.parametrize("beta", [1e-4, 1e-3, 0.5, 1e6])
def test_v_star_is_stable_between_the_mean_and_the_best(beta: float) -> None:
    """exp(1/0.001) overflows."""
    value = v_star([0.0, 1.0, 0.0, 0.0], beta)
    assert 0.25 - 1e-6 <= value <= 1
    assert value == pytest.approx(0.25 if beta > 1 else 1 + beta * math.log(0.25) if beta < 0.1 else value, abs=1e-6)


def test_a_star_po_streams_over_files_and_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spo_data.run.parquet_tables.SAMPLES_PER_FILE", 7)
    monkeypatch.setattr("spo_data.formats.writers.a_star_po.SAMPLES_A_GROUP", 4)
    drawn = [(ask(f"q{k}"), [None] * 2 if k == 5 else [float(k % 2), 0.0]) for k in range(20)]
    run = make_run(tmp_path / "run", drawn, n=2)
    assert len(list(run.glob("samples/*"))) == 6
    rows = pq.read_table(export(run, "a-star-po").path).to_pylist()
    assert [(row["prompt"][0]["content"], row["eval_0"]) for row in rows] == [
        (f"q{k}", float(k % 2)) for k in range(20) if k != 5
    ]


def rewrite_samples(run: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    (path,) = run.glob("samples/*")
    pq.write_table(change(pq.read_table(path)), path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.take(list(range(len(table)))[::-1]), "not in the order of the values"),
        (lambda table: table.slice(3), "missing or not in the order of the values"),
        (lambda table: table.slice(0, 6), "has a value but no sample"),
        (lambda table: table.slice(0, 11), "has a value but no sample"),  # this prompt is not even written
        (
            lambda table: table.set_column(10, "score", pa.array([0.0] * len(table))),
            "of different versions: .*has different scores",
        ),
        (lambda table: table.drop_columns("verdict"), "has no verdict: these are not a run's samples"),
        (
            lambda table: table.set_column(3, "response", pa.nulls(len(table), pa.string())),
            "has a sample without a response",
        ),
    ],
)
def test_samples_that_are_not_those_of_the_values_are_refused(
    run: Path, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    rewrite_samples(run, change)
    with pytest.raises(UserError, match=message):
        export(run, "a-star-po")
    assert not (run.parent / "out.parquet").exists()


def test_a_star_po_wants_responses(run: Path) -> None:
    shutil.rmtree(run / "samples")
    with pytest.raises(UserError, match=r"a-star-po needs the responses, and .* has no samples"):
        export(run, "a-star-po")


@pytest.mark.parametrize(
    ("format", "out", "options", "message"),
    [
        ("json", "x.json", {}, "--format json: choose one of spo-json, spo-hf"),
        ("spo-json", "x", {}, "x: spo-json writes one file; name it x.json"),
        ("verl", "x.json", {}, "name it x.json.parquet"),
        ("spo-hf", "x.parquet", {}, "spo-hf writes a folder; name one, such as x"),
        ("spo-hf", "run", {}, "already exists"),
        ("spo-json", "x.json", {"n": 0}, "--n 0: must be at least 1"),
        ("verl", "x.parquet", {"n": 4}, "--n 4 does not apply"),
        ("spo-json", "x.json", {"beta": 0.5}, "--beta 0.5 applies only to --format a-star-po"),
        ("a-star-po", "x.parquet", {"beta": 0.0}, "--beta 0: must be above 0"),
        ("a-star-po", "x.parquet", {"beta": math.nan}, "--beta nan: must be above 0"),
        ("spo-json", "x.json", {"revision": "main"}, "--revision main does not apply"),
        ("spo-json", "x.json", {"n": 9}, r"no prompt can be written as spo-json \(4 have fewer than 9 scores\)"),
    ],
)
def test_what_cannot_be_written_is_refused(
    run: Path,
    format: str,  # noqa: A002
    out: str,
    options: dict[str, Any],
    message: str,
) -> None:
    before = sorted(run.parent.rglob("*"))
    with pytest.raises(UserError, match=message):
        export_values(str(run), format, run.parent / out, **options)
    assert sorted(run.parent.rglob("*")) == before


def test_nothing_appears_where_writing_fails(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "spo_data.formats.writers.spo_recipe.json.dump", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full"))
    )
    before = sorted(run.parent.rglob("*"))
    with pytest.raises(UserError, match=r"out.json cannot be written: disk full"):
        export(run, "spo-json")
    assert sorted(run.parent.rglob("*")) == before


TEXTS = st.text(min_size=1).filter(str.strip)
SCORE = st.floats(min_value=0, max_value=1)


@given(st.dictionaries(TEXTS, st.tuples(SCORE, SCORE), min_size=1, max_size=5))
@pytest.mark.slow
def test_json_comes_back_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    """For any text and scores, importing an export and exporting it again gives the same bytes."""
    from spo_data.formats.import_values import import_values

    folder = tmp_path_factory.mktemp("round")
    stripped = {text.strip(): scores for text, scores in values.items()}
    drawn = [(ask(text), list(scores)) for text, scores in stripped.items()]
    pq.write_table(make_table(make_value_row(*pair) for pair in drawn), folder / "values.parquet")
    first = export_values(str(folder / "values.parquet"), "spo-json", folder / "first.json").path
    assert json.loads(first.read_text()) == {text: list(scores) for text, scores in stripped.items()}
    import_values(str(first), folder / "imported")
    second = export_values(str(folder / "imported"), "spo-json", folder / "second.json").path
    assert second.read_bytes() == first.read_bytes()
