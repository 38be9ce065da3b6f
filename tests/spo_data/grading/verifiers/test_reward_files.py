"""Which files a reward function's version names: its own, and every module beside it that an import names."""

import errno
import os
from pathlib import Path

import pytest

from spo_data.errors import UserError
from spo_data.grading.verifiers.reward_files import checksum, describe_files, read_checksums, read_files

PACKAGES = {
    "a.py": "",
    "b.py": "import a\n",
    "pack/__init__.py": "from . import inner\n",
    "pack/inner.py": "import b\nfrom .deep import *\n",
    "pack/deep/__init__.py": "",
    "pack/deep/one.py": "from ..other import x\n",
    "pack/other.py": "",
    "plain/part.py": "",
    "numpy.py": "",
    "broken.py": "def (\n",
}
PACK = [
    "a.py",
    "b.py",
    "pack/__init__.py",
    "pack/deep/__init__.py",
    "pack/deep/one.py",
    "pack/inner.py",
    "pack/other.py",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, source in PACKAGES.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(source)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "beside"),
    [
        ("import os, json, no_such_module", []),
        ("import a", ["a.py"]),
        ("from a import anything", ["a.py"]),
        ("import b as c", ["a.py", "b.py"]),
        ("def judge():\n    if True:\n        import a", ["a.py"]),
        ("if False:\n    import a", ["a.py"]),
        ("try:\n    import a\nexcept ImportError: pass", ["a.py"]),
        ("import importlib\nimportlib.import_module('a')", ["a.py"]),
        ("__import__('a')", ["a.py"]),
        ("name = 'a'\n__import__(name)", []),
        ("import pack.other", PACK),
        ("from pack import other", PACK),
        ("from pack.deep import *", PACK),
        ("from pack.deep import nothing", PACK),
        ("from plain import *", ["plain/part.py"]),
        ("def judge(: this is no Python", []),
        ("from plain import part", ["plain/part.py"]),
        ("import plain.part.attribute", ["plain/part.py"]),
        ("import numpy", ["numpy.py"]),
        ("import broken", ["broken.py"]),
        ("from . import a", []),
        ("import spo_data.errors", []),
        ("'\\xe9'\nimport a", ["a.py"]),
    ],
)
def test_every_import_beside_the_file_is_found_and_nothing_runs(folder: Path, source: str, beside: list[str]) -> None:
    (folder / "spo_data").mkdir()
    (folder / "spo_data" / "errors.py").write_text("")
    (folder / "my.py").write_text(source + "\n1 / 0\n")
    assert sorted(read_files(folder / "my.py").keys() - {"my.py"}) == beside


def test_a_file_that_imports_itself_is_named_once(folder: Path) -> None:
    (folder / "my.py").write_text("import my, a\n")
    assert sorted(read_files(folder / "my.py")) == ["a.py", "my.py"]


def test_the_version_names_each_file_and_can_be_read_back(folder: Path) -> None:
    (folder / "my.py").write_text("import b\n")
    version = describe_files("judge", folder / "my.py")
    own, a, b = (checksum((folder / name).read_bytes()) for name in ("my.py", "a.py", "b.py"))
    assert version == f"judge sha256 {own} a.py {a} b.py {b}"
    assert read_checksums(version, Path("elsewhere/my.py")) == {"my.py": own, "a.py": a, "b.py": b}


def test_the_version_of_a_single_file_is_what_it_was(tmp_path: Path) -> None:
    """Runs of earlier versions recorded the file's checksum alone; they continue if it imports nothing beside it."""
    (tmp_path / "my.py").write_text("import os\ndef judge(**_): return 1.0\n")
    assert describe_files("judge", tmp_path / "my.py") == "judge sha256 508e405e41083067"


def test_a_module_with_a_space_in_its_name_is_one_clear_line(folder: Path) -> None:
    """A version is split at spaces, so it could not be read back: the grading processes ended in a traceback."""
    (folder / "my.py").write_text("import importlib\nimportlib.import_module('my helper')\n")
    (folder / "my helper.py").write_text("")
    with pytest.raises(UserError, match=r"my helper\.py: a module .* must have no space in its name"):
        describe_files("judge", folder / "my.py")


def test_a_module_that_cannot_be_read_is_one_clear_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "my.py").write_text("import a\n")
    read = Path.read_bytes

    def refusing(path: Path) -> bytes:
        if path.name == "a.py":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    with pytest.raises(UserError, match=r"a\.py cannot be read: Permission denied"):
        read_files(folder / "my.py")
