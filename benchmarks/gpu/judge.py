"""What must hold after each check, in the words of docs/gpu-runs.md, and the figures worth keeping.

    judge("demo", Path("runs/gpu-check"), Path("runs/gpu-check/logs/demo.out"), "gpu").holds

A check whose result cannot be read has not passed: the reason is a claim that does not hold.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spo_train.filenames import METRICS

LEAST_RATIO = {"gpu": 0.95, "cpu": 0.3}
"""Of the pipeline's tokens/s to LLM.generate's, and with seeds to without; on a CPU they say only that it ran."""
MOST_DIFFERENCE = 0.01
"""Mean difference of the probabilities that engine and trainer give the sampled tokens."""
MOST_DIVERGENCE = 0.005
"""Of step 1, whose policy is that of the values."""


@dataclass(frozen=True)
class Claim:
    """Something that must hold, and what was seen."""

    text: str
    holds: bool
    seen: str


@dataclass(frozen=True)
class Judgement:
    """The claims of one check, and its figures."""

    claims: list[Claim] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return all(claim.holds for claim in self.claims)


def judge(name: str, out: Path, printed: Path, sizes: str) -> Judgement:
    """Judge a check by what it printed and what it wrote into its folder."""
    try:
        return JUDGES[name](out, printed, sizes)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        return Judgement([Claim("its result can be read", False, f"{type(error).__name__}: {error}")])


def judge_demo(out: Path, printed: Path, _sizes: str) -> Judgement:
    values = read_column(out / "demo" / "values", "value")
    inside = [value for value in values if 0 < value < 1]
    text = f"{len(inside)} of {len(values)} values, mean {sum(values) / len(values):.3f}"
    return Judgement([Claim("values inside (0, 1)", bool(inside), text)], speed(printed))


def judge_card(_out: Path, printed: Path, sizes: str) -> Judgement:
    line = printed.read_text().strip()
    hours = re.search(r"([\d.,]+) (?:\S+ )*?hours", line)
    named = bool(line) and ("CPU" in line) == (sizes == "cpu")
    return Judgement(
        [
            Claim("it names the GPU" if sizes == "gpu" else "it names the CPU", named, line),
            Claim("more than 0 hours", hours is not None and float(hours[1].replace(",", "")) > 0, line),
        ]
    )


def judge_throughput(_out: Path, printed: Path, sizes: str) -> Judgement:
    text = printed.read_text()
    figures = {
        f"{name.strip()} tokens/s": float(number.replace(",", ""))
        for name, number in re.findall(r"^(.*?) +([\d,.]+) tokens/s", text, re.MULTILINE)
    }
    ratios = {name: float(number) for name, number in re.findall(r"\b(\w/\w) ([\d.]+)", text)}
    least = LEAST_RATIO[sizes]
    claims = [Claim(f"{name} at least {least}", ratios[name] >= least, f"{ratios[name]}") for name in ("b/a", "a/d")]
    runner = text.strip().splitlines()[-1]
    if sizes == "gpu":
        claims.append(Claim("the model runner is V2", "model runner V2" in runner, runner))
    return Judgement(claims, figures | ratios)


def judge_training(out: Path, printed: Path, _sizes: str) -> Judgement:
    found = judge_steps(out / "training")
    text = printed.read_text()
    left = Claim("no process is left after SIGKILL", "none of its processes is left" in text, text.strip()[-200:])
    return Judgement([*found.claims, left], found.figures)


def judge_resume(out: Path, _printed: Path, _sizes: str) -> Judgement:
    return Judgement([compare_launches(out / "training")], {"steps": max(read_steps(out / "training"))})


def judge_determinism(out: Path, printed: Path, _sizes: str) -> Judgement:
    first, second = (read_samples(out / name) for name in ("first", "second"))
    same = sum(first[place] == second.get(place) for place in first)
    text = f"{same} of {len(first)} responses"
    return Judgement([Claim("both runs have equal token_ids", first == second, text)], speed(printed))


def judge_tools(_out: Path, printed: Path, _sizes: str) -> Judgement:
    summary = read_summary(printed)
    turns, errors = summary["tool_turns_mean"], sum(summary["tool_errors"].values())
    claims = [
        Claim("tool_turns_mean above 0", turns > 0, f"{turns:.2f}"),
        Claim("no tool_error", not errors, f"{errors}"),
    ]
    return Judgement(claims, speed(printed))


def judge_tool_training(out: Path, _printed: Path, _sizes: str) -> Judgement:
    found, steps = judge_steps(out / "tools-training"), read_steps(out / "tools-training")
    turns = [data["spo/tool_turns"] for data in steps.values()]
    claim = Claim("spo/tool_turns above 0", all(turn > 0 for turn in turns), ", ".join(f"{turn:.2f}" for turn in turns))
    return Judgement([*found.claims, claim], found.figures)


def judge_asynchronous(out: Path, _printed: Path, _sizes: str) -> Judgement:
    steps = read_steps(out / "asynchronous")
    lag = steps[max(steps)]["spo/policy_lag"]
    return Judgement([Claim("spo/policy_lag of the last step above 0", lag > 0, f"{lag:.3f}")], {"steps": max(steps)})


def judge_tests(_out: Path, printed: Path, _sizes: str) -> Judgement:
    last = printed.read_text().strip().splitlines()[-1]
    passed = re.search(r"(\d+) passed", last)
    return Judgement([Claim("tests pass", passed is not None and "failed" not in last, last)])


JUDGES: dict[str, Callable[[Path, Path, str], Judgement]] = {
    "demo": judge_demo,
    "card": judge_card,
    "throughput": judge_throughput,
    "training": judge_training,
    "resume": judge_resume,
    "determinism": judge_determinism,
    "tools": judge_tools,
    "tools-training": judge_tool_training,
    "asynchronous": judge_asynchronous,
    "end-to-end": judge_tests,
}


def judge_steps(folder: Path) -> Judgement:
    """Judge what holds in every training run: engine and trainer agree, and step 1 trains the values' policy."""
    steps = read_steps(folder, first=True)
    differences = [data["training/rollout_probs_diff_mean"] for data in steps.values()]
    agree = all(each < MOST_DIFFERENCE for each in differences)  # NaN does not
    divergence = steps[1]["spo/divergence"]
    seconds = [data["perf/time_per_step"] for data in steps.values() if "perf/time_per_step" in data]
    tokens = [data["perf/throughput"] for data in steps.values() if "perf/throughput" in data]
    figures: dict[str, float] = {"steps": len(steps)}
    figures |= {"seconds/step": sorted(seconds)[len(seconds) // 2]} if seconds else {}
    figures |= {"tokens/s of a GPU": max(tokens)} if tokens else {}
    name = "training/rollout_probs_diff_mean"
    return Judgement(
        [
            Claim(f"{name} below {MOST_DIFFERENCE}", agree, ", ".join(f"{each:.2g}" for each in differences)),
            Claim(
                f"spo/divergence of step 1 below {MOST_DIVERGENCE}", divergence < MOST_DIVERGENCE, f"{divergence:.2g}"
            ),
        ],
        figures,
    )


def compare_launches(folder: Path) -> Claim:
    """Say whether the steps that a resumed training run repeats have the same baselines as before the kill."""
    before, after = read_steps(folder, first=True), read_steps(folder)
    again = sorted(before.keys() & after.keys())
    pairs = [(before[step]["spo/baseline"], after[step]["spo/baseline"]) for step in again]
    seen = ", ".join(f"step {step}: {old:.6f} and {new:.6f}" for step, (old, new) in zip(again, pairs, strict=True))
    equal = bool(pairs) and all(old == new for old, new in pairs)
    return Claim("the steps after the last checkpoint run again with the same spo/baseline", equal, seen or "none ran")


def read_steps(folder: Path, first: bool = False) -> dict[int, dict[str, Any]]:
    """Return the metrics of each step of a training run's last launch, or of its first one."""
    launches = sorted(folder.glob("metrics.*.jsonl"))
    path = launches[0] if first and launches else folder / METRICS
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["step"]: line["data"] for line in lines}


def read_summary(printed: Path) -> dict[str, Any]:
    """Return the last of the summaries that `spo-data estimate --json` printed."""
    decoder, text, end = json.JSONDecoder(), printed.read_text().strip(), 0
    summary: dict[str, Any] = {}
    while end < len(text):
        summary, end = decoder.raw_decode(text, end)
        end += len(text[end:]) - len(text[end:].lstrip())
    return summary


def speed(printed: Path) -> dict[str, float]:
    summary = read_summary(printed)
    return {name.replace("_per_second", "/s"): summary[name] for name in ("tokens_per_second", "samples_per_second")}


def read_column(folder: Path, name: str) -> list[Any]:
    import pyarrow.parquet as pq

    return list(pq.read_table(folder, columns=[name])[name].to_pylist())


def read_samples(run: Path) -> dict[tuple[str, int], list[int]]:
    """Return the token ids of a run's responses, by prompt and sample."""
    import pyarrow.parquet as pq

    rows = pq.read_table(run / "samples", columns=["prompt_id", "sample_index", "token_ids"]).to_pylist()
    return {(row["prompt_id"], row["sample_index"]): row["token_ids"] for row in rows}
