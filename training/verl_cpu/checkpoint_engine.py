"""verl's checkpoint engine `cpu_file`: weights go from the trainer to rollout workers on the same machine in a file.

    actor_rollout_ref.rollout.checkpoint_engine.backend=cpu_file
    actor_rollout_ref.rollout.checkpoint_engine.custom_backend_module=verl_cpu.checkpoint_engine

verl's own engines for separate trainer and rollout need NCCL, RDMA or CUDA IPC. The first trainer process writes the
whole model under another name and renames it, so a worker that sees the file sees all of it.
"""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import torch
from verl.checkpoint_engine import CheckpointEngine, CheckpointEngineRegistry

POLL_SECONDS = 0.05


@CheckpointEngineRegistry.register("cpu_file")
class FileCheckpointEngine(CheckpointEngine):
    """One sync: `prepare`, `init_process_group`, `send_weights` beside `receive_weights`, `finalize`."""

    def __init__(self, bucket_size: int, is_master: bool = False) -> None:
        self.bucket_size = bucket_size
        self.is_master = is_master
        self._file: Path | None = None

    def prepare(self) -> dict[str, Any]:
        """Return the file that the sender will write; other processes return nothing."""
        if not self.is_master:
            return {}
        return {"file": str(Path(tempfile.mkdtemp(prefix="verl-weights-")) / "weights.pt")}

    @classmethod
    def build_topology(
        cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[Any]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Give every process the sender's path."""
        file = next(each["file"] for each in metadata if each)
        return {"file": [file] * actor_wg_world_size}, {"file": [file] * rollout_world_size}

    def init_process_group(self, **named: Any) -> None:
        self._file = Path(named["file"])

    def finalize(self) -> None:
        if self.is_master and self._file is not None:
            shutil.rmtree(self._file.parent, ignore_errors=True)
        self._file = None

    async def send_weights(
        self,
        weights: Iterator[tuple[str, torch.Tensor]],
        global_steps: int | None = None,  # noqa: ARG002 - verl's signature
    ) -> None:
        """Write the model if this is the sender; other processes only help to gather it."""
        gathered = [(name, weight.detach().cpu()) for name, weight in weights]
        if self.is_master and self._file is not None:
            fresh = self._file.with_suffix(".new")
            torch.save(gathered, fresh)
            fresh.replace(self._file)

    async def receive_weights(  # type: ignore[override] # verl's annotation is not what its own engines return
        self,
        global_steps: int | None = None,  # noqa: ARG002 - verl's signature
    ) -> AsyncIterator[tuple[str, torch.Tensor]]:
        """Wait for the sender's file, then yield its weights."""
        assert self._file is not None
        while not self._file.exists():
            await asyncio.sleep(POLL_SECONDS)
        for name, weight in torch.load(self._file, weights_only=True, mmap=True):
            yield name, weight
