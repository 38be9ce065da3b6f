"""Publishes a run: its tables, card, histogram and manifest, in one commit to a Hub dataset.

    pushed = push(PushOptions("org/name", Path("runs/demo")), print)
    pushed.url, pushed.committed.commit, pushed.committed.uploaded

The tables are written from the journal first, so that they hold exactly what was sampled and graded. Pushing the same
run again makes no commit. Other files in the repository stay, as do the README's text outside our marks and its other
header keys. The journal and the engine's log are not published.
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from spo_data.card.write import HISTOGRAM, Card, make_card, merge_card_with_hub
from spo_data.errors import SpoError, UserError
from spo_data.files import folder_lock
from spo_data.hub.commit import README, Committed, Target, commit_files
from spo_data.hub.ids import find_id_fault
from spo_data.run.existing import read_run
from spo_data.run.manifest import JOURNAL, MANIFEST, Manifest
from spo_data.run.summary import Summary, summarize
from spo_pipelines.results import write_results
from spo_pipelines.signals import raise_on_signals

OWNED = re.compile(r"(values|samples)/train-\d{5}-of-\d{5}\.parquet")
"""Files with these names are from an earlier push if a commit does not write them, and are deleted."""


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


@dataclass(frozen=True)
class PushOutcome:
    """What is on the Hub now."""

    committed: Committed
    url: str
    summary: Summary


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
    with raise_on_signals(), folder_lock(options.run, "spo-data"):
        run = read_run(options.run)  # again: another call may have ended since
        manifest = run.manifest
        with run.open_journal() as journal:
            _refuse_unfit(options, manifest, summarize(journal, manifest))
            if api.token is None:
                raise SpoError("no Hub token: `hf auth login`, or set HF_TOKEN, or give --token")
            say("writing tables from the journal")
            try:
                summary = write_results(journal, manifest, options.run)
            except OSError as error:
                raise SpoError(f"{error.filename or options.run} cannot be written: {error.strerror}") from error
            card = make_card(journal, manifest, summary, name=options.repo_id, with_samples=options.samples)
        folders = ("values", "samples")[: 1 + options.samples]
        tables = [path for folder in folders for path in sorted((options.run / folder).glob("*.parquet"))]
        files = {path.relative_to(options.run).as_posix(): path for path in tables}
        files |= {name: options.run / name for name in (HISTOGRAM, MANIFEST)}
        target = Target(
            options.repo_id,
            options.revision,
            options.create_pr,
            options.private,
            options.commit_message
            or f"Values of {manifest.policy.model} on {manifest.dataset.source}, n = {manifest.n}",
        )
        readme = _Readme(card, (options.run / README).read_text(encoding="utf-8"), say)
        committed = commit_files(api, target, files, OWNED, readme, say)
    return PushOutcome(committed, committed.pr_url or f"{api.endpoint}/datasets/{options.repo_id}", summary)


@dataclass
class _Readme:
    """Merges the card, the local README and the Hub's README; reports once what the local README loses."""

    card: Card
    here: str
    say: Callable[[str], None]
    said: set[str] = field(default_factory=set)

    def __call__(self, there: str | None) -> str:
        text, notes = merge_card_with_hub(self.card, self.here, there)
        for note in notes:
            if note not in self.said:
                self.say(f"note: {note}")
        self.said.update(notes)
        return text


def _refuse_unfit(options: PushOptions, manifest: Manifest, summary: Summary) -> None:
    """Raise UserError if the journal lost samples or holds no value, or if samples are missing and must not be."""
    run = options.run
    counted = 0 if manifest.counts is None else manifest.counts.samples
    if summary.drawn < counted:
        raise UserError(
            f"{run / JOURNAL} holds {summary.drawn:,} samples, {run / MANIFEST} counts {counted:,}: the journal is"
            f" truncated or another run's (a copy needs {JOURNAL}-wal beside it)"
        )
    if summary.value_mean is None:
        raise UserError(f"{run} holds no value: there is nothing to publish")
    if summary.complete or options.allow_missing:
        return
    dropped = f", {sum(summary.dropped.values()):,} rows were dropped" if summary.dropped else ""
    push = f"spo-data push {options.repo_id} {shlex.quote(str(run))} --allow-missing"
    again = f"`{manifest.command}` continues it" if manifest.command else "the run's own command continues it"
    raise UserError(
        f"{run} is incomplete: {summary.unfinished:,} of {summary.prompts:,} prompts are unfinished"
        f" ({summary.not_drawn:,} of {summary.asked:,} samples are not drawn yet), {summary.not_valid:,} samples are"
        f" not valid{dropped}: {again};"
        f" `{push}` publishes it as it is"
    )
