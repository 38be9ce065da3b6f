"""A grading process gives verdicts of the code that its versions name, or none."""

import importlib
import importlib.metadata
import os
import py_compile
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import spo_data.grading.workers.job as job_module
from spo_data.grading.verifiers.registry import verifier_version
from spo_data.grading.verifiers.reward_function import RewardFunction, reward_function_version
from spo_data.grading.workers.import_guard import ChangedGraderError, GraderCodeError, ImportGuard, UnlistedModuleError
from spo_data.grading.workers.job import GradeJob, grade_batch

FILES = {
    "reward.py": "import helper\nfrom lib import words\n"
    "def judge(**_):\n    import late\n    return helper.SCORE * words.SCORE * late.SCORE\n",
    "helper.py": "SCORE = 1.0\n",
    "lib/__init__.py": "",
    "lib/words.py": "from .numbers import SCORE\n",
    "lib/numbers.py": "SCORE = 1.0\n",
    "late.py": "SCORE = 1.0\n",
    "unrelated.py": "1 / 0\n",
}


class Process:
    """What a grading process does with a reward function's file, in this process."""

    def __init__(self, folder: Path, version: str | None = None) -> None:
        name = f"{folder / 'reward.py'}:judge"
        self.guard = ImportGuard({name: version or reward_function_version(name)})
        self.function = RewardFunction(name)

    def start(self) -> "Process":
        self.guard.install()
        self.function.load(self.guard.read)
        return self

    def judge(self) -> float | None:
        score = self.function.grade("", "").score
        self.guard.raise_problem()
        return score


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The files of a reward function, whose modules are forgotten afterwards."""
    write(tmp_path, FILES)
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, files: dict[str, str]) -> None:
    for place, source in files.items():
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text(source)


def test_unchanged_files_are_loaded_as_python_does(folder: Path) -> None:
    process = Process(folder).start()
    assert process.judge() == 1.0
    assert sys.modules["lib.numbers"].__file__ == str(folder / "lib/numbers.py")
    assert sys.modules["lib"].__path__ == [str(folder / "lib")]


@pytest.mark.parametrize("place", ["reward.py", "helper.py", "lib/words.py", "lib/numbers.py", "late.py"])
def test_a_process_that_starts_after_a_file_changed_gives_no_verdict(folder: Path, place: str) -> None:
    """A grading process that was replaced imported the file as it was then. Its verdicts were journaled under the
    checksum that the file had at the start."""
    process = Process(folder)
    recorded = reward_function_version(f"{folder / 'reward.py'}:judge")
    write(folder, {place: FILES[place] + "\nSCORE = 0.0\n"})
    with pytest.raises(ChangedGraderError) as caught:
        process.start()
    line = str(caught.value)
    assert line.startswith(f"{folder / place} changed during grading: sha256 ")
    assert line.split("sha256 ")[1].split()[0] in recorded
    assert "\n" not in line
    with pytest.raises(ChangedGraderError):
        process.guard.raise_problem()


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    path.write_text("SCORE = 0.0\n")


def shadow(path: Path) -> None:
    """A package of the same name is imported in the module's place."""
    write(path.parent, {f"{path.stem}/__init__.py": "SCORE = 0.0\n"})


@pytest.mark.parametrize("change", [replace, remove, shadow])
def test_an_import_inside_the_function_is_compared_when_it_happens(
    folder: Path, change: Callable[[Path], None]
) -> None:
    process = Process(folder).start()
    change(folder / "late.py")
    with pytest.raises(ChangedGraderError, match=r"late(\.py|/__init__\.py) changed during grading"):
        process.judge()


def test_a_problem_stays_though_the_function_goes_on(folder: Path) -> None:
    """Else a function with a fallback gives the verdicts of the fallback under the same version."""
    source = "def judge(**_):\n    try:\n        import late\n    except BaseException:\n        pass\n    return 1.0\n"
    write(folder, {"reward.py": source})
    process = Process(folder).start()
    (folder / "late.py").unlink()
    for _ in range(2):
        with pytest.raises(ChangedGraderError, match="the file is gone now"):
            process.judge()


def test_the_job_that_finds_a_change_gives_no_verdict_and_those_before_it_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    careless = "    try:\n        if solution_str: import late\n    except BaseException:\n        pass\n"
    write(folder, {"reward.py": f"def judge(solution_str, **_):\n{careless}    return 1.0\n"})
    process = Process(folder).start()
    monkeypatch.setattr(job_module, "_guard", process.guard)
    monkeypatch.setattr(job_module, "_verifiers", {None: process.function})
    (folder / "late.py").unlink()
    assert [graded.score for graded in grade_batch([GradeJob(text, "") for text in ("", "", "late", "")])] == [1.0, 1.0]
    with pytest.raises(ChangedGraderError):
        grade_batch([GradeJob("", "")])


def test_a_module_that_is_new_is_a_change(folder: Path) -> None:
    source = "try:\n    import fast as helper\nexcept ImportError:\n    import helper\n"
    write(folder, {"reward.py": f"{source}def judge(**_): return helper.SCORE\n"})
    assert Process(folder).start().judge() == 1.0
    process = Process(folder)
    write(folder, {"fast.py": "SCORE = 0.0\n"})
    with pytest.raises(ChangedGraderError, match=r"fast\.py changed during grading: the recorded version has no such"):
        process.start()


def test_a_bytecode_cache_is_not_read(folder: Path) -> None:
    """Python trusts a cache whose time and size agree with the source, whatever the source says now."""
    helper = folder / "helper.py"
    py_compile.compile(str(helper))
    before = helper.stat()
    helper.write_text("SCORE = 0.5\n")
    os.utime(helper, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Process(folder).start().judge() == 0.5


def test_a_module_that_was_imported_before_is_imported_again(folder: Path) -> None:
    """The script that starts the processes may import the same modules, and each process imports the script."""
    sys.path.insert(0, str(folder))
    importlib.import_module("helper").SCORE = 0.0
    assert Process(folder).start().judge() == 1.0


@pytest.mark.parametrize("at", ["when it is loaded", "when it is called"])
def test_a_computed_name_is_refused_with_what_to_do(folder: Path, at: str) -> None:
    """The version cannot name a module that nothing but running the function finds."""
    called = "importlib.import_module('hel' + 'per').SCORE"
    body = (
        f"SCORE = {called}\ndef judge(**_): return SCORE\n" if "loaded" in at else f"def judge(**_): return {called}\n"
    )
    write(folder, {"reward.py": f"import importlib\n{body}"})
    with pytest.raises(UnlistedModuleError) as caught:
        Process(folder).start().judge()
    assert str(caught.value) == (
        f"{folder / 'helper.py'} is imported by a computed name, so the version of {folder / 'reward.py'} does not"
        " include it: import it by its name anywhere in that file, as in `import helper`"
    )


def test_what_the_refusal_advises_is_enough(folder: Path) -> None:
    source = "import importlib\nif False:\n    import helper\n"
    write(folder, {"reward.py": f"{source}def judge(**_): return importlib.import_module('hel' + 'per').SCORE\n"})
    assert Process(folder).start().judge() == 1.0


def test_modules_of_installed_packages_are_none_of_those_beside(folder: Path) -> None:
    installed = folder / ".venv" / "site-packages"
    write(folder, {"reward.py": "import installed.part\ndef judge(**_): return installed.part.SCORE\n"})
    (installed / "installed").mkdir(parents=True)
    write(installed, {"installed/__init__.py": "", "installed/part.py": "SCORE = 1.0\n"})
    sys.path.append(str(installed))
    assert Process(folder).start().judge() == 1.0


@pytest.mark.parametrize("changed", ["sympy", "pint"])
def test_an_upgraded_package_is_noticed(monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    """The packages of a verifier were read once, at the start: a process that started after `pip install` graded with
    the new ones under the old version."""
    guard = ImportGuard({"math-verify": verifier_version("math-verify"), "exact": verifier_version("exact")})
    guard.check_packages()
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99.0" if name == changed else version(name))
    with pytest.raises(ChangedGraderError, match=f"math-verify changed during grading: .* and .*{changed} 99.0"):
        guard.check_packages()
    with pytest.raises(ChangedGraderError):
        guard.raise_problem()


def test_a_package_that_was_removed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = ImportGuard({"math-verify": verifier_version("math-verify")})

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ChangedGraderError, match="and no math-verify is installed now"):
        guard.check_packages()


def test_a_package_is_compared_again_before_a_late_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """pint is imported with the first quantity: after an upgrade, old and new code graded together."""
    guard = ImportGuard({"math-verify": verifier_version("math-verify")})
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    guard.install()
    guard.watch()
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "99.0")
    guard.find_spec("json.tool", None)
    with pytest.raises(GraderCodeError, match="math-verify changed"):
        guard.find_spec("pint.facets", None)
