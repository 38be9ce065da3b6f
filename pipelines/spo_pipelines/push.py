"""Publishes a run: its tables, card, histogram and manifest, in one commit to a Hub dataset.

    pushed = push(PushOptions("org/name", Path("runs/demo")), print)
    pushed.url, pushed.committed.commit, pushed.committed.uploaded

The tables are written from the journal first, so that they hold exactly what was sampled and graded. Pushing the same
run again makes no commit. Values of another policy or dataset, and tables that are no values of ours, are replaced
only if `replace` says so (see `spo_pipelines.published`). Other files in the repository stay, as do the README's text
outside our marks and its other header keys. The journal and the engine's log are not published.
"""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spo_data.card.merge import Readme, find_default, list_configs, read_header
from spo_data.card.write import HISTOGRAM, Card, make_card, merge_card_with_hub, read_card
from spo_data.errors import SpoError, UserError, reason
from spo_data.files import folder_lock
from spo_data.hub.commit import Committed, Target, Wanted, commit_files
from spo_data.hub.ids import find_id_fault
from spo_data.hub.snapshot import README, Snapshot
from spo_data.hub.table_files import find_outside
from spo_data.provenance import GRADED_MARK
from spo_data.run.existing import read_run
from spo_data.run.manifest import MANIFEST, Manifest
from spo_data.run.summary import Summary, summarize
from spo_pipelines.overlap import OwnPrompts, read_own_prompts
from spo_pipelines.published import OWNED, Published, describe_policy, find_published, name_first, readme_of
from spo_pipelines.results import write_results


@dataclass(frozen=True)
class PushOptions:
    """One push, as the user asked for it."""

    repo_id: str
    run: Path
    private: bool = False
    revision: str | None = None
    create_pr: bool = False
    commit_message: str | None = None
    token: str | None = None
    samples: bool = True
    """False leaves the samples table out, and deletes that of an earlier push."""
    allow_missing: bool = False
    replace: bool = False
    """Put the run in the place of values of another policy or dataset, or of tables that are no values of ours."""

    def command(self, *more: str) -> str:
        """The command line of this push, without the token."""
        given = {"--revision": self.revision, "--commit-message": self.commit_message}
        flags = {
            "--private": self.private,
            "--create-pr": self.create_pr,
            "--no-samples": not self.samples,
            "--allow-missing": self.allow_missing,
            "--replace": self.replace,
        }
        words = ["spo-data", "push", self.repo_id, str(self.run)]
        words += [word for name, value in given.items() if value is not None for word in (name, value)]
        return shlex.join([*words, *(name for name, is_set in flags.items() if is_set), *more])


@dataclass(frozen=True)
class PushOutcome:
    """What is on the Hub now."""

    committed: Committed
    url: str
    summary: Summary
    found: Published
    """What was there before."""
    replaced: bool
    """Whether what was found was replaced at the user's request."""
    default: str | None
    """The config that `load_dataset` takes if none is named; "values" unless the card has another."""


def push(options: PushOptions, say: Callable[[str], None]) -> PushOutcome:
    """Publish a run; `say` is called before steps that take a while.

    Raises UserError if the folder is not a run, the run is incomplete or the repository id is malformed, SpoError if
    the Hub refuses.
    """
    from huggingface_hub import HfApi, get_token

    if fault := find_id_fault(options.repo_id):
        raise UserError(f"{options.repo_id}: {fault}")
    read_run(options.run)
    api = HfApi(token=options.token or get_token())
    with folder_lock(options.run, "spo-data"):
        run = read_run(options.run)  # again: another call may have ended since
        manifest = run.manifest
        with run.open_journal(locked=True) as journal:
            _refuse_unfit(options, manifest, summarize(journal, manifest))
            if api.token is None:
                raise SpoError("no Hub token: `hf auth login`, or set HF_TOKEN, or give --token")
            say("writing tables from the journal")
            try:
                summary = write_results(journal, manifest, options.run)
            except OSError as error:
                raise SpoError(f"{error.filename or options.run} cannot be written: {reason(error)}") from error
            card = make_card(journal, manifest, summary, name=options.repo_id, with_samples=options.samples)
            prompts = read_own_prompts(journal, options.run)
        here = read_card(options.run)
        _refuse_foreign_files(here)
        folders = ("values", "samples")[: 1 + options.samples]
        tables = (path for folder in folders for path in sorted((options.run / folder).glob("*.parquet")))
        files = {name: path for path in tables if OWNED.fullmatch(name := path.relative_to(options.run).as_posix())}
        files |= {name: options.run / name for name in (HISTOGRAM, MANIFEST)}
        target = Target(
            options.repo_id,
            options.revision,
            options.create_pr,
            options.private,
            options.commit_message
            or f"Values of {manifest.policy.model} on {manifest.dataset.source}, n = {manifest.n}",
        )
        publication = _Publication(options, manifest, prompts, card, here, files, say)
        say(f"pushing {options.run}: {publication.describe()}")
        committed = commit_files(api, target, publication, say)
    assert publication.found is not None  # every commit is judged
    return PushOutcome(
        committed,
        committed.pr_url or f"{api.endpoint}/datasets/{options.repo_id}",
        summary,
        publication.found,
        publication.replaces(publication.found),
        publication.default,
    )


@dataclass
class _Publication:
    """A run and its card, merged with what a repository holds; says once what it finds there and what is lost."""

    options: PushOptions
    manifest: Manifest
    prompts: OwnPrompts
    card: Card
    here: Readme
    files: Mapping[str, Path]
    say: Callable[[str], None]
    found: Published | None = None
    """What was there before our commit."""
    default: str | None = None
    said: set[str] = field(default_factory=set)
    _published: dict[str, Published] = field(default_factory=dict)

    def describe(self) -> str:
        """The run, on one line."""
        manifest, prompts = self.manifest, len(self.prompts.with_value)
        return (
            f"{manifest.policy.model} on {manifest.dataset.source}, {prompts:,} prompts x {manifest.n};"
            f" {describe_policy(manifest.policy)}, verifier {manifest.grader.verifier}"
            f"{GRADED_MARK if manifest.grader.truncated == 'grade' else ''}"
        )

    def replaces(self, found: Published) -> bool:
        """Whether this push replaces more than the same values."""
        return self.options.replace and (found.is_anothers or bool(found.configs))

    def judge(self, there: Snapshot) -> None:
        """Say what is there; raise UserError if it is another's, unless it is to be replaced."""
        found, options = self._find(there), self.options
        if self.found is not None and found.kind == "same" and not found.changes:
            return  # a try before this one made the commit
        self.found = found
        place = options.repo_id if options.revision is None else f"{options.repo_id} ({options.revision})"
        if found.is_anothers and not options.replace:
            raise UserError(
                f"{place} holds {found.describe()}, which {options.run} ({self.manifest.policy.model} on"
                f" {self.manifest.dataset.source}) would replace: push to another name, or"
                f" `{options.command('--replace')}` replaces them"
            )
        self._say_once(f"{place} holds {found.describe()}")
        if self.replaces(found):
            gone = [name for name in found.tables.files if name not in self.files]
            parts = [f"config {', '.join(found.configs)}"] * bool(found.configs)
            parts += [f"{len(gone):,} file{'s' * (len(gone) > 1)}: {name_first(gone)}"] * bool(gone)
            self._say_once(f"deleting from {place}: {'; '.join(parts)}" if parts else f"replacing them in {place}")
            if found.tables.media:
                self._say_once(
                    f"note: {len(found.tables.media):,} pictures and the like stay: {found.tables.media[0]} …"
                )
            for config, why in found.tables.unclear.items():
                self._say_once(f"note: the files of config {config} stay, because `datasets` cannot tell them ({why})")

    def make_wanted(self, there: Snapshot) -> Wanted:
        """The run's files and the merged README; what an earlier push or the replaced tables left goes."""
        found = self._find(there)
        replaces = self.replaces(found)
        theirs = None if there.readme is None else readme_of(there)
        text, notes = merge_card_with_hub(self.card, self.here, theirs, replaces=replaces)
        for note in notes:
            self._say_once(f"note: {note}")
        self.default = find_default(read_header(Readme(text)))
        if self.default != "values":
            fix = f": `{self.options.command('--replace')}` removes it" if self.default in found.configs else ""
            self._say_once(f"note: `load_dataset` without a config reads {self.default}, not the values{fix}")
        stale = {name for name in there.files if OWNED.fullmatch(name)}
        contents: dict[str, Path | bytes] = {**self.files, README: text.encode()}
        return Wanted(contents, (stale | (set(found.tables.files) if replaces else set())) - contents.keys())

    def find_fault(self, there: Snapshot, said: str) -> str:
        """Whose header has the key that the Hub names, and what to do."""
        theirs = readme_of(there)
        merged, _ = merge_card_with_hub(self.card, self.here, theirs, replaces=self.replaces(self._find(there)))
        wanted = read_header(Readme(merged))
        keys = [key for key in re.findall(r"\"([A-Za-z_-]+)", said) if key in wanted]
        for key in keys:
            for readme in (theirs, self.here):
                header = read_header(readme)
                if key in header and header[key] == wanted[key]:
                    return f"{key} is from {readme.name}: {readme.fix}"
        return f"it is merged from {self.here.name} and the Hub's: correct the one that has it"

    def _find(self, there: Snapshot) -> Published:
        if there.commit not in self._published:
            self._published[there.commit] = find_published(there, self.manifest, self.prompts)
        return self._published[there.commit]

    def _say_once(self, line: str) -> None:
        if line not in self.said:
            self.said.add(line)
            self.say(line)


def _refuse_foreign_files(readme: Readme) -> None:
    """Raise UserError if the card names files outside the dataset: whoever loads it would be sent there."""
    for config in list_configs(read_header(readme)):
        if (path := find_outside(config)) is not None:
            raise UserError(
                f"{readme.name}: config {config.get('config_name')} names {path}, which is outside the dataset:"
                f" {readme.fix}"
            )


def _refuse_unfit(options: PushOptions, manifest: Manifest, summary: Summary) -> None:
    """Raise UserError if the journal holds no value, or if samples are missing and must not be."""
    run = options.run
    again = f"`{manifest.command_for(run)}` continues it" if manifest.command else "the run's own command continues it"
    if summary.value_mean is None:
        raise UserError(f"{run} holds no value: there is nothing to publish; {again}")
    if summary.complete or options.allow_missing:
        return
    dropped = f", {sum(summary.dropped.values()):,} rows were dropped" if summary.dropped else ""
    push = options.command("--allow-missing")
    raise UserError(
        f"{run} is incomplete: {summary.unfinished:,} of {summary.prompts:,} prompts are unfinished"
        f" ({summary.not_drawn:,} of {summary.asked:,} samples are not drawn yet), {summary.not_valid:,} samples are"
        f" not valid{dropped}: {again};"
        f" `{push}` publishes it as it is"
    )
