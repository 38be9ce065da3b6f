"""Which training run may continue in a folder, and the commands that a refusal prints."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spo_data.errors import UserError
from spo_data.grading.verifiers.registry import verifier_version
from spo_data.prompts.identity import Message, Prompt
from spo_data.values.scores import make_table
from spo_data.values.table import ValueTable
from spo_data.values.verl_rows import make_verl_rows
from spo_train.data.training_rows import TrainingData, make_unscored_row
from spo_train.data.value_coverage import Coverage
from spo_train.data.verl_files import write_training_data
from spo_train.plan.record import TrainRecord, refuse_another
from spo_train.plan.training_prompts import describe_changed_rows, rows_fingerprint
from support.records import make_train_record

OWN = "spo-train --offline-values runs/demo"


def make_record(**changed: object) -> TrainRecord:
    own = {"verifier": "math-verify", "verifier_version": verifier_version("math-verify"), "commands": (OWN,)}
    return make_train_record(**{**own, **changed})  # type: ignore[no-any-return]


OLD = make_record(verifier_version="math-verify 0.9.0 rules 2")
NOW = make_record(commands=(f"{OWN} --resume",))


def test_a_training_run_that_began_with_another_version_of_the_verifier_can_continue() -> None:
    """After an upgrade it could not: --allow-mismatch was not looked at, and its own command was refused too."""
    with pytest.raises(UserError) as refused:
        refuse_another(OLD, NOW, ())
    said = str(refused.value)
    assert said.startswith("the training run began with another version of the verifier (there: math-verify (math-ver")
    assert OLD.verifier_version in said
    assert NOW.verifier_version in said
    assert said.endswith(f": {OWN} --resume --allow-mismatch verifier")
    refuse_another(OLD, NOW, ("verifier",))


def test_another_verifier_is_never_accepted(tmp_path: Path) -> None:
    """Not even another function in a file, which messages call by the same name."""
    now = make_record(verifier="dapo", verifier_version=verifier_version("dapo"))
    with pytest.raises(UserError, match=r"verifier \(there: math-verify .*; now: dapo"):
        refuse_another(OLD, now, ("verifier",))
    (tmp_path / "reward.py").write_text("")
    functions = [f"{tmp_path}/reward.py:{name}" for name in ("one", "two")]
    one, two = (make_record(verifier=name, verifier_version=verifier_version(name)) for name in functions)
    with pytest.raises(UserError, match=r"there: FILE.py:FUNCTION \(one .*; now: FILE.py:FUNCTION \(two "):
        refuse_another(one, two, ("verifier",))


@pytest.mark.parametrize("allowed", [(), ("verifier",)])
def test_the_own_command_that_is_printed_is_not_refused_for_the_version(allowed: tuple[str, ...]) -> None:
    """It was printed without the option that it needs if something else differs as well."""
    with pytest.raises(UserError) as refused:
        refuse_another(OLD, NOW.model_copy(update={"method": "grpo"}), allowed)
    assert f"its own command ({OWN} --resume --allow-mismatch verifier), or start" in str(refused.value)
    assert ("verifier (there" in str(refused.value)) == (not allowed)
    with pytest.raises(UserError) as refused:
        refuse_another(make_record(), NOW.model_copy(update={"method": "grpo"}), allowed)
    assert f"its own command ({OWN} --resume), or start" in str(refused.value)


def test_the_own_command_is_the_last_one_that_was_accepted() -> None:
    last = f"{OWN} --resume --allow-mismatch verifier"
    before = OLD.model_copy(update={"commands": (OWN, last), "allowed_mismatches": ("verifier",)})
    with pytest.raises(UserError) as refused:
        refuse_another(before, NOW.model_copy(update={"method": "grpo"}), ())
    assert f"its own command ({last}), or start" in str(refused.value)


def test_a_verifier_that_is_gone_is_named_instead_of_a_command(tmp_path: Path) -> None:
    before = make_record(verifier=f"{tmp_path}/gone.py:compute_score", verifier_version="compute_score sha256 0")
    with pytest.raises(UserError, match=r"make its verifier readable \(.*gone.py cannot be read: No such file"):
        refuse_another(before, NOW, ())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rows_fingerprint": "b" * 64}, "rows (there: aaaaaaaaaaaa; now: bbbbbbbbbbbb)"),
        (
            {"chat_template": 't {"date_string": "1 May 2025"}'},
            'chat_template (there: t; now: t {"date_string": ',
        ),
        ({"stop": ("</s>",)}, "stop (there: (); now: ('</s>',))"),
    ],
)
def test_what_a_reward_or_a_rendering_depends_on_is_compared(changed: dict[str, object], said: str) -> None:
    """Only ids and ground truths were: the rewards after a resume could be another grader's."""
    recorded = {"rows_fingerprint": "a" * 64, "chat_template": "t", "stop": ()}
    with pytest.raises(UserError) as refused:
        refuse_another(make_record(**recorded), make_record(**{**recorded, **changed}), ())
    assert said in str(refused.value)
    refuse_another(make_record(), make_record(**{**recorded, **changed}), ())  # a record that does not say
    with pytest.raises(UserError, match=r"(rows|chat_template|stop) \(there"):
        refuse_another(OLD.model_copy(update=recorded), make_record(**{**recorded, **changed}), ("verifier",))


def test_the_rows_of_a_training_run_are_what_its_verifier_reads() -> None:
    plain = Prompt((Message("user", "2 + 2?"),), "4", "sums", {"index": 1})
    spaced = replace(plain, messages=(Message("user", "2 + 2? "),))
    numbered, moved = replace(plain, extra_info={"index": 2}), replace(plain, data_source="products")
    for verifier, alike in (("exact", 2), ("mine.py:compute_score", 0)):
        marks = [rows_fingerprint([prompt], verifier) for prompt in (plain, spaced, numbered, moved)]
        assert marks[1] != marks[0]
        assert marks[2:].count(marks[0]) == alike


def test_changed_rows_are_described_by_the_first_one(tmp_path: Path) -> None:
    def make_data(extra: int) -> TrainingData:
        prompts = [Prompt((Message("user", f"{n} + 2?"),), "4", "sums", {"k": extra * n}) for n in range(3)]
        rows = make_table(make_unscored_row(prompt) for prompt in prompts)
        verl, _ = make_verl_rows(rows, ValueTable(rows, "sums"))
        coverage = Coverage(3, 3, 3, 0, 0, {}, {}, {})
        return TrainingData(verl, tuple(prompts), np.zeros(3), np.zeros(3, np.int64), coverage, "none", None, ())

    before, after = make_data(1), make_data(5)
    write_training_data(before, [None] * 3, tmp_path)
    said = describe_changed_rows(tmp_path, after, "mine.py:compute_score")
    assert said is not None
    assert said.startswith(f"extra_info differs for 2 of 3 prompts, such as {before.prompts[1].prompt_id}: was {{")
    assert '"k": 1' in said
    assert '"k": 5' in said
    assert describe_changed_rows(tmp_path, after, "exact") is None
    assert describe_changed_rows(tmp_path / "nothing", after, "exact") is None
