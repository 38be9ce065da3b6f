"""Turn prompts, samples and verdicts into rows of the journal, and rows into prompts and samples.

    db.execute(INSERT_SAMPLE, sample_row(sample, prompt_number))
    samples = map(sample_of, db.execute(SAMPLES_IN_ORDER))

Responses, token ids, masks and log-probabilities are compressed: a full run holds gigabytes of token ids.
"""

import functools
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from spo_data.grading.verdict import OBSERVATIONS, Grade, Verdict
from spo_data.prompts.identity import Message, Prompt
from spo_data.provenance import GraderRecord
from spo_data.run.checksums import brief_checksum, checksum, prompt_checksum, sample_checksum, verdict_checksum
from spo_data.run.sample import Sample

INSERT_PROMPT = """
INSERT INTO prompts (position, prompt_id, messages, ground_truth, data_source, extra_info, checksum)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (prompt_id) DO UPDATE SET position = excluded.position
"""

# Prompts of an earlier schema get theirs when a call has compared them to the dataset.
GIVE_PROMPTS_CHECKSUMS = """
UPDATE prompts SET checksum = prompt_checksum(prompt_id, messages, ground_truth, data_source, extra_info)
WHERE checksum IS NULL
"""

PROMPTS_IN_ORDER = "SELECT messages, ground_truth, data_source, extra_info FROM prompts ORDER BY position"

INSERT_SAMPLE = """
INSERT INTO samples (prompt_number, sample_index, seed, finish_reason, response_tokens, tool_turns, response, token_ids,
    response_mask, token_logprobs, brief_checksum, checksum)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

SAMPLE_COLUMNS = """samples.rowid, prompt_number, sample_index, seed, finish_reason, response_tokens, tool_turns,
    response, token_ids, response_mask, token_logprobs, brief_checksum, checksum"""
"""A sample's whole row, as `Checks.agrees_with_sample` takes it."""

# CROSS JOIN makes prompts the outer loop: sorting the samples would copy every response into a temporary file.
SAMPLES_IN_ORDER = """
SELECT prompt_id, sample_index, seed, response, token_ids, finish_reason, answer, verdict, score, detail, tool_turns,
    response_mask, token_logprobs, sample_rowid, response_tokens, brief_checksum, graded.checksum, judged,
    verdict_checksum
FROM prompts CROSS JOIN graded USING (prompt_number) ORDER BY position, prompt_number, sample_index
"""

INSERT_VERDICT = """
INSERT OR REPLACE INTO verdicts (grading, prompt_number, sample_index, answer, verdict, score, detail, checksum)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""

# The verdicts without grading. An interpreter failure has one reason, whoever grades.
MARK_CUT_SHORT = """
INSERT OR IGNORE INTO verdicts (grading, prompt_number, sample_index, verdict, score, detail, checksum)
SELECT :grading, prompt_number, sample_index, :verdict, :score, detail,
    verdict_checksum(:key, :version, prompt_id, sample_index, NULL, :verdict, :score, detail)
FROM (
    SELECT prompt_number, sample_index, (
        SELECT max(detail) FROM verdicts AS others WHERE finish_reason = 'tool_error'
        AND others.grading IN (SELECT grading FROM gradings) AND others.prompt_number = samples.prompt_number
        AND others.sample_index = samples.sample_index AND others.verdict = 'tool_error') AS detail
    FROM samples WHERE finish_reason = :reason
) JOIN prompts USING (prompt_number)
"""

TRIED = (
    "((SELECT count(*) FROM samples WHERE samples.prompt_number = prompts.prompt_number)"
    " + (SELECT count(*) FROM failures WHERE failures.prompt_number = prompts.prompt_number))"
)
"""The number of a prompt's samples that were drawn, or that the engine failed to draw."""

OBSERVED = ", ".join(f"'{verdict}'" for verdict in sorted(OBSERVATIONS))

# The verdicts of every grader go, since the response that replaces this one has none yet.
# Selecting the gradings lets SQLite use the verdicts' key, and selecting rowids the samples' index.
DELETE_VERDICTS_OF_BROKEN = """
DELETE FROM verdicts WHERE grading IN (SELECT grading FROM gradings) AND (prompt_number, sample_index) IN (
    SELECT prompt_number, sample_index FROM samples WHERE finish_reason = 'tool_error')
"""

DELETE_BROKEN = """
DELETE FROM samples WHERE rowid IN (SELECT rowid FROM samples WHERE finish_reason = 'tool_error')
"""

INSERT_MANIFEST = "INSERT OR REPLACE INTO manifest VALUES (1, ?, ?)"

MANIFEST_COPY = "SELECT text, checksum FROM manifest"

NOTE_MENDED = "INSERT INTO mended SELECT max(0, ? - count(*)) FROM samples WHERE finish_reason <> 'tool_error'"

# The time is SQLite's own, to the millisecond, and the same everywhere in a statement.
_NOW = "(julianday('now') - 2440587.5) * 86400"
INSERT_COMMIT = f"""
INSERT INTO commits (call, time, samples, response_tokens, checksum)
VALUES (:call, {_NOW}, :samples, :tokens, commit_checksum(:call, {_NOW}, :samples, :tokens))
"""


def prompt_row(prompt: Prompt) -> tuple[str, str, str, str, str | None, int]:
    """The values of `INSERT_PROMPT` after the position."""
    messages = json.dumps([list(message) for message in prompt.messages], ensure_ascii=False)
    extra_info = None if prompt.extra_info is None else json.dumps(prompt.extra_info, sort_keys=True)
    row = prompt.prompt_id, messages, prompt.ground_truth, prompt.data_source, extra_info
    return *row, prompt_checksum(*row)


def prompt_of(row: Sequence[Any]) -> Prompt:
    """The prompt in a row of `PROMPTS_IN_ORDER`."""
    messages, ground_truth, data_source, extra_info = row
    return Prompt(
        tuple(Message(role, content) for role, content in json.loads(messages)),
        ground_truth,
        data_source,
        json.loads(extra_info) if extra_info else None,
    )


def sample_row(sample: Sample, prompt_number: int) -> tuple[Any, ...]:
    """The values of `INSERT_SAMPLE`."""
    mask, logprobs = sample.response_mask, sample.token_logprobs
    blobs = (
        pack(sample.response.encode(errors="replace")),  # UTF-8 cannot hold a lone surrogate
        pack(sample.token_ids.astype("<i4").tobytes()),
        None if mask is None else pack(np.packbits(mask).tobytes()),
        None if logprobs is None else pack(logprobs.astype("<f4").tobytes()),
    )
    index, reason, n_tokens, turns = sample.sample_index, sample.finish_reason, len(sample.token_ids), sample.tool_turns
    brief = brief_checksum(sample.prompt_id, index, reason, n_tokens, turns)
    whole = sample_checksum(brief, sample.seed, *blobs)
    return prompt_number, index, sample.seed, reason, n_tokens, turns, *blobs, brief, whole


def sample_of(row: Sequence[Any]) -> Sample:
    """The sample in a row of `SAMPLES_IN_ORDER`."""
    prompt_id, index, seed, response, ids, reason, answer, verdict, score, detail, turns, mask, logprobs, *_ = row
    token_ids = np.frombuffer(unpack(ids), dtype="<i4")
    return Sample(
        prompt_id=prompt_id,
        sample_index=index,
        seed=seed,
        response=unpack(response).decode(),
        token_ids=token_ids,
        finish_reason=reason,
        answer=answer,
        verdict=Verdict(verdict),
        score=score,
        detail=detail,
        tool_turns=turns,
        response_mask=None if mask is None else _unpack_mask(mask, len(token_ids)),
        token_logprobs=None if logprobs is None else np.frombuffer(unpack(logprobs), dtype="<f4"),
    )


def grading_row(grader: GraderRecord) -> tuple[str, str, str, int]:
    """A grader's row in `gradings` after its number."""
    row = grader.key, grader.version, grader.verifier
    return *row, checksum("grading", *row)


def verdict_row(grader: GraderRecord, prompt_id: str, sample_index: int, graded: Grade) -> tuple[Any, ...]:
    """The values of `INSERT_VERDICT` after grading, prompt number and sample index."""
    answer, detail = (
        None if text is None else text.encode(errors="replace").decode() for text in (graded.answer, graded.detail)
    )
    # As SQLite returns it, which stores no sign of a zero and NULL for what is not a number.
    score = graded.score
    score = None if score is None or score != score else float(score) + 0.0
    row = answer, graded.verdict.value, score, detail
    return *row, verdict_checksum(grader.key, grader.version, prompt_id, sample_index, *row)


def manifest_row(text: str) -> tuple[bytes, bytes]:
    """The values of `INSERT_MANIFEST`."""
    return text.encode(), hashlib.sha256(text.encode()).digest()


def manifest_of(row: Sequence[Any] | None) -> bytes | None:
    """The text in a row of `MANIFEST_COPY`; None if there is no row, or if it is damaged."""
    if row is None or not isinstance(row[0], bytes):
        return None
    return row[0] if hashlib.sha256(row[0]).digest() == row[1] else None


def pack(data: bytes) -> bytes:
    """Compress with zstd, after the uncompressed length in four bytes."""
    return len(data).to_bytes(4, "little") + bytes(_codec().compress(data, asbytes=True))


def unpack(blob: bytes) -> bytes:
    """The data that `pack` compressed."""
    return bytes(_codec().decompress(blob[4:], int.from_bytes(blob[:4], "little"), asbytes=True))


@functools.cache
def _codec() -> Any:
    import pyarrow as pa

    return pa.Codec("zstd")


def _unpack_mask(blob: bytes, length: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(unpack(blob), dtype=np.uint8), count=length).astype(np.bool_)
