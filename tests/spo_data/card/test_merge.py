"""How our card is merged with a README that a user edited."""

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from spo_data.card.merge import (
    BEGIN,
    END,
    Readme,
    find_default,
    is_default,
    merge_readme,
    merge_readme_with_hub,
    user_text,
)
from spo_data.errors import SpoError

OURS: dict[str, Any] = {
    "license": "unknown",
    "tags": ["spo", "rlvr"],
    "size_categories": ["n<1K"],
    "configs": [{"config_name": "values", "default": True}, {"config_name": "samples"}],
    "spo": {"n": 8, "policy": {"system": None, "stop": ["\n", "no"]}},
}


def header_of(text: str) -> Any:
    return yaml.safe_load(text.split("---\n", 2)[1])


def merge_ours(existing: str | None, body: str = "# Ours\n") -> str:
    return merge_readme(OURS, body, None if existing is None else Readme(existing))


def test_a_new_card_has_our_header_and_our_text_between_the_marks() -> None:
    text = merge_ours(None)
    assert header_of(text) == OURS
    assert text.endswith(f"---\n\n{BEGIN}\n\n# Ours\n\n{END}\n")


def test_our_text_is_replaced_and_what_stands_around_it_stays() -> None:
    old = merge_ours(None, "# Old\n")
    edited = old.replace(BEGIN, f"Before.\n\n{BEGIN}") + "\nAfter.\n"
    new = merge_ours(edited, "# New\n")
    assert new == edited.replace("# Old", "# New")


def test_a_readme_of_the_user_s_comes_before_our_text() -> None:
    text = merge_ours("---\nlicense: mit\n---\n# Mine\n\nWords.\n")
    assert text.index("# Mine\n\nWords.\n") < text.index(BEGIN)


def test_a_readme_without_a_header_is_all_words() -> None:
    assert user_text(merge_ours("# Mine\n---\nNot a header.\n---\n")) == "# Mine\n---\nNot a header.\n---"


def test_a_key_of_the_user_s_stays_with_its_comment_and_quotes_and_ours_are_added() -> None:
    existing = "---\n# mine\nlicense: 'mit'  # asked\nannotations_creators:\n- found\nlanguage: no\n---\n"
    text = merge_ours(existing)
    assert "# mine\nlicense: 'mit'  # asked\nannotations_creators:\n- found\nlanguage: no\n" in text
    header = header_of(text)
    assert header["spo"] == OURS["spo"]
    assert header["size_categories"] == ["n<1K"]


def test_norwegian_is_not_false() -> None:
    """PyYAML reads the language code `no` as False and would have written it back as `false`."""
    assert "language: no\n" in merge_ours("---\nlanguage: no\n---\n")
    assert "- no\n" in merge_ours("---\nlanguage:\n- no\n---\n")


def test_what_we_computed_is_replaced() -> None:
    text = merge_ours("---\nspo:\n  n: 4\n  old: 1\nsize_categories:\n- 1K<n<10K\n---\n")
    assert header_of(text)["spo"] == OURS["spo"]
    assert header_of(text)["size_categories"] == ["n<1K"]


def test_tags_are_joined() -> None:
    assert header_of(merge_ours("---\ntags:\n- math\n- spo\n---\n"))["tags"] == ["math", "spo", "rlvr"]


def test_a_config_of_the_user_s_stays_and_ours_are_as_they_should_be() -> None:
    text = merge_ours(
        "---\nconfigs:\n- config_name: extra\n  data_files: e.csv\n- config_name: samples\n  default: true\n---\n"
    )
    values, samples, extra = header_of(text)["configs"]
    assert (values, samples) == ({"config_name": "values", "default": True}, {"config_name": "samples"})
    assert extra == {"config_name": "extra", "data_files": "e.csv"}


@pytest.mark.parametrize("mine", ["mine\n  default: true", "default"])
def test_only_one_config_is_the_default(mine: str) -> None:
    """`datasets` refuses a card with two default configs; the config of `push_to_hub` is one by its name alone."""
    header = header_of(merge_ours(f"---\nconfigs:\n- config_name: {mine}\n  data_files: m.csv\n---\n"))
    assert [config["config_name"] for config in header["configs"] if is_default(config)] == [mine.split("\n")[0]]
    assert find_default(header) == mine.split("\n")[0]


def test_replaced_tables_leave_nothing_that_describes_them_and_the_user_s_keys_stay() -> None:
    there = (
        "---\nlicense: mit  # asked\npretty_name: Theirs\nlanguage: de\ntags:\n- math\nviewer: false\n"
        "dataset_info:\n  features: []\nconfigs:\n- config_name: default\n  data_files: data/*\n---\nTheir words.\n"
    )
    text, notes = merge_readme_with_hub(OURS, "# Ours\n", Readme(""), Readme(there), replaces=True)
    assert header_of(text) == {**OURS, "license": "mit", "tags": ["math", "spo", "rlvr"]}
    assert "license: mit  # asked\n" in text
    assert user_text(text) == "Their words."
    assert notes == []
    assert header_of(there_and_here(there, "")[0])["pretty_name"] == "Theirs", "only if they are replaced"


def test_the_card_of_the_first_release_is_replaced_though_it_has_no_marks() -> None:
    """The old card would have counted as the user's text, and its numbers would have stayed above the new ones."""
    old = (
        "---\ntags:\n- spo\n---\n\n# Offline values of m\n\nThe success probability of `m` on each of"
        " 3 prompts of `d`,\nestimated from 8 samples each by spo-data, as offline values for\n| mean value | 0.1 |\n"
        "| suspect ground truths | 0 (column `suspect_gold`) |\n"
    )
    text = merge_ours(old)
    assert "0.1" not in text
    assert user_text(text) == ""
    assert user_text(merge_ours(f"{old}\n## Mine\n")) == "## Mine", "words that came after that card were lost with it"


def there_and_here(there: str, here: str) -> tuple[str, list[str]]:
    return merge_readme_with_hub(OURS, "# Ours\n", Readme(here), Readme(there))


def test_words_that_are_here_alone_are_published() -> None:
    """A user's text in a folder was published with the first push only. Later text was silently dropped."""
    there = merge_ours("---\nlicense: cc0-1.0\n---\n")
    text, notes = there_and_here(there, merge_ours("Words here.\n"))
    assert user_text(text) == "Words here."
    assert header_of(text)["license"] == "cc0-1.0"
    assert notes == []
    assert there_and_here(text, merge_ours("Words here.\n")) == (text, [])


def test_other_words_here_lose_and_that_is_said() -> None:
    text, notes = there_and_here(merge_ours("There.\n"), merge_ours("Here.\n"))
    assert user_text(text) == "There."
    assert notes == ["README.md has a different text on the Hub than here; the Hub's is kept"]


def test_a_key_that_is_here_alone_goes_along_and_one_that_both_changed_stays_as_it_is_there() -> None:
    there = merge_ours("---\nlicense: mit\nlanguage: de\n---\n")
    here = merge_ours("---\nlicense: apache-2.0\nannotations_creators:\n- found\ntags:\n- mine\nlanguage: de\n---\n")
    text, notes = there_and_here(there, here)
    header = header_of(text)
    assert (header["license"], header["annotations_creators"], header["language"]) == ("mit", ["found"], "de")
    assert "mine" in header["tags"]
    assert notes == ["README.md has a different license on the Hub than here; the Hub's is kept"]
    assert header_of(there_and_here(merge_ours(None), here)[0])["license"] == "apache-2.0", "the Hub's was our default"


def test_keys_that_yaml_1_1_takes_for_something_else_are_quoted() -> None:
    text = merge_readme({"spo": {"no": "off", "on": True}}, "", None)
    assert header_of(text) == {"spo": {"no": "off", "on": True}}


@pytest.mark.parametrize("header", ["a: [", "a: 1\na: 2", "- a\n- b", "text"])
def test_a_header_that_is_no_mapping_is_refused_and_says_whose_it_is(header: str) -> None:
    """The message named README.md, which is in the run folder and on the Hub."""
    broken, ours = f"---\n{header}\n---\n", Readme("", "here/README.md")
    theirs = Readme(broken, "README.md of org/name on the Hub", "correct it there")
    with pytest.raises(SpoError, match=r"^README\.md of org/name on the Hub: its YAML header .*: correct it there$"):
        merge_readme_with_hub(OURS, "", ours, theirs)
    with pytest.raises(SpoError, match=r"^here/README\.md: its YAML header .*\): correct it$"):
        merge_readme_with_hub(OURS, "", replace(ours, text=broken), replace(theirs, text=""))


@pytest.mark.parametrize(
    "existing",
    [
        "---\r\nlicense: mit\r\n---\r\nWords.\r\n",
        "---\n---\nWords.\n",
        "\ufeff# Words",
        "\ufeff---\nlicense: mit\n---\nWords",
    ],
)
def test_other_line_ends_empty_headers_and_marks_of_byte_order_keep_their_words(existing: str) -> None:
    text = merge_ours(existing)
    assert "Words" in user_text(text)
    assert merge_ours(text) == text
    assert ("license: mit" in text) == ("mit" in existing)


lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=40)
headers = st.dictionaries(
    st.text("abcdefgh_", min_size=1, max_size=8),
    st.none()
    | st.booleans()
    | st.integers()
    | st.text("abc: #'\"-no", max_size=9)
    | st.lists(st.text("xyz"), max_size=2),
    max_size=4,
)


@settings(max_examples=50)
@given(headers, lines, lines)
def test_merging_again_changes_nothing_and_loses_no_word(header: dict[str, Any], before: str, after: str) -> None:
    existing = f"---\n{yaml.safe_dump(header)}---\n{before}\n{merge_ours(None).split('---', 2)[2].strip()}{after}\n"
    once = merge_ours(existing)
    assert merge_ours(once) == once
    assert user_text(once) == user_text(existing)
    for key, value in header.items():
        assert header_of(once)[key] == value
