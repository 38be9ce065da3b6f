"""Records that several tests use as a starting point."""

from pathlib import Path
from typing import Any

from spo_data.provenance import DatasetRecord, GraderRecord, PolicyRecord
from spo_data.run.journal import Journal
from spo_data.run.manifest import Manifest, read_manifest

GRADER = GraderRecord(verifier="exact", version="rules 1")


def make_manifest(
    policy: dict[str, Any] | None = None, dataset: dict[str, Any] | None = None, **fields: Any
) -> Manifest:
    """A complete manifest with some of its fields changed."""
    return Manifest.model_validate(
        {
            "policy": PolicyRecord(
                model="org/model",
                revision="abc123",
                temperature=1,
                top_p=1,
                top_k=-1,
                max_tokens=9,
                stop=(),
                max_model_len=99,
                dtype="auto",
                engine_args={},
                template="boxed",
                system=None,
                chat_template="c",
                chat_template_kwargs={},
                opens_thinking=False,
            ).model_copy(update=policy or {}),
            "dataset": DatasetRecord(
                source="org/data",
                config=None,
                split=None,
                revision=None,
                layout="x",
                rows=40,
                duplicates=3,
                fingerprint="f",
            ).model_copy(update=dataset or {}),
            "grader": GRADER,
            "n": 2,
            "seed": 0,
            "logprobs": False,
            "command": "",
            "packages": {},
            **fields,
        }
    )


def journal_of(run: Path) -> Journal:
    """A run's journal with its current verdicts, opened for reading."""
    manifest = read_manifest(run)
    assert manifest is not None
    return Journal(run / "journal.sqlite", manifest.grader, read_only=True)


def make_train_record(**changed: Any) -> Any:
    """The record of a training run (`TrainRecord`), with some of its fields changed."""
    from spo_train.plan.record import TrainRecord

    fields = {"method": "spo", "model": "m", "revision": "r", "prompts": 1, "prompts_fingerprint": "f"}
    grader = {"verifier": "exact", "verifier_version": "rules 1"}
    rest = {"values": None, "allowed_mismatches": (), "commands": ("spo-train",), "packages": {}}
    return TrainRecord.model_validate({**fields, **grader, **rest, **changed})
