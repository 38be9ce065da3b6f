"""Make one atomic commit to a Hub dataset: tried again until it succeeds, and never made twice.

    committed = commit_files(HfApi(token=...), target, publication, say)

Every try begins at the head of the branch. The publication judges what is there, and says what it wants there. The
difference is committed with one `create_commit` on that head (`parent_commit`), so nobody ever sees half of it, and
nothing is replaced that was not judged. If somebody else commits in between, the Hub refuses and we begin again. If a
try succeeded but its answer was lost, the next try finds nothing to change and returns that commit. `huggingface_hub`
repeats its uploads itself, but not the commit.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from spo_data.errors import SpoError, first_line, retry_after
from spo_data.hub.answers import UnreadableAnswerError, check_commit
from spo_data.hub.client_errors import UploadError, clear_push_errors, explain_refusal, explain_xet_error, passes
from spo_data.hub.snapshot import README, Snapshot, take_snapshot
from spo_data.text import excerpt

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi


_NOT_VALID = re.compile(r"Invalid metadata in README\.md\.\s*(.*)", re.DOTALL)
_NOT_STORED = re.compile(r"file with OID (\w+): `([^\n]*)")
"""What the client raises as a ValueError: the Hub refuses a header, or to store a file."""
TRIES = 6
TIMEOUT = 30.0
LONGEST_WAIT = 900.0
"""The most seconds that we wait at the Hub's request; if it asks for more, we give up and say so."""


@dataclass(frozen=True)
class Target:
    """The repository and branch that a commit goes to, and how."""

    repo_id: str
    revision: str | None
    create_pr: bool
    private: bool
    message: str


@dataclass(frozen=True)
class Committed:
    """The result: the state of the repository on the Hub."""

    commit: str
    """The commit that holds the files: ours, or the head if nothing had to change."""
    pr_url: str | None
    uploaded: tuple[str, ...]
    deleted: tuple[str, ...]
    private: bool


@dataclass(frozen=True)
class Wanted:
    """What a repository shall hold."""

    contents: Mapping[str, Path | bytes]
    """Files, by path in the repository."""
    deleted: Collection[str]
    """Files of the repository that shall go. All others stay."""


class Publication(Protocol):
    """What is published."""

    def make_wanted(self, there: Snapshot) -> Wanted:
        """Say what the repository shall hold, from what it holds."""

    def judge(self, there: Snapshot) -> None:
        """Raise UserError if the commit must not be made on what the repository holds."""

    def find_fault(self, there: Snapshot, said: str) -> str:
        """Say whose header of the README has what the Hub refuses, and what to do."""


def commit_files(api: "HfApi", target: Target, publication: Publication, say: Callable[[str], None]) -> Committed:
    """Publish in one commit.

    Raises SpoError, in one line with the fix, if the Hub refuses the commit or all tries fail.
    """
    from tenacity import RetryCallState, Retrying, retry_if_exception

    push = _Push(api, target, publication, say)

    def wait(state: RetryCallState) -> float:
        asked = retry_after(_get_error(state))
        return min(2.0 ** (state.attempt_number - 1), 30.0) if asked is None else asked

    def stop(state: RetryCallState) -> bool:
        return state.attempt_number >= TRIES or (retry_after(_get_error(state)) or 0.0) > LONGEST_WAIT

    def announce(state: RetryCallState) -> None:
        seconds = state.next_action.sleep if state.next_action else 0.0
        say(f"{_describe(_get_error(state))}: trying again in {seconds:.0f} s")

    with clear_push_errors(target.repo_id, target.revision):
        tries = Retrying(retry=retry_if_exception(passes), wait=wait, stop=stop, before_sleep=announce, reraise=True)
        return tries(push.attempt)


@dataclass
class _Push:
    """One push and the state that its tries share."""

    api: "HfApi"
    target: Target
    publication: Publication
    say: Callable[[str], None]
    uploaded: tuple[str, ...] = ()
    """The files that the last try sent; they may have arrived even if the answer was lost."""
    deleted: tuple[str, ...] = ()
    is_new: bool = False
    """Whether a try created the repository."""

    def attempt(self) -> Committed:
        """Commit the difference between the branch's head and the wanted files; return what is on the Hub then."""
        from rich.filesize import decimal

        info = self.get_repository()
        head = check_commit(info.sha)
        there = take_snapshot(self.api, self.target.repo_id, head, is_new=self.is_new)
        self.publication.judge(there)
        adds, deletes = self.find_changes(there)
        if not adds and not deletes:
            return Committed(head, None, self.uploaded, self.deleted, bool(info.private))
        if self.target.create_pr and (opened := self.open_pull_request()):
            number, commit = opened
            url = f"{self.api.endpoint}/datasets/{self.target.repo_id}/discussions/{number}"
            return Committed(commit, url, self.uploaded, self.deleted, bool(info.private))
        self.uploaded = tuple(add.path_in_repo for add in adds)
        self.deleted = tuple(delete.path_in_repo for delete in deletes)
        size = decimal(sum(add.upload_info.size for add in adds))
        files = f"{len(adds):,} file{'s' * (len(adds) != 1)}"
        self.say(f"uploading {files}, {size}, to {self.target.repo_id}, in one commit on {head[:8]}")
        try:
            made = self.api.create_commit(
                self.target.repo_id,
                [*adds, *deletes],
                commit_message=self.target.message,
                repo_type="dataset",
                revision=self.target.revision,
                create_pr=self.target.create_pr,
                parent_commit=head,
            )
        except RuntimeError as error:  # the client raises it if an upload failed, whatever the reason
            if error.__cause__ is not None and not passes(error.__cause__):
                raise error.__cause__ from error
            raise UploadError(
                f"{self.target.repo_id} was not pushed: {first_line(error.__cause__ or error)}"
            ) from error
        except ConnectionError as error:
            raise explain_xet_error(self.api, self.target.repo_id, error) from error
        except ValueError as error:
            if invalid := _NOT_VALID.match(str(error)):
                said = excerpt(invalid[1].removeprefix("- "), 300)
                raise SpoError(
                    f"{self.target.repo_id} was not pushed: the Hub refuses the header of {README} ({said}):"
                    f" {self.publication.find_fault(there, said)}"
                ) from error
            if refused := _NOT_STORED.findall(str(error)):
                names = {add.upload_info.sha256.hex(): add.path_in_repo for add in adds}
                said = "; ".join(f"{names.get(oid, oid)}: {excerpt(reason, 300)}" for oid, reason in refused)
                raise SpoError(f"{self.target.repo_id} was not pushed: the Hub does not store {said}") from error
            raise
        return Committed(check_commit(made.oid), made.pr_url, self.uploaded, self.deleted, bool(info.private))

    def find_changes(self, there: Snapshot) -> "tuple[list[CommitOperationAdd], list[CommitOperationDelete]]":
        """Return the files to add to and to delete from a commit's tree."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        wanted = self.publication.make_wanted(there)
        adds = [CommitOperationAdd(name, content) for name, content in sorted(wanted.contents.items())]
        files = there.files
        changed = [add for add in adds if add.path_in_repo not in files or not _is_same(add, files[add.path_in_repo])]
        return changed, [CommitOperationDelete(name) for name in sorted(set(wanted.deleted) - wanted.contents.keys())]

    def get_repository(self) -> Any:
        """Return the repository, created if missing; raises SpoError if it is public and `private` was requested."""
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        api, target = self.api, self.target
        try:
            info = api.dataset_info(target.repo_id, revision=target.revision, timeout=TIMEOUT)
        except (GatedRepoError, RevisionNotFoundError):
            raise
        except RepositoryNotFoundError as error:
            if target.create_pr:
                raise SpoError(
                    f"{target.repo_id} is not on the Hub, so there is nothing to propose a change to: leave out"
                    " --create-pr to create it"
                ) from error
            if target.revision not in (None, "main"):
                raise SpoError(
                    f"{target.repo_id} is not on the Hub, so it has no branch {target.revision!r}: leave out --revision"
                    " to create it"
                ) from error
            self.is_new = True
            _create(api, target)
            info = api.dataset_info(target.repo_id, revision=target.revision, timeout=TIMEOUT)
        if target.private and not info.private:
            raise _refuse_public(target)
        return info

    def open_pull_request(self) -> tuple[int, str] | None:
        """Return number and commit of our open pull request with exactly these changes, from an earlier try or call."""
        me = self.api.whoami().get("name")
        if not isinstance(me, str):
            raise UnreadableAnswerError("a user without a name")
        found = self.api.get_repo_discussions(
            self.target.repo_id,
            author=me,
            discussion_type="pull_request",
            discussion_status="open",
            repo_type="dataset",
        )
        for request in found:
            if request.title != self.target.message:
                continue
            commit = str(self.api.dataset_info(self.target.repo_id, revision=f"refs/pr/{request.num}").sha)
            if self.find_changes(take_snapshot(self.api, self.target.repo_id, commit)) == ([], []):
                return int(request.num), commit
        return None


def _refuse_public(target: Target) -> SpoError:
    return SpoError(
        f"{target.repo_id} already exists and is public, so --private would not hide what you push: run `hf repos"
        f" settings {target.repo_id} --type dataset --private` first, or push without --private"
    )


def _create(api: "HfApi", target: Target) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api.create_repo(target.repo_id, repo_type="dataset", private=target.private or None)
    except HfHubHTTPError as error:
        if error.response.status_code == 403:
            raise explain_refusal(target.repo_id, error, creating=True) from error
        if error.response.status_code != 409:  # 409: somebody else has just created it, which is fine
            raise


def _is_same(add: "CommitOperationAdd", file: Any) -> bool:
    from huggingface_hub.utils.sha import git_hash

    if file.size != add.upload_info.size:
        return False
    if file.lfs is not None:
        return bool(file.lfs.sha256 == add.upload_info.sha256.hex())
    with add.as_file() as opened:
        return bool(file.blob_id == git_hash(opened.read()))


def _get_error(state: Any) -> BaseException:
    error = state.outcome.exception()
    assert error is not None  # tenacity calls us after failures only
    return error  # type: ignore[no-any-return]


def _describe(error: BaseException) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"the Hub answered {response.status_code} {response.reason_phrase}".rstrip()
    return f"the Hub did not answer ({re.sub(chr(10) + '.*', '', str(error)) or type(error).__name__})"
