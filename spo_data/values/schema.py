"""The columns of the two tables, and what each file's metadata says of its numbers.

    values_schema(provenance, completeness)     one row per prompt
    samples_schema(provenance)                  one row per response
    read_provenance(schema)                     what the numbers of a file belong to
    read_completeness(schema)                   how many of the run's prompts they are

A parquet file's metadata holds the policy, dataset and grader of its numbers (key `spo`, as JSON), so a table that was
copied out of its run or downloaded still records what it belongs to. That of a table of values also says how many
prompts the run has and how many of them are unfinished (key `spo_completeness`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from spo_data.grading.verdict import OBSERVATIONS
from spo_data.provenance import SCHEMA_VERSION, Completeness, Provenance

if TYPE_CHECKING:
    import pyarrow as pa

TABLE_FILES = "values/*.parquet"
"""Where a run and a dataset of values keep their table of values."""
BATCH = 10_000
"""Rows that are Python objects at a time: a table of a million prompts fits into memory, but not as Python objects."""

_KEY = b"spo"
"""The metadata key of the provenance."""
_COMPLETENESS_KEY = b"spo_completeness"


def values_schema(provenance: Provenance | None = None, completeness: Completeness | None = None) -> "pa.Schema":
    """One row a prompt; null if the source of foreign values does not say."""
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    counts = ("n", "n_valid", "n_correct", "n_truncated", "n_no_answer", "n_failed", "n_disputed")
    return pa.schema(
        [
            ("prompt", pa.string()),
            ("prompt_id", pa.string()),
            ("messages", pa.list_(message)),
            ("ground_truth", pa.string()),
            ("data_source", pa.string()),
            ("vhat", pa.list_(pa.float64())),
            *((name, pa.float64()) for name in ("value", "value_low", "value_high")),
            *((name, pa.int32()) for name in counts),
            ("response_tokens_mean", pa.float64()),
            ("tool_turns_mean", pa.float64()),
            ("suspect_gold", pa.string()),
            ("extra_info", pa.string()),
        ],
        make_metadata(provenance, completeness),
    )


def samples_schema(
    provenance: Provenance | None = None, *, with_logprobs: bool = False, with_mask: bool = False
) -> "pa.Schema":
    """One row a response; `with_mask` if responses contain tool output."""
    import pyarrow as pa

    columns = [
        ("prompt_id", pa.string()),
        ("sample_index", pa.int32()),
        ("seed", pa.int64()),
        ("response", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("finish_reason", pa.string()),
        ("response_tokens", pa.int32()),
        ("tool_turns", pa.int32()),
        ("answer", pa.string()),
        ("verdict", pa.string()),
        ("score", pa.float64()),
        ("detail", pa.string()),
    ]
    mask = [("response_mask", pa.list_(pa.bool_()))] if with_mask else []
    logprobs = [("token_logprobs", pa.list_(pa.float32()))] if with_logprobs else []
    return pa.schema([*columns, *mask, *logprobs], make_metadata(provenance))


def make_metadata(provenance: Provenance | None, completeness: Completeness | None = None) -> dict[bytes, bytes] | None:
    """A file's metadata; None if nothing is known."""
    known = {_KEY: provenance, _COMPLETENESS_KEY: completeness}
    return {key: record.model_dump_json().encode() for key, record in known.items() if record is not None} or None


def read_provenance(schema: "pa.Schema") -> Provenance | None:
    """What a file's numbers belong to; None if the file does not say, or says it in a version that we cannot read."""
    try:
        found = Provenance.model_validate_json((schema.metadata or {})[_KEY])
    except (KeyError, ValidationError):
        return None
    return found.model_copy(update={"schema_version": SCHEMA_VERSION})


def read_completeness(schema: "pa.Schema") -> Completeness | None:
    """How complete the run of a file's values is; None if the file does not say."""
    try:
        return Completeness.model_validate_json((schema.metadata or {})[_COMPLETENESS_KEY])
    except (KeyError, ValidationError):
        return None


def is_valid(sample: Mapping[str, Any]) -> bool:
    """Whether a row of `samples` is valid. Imported samples have no verdict, so a score is enough."""
    verdict = sample.get("verdict")
    return sample["score"] is not None and (verdict is None or verdict in OBSERVATIONS)
