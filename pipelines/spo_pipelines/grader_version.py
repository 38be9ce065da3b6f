"""Whether a stored run was graded by another version of its verifier than the installed one.

other = find_other_version(read_run(Path("runs/demo")))
print(other)      # says what differs, and the command that grades the run again
"""

import shlex
from dataclasses import dataclass

from spo_data.errors import UserError
from spo_data.provenance import GraderRecord, grader_differs
from spo_data.run.existing import ExistingRun
from spo_pipelines.prompt_source import resolve_grader


@dataclass(frozen=True)
class OtherVersion:
    """A verifier whose installed version is not the one that graded a run."""

    verifier: str
    recorded: str
    """The version that graded the run."""
    installed: str
    command: str
    """The command that grades the run with the installed version."""

    def __str__(self) -> str:
        recorded, installed = _leave_out_equal(self.recorded, self.installed)
        return (
            f"would change the version of {self.verifier} from {recorded} to {installed}, and so perhaps its verdicts:"
            f" `{self.command}`"
        )


def find_other_version(run: ExistingRun) -> OtherVersion | None:
    """The run's verifier, else its second one, if another version is installed.

    None if neither differs, or if the installed version cannot be told: a reward function's file may be gone.
    """
    manifest = run.manifest
    for recorded in filter(None, (manifest.grader, manifest.also)):
        installed = _find_installed(recorded)
        if installed is not None and grader_differs(recorded, installed):
            command = shlex.join(["spo-data", "regrade", str(run.folder)])
            return OtherVersion(recorded.verifier, recorded.version, installed.version, command)
    return None


def _find_installed(recorded: GraderRecord) -> GraderRecord | None:
    try:
        return resolve_grader(recorded.verifier, truncated=recorded.truncated)
    except UserError:
        return None


def _leave_out_equal(recorded: str, installed: str) -> tuple[str, str]:
    """Two versions without the packages, or the modules, that are equal in both."""
    parts = [_split(version) for version in (recorded, installed)]
    equal = set(parts[0]) & set(parts[1])
    left = [" ".join(" ".join(part) for part in each if part not in equal) for each in parts]
    return left[0] or recorded, left[1] or installed


def _split(version: str) -> list[tuple[str, str]]:
    """Names with their versions; of a reward function, itself and its modules with their checksums."""
    words = version.split()
    if words[1:2] == ["sha256"]:
        words[1:3] = [" ".join(words[1:3])]
    return list(zip(words[::2], words[1::2], strict=False))
