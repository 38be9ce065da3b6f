r"""How many responses are graded per second, compared with plain math-verify in as many processes.

    python benchmarks/grading.py                      # 16,000 responses, one process per core

The mix imitates a mathematics dataset with 8 responses per prompt: 70 % integers, the rest fractions, decimals,
percentages, roots, powers, polynomials, tuples, sets, intervals and words; half of the answers right, wrong ones
repeating; 2,000 to 6,000 characters of reasoning before them; one in ten without a box. Plain math-verify is
`verify(parse(gold), parse(response))` with its defaults, in a pool of processes without limits.

Our speed depends on the cache of verdicts on (ground truth, answer) pairs, of which each process has its own. Its hit
rate is that of these processes in this run: they are asked by a reward function, `report_cache`, before and after.
"""

import argparse
import asyncio
import logging
import multiprocessing
import os
import random
import time
from collections import Counter
from typing import NamedTuple

from spo_data.grading.verdict import Grade, Verdict
from spo_data.grading.verifiers import math_verify
from spo_data.grading.workers.job import GradeJob
from spo_data.grading.workers.pool import GraderPool

SAMPLES_PER_PROMPT = 8
REPORTER = f"{__file__}:report_cache"
Pair = tuple[str, str]
"""(ground truth, response)."""


class CacheUse(NamedTuple):
    """Lookups in the caches of verdicts."""

    hits: int
    misses: int

    @property
    def total(self) -> int:
        """All lookups: responses with an answer of usual length."""
        return self.hits + self.misses


def main() -> None:
    """Measure both in one run, and print the speeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    pairs = make_mix(arguments.prompts)
    print(f"{len(pairs):,} responses to {arguments.prompts:,} prompts, {arguments.workers} processes")
    ours, seconds, cache = asyncio.run(grade_in_pool(pairs, arguments.workers))
    print(f"GraderPool(math-verify)  {len(pairs) / seconds:8,.0f} samples/s")
    print(f"answered by the cache    {cache.hits / cache.total:8.1%} of {cache.total:,} answers")
    plain, plain_seconds = grade_plainly(pairs, arguments.workers)
    print(f"plain math-verify        {len(pairs) / plain_seconds:8,.0f} samples/s")
    print(f"ratio                    {plain_seconds / seconds:8.1f}")
    report_differences(pairs, ours, plain)


def make_mix(n_prompts: int) -> list[Pair]:
    """Return ground truths with responses, ordered by prompt as in a stream of samples."""
    rng = random.Random(0)
    pairs = []
    for _ in range(n_prompts):
        gold, right, wrong = _make_problem(rng)
        for _ in range(SAMPLES_PER_PROMPT):
            answer = right if rng.random() < 0.5 else rng.choice(wrong)
            pairs.append((gold, _make_response(rng, answer)))
    return pairs


async def grade_in_pool(pairs: list[Pair], workers: int) -> tuple[list[Grade], float, CacheUse]:
    """Return our verdicts, the seconds that they took after the processes had started, and the use of their caches."""
    async with GraderPool("math-verify", REPORTER, workers=workers) as pool:
        await asyncio.gather(*(pool.grade(GradeJob(r"\boxed{x+1}", "1+x")) for _ in range(4 * workers)))
        graded: list[Grade | None] = [None] * len(pairs)
        left = iter(range(len(pairs)))

        async def work() -> None:
            for k in left:
                gold, response = pairs[k]
                graded[k] = await pool.grade(GradeJob(response, gold))

        before = await ask_caches(pool, workers)
        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(pool.concurrency)))
        seconds = time.perf_counter() - started
        after = await ask_caches(pool, workers)
        used = CacheUse(after.hits - before.hits, after.misses - before.misses)
        return [one for one in graded if one is not None], seconds, used


async def ask_caches(pool: GraderPool, workers: int) -> CacheUse:
    """Sum the use of the caches of all processes; each answers at least once."""
    answers: dict[str, CacheUse] = {}
    for _ in range(100):
        jobs = (pool.grade(GradeJob("", "", verifier=REPORTER)) for _ in range(2 * workers))
        for graded in await asyncio.gather(*jobs):
            process, hits, misses = str(graded.answer).split()
            answers[process] = CacheUse(int(hits), int(misses))
        if len(answers) == workers:
            return CacheUse(*map(sum, zip(*answers.values(), strict=True)))
    raise SystemExit(f"error: only {len(answers)} of {workers} processes answered")


def report_cache(data_source: str, solution_str: str, ground_truth: str, extra_info: object) -> dict[str, object]:  # noqa: ARG001
    """Return this process's id and its cache's hits and misses as the answer, slowly, so that others answer too."""
    time.sleep(0.02)
    used = math_verify._grade_cached.cache_info()
    return {"score": 1.0, "pred": f"{os.getpid()} {used.hits} {used.misses}"}


def grade_plainly(pairs: list[Pair], workers: int) -> tuple[list[bool], float]:
    """Return math-verify's verdicts, and the seconds that they took after the processes had started."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(_verify, pairs[: 4 * workers], chunksize=1)
        started = time.perf_counter()
        return pool.map(_verify, pairs, chunksize=64), time.perf_counter() - started


def report_differences(pairs: list[Pair], ours: list[Grade], plain: list[bool]) -> None:
    """Print how often the two disagree, with one example per kind."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for (gold, _), graded, theirs in zip(pairs, ours, plain, strict=True):
        if (graded.verdict is Verdict.CORRECT) != theirs:
            kind = f"{graded.verdict} in the pool, {'correct' if theirs else 'wrong'} by math-verify"
            counts[kind] += 1
            examples.setdefault(kind, f"gold {gold!r}, answer {graded.answer!r}")
    print(f"verdicts                 {Counter(graded.verdict.value for graded in ours).most_common()}")
    for kind, count in counts.most_common():
        print(f"{count:6,} {kind}: {examples[kind]}")


def _verify(pair: Pair) -> bool:
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    gold, response = pair
    return bool(verify(parse(f"${gold}$"), parse(response)))


def _make_problem(rng: random.Random) -> tuple[str, str, list[str]]:
    """Return a ground truth, a right answer in another form, and the wrong answers that a policy gives."""
    a, b = rng.randint(2, 99), rng.randint(2, 99)
    kind = rng.random()
    if kind < 0.70:
        value = rng.choice([a, a * b, -a, a * b * 100])
        return str(value), rng.choice([str(value), f"{value:,}"]), [str(value + 1), str(value - b), str(2 * value)]
    if kind < 0.78:
        return rf"\frac{{{a}}}{{{b}}}", rf"\dfrac{{{2 * a}}}{{{2 * b}}}", [rf"\frac{{{b}}}{{{a + b}}}", f"{a}/{b + 1}"]
    if kind < 0.83:
        return f"{a}.{b}", f"{a}.{b}0", [f"{b}.{a}1", f"{a}"]
    if kind < 0.85:
        return rf"{a}\%", rf"{a}\%", [rf"{a + 1}\%", str(b + 100)]
    if kind < 0.90:
        return rf"{a}\sqrt{{{b}}}", rf"\sqrt{{{a * a * b}}}", [rf"{a + 1}\sqrt{{{b}}}", str(a * b)]
    if kind < 0.93:
        return f"x^2+{a}x+{b}", f"{b}+{a}x+x^2", [f"x^2-{a}x+{b}", f"{a}x+{b}"]
    if kind < 0.95:
        return f"2^{{{a}}}", f"4^{{{a}/2}}", [f"2^{{{a + 1}}}", str(2 * a)]
    if kind < 0.97:
        return f"({a}, {b})", rf"\left({a},{b}\right)", [f"({b}, {a + 1})", str(a)]
    if kind < 0.985:
        return rf"\{{{a}, {b + 100}\}}", f"{b + 100}, {a}", [f"{a}", rf"\{{{a}, {b}\}}"]
    return rng.choice([("A", "A", ["B", "C"]), ("yes", "Yes", ["no"]), (rf"(0, {a}]", rf"(0,{a}]", [f"[0,{a}]"])])


def _make_response(rng: random.Random, answer: str) -> str:
    step = r"We note that $x_{1} + 3 = 7$, so that the sum over all cases is 12 and the next step follows. "
    reasoning = step * rng.randint(2000 // len(step), 6000 // len(step))
    if rng.random() < 0.1:
        return f"{reasoning}\nSo the answer is ${answer}$."
    return rf"{reasoning}Therefore the final answer is $\boxed{{{answer}}}$."


if __name__ == "__main__":
    main()
