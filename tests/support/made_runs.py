"""A run folder whose journal is written without an engine, for tests that read a run."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from spo_data.grading.verdict import Verdict
from spo_data.prompts.identity import Prompt, sample_seed
from spo_data.run.journal import Journal
from spo_data.run.parquet_tables import write_tables
from spo_data.run.sample import Sample
from spo_data.run.summary import summarize
from support.records import GRADER, make_manifest

VERDICTS = {1.0: Verdict.CORRECT, 0.0: Verdict.WRONG, None: Verdict.GRADER_TIMEOUT}


def make_run(run: Path, drawn: Mapping[Prompt, Sequence[float | None]] | Sequence[tuple], n: int) -> Path:
    """A run with these scores for each prompt, in order. None is a sample that we failed to grade."""
    pairs = list(drawn.items()) if isinstance(drawn, Mapping) else list(drawn)
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    manifest = make_manifest(n=n)
    with Journal(run / "journal.sqlite", GRADER) as journal:
        journal.set_prompts([prompt for prompt, _ in pairs], [])
        for prompt, scores in pairs:
            for index, score in enumerate(scores):
                journal.add(
                    Sample(
                        prompt_id=prompt.prompt_id,
                        sample_index=index,
                        seed=sample_seed(0, prompt.prompt_id, index),
                        response=f"é🙂 response {index}\u2028 to {prompt.text[:20]!r}",
                        token_ids=np.arange(index + 2, dtype=np.int32),
                        finish_reason="stop",
                        answer=None,
                        verdict=VERDICTS.get(score, Verdict.WRONG),
                        score=score,
                    )
                )
        journal.commit()
        summary = summarize(journal, manifest)
        write_tables(journal, run, manifest.provenance, summary.completeness)
    manifest.model_copy(update={"counts": summary.counts()}).write(run)
    return run
