"""The previous response to each prompt, with its log-probs, on which the divergence D is measured.

    memory = ResponseMemory(prompts=17_000, max_bytes=16 * 2**30)
    memory.store(row, prompt_ids, response_ids, log_probs, mask, step)
    memory.get(row)             # Response or None

Each prompt has one unpadded `bytes` object (the reference code keeps padded float32 and int64 tensors): a header, token
ids as int32, log-probs as float16, and the response's mask as bits if it has tool output. That is 6 bytes per response
token.

float16 keeps 11 bits: a log-prob is off by at most one part in 2,048, so D by less than a thousandth of the mean
|log-prob|. Log-probs out of range, infinite or NaN are stored as -65,504 or 65,504, float16's largest numbers (NaN as
-65,504). D is then huge, never NaN, and the prompt forgets as much as rho_min allows.

Memory is bounded: if the responses take more than `max_bytes`, the oldest are dropped and counted. A response that is
larger than that by itself is dropped at once, and no other with it. D of a dropped response is unknown.
"""

import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

ENTRY_BYTES = 200
"""Overhead of a stored response: two objects and a place in an ordered dictionary, rounded up."""
LARGEST = float(np.finfo(np.float16).max)

_HEADER = struct.Struct("<iiq")  # prompt tokens, response tokens, step


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """A stored response; its arrays of token ids are read-only views."""

    prompt_ids: npt.NDArray[np.int32]
    response_ids: npt.NDArray[np.int32]
    log_probs: npt.NDArray[np.float32]
    """One per response token, from the trainer's forward pass under the policy of `step`."""
    mask: npt.NDArray[np.bool_]
    """Whether the model sampled each response token."""
    step: int
    """The step that trained on it; asynchronous modes may have sampled it under an earlier policy."""


class ResponseMemory:
    """The last response of each prompt, in at most `max_bytes`."""

    def __init__(self, prompts: int, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.dropped = 0
        """Responses that were dropped for lack of room, since training began."""
        self.nbytes = 0
        """Bytes of the stored responses, overhead included."""
        self._blobs: OrderedDict[int, bytes] = OrderedDict()
        self._known = np.zeros(prompts, np.bool_)
        self._was_dropped = np.zeros(prompts, np.bool_)

    def __len__(self) -> int:
        return len(self._blobs)

    def store(
        self,
        row: int,
        prompt_ids: npt.ArrayLike,
        response_ids: npt.ArrayLike,
        log_probs: npt.ArrayLike,
        mask: npt.ArrayLike,
        step: int,
    ) -> None:
        """Replace a prompt's response; drop the oldest responses if memory is exceeded."""
        self._put(row, _pack(prompt_ids, response_ids, log_probs, mask, step))
        if len(self._blobs[row]) + ENTRY_BYTES > self.max_bytes:
            self._drop(row)
        self._shrink()

    def get(self, row: int) -> Response | None:
        """Return a prompt's last response; None if there was none or it was dropped."""
        blob = self._blobs.get(row)
        return None if blob is None else _unpack(blob)

    def has_responses(self, rows: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether each row has a stored response."""
        return self._known[np.asarray(rows, np.int64)]

    def was_dropped(self, row: int) -> bool:
        """Whether the prompt's last response was dropped, so its D is unknown."""
        return bool(self._was_dropped[row])

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the memory as a few flat arrays, oldest first: response i is `blobs[offsets[i] : offsets[i + 1]]`."""
        sizes = [len(blob) for blob in self._blobs.values()]
        return {
            "rows": np.fromiter(self._blobs, np.int64, len(self._blobs)),
            "offsets": np.cumsum([0, *sizes], dtype=np.int64),
            "blobs": np.frombuffer(b"".join(self._blobs.values()), np.uint8),
            "was_dropped": self._was_dropped.copy(),
            "dropped": np.array(self.dropped, np.int64),
        }

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace the memory by that of `state()`; a smaller `max_bytes` drops the oldest responses.

        Raises ValueError if the state has another number of prompts.
        """
        if len(state["was_dropped"]) != len(self._known):
            raise ValueError(
                f"the checkpoint's memory has {len(state['was_dropped']):,} prompts, this run {len(self._known):,}"
            )
        self._blobs.clear()
        self._known[:], self._was_dropped[:] = False, state["was_dropped"]
        self.dropped, self.nbytes = int(state["dropped"]), 0
        offsets, blobs = state["offsets"].tolist(), state["blobs"]
        for row, start, end in zip(state["rows"].tolist(), offsets, offsets[1:], strict=False):
            self._put(row, blobs[start:end].tobytes())
        self._shrink()

    def _put(self, row: int, blob: bytes) -> None:
        previous = self._blobs.pop(row, None)
        if previous is not None:
            self.nbytes -= len(previous) + ENTRY_BYTES
        self._known[row], self._was_dropped[row] = True, False
        self._blobs[row] = blob
        self.nbytes += len(blob) + ENTRY_BYTES

    def _shrink(self) -> None:
        while self.nbytes > self.max_bytes:
            self._drop(next(iter(self._blobs)))

    def _drop(self, row: int) -> None:
        self.nbytes -= len(self._blobs.pop(row)) + ENTRY_BYTES
        self._known[row], self._was_dropped[row] = False, True
        self.dropped += 1


def _pack(
    prompt_ids: npt.ArrayLike, response_ids: npt.ArrayLike, log_probs: npt.ArrayLike, mask: npt.ArrayLike, step: int
) -> bytes:
    prompt, response = np.asarray(prompt_ids, "<i4"), np.asarray(response_ids, "<i4")
    numbers, own = np.asarray(log_probs, np.float64), np.asarray(mask, np.bool_)
    if not response.shape == numbers.shape == own.shape == (len(response),):
        raise ValueError(f"{response.shape} tokens, {numbers.shape} log-probs, {own.shape} mask: wanted equal lengths")
    finite = np.nan_to_num(numbers, nan=-LARGEST, posinf=LARGEST, neginf=-LARGEST).clip(-LARGEST, LARGEST)
    bits = b"" if own.all() else np.packbits(own).tobytes()
    header = _HEADER.pack(len(prompt), len(response), step)
    return b"".join((header, prompt.tobytes(), response.tobytes(), finite.astype("<f2").tobytes(), bits))


def _unpack(blob: bytes) -> Response:
    prompt_tokens, response_tokens, step = _HEADER.unpack_from(blob)
    response_at = _HEADER.size + 4 * prompt_tokens
    numbers_at = response_at + 4 * response_tokens
    bits_at = numbers_at + 2 * response_tokens
    if bits_at < len(blob):
        bits = np.frombuffer(blob, np.uint8, offset=bits_at)
        mask = np.unpackbits(bits, count=response_tokens).astype(np.bool_)
    else:
        mask = np.ones(response_tokens, np.bool_)
    return Response(
        prompt_ids=np.frombuffer(blob, "<i4", prompt_tokens, _HEADER.size),
        response_ids=np.frombuffer(blob, "<i4", response_tokens, response_at),
        log_probs=np.frombuffer(blob, "<f2", response_tokens, numbers_at).astype(np.float32),
        mask=mask,
        step=step,
    )
