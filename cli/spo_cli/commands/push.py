"""`spo-data push`: publish a run as a Hugging Face dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spo_cli.commands.found_run import open_run
from spo_cli.terminal.exits import clean_exit
from spo_cli.terminal.messages import tell
from spo_cli.terminal.printing import print_json

if TYPE_CHECKING:
    from spo_pipelines.push import PushOutcome


def push(
    repo_id: Annotated[str, typer.Argument(help="Dataset on the Hub, org/name; created if it does not exist.")],
    run: Annotated[
        Path | None, typer.Argument(help="Run folder (default: the one run in runs/).", show_default=False)
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make the dataset private if it is created.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to push to (default: main).", show_default=False)] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of committing.")] = False,
    commit_message: Annotated[
        str | None, typer.Option(help="First line of the commit (default: model, dataset and n).", show_default=False)
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="Hub token (default: HF_TOKEN, or `hf auth login`'s).", show_default=False)
    ] = None,
    no_samples: Annotated[
        bool, typer.Option("--no-samples", help="Publish the values without the responses they come from.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Publish an incomplete run; its card says so.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Replace values of another policy or dataset, or tables that are no values of spo-data: their files"
            " and configs are deleted in the same commit.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the commit, its files and what was there.")] = False,
) -> None:
    """Publish a run: tables, card and manifest in one commit. The same run pushed again makes no commit.

    What is not the same policy's and dataset's stays, unless you say --replace. Exit status: 0 if the Hub has the run,
    1 if the Hub refuses it, 2 for wrong input, an incomplete run, or a dataset that would be replaced.
    """
    with clean_exit("the Hub has all of it or nothing", "push again"):
        from spo_data.run.folders import find_only_run
        from spo_pipelines.push import PushOptions
        from spo_pipelines.push import push as run_push

        options = PushOptions(
            repo_id=repo_id,
            run=open_run(find_only_run(f"spo-data push {repo_id} {{run}}") if run is None else run).folder,
            private=private,
            revision=revision,
            create_pr=create_pr,
            commit_message=commit_message,
            token=token,
            samples=not no_samples,
            allow_missing=allow_missing,
            replace=replace,
        )
        pushed = run_push(options, tell)
        if as_json:
            print_json(_as_dict(pushed))
        else:
            _print(pushed, options.repo_id)


def _as_dict(pushed: "PushOutcome") -> dict[str, object]:
    committed, found = pushed.committed, pushed.found.as_dict()
    return {
        "url": pushed.url,
        "commit": committed.commit,
        "pr_url": committed.pr_url,
        "private": committed.private,
        "complete": pushed.summary.complete,
        "unfinished": pushed.summary.unfinished,
        "uploaded": list(committed.uploaded),
        "deleted": list(committed.deleted),
        "found": found,
        "replaced": {"configs": found["configs"], "files": found["files"]} if pushed.replaced else None,
    }


def _print(pushed: "PushOutcome", repo_id: str) -> None:
    from spo_cli.terminal.printing import make_console, print_facts

    committed, summary = pushed.committed, pushed.summary
    changed = ", ".join([*committed.uploaded, *(f"{name} (deleted)" for name in committed.deleted)])
    facts = [
        ("dataset", f"{pushed.url} ({'private' if committed.private else 'public'})"),
        ("commit", committed.commit),
        ("changed", changed or "nothing: the Hub has it already"),
        (
            "values",
            f"{summary.prompts_with_value:,} of {summary.prompts:,} prompts"
            + (f", {summary.unfinished:,} unfinished" if summary.unfinished else "")
            + ("" if summary.complete else ", incomplete: the card says so"),
        ),
    ]
    if committed.pr_url is None:
        facts.append(("load", f'load_dataset("{repo_id}", "values", revision="{committed.commit}")["train"]'))
    print_facts(make_console(), facts)
