"""The run folder's README: a dataset card whose `configs:` make `load_dataset("runs/demo")` find both tables.

No timestamps: the same run gives the same card.
"""

from pathlib import Path

from spo_data.manifest import Manifest
from spo_data.summary import Summary

_CARD = """---
configs:
- config_name: values
  default: true
  data_files:
  - split: train
    path: values/train-*.parquet
- config_name: samples
  data_files:
  - split: train
    path: samples/train-*.parquet
tags:
- reinforcement-learning
- offline-values
---

# Offline values of {model}

The success probability of `{model}` (revision `{revision}`) on each of {prompts:,} prompts of `{dataset}`,
estimated from {n} samples each by spo-data, as offline values for
[Single-stream Policy Optimization](https://arxiv.org/abs/2509.13232).

```python
from datasets import load_dataset

values = load_dataset("PATH-OR-ID")["train"]              # prompt, vhat, value, value_low, value_high, ...
samples = load_dataset("PATH-OR-ID", "samples")["train"]  # every response with its verdict
```

| | |
|---|---|
| mean value | {mean} |
| bounds of the mean | {bounds} |
| sampling | temperature {temperature:g}, top_p {top_p:g}, top_k {top_k}, at most {max_tokens:,} tokens |
| answer instruction | {template} |
| verifier | {verifier} ({version}) |
| verdicts | {verdicts} |
| not valid or missing | {missing:,} of {asked:,} samples |
| suspect ground truths | {suspects:,} (column `suspect_gold`) |
"""


def write_card(run: Path, manifest: Manifest, summary: Summary) -> None:
    """Write README.md into the run folder, by temp file and rename."""
    policy = manifest.policy
    verdicts = ", ".join(f"{verdict} {count:,}" for verdict, count in summary.verdicts.items())
    text = _CARD.format(
        model=policy.model,
        revision=policy.revision,
        prompts=summary.prompts,
        dataset=manifest.dataset.source,
        n=manifest.n,
        mean="none" if summary.value_mean is None else f"{summary.value_mean:.4f}",
        bounds="none" if summary.value_low is None else f"{summary.value_low:.4f} to {summary.value_high:.4f}",
        temperature=policy.temperature,
        top_p=policy.top_p,
        top_k=policy.top_k,
        max_tokens=policy.max_tokens,
        template=policy.template,
        verifier=manifest.grader.verifier,
        version=manifest.grader.version,
        verdicts=verdicts or "none",
        missing=summary.missing,
        suspects=len(summary.suspects),
        asked=summary.asked,
    )
    fresh = run / ".README.md.new"
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(run / "README.md")
