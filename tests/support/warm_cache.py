"""What a login node reads from a loopback hub, after which its cache must do without a network.

hub.ask(warm_cache.fill)          # in the process of the real clients
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

CARD = """---
configs:
- config_name: {0}
  default: true
  data_files: {0}/*
- config_name: {1}
  data_files: {1}/*
---
"""


def write_repositories(root: Path) -> None:
    """Put values in two files with samples, and prompts in two configurations, on a hub."""
    for branch, score in (("main", 1.0), ("dev", 0.0)):
        values = root / "datasets" / "acme" / "values" / branch
        for place in ("values", "samples"):
            (values / place).mkdir(parents=True)
        for part in range(2):
            rows = [{"prompt": f"{k} + {part}?", "vhat": [score, 0.0]} for k in range(3)]
            pq.write_table(pa.Table.from_pylist(rows), values / "values" / f"train-0000{part}-of-00002.parquet")
        pq.write_table(pa.table({"response": ["4"] * 5}), values / "samples" / "train-00000-of-00001.parquet")
        (values / "README.md").write_text(CARD.format("values", "samples"))
        prompts = root / "datasets" / "acme" / "math" / branch
        for config in ("en", "de"):
            (prompts / config).mkdir(parents=True)
            for part in range(2):
                row = json.dumps({"problem": f"{branch} {config} {part}?", "answer": "4"})
                (prompts / config / f"train-{part}.jsonl").write_text(f"{row}\n")
        (prompts / "README.md").write_text(CARD.format("de", "en"))


def fill() -> dict[str, Any]:
    """Read values and rows, and return what was read."""
    import datasets

    from spo_data.formats.load import load_values
    from spo_data.prompts.rows import load_rows

    datasets.config.USE_PARQUET_EXPORT = False
    read: dict[str, Any] = {}
    for revision in (None, "dev"):
        values = load_values("acme/values", revision)
        read[f"values {revision}"] = values.table.to_pylist(), values.revision
        # The branch is read last: `datasets` by itself would take its rows for those of main, without a network.
        rows = load_rows("acme/math", config="en", revision=revision)
        read[f"rows {revision}"] = list(map(dict, rows.rows)), rows.revision
    for config in ("values", "samples"):
        datasets.load_dataset("acme/values", config)
    return read
