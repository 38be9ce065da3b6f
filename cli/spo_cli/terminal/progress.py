"""What an estimate shows while it works, on stderr: a progress bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType

from rich.progress import TextColumn, TimeRemainingColumn
from rich.table import Column

from spo_cli.terminal.display import Display
from spo_data.engines.tool_loop import NO_TOOL_WORDING
from spo_data.engines.use import EngineUse
from spo_data.engines.vllm_log import terminal
from spo_data.provenance import GRADED_MARK
from spo_data.text import excerpt
from spo_pipelines.sampling_plan import SamplingPlan
from spo_pipelines.stream import Progress

PLAIN_SECONDS = 10.0
"""How often a plain line is printed if stderr is not a terminal."""
REFRESH_SECONDS = 0.25


class EstimateDisplay(Display):
    """An `EstimateWatcher` for people. It has a duplicate of stderr, since the engine's output goes to a file."""

    def __init__(self) -> None:
        self._stream = terminal()
        super().__init__(self._stream)
        self._shown = 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._stream.close()

    def on_stage(self, text: str) -> None:
        """Announce something that takes a while."""
        self._stop_bar()
        self._print_line(f"{text} …")

    def on_plan(self, plan: SamplingPlan, present: int) -> None:
        """Print the preview, the counts of rows, and what will be sampled."""
        prompts, sampling, dataset = plan.prompt_set, plan.options.sampling, plan.manifest.dataset
        dropped = "".join(f", {count} dropped: {reason}" for reason, count in prompts.dropped_by_reason().items())
        differing = f" ({prompts.n_differing:,} with another extra_info or data_source)" if prompts.n_differing else ""
        at = f" at {dataset.revision}" if dataset.revision else ""
        self._print_line("\nthe first prompt, as the model reads it:")
        for line in plan.preview.splitlines():
            self._print_line(f"  │ {line}")
        top_k = "off" if sampling.top_k == -1 else str(sampling.top_k)
        self._print_line(f"\nmodel     {plan.model.name} at {plan.model.revision}")
        self._print_line(
            f"dataset   {dataset.source}{at} ({prompts.layout.name} layout):"
            f" {prompts.n_rows:,} rows, {len(prompts.prompts):,} unique prompts,"
            f" {prompts.n_duplicates:,} duplicates{differing}{dropped or ', none dropped'}"
        )
        for drop in prompts.dropped[:5]:
            self._print_line(f"          row {drop.row}: {drop.reason} {excerpt(drop.detail)}".rstrip())
        if len(prompts.dropped) > 5:
            self._print_line(f"          … and {len(prompts.dropped) - 5:,} more")
        if plan.leaks:
            rows = ", ".join(str(leak.row) for leak in plan.leaks[:5]) + (" …" if len(plan.leaks) > 5 else "")
            self._print_line(
                f"note: {len(plan.leaks):,} prompts state their own ground truth (row {rows}):"
                " `spo-data check` lists them"
            )
        for note in plan.notes:
            self._print_line(f"note: {note}")
        also = plan.manifest.also
        self._print_line(
            f"policy    temperature {sampling.temperature:g}, top_p {sampling.top_p:g}, top_k {top_k},"
            f" template {prompts.template.name}, verifier {plan.manifest.grader.verifier}"
            + (GRADED_MARK if plan.manifest.grader.truncated == "grade" else "")
            + (f", also {also.verifier}" if also else "")
        )
        if (tools := plan.manifest.policy.tools) is not None:
            self._print_line(f"tools     {tools.run_by(plan.options.tools)}")
            if not plan.mentions_tools:
                self._print_line(f"note: {NO_TOOL_WORDING}")
        self._print_line(f"engine    {plan.replicas}")
        self._print_line(
            f"plan      {len(prompts.prompts):,} prompts x {sampling.n} = {plan.n_samples:,} samples"
            f" ({present:,} already drawn), at most {plan.token_bound:,} response tokens in all\n"
        )
        if sampling.temperature == 0 and sampling.n > 1:
            self._print_line(
                f"note: with --temperature 0, the {sampling.n} samples of a prompt are nearly the same response:"
                " a value is nearly always 0 or 1; take --n 1, or the temperature of training\n"
            )
        shortest = min(map(plan.max_tokens, plan.token_ids))
        if shortest < sampling.max_tokens:
            self._print_line(
                f"note: the context of {plan.context_length:,} tokens ends responses before --max-tokens"
                f" {sampling.max_tokens:,}: after {shortest:,} at the earliest\n"
            )

    def on_grade(self, verifier: str, done: int, total: int) -> None:
        """Show how many stored responses are graded."""
        now = time.monotonic()
        if done == total or now - self._shown >= PLAIN_SECONDS:
            self._shown = now
            self._print_line(f"{done:,}/{total:,} stored responses graded by {verifier}")

    def on_stop(self, progress: Progress) -> None:
        """Say what a stopped call waits for."""
        self._stop_bar()
        if progress.grading:
            self._print_line(
                f"stopping: waiting for {progress.grading:,} response{'s' * (progress.grading != 1)} to be graded;"
                " Ctrl-C again leaves them to the next call"
            )
        else:
            self._print_line("stopping: waiting for the engine to end")

    def on_sample(self, progress: Progress) -> None:
        """Show the progress, at most a few times a second."""
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
        text = f"{speed:,.0f} tokens/s{_describe_use(progress.engine_use)} · mean so far {mean} · {verdicts}"
        if self._console.is_terminal:
            if self._bar is None:
                remaining = (
                    TextColumn("left", table_column=Column(no_wrap=True, min_width=4)),
                    TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
                )
                self._start_bar(text, progress.total, progress.present, columns=remaining)
            self._move_bar(progress.present + progress.sampled, text)
        else:
            done = progress.present + progress.sampled
            rate = progress.sampled / max(now - progress.started, 1e-9)
            left = (progress.total - done) / rate if rate else 0.0
            self._print_line(f"{done:,}/{progress.total:,} samples · {text} · about {left:,.0f} s left")


def _describe_use(use: EngineUse | None) -> str:
    if use is None:
        return ""
    lost = f", {use.preemptions:,} preemptions" if use.preemptions else ""
    return f" · KV cache {use.kv_now:.0%}{lost}"
