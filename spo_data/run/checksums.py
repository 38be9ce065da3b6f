"""The checksum of a row of the journal: a row of which one bit has changed never agrees with it.

    checksum = verdict_checksum(grader.key, grader.version, prompt_id, 0, "4", "correct", 1.0, None)

It is the CRC-32 of the row's values with their types and lengths, as they are stored: compressed, if they are. Rows
refer to prompts and graders by numbers, and the checksum is over what these numbers stand for. CRC-32 finds every
single changed bit and every changed run of up to 32 bits. A BLAKE2 hash of 64 bits takes two to three times as long.

Texts are quoted in ASCII, numbers are written out, so no two rows are written alike.
"""

from typing import Any
from zlib import crc32


def checksum(*values: Any) -> int:
    """The checksum of a row of a small table."""
    return crc32(ascii(values).encode())


def prompt_checksum(prompt_id: str, messages: str, ground_truth: str, data_source: str, extra_info: str | None) -> int:
    """The checksum of a row of `prompts`, whose position changes from call to call."""
    return checksum("prompt", prompt_id, messages, ground_truth, data_source, extra_info)


def brief_checksum(prompt_id: str, index: int, reason: str, response_tokens: int, tool_turns: int) -> int:
    """The checksum of those columns of a sample that are read without its response."""
    return crc32(f"sample {prompt_id!a} {index!a} {reason!a} {response_tokens!a} {tool_turns!a}".encode())


def sample_checksum(
    brief: int, seed: int, response: bytes, token_ids: bytes, mask: bytes | None, logprobs: bytes | None
) -> int:
    """The checksum of a whole row of `samples`; -1, which none is, if a large column is not of these types."""
    try:
        lengths = f"{len(response)} {len(token_ids)} {mask and len(mask)} {logprobs and len(logprobs)}"
        total = crc32(f"{seed!a} {lengths}".encode(), brief)
        return crc32(logprobs or b"", crc32(mask or b"", crc32(token_ids, crc32(response, total))))
    except TypeError:
        return -1


def verdict_checksum(
    key: str,
    version: str,
    prompt_id: str,
    index: int,
    answer: str | None,
    verdict: str,
    score: float | None,
    detail: str | None,
) -> int:
    """The checksum of a row of `verdicts`, with the key and version of its grader."""
    judged = f"{answer!a} {verdict!a} {score!a} {detail!a}"
    return crc32(f"verdict {key!a} {version!a} {prompt_id!a} {index!a} {judged}".encode())


def commit_checksum(call: int, time: float, samples: int, response_tokens: int) -> int:
    """The checksum of a row of `commits`."""
    return checksum("commit", call, time, samples, response_tokens)
