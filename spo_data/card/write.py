"""The dataset card: README.md of a run folder and of what is pushed.

    write_card(run, make_card(journal, manifest, summary))
    merge_card(make_card(..., name="org/name"), readme_on_the_hub)

Its `configs:` make `load_dataset("runs/demo")` find both tables, its `spo:` block holds the whole policy, dataset and
grader. No timestamps: the same run gives the same card. What a user wrote is kept: text outside our two marks, and
keys of the header that are not ours (see `spo_data.card.merge`).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spo_data.card.language import languages
from spo_data.card.merge import Readme, merge_readme, merge_readme_with_hub, table_configs
from spo_data.errors import SpoError, reason
from spo_data.files import read_regular, write_whole
from spo_data.grading.measured_error import describe_error
from spo_data.hub.snapshot import README
from spo_data.printable import printable
from spo_data.provenance import DatasetRecord, PolicyRecord
from spo_data.run.journal import Journal
from spo_data.run.manifest import Manifest
from spo_data.run.summary import Summary

HISTOGRAM = "histogram.png"
HUB = "https://huggingface.co"
TAGS = ("reinforcement-learning", "rlvr", "spo", "offline-values")
LOCAL_NAME = "PATH-OR-ID"
"""The name of an unpublished dataset in its card."""
_ENDS = str.maketrans({"`": "'", "<": "&lt;", "\n": " ", "\r": " "})
"""Characters that would end a code span or a line."""
_PIPE = re.compile(r"(\\*)\|")
"""What would end a table's cell, and the backslashes before it, which would make ours one of theirs."""


@dataclass(frozen=True)
class Card:
    """The header and the text of a card."""

    header: dict[str, Any]
    body: str


def make_card(
    journal: Journal, manifest: Manifest, summary: Summary, *, name: str = LOCAL_NAME, with_samples: bool = True
) -> Card:
    """The card of a run. `name` is the dataset's name for `load_dataset`; `with_samples` adds the config `samples`."""
    header = {
        "license": "unknown",
        "language": languages(prompt.text for prompt in journal.prompts()),
        "pretty_name": f"Offline values of {manifest.policy.model} on {manifest.dataset.source}",
        "size_categories": [size_category(summary.prompts_with_value)],
        "task_categories": ["text-generation"],
        "tags": list(TAGS),
        "source_datasets": [manifest.dataset.source] if manifest.dataset.revision else [],
        "configs": table_configs(with_samples),
        "spo": manifest.provenance.model_dump(mode="json"),
    }
    return Card(
        {key: value for key, value in header.items() if value != []},
        _render_body(manifest, summary, name, with_samples),
    )


def write_card(run: Path, card: Card) -> None:
    """Write README.md into the run folder; raises SpoError if the header of an existing one is broken."""
    path = run / README
    write_whole(path, merge_card(card, read_card(run) if path.is_file() else None))


def read_card(run: Path) -> Readme:
    """The run folder's README.md; raises SpoError if it is not UTF-8."""
    path = run / README
    fix = "correct it, or delete the file: spo-data then writes a new card"
    try:
        return Readme(read_regular(path).decode(), str(path), fix)
    except OSError as error:
        raise SpoError(f"{path} cannot be read: {reason(error)}: {fix}") from error
    except UnicodeDecodeError as error:
        raise SpoError(f"{path} is not UTF-8 ({error}): {fix}") from error


def merge_card(card: Card, existing: Readme | None) -> str:
    """The whole README, with the user's parts of the existing one."""
    return merge_readme(card.header, card.body, existing)


def merge_card_with_hub(
    card: Card, here: Readme, there: Readme | None, *, replaces: bool = False
) -> tuple[str, list[str]]:
    """The whole README for the Hub from the one here and the one there, and a note for each part lost from here."""
    return merge_readme_with_hub(card.header, card.body, here, there, replaces=replaces)


def size_category(rows: int) -> str:
    """The Hub's name for a number of rows."""
    steps = ("1K", "10K", "100K", "1M", "10M", "100M")
    limits = [10 ** (3 + position) for position in range(len(steps))]
    below = next((position for position, limit in enumerate(limits) if rows < limit), None)
    if below is None:
        return f"n>{steps[-1]}"
    return f"n<{steps[0]}" if below == 0 else f"{steps[below - 1]}<n<{steps[below]}"


def _render_body(manifest: Manifest, summary: Summary, name: str, with_samples: bool) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        finalize=escape_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    source = Path(__file__).with_name("card.md.jinja").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        name=name,
        with_samples=with_samples,
        manifest=manifest,
        policy=manifest.policy,
        summary=summary,
        n=manifest.n,
        grader_error=describe_error(manifest.grader.verifier, manifest.grader.version),
        model=manifest.policy.model,
        model_link=_link_model(manifest.policy),
        dataset_link=_link_dataset(manifest.dataset),
        mean="none" if summary.value_mean is None else f"{summary.value_mean:.4f}",
        bounds="none" if summary.value_low is None else f"{summary.value_low:.4f} to {summary.value_high:.4f}",
        device_hours=[
            f"{_to_hours(seconds)} {device} hours" for device, seconds in manifest.timings.device_seconds.items()
        ],
    )


def _to_hours(seconds: float) -> str:
    """Return hours with two decimals, or with four for a few minutes: a short run showed 0.00."""
    hours = seconds / 3600
    return f"{hours:,.2f}" if hours >= 0.1 else f"{hours:.4f}"


class _Markdown(str):
    """Text that is Markdown already."""


def escape_markdown(value: Any) -> str:
    """A value that fits into a table's cell and into a code span: on one line, without a character that ends either.

    Its control characters are visible escapes.
    """
    if isinstance(value, _Markdown):
        return value
    return _PIPE.sub(r"\1\1\|", printable(str(value).translate(_ENDS)))


def _link_model(policy: PolicyRecord) -> str:
    on_hub = policy.model.count("/") == 1 and not policy.revision.startswith("sha256:")
    name = escape_markdown(policy.model)
    return _Markdown(f"[{name}]({HUB}/{name}/tree/{policy.revision})" if on_hub else f"`{name}`")


def _link_dataset(dataset: DatasetRecord) -> str:
    name = escape_markdown(dataset.source)
    if dataset.revision is None:
        return _Markdown(f"`{name}`")
    return _Markdown(f"[{name}]({HUB}/datasets/{name}/tree/{dataset.revision})")
