r"""The answer instruction: its exact words, that the problem survives it, and which files are refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_data import Message, UserError
from spo_data.prompts.template import load_template


def _apply(name: str, *messages: Message) -> tuple[Message, ...]:
    return load_template(name).apply(messages)


def _file(folder: Path, source: str) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / "mine.jinja"
    path.write_text(source, encoding="utf-8")
    return str(path)


def test_boxed_appends_the_reference_instruction_word_for_word() -> None:
    (message,) = _apply("boxed", Message("user", "What is 2 + 2?"))
    assert message == Message(
        "user", "What is 2 + 2?\nThe answer format must be: \\boxed{'The final answer goes here.'}"
    )


def test_dapo_wraps_the_problem_in_its_own_wording() -> None:
    (message,) = _apply("dapo", Message("user", "What is 2 + 2?"))
    assert message.content == (
        "Solve the following math problem step by step. The last line of your response should be of the form Answer:"
        " $Answer (without quotes) where $Answer is the answer to the problem.\n\nWhat is 2 + 2?\n\n"
        'Remember to put your answer on its own line after "Answer:".'
    )


@given(st.text())
def test_none_leaves_the_prompt_as_it_is(prompt: str) -> None:
    assert _apply("none", Message("user", prompt)) == (Message("user", prompt),)


@given(st.text(), st.sampled_from(["boxed", "dapo"]))
def test_no_template_changes_a_character_of_the_problem(prompt: str, name: str) -> None:
    (message,) = _apply(name, Message("user", prompt))
    assert prompt in message.content


@pytest.mark.parametrize("prompt", ["{{ 7 * 7 }}", "{% raw %}", "{# note #}", "<b> & 'x' < 2 \"y\"", "\\boxed{x}\r\n"])
def test_jinja_and_html_in_a_problem_are_only_text(prompt: str) -> None:
    (message,) = _apply("boxed", Message("user", prompt))
    assert message.content.startswith(prompt + "\n")


def test_only_the_last_message_is_worded() -> None:
    before = (Message("system", "Be brief."), Message("user", "1 + 1?"), Message("assistant", "2"))
    worded = _apply("boxed", *before, Message("user", "2 + 2?"))
    assert worded[:3] == before
    assert worded[3].content.startswith("2 + 2?\n")


def test_a_file_replaces_the_last_message_and_names_itself(tmp_path: Path) -> None:
    template = load_template(_file(tmp_path, "Problem: {{ prompt }}\nThink."))
    assert template.apply((Message("user", "2 + 2?"),))[0].content == "Problem: 2 + 2?\nThink."
    assert template.name.startswith("mine.jinja@")


def test_two_files_of_one_name_with_different_text_have_different_names(tmp_path: Path) -> None:
    one, other = (load_template(_file(tmp_path / folder, f"{{{{ prompt }}}} {folder}")) for folder in ("a", "b"))
    assert one.name != other.name


def test_one_text_in_two_folders_has_one_name(tmp_path: Path) -> None:
    one, other = (load_template(_file(tmp_path / folder, "{{ prompt }} Think.")) for folder in ("a", "b"))
    assert one == other


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ prompt", "does not render"),
        ("{% if prompt %}", "does not render"),
        ("{{ problem }} {{ prompt }}", "'problem' is undefined"),
        ("{{ prompt }}{{ prompt.nope }}", "does not render"),
        ("{{ prompt | shout }}", "does not render"),
        ("{{ prompt }}{{ 1 / 0 }}", "division by zero"),
        ("{{ prompt }}{{ prompt.__class__.__mro__ }}", "does not render"),
        ("{% for i in range(10 ** 9) %}{% endfor %}{{ prompt }}", "does not render"),
        ("", "drops the problem"),
        ("Solve it.", "drops the problem"),
        ("{{ prompt[:5] }}", "drops the problem"),
        ("{{ prompt | upper }}", "drops the problem"),
    ],
)
def test_a_broken_or_prompt_dropping_file_is_refused_in_one_line(tmp_path: Path, source: str, said: str) -> None:
    name = _file(tmp_path, source)
    with pytest.raises(UserError, match=said) as caught:
        load_template(name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "source", ["{{ prompt[:60] }}", "{{ prompt | truncate(80) }}", "{{ prompt if prompt | length < 200 }}"]
)
def test_a_file_that_drops_part_of_a_long_problem_is_refused(tmp_path: Path, source: str) -> None:
    """The probe was 24 characters long, so a template that truncates long problems passed and cut them silently."""
    name = _file(tmp_path, source)
    with pytest.raises(UserError, match="drops the problem"):
        load_template(name).apply((Message("user", "A long problem. " * 2000),))


def test_a_file_that_fails_on_one_problem_only_is_a_user_error(tmp_path: Path) -> None:
    """A template that rendered the probe and failed on a row ended in a jinja2 traceback."""
    name = _file(tmp_path, "{{ prompt }}{% if '?' in prompt %}{{ prompt.nope }}{% endif %}")
    with pytest.raises(UserError, match=r"mine\.jinja"):
        load_template(name).apply((Message("user", "2 + 2?"),))


def test_a_file_that_is_not_utf_8_is_a_user_error(tmp_path: Path) -> None:
    """A Latin-1 file ended in a UnicodeDecodeError traceback."""
    path = tmp_path / "latin.jinja"
    path.write_bytes("{{ prompt }} Réponds.".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.jinja"):
        load_template(str(path))


@pytest.mark.parametrize("name", ["Boxed", "missing.jinja", "/"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UserError, match=r"choose one of none, boxed, retool, dapo, or an existing FILE\.jinja"):
        load_template(name)
