"""The dataset card of a run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from spo_data.card.merge import Readme
from spo_data.card.write import Card, make_card, merge_card, size_category, write_card
from spo_data.errors import SpoError
from spo_data.grading.measured_error import describe_error
from spo_data.grading.verdict import COMPARED_AS_TEXT, Grade, Verdict
from spo_data.grading.verifiers.registry import verifier_version
from spo_data.prompts.identity import DroppedRow, Message, Prompt
from spo_data.provenance import GraderRecord, Provenance
from spo_data.run.journal import Journal
from spo_data.run.manifest import Manifest, Timings
from spo_data.run.sample import Sample
from spo_data.run.summary import summarize
from support.hostile_text import hidden, hostile
from support.records import GRADER, make_manifest

Drawn = list[tuple[Verdict, float | None]]
BOTH: Drawn = [(Verdict.CORRECT, 1.0), (Verdict.TRUNCATED, 0.0)]


def manifest_of(model: str = "org/model", source: str = "org/data", **fields: Any) -> Manifest:
    return make_manifest(
        policy={"model": model, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "max_tokens": 16384},
        dataset={"source": source, "revision": fields.pop("revision", None), "config": fields.pop("config", None)},
        grader=GraderRecord(verifier="math-verify", version="math-verify 0.9.0 rules 1"),
        **fields,
    )


def card_of(folder: Path, drawn: Drawn, manifest: Manifest | None = None, **named: Any) -> Card:
    prompt = Prompt((Message("user", "How many letters are in this?"),), "4", "d")
    manifest = manifest or manifest_of()
    with Journal(folder / "journal.sqlite", GRADER) as journal:
        journal.set_prompts([prompt], named.pop("dropped", []))
        if not journal.query("SELECT 1 FROM samples"):
            for index, (verdict, score) in enumerate(drawn):
                ids = np.zeros(1, dtype=np.int32)
                journal.add(Sample(prompt.prompt_id, index, 0, "r", ids, "stop", None, verdict, score))
            journal.commit()
        return make_card(journal, manifest, summarize(journal, manifest), **named)


def test_the_card_says_how_often_the_grader_is_wrong_if_its_rules_were_measured(tmp_path: Path) -> None:
    measured = manifest_of().model_copy(
        update={"grader": GraderRecord(verifier="math-verify", version=verifier_version("math-verify"))}
    )
    said = describe_error("math-verify", verifier_version("math-verify"))
    assert said is not None
    assert "false correct" in said
    assert f"\n* Error of the grader: {said}.\n" in card_of(tmp_path, BOTH, measured).body
    assert "\n* Error of the grader: not measured for this version" in card_of(tmp_path, BOTH).body
    other = manifest_of().model_copy(update={"grader": GRADER})
    assert "Error of the grader" not in card_of(tmp_path, BOTH, other).body


def test_the_card_counts_disputed_samples_and_answers_compared_as_text(tmp_path: Path) -> None:
    also = GraderRecord(verifier="dapo", version="rules 1")
    manifest = make_manifest(also=also)
    before = card_of(tmp_path, BOTH, manifest).body
    assert "| disputed | 0 of 0 samples, which dapo scores differently (column `n_disputed`) |" in before
    assert "compared as text" not in before
    with Journal(tmp_path / "journal.sqlite", GRADER) as journal:
        ((prompt_id,),) = journal.query("SELECT prompt_id FROM prompts")
        journal.regrade([(prompt_id, 0, Grade(Verdict.WRONG, 0.0, "four", COMPARED_AS_TEXT))])
        journal.regrade([(prompt_id, 0, Grade(Verdict.CORRECT, 1.0, "4"))], also)
    body = card_of(tmp_path, BOTH, manifest).body
    assert "| disputed | 1 of 1 samples, which dapo scores differently (column `n_disputed`) |" in body
    assert "| compared as text | 1 wrong or truncated samples" in body


def header_of(text: str) -> Any:
    return yaml.safe_load(text.split("---\n", 2)[1])


def test_the_card_configures_both_tables_and_values_is_the_default(tmp_path: Path) -> None:
    values, samples = header_of(merge_card(card_of(tmp_path, []), None))["configs"]
    assert (values["config_name"], values["default"]) == ("values", True)
    assert (samples["config_name"], samples.get("default")) == ("samples", None)
    assert values["data_files"] == [{"split": "train", "path": "values/train-*.parquet"}]
    assert samples["data_files"] == [{"split": "train", "path": "samples/train-*.parquet"}]


def test_the_header_has_what_the_hub_searches_by_and_the_whole_provenance(tmp_path: Path) -> None:
    manifest = manifest_of(revision="abc", config="en")
    header = header_of(merge_card(card_of(tmp_path, BOTH, manifest), None))
    assert header["license"] == "unknown"
    assert header["language"] == ["en"]
    assert header["pretty_name"] == "Offline values of org/model on org/data"
    assert header["size_categories"] == ["n<1K"]
    assert header["task_categories"] == ["text-generation"]
    assert header["source_datasets"] == ["org/data"]
    assert {"reinforcement-learning", "offline-values"} <= set(header["tags"])
    assert Provenance.model_validate(header["spo"]) == manifest.provenance


@pytest.mark.parametrize(
    ("sampled", "seconds", "said"),
    [
        (2, {"A": 1800}, "0.50 A hours, in which 2 samples were drawn |"),
        (2, {"A": 9}, "0.0025 A hours, in which 2 samples were drawn |"),
        (
            *(20, {"A": 1800}),
            "0.50 A hours, in which 20 samples were drawn; 2 are kept, since samples that the interpreter broke off are"
            " drawn again |",
        ),
        (
            *(1, {"A": 1800}),
            "0.50 A hours, in which 1 samples were drawn; 2 are kept, some of them from calls whose time was not"
            " recorded |",
        ),
        (2, {"A": 1800, "B": 3600}, "0.50 A hours and 1.00 B hours, in which 2 samples were drawn |"),
    ],
)
def test_the_sampling_time_is_that_of_the_samples_it_names(
    tmp_path: Path, sampled: int, seconds: dict[str, float], said: str
) -> None:
    """It was "for 20 of 12 samples" if broken-off samples had been drawn again, and each device took all of them."""
    timings = Timings(sampling_seconds=900, sampled=sampled, sampled_tokens=2, device_seconds=seconds)
    assert f"| sampling time | {said}\n" in card_of(tmp_path, BOTH, manifest_of(timings=timings)).body
    assert card_of(tmp_path, BOTH, manifest_of(timings=timings)).body.count("sampling time") == 1


def test_a_local_dataset_is_no_source_on_the_hub(tmp_path: Path) -> None:
    assert "source_datasets" not in header_of(merge_card(card_of(tmp_path, BOTH), None))


@pytest.mark.parametrize(
    "fact",
    [
        "# Offline values of org/model\n",
        "[org/model](https://huggingface.co/org/model/tree/abc123)",
        "[org/data](https://huggingface.co/datasets/org/data/tree/d1)",
        "config `en`",
        'load_dataset("me/values", "values")["train"]',
        'load_dataset("me/values", "samples")',
        "spo-train --offline-values me/values",
        "![Prompts by value, to the nearest k/2](histogram.png)",
        "| mean value | 0.5000 |",
        "0.5000 to 1.0000",
        "| truncated | 1 (50.0% of 2 samples) |",
        "temperature 0.6, top_p 0.95, top_k 20, at most 16,384 tokens",
        "| answer instruction | boxed |",
        "math-verify (math-verify 0.9.0 rules 1)",
        "| not valid | 0 of 2 samples |",
        "run seed 0",
        "| tokens | 2 in all responses, 1.0 per response |",
        "| sampling time | 0.50 NVIDIA H100 hours, in which 2 samples were drawn |",
        "standard error of one value is up to 0.35",
    ],
)
def test_the_card_says_what_the_values_belong_to_and_how_they_came_about(tmp_path: Path, fact: str) -> None:
    timings = Timings(sampling_seconds=900, sampled=2, sampled_tokens=2, device_seconds={"NVIDIA H100": 1800.0})
    manifest = manifest_of(revision="d1", config="en", timings=timings)
    assert fact in card_of(tmp_path, BOTH, manifest, name="me/values").body


def test_a_complete_run_s_card_calls_nothing_incomplete(tmp_path: Path) -> None:
    assert "Incomplete" not in card_of(tmp_path, BOTH).body


def test_an_incomplete_run_s_card_says_what_is_missing(tmp_path: Path) -> None:
    failed: Drawn = [(Verdict.CORRECT, 1.0), (Verdict.GRADER_TIMEOUT, None)]
    body = card_of(tmp_path, failed, dropped=[DroppedRow(7, "empty_prompt"), DroppedRow(8, "empty_prompt")]).body
    assert "**Incomplete.** 0 of 1 prompts are unfinished: 0 of 2 samples are not" in body
    assert "1 samples are not valid, and 0\nprompts without a valid sample have no row. Rows of" in body
    assert "2 empty_prompt" in body


def test_the_card_of_a_run_without_values_says_none(tmp_path: Path) -> None:
    text = card_of(tmp_path, []).body
    assert "| mean value | none |" in text
    assert "| unfinished | 1 of 1 prompts, not in the mean |" in text
    assert "| bounds of the mean over all prompts | 0.0000 to 1.0000 (truncated, failed and undrawn samples" in text
    assert "| not valid | 0 of 2 samples |" in text
    assert "| not drawn yet | 2 of 2 samples |" in text


def test_without_samples_neither_header_nor_text_offers_them(tmp_path: Path) -> None:
    text = merge_card(card_of(tmp_path, BOTH, with_samples=False), None)
    assert [config["config_name"] for config in header_of(text)["configs"]] == ["values"]
    assert '"samples")' not in text


def test_no_scaffold_of_the_template_is_left(tmp_path: Path) -> None:
    body = card_of(tmp_path, BOTH).body
    assert "{%" not in body
    assert "{{" not in body
    assert "\n\n\n" not in body


@pytest.mark.parametrize("name", ["{0}", "{model}", "{{ n }}", "a---b", "é🙂", "reasoning-gym:chain_sum?seed=1&size=2"])
def test_a_name_with_braces_dashes_or_unicode_is_copied(tmp_path: Path, name: str) -> None:
    text = merge_card(card_of(tmp_path, BOTH, manifest_of(name, name)), None)
    assert f"# Offline values of {name}\n" in text
    assert f"prompts of `{name}`" in text
    assert header_of(text)["pretty_name"] == f"Offline values of {name} on {name}"


def test_a_name_that_would_end_a_cell_a_code_span_or_a_line_does_not(tmp_path: Path) -> None:
    """A template file called `my | templ.jinja` gave its row two more cells."""
    manifest = manifest_of("my|model`x`\n<b>", "d|e").model_copy(
        update={"grader": GraderRecord(verifier="a | b", version="<i>`1`")}
    )
    body = card_of(tmp_path, BOTH, manifest).body
    assert "`my\\|model'x' &lt;b>`" in body
    assert "| verifier | a \\| b (&lt;i>'1') |\n" in body
    assert "<i>" not in body


def test_a_pipe_after_a_backslash_ends_no_cell(tmp_path: Path) -> None:
    """The card put its own backslash behind the name's, which made an escaped backslash and a bare pipe of the two."""
    manifest = manifest_of().model_copy(update={"grader": GraderRecord(verifier="a\\|b", version="\\")})
    assert "| verifier | a\\\\\\|b (\\) |\n" in card_of(tmp_path, BOTH, manifest).body


def test_control_characters_are_escapes_in_the_text_and_the_same_text_in_the_header(tmp_path: Path) -> None:
    """`cat README.md` obeyed the escape sequences in a file's name."""
    name = hostile("name")
    text = merge_card(card_of(tmp_path, BOTH, manifest_of(name, name)), None)
    assert hidden(text) == set()
    assert r"# Offline values of name\x1b]52" in text
    header = header_of(text)
    assert header["pretty_name"] == f"Offline values of {name} on {name}"
    assert header["spo"]["policy"]["model"] == name
    assert merge_card(card_of(tmp_path, BOTH, manifest_of(name, name)), Readme(text)) == text


def test_the_same_run_gives_the_same_card_and_leaves_no_other_file(tmp_path: Path) -> None:
    write_card(tmp_path, card_of(tmp_path, BOTH))
    first = (tmp_path / "README.md").read_text(encoding="utf-8")
    write_card(tmp_path, card_of(tmp_path, BOTH))
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == first
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".sqlite"] == ["README.md"]


def test_words_and_keys_of_a_user_survive_the_next_call(tmp_path: Path) -> None:
    """Every call rewrote the card, so a user's own text in a run folder was lost."""
    write_card(tmp_path, card_of(tmp_path, BOTH))
    path = tmp_path / "README.md"
    edited = path.read_text().replace("license: unknown", "license: mit  # asked the authors") + "\nMy own words.\n"
    path.write_text(edited)
    write_card(tmp_path, card_of(tmp_path, BOTH))
    assert path.read_text() == edited


def test_a_broken_header_is_refused_in_one_line_and_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("---\nlicense: [mit\n---\n")
    with pytest.raises(SpoError, match=r"README\.md: its YAML header cannot be read"):
        write_card(tmp_path, card_of(tmp_path, BOTH))
    assert path.read_text() == "---\nlicense: [mit\n---\n"


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1_000, "1K<n<10K"),
        (17_398, "10K<n<100K"),
        (100_000, "100K<n<1M"),
        (99_999_999, "10M<n<100M"),
        (100_000_000, "n>100M"),
    ],
)
def test_size_categories_are_the_hub_s(rows: int, name: str) -> None:
    assert size_category(rows) == name


def test_the_share_of_samples_that_agree_is_beside_the_suspects(tmp_path: Path) -> None:
    prompt, manifest = Prompt((Message("user", "?"),), "4", "d"), manifest_of()
    with Journal(tmp_path / "journal.sqlite", GRADER) as journal:
        journal.set_prompts([prompt], [])
        for index, answer in enumerate(("5", "5", "5", None)):
            graded = (Verdict.WRONG, 0.0) if answer else (Verdict.NO_ANSWER, 0.0)
            ids = np.zeros(1, dtype=np.int32)
            journal.add(Sample(prompt.prompt_id, index, 0, "r", ids, "stop", answer, *graded))
        journal.commit()
        body = make_card(journal, manifest, summarize(journal, manifest)).body
    row = "| suspect ground truths | 1 (column `suspect_gold`): 3 of their 4 valid samples agree on another answer |"
    assert row in body.splitlines()
