"""Which files that a card names are not its own."""

from pathlib import Path

import pytest

from spo_data.prompts.card_files import find_foreign


@pytest.mark.parametrize(
    "name", ["/home/me/a.csv", "hf://datasets/acme/others@c0ffee/a.csv", "https://example.com/a.csv", "a.csv"]
)
def test_a_file_of_another_place_is_foreign_to_a_hub_dataset(name: str) -> None:
    own = "hf://datasets/acme/sums@c0ffee/a.csv"
    assert find_foreign({"train": [own], "test": [own, name]}, "acme/sums") == name
    assert find_foreign({"train": [own]}, "acme/sums") is None


def test_a_file_of_another_place_is_foreign_to_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, beside = tmp_path / "sums", tmp_path / "sums-of-others"
    inside.mkdir()
    monkeypatch.chdir(inside)
    for name in (f"{beside}/a.csv", "https://example.com/a.csv", f"zip://a.csv::{inside}/a.zip", f"{inside}/../a.csv"):
        assert find_foreign({"train": [f"{inside}/a.csv", name]}, str(inside)) == name
    assert find_foreign({"train": [f"{inside}/a.csv", f"{inside}/b/c.csv"]}, str(inside)) is None
    assert find_foreign(None, str(inside)) is None
