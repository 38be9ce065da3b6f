"""What an estimate shows while it works, on stderr: a progress bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column

from spo_data.engines.vllm_log import terminal
from spo_data.text import excerpt
from spo_pipelines.sampling_plan import SamplingPlan
from spo_pipelines.stream import Progress

PLAIN_SECONDS = 10.0
"""How often a plain line is printed where stderr is not a terminal."""
REFRESH_SECONDS = 0.25


class EstimateDisplay:
    """A `Watcher` for people. Holds its own duplicate of stderr, since the engine's output goes to a file."""

    def __init__(self) -> None:
        self._stream = terminal()
        self._console = Console(file=self._stream, highlight=False, soft_wrap=True, emoji=False)
        self._bar: Bar | None = None
        self._shown = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._stream.close()

    def stage(self, text: str) -> None:
        """Announce something that takes a while."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        self._line(f"{text} …")

    def planned(self, plan: SamplingPlan, present: int) -> None:
        """Print the preview, the account of the rows, and what will be sampled."""
        prompts, sampling = plan.prompt_set, plan.options.sampling
        dropped = "".join(f", {count} dropped: {reason}" for reason, count in prompts.dropped_by_reason().items())
        self._line("\nthe first prompt, as the model reads it:")
        for line in plan.preview.splitlines():
            self._line(f"  │ {line}")
        top_k = "off" if sampling.top_k == -1 else str(sampling.top_k)
        self._line(f"\nmodel     {plan.model.name} at {plan.model.revision}")
        self._line(
            f"dataset   {plan.manifest.dataset.source} ({prompts.layout.name} layout):"
            f" {prompts.n_rows:,} rows, {len(prompts.prompts):,} unique prompts,"
            f" {prompts.n_duplicates:,} duplicates{dropped or ', none dropped'}"
        )
        for drop in prompts.dropped[:5]:
            self._line(f"          row {drop.row}: {drop.reason} {excerpt(drop.detail)}".rstrip())
        if len(prompts.dropped) > 5:
            self._line(f"          … and {len(prompts.dropped) - 5:,} more")
        if plan.leaks:
            rows = ", ".join(str(leak.row) for leak in plan.leaks[:5]) + (" …" if len(plan.leaks) > 5 else "")
            self._line(
                f"note      {len(plan.leaks):,} prompts state their own ground truth (row {rows}):"
                " `spo-data check` lists them"
            )
        also = plan.manifest.also
        self._line(
            f"policy    temperature {sampling.temperature:g}, top_p {sampling.top_p:g}, top_k {top_k},"
            f" template {prompts.template.name}, verifier {plan.manifest.grader.verifier}"
            + (f", also {also.verifier}" if also else "")
        )
        if (tools := plan.manifest.policy.tools) is not None:
            self._line(f"tools     {tools.run_by(plan.options.tools)}")
            if not plan.tells_of_tools:
                self._line("note      the prompt does not tell the model of its interpreter: --template retool does")
        self._line(
            f"plan      {len(prompts.prompts):,} prompts x {sampling.n} = {plan.n_samples:,} samples"
            f" ({present:,} there already), at most {plan.token_bound:,} response tokens in all\n"
        )
        shortest = min(map(plan.max_tokens, plan.token_ids))
        if shortest < sampling.max_tokens:
            self._line(
                f"note      the context of {plan.context_length:,} tokens ends responses before --max-tokens"
                f" {sampling.max_tokens:,}: after {shortest:,} at the earliest\n"
            )

    def graded(self, verifier: str, done: int, total: int) -> None:
        """Show how far grading stored responses is."""
        now = time.monotonic()
        if done == total or now - self._shown >= PLAIN_SECONDS:
            self._shown = now
            self._line(f"{done:,}/{total:,} stored responses graded by {verifier}")

    def sampled(self, progress: Progress) -> None:
        """Show how far it is, at most a few times a second."""
        now = time.monotonic()
        pause = REFRESH_SECONDS if self._console.is_terminal else PLAIN_SECONDS
        shown = self._shown if self._console.is_terminal else max(self._shown, progress.started)
        last = progress.present + progress.sampled + progress.failed == progress.total
        if now - shown < pause and not last:
            return
        self._shown = now
        speed = progress.tokens / max(now - progress.started, 1e-9)
        verdicts = ", ".join(f"{name} {count:,}" for name, count in progress.verdicts.most_common())
        if progress.failed:
            verdicts = f"{verdicts}, failed {progress.failed:,}".removeprefix(", ")
        mean = f"{progress.score_sum / progress.n_scored:.3f}" if progress.n_scored else "-"
        text = f"{speed:,.0f} tokens/s · mean {mean} · {verdicts}"
        if self._console.is_terminal:
            self._show_bar(progress, text)
        else:
            done = progress.present + progress.sampled
            rate = progress.sampled / max(now - progress.started, 1e-9)
            left = (progress.total - done) / rate if rate else 0.0
            self._line(f"{done:,}/{progress.total:,} samples · {text} · about {left:,.0f} s left")

    def _show_bar(self, progress: Progress, text: str) -> None:
        if self._bar is None:
            self._bar = Bar(
                MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=2 * len(str(progress.total)) + 1)),
                BarColumn(bar_width=16),
                TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
                TextColumn("left", table_column=Column(no_wrap=True, min_width=4)),
                TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
                TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
                console=self._console,
            )
            self._bar.add_task(text, total=progress.total, completed=progress.present)
            self._bar.start()
        (task,) = self._bar.task_ids
        self._bar.update(task, completed=progress.present + progress.sampled, description=text)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False)
