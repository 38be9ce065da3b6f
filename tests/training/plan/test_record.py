"""Which training run may continue in a folder, and the commands that a refusal prints."""

from pathlib import Path

import pytest

from spo_data.errors import UserError
from spo_data.grading.verifiers.registry import verifier_version
from spo_train.plan.record import TrainRecord, refuse_another
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
