"""The agent loop that verl runs for each response, with the estimate's rendering, sampling, tools and stopping.

    - name: spo_agent                                   # in agent_loop.yaml
      _target_: spo_train.hooks.agent_loop.SPOAgentLoop
      stop: []
      template_kwargs: {}
      seed: 0
      interpreter: {interpreter: python, max_turns: 8, seconds: 30, memory_mb: 1024, output_chars: 2000}
      sandbox: local                                    # this and the next three only with an interpreter
      sandbox_unsafe: false
      workers: 8
      template: retool

As in an estimate, `spo_data.models.chat` tokenizes the prompt and `spo_data.engines.tool_loop` runs programs, so a
value belongs to exactly the tokens that are trained on. A numbered draw is sampled with its own seed, so a resumed run
repeats its response. A program that could not be run is counted and raised: verl marks the prompt failed and replaces
it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput
from verl.utils.profiler import simple_timer

from spo_data.engines.tool_loop import CODE_END, Turn, tool_loop
from spo_data.errors import UserError
from spo_data.grading.verdict import Verdict
from spo_data.models.chat import Chat
from spo_data.prompts.identity import Message, prompt_id, sample_seed, turn_seed
from spo_data.prompts.template import tool_wording
from spo_data.provenance import ToolsRecord
from spo_data.sandbox.interpreter import SandboxError
from spo_train.data.loop_file import read_loop_options
from spo_train.hooks import failures
from spo_train.hooks.shared_interpreter import share_interpreter
from spo_train.literal import from_literal
from spo_train.spo.single_stream import UID

DRAW = "spo_draw"
"""The column of a draw's number; absent in validation, and in modes whose weights change during sampling."""
SUMMED = ("spec_num_draft_tokens", "spec_num_accepted_tokens", "spec_num_verify_steps")
"""verl's counts per request, which add up to those of a response."""


class SPOAgentLoop(AgentLoopBase):
    """Samples a response from the engine, in several turns if it runs programs."""

    def __init__(
        self,
        *arguments: Any,
        stop: Sequence[str] = (),
        template_kwargs: Mapping[str, Any] | None = None,
        seed: int = 0,
        interpreter: Mapping[str, Any] | None = None,
        sandbox: str = "local",
        sandbox_unsafe: bool = False,
        workers: int = 1,
        template: str = "none",
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self._stop: list[str] = from_literal(stop)
        self._seed = seed
        self._tools = None if interpreter is None else ToolsRecord(**interpreter)
        self._tool_options = None if interpreter is None else read_loop_options(interpreter, sandbox, sandbox_unsafe)
        self._workers = workers
        wording = None if interpreter is None else tool_wording(from_literal(template))
        self._chat = Chat(self.tokenizer, from_literal(template_kwargs or {}), context_length=0, wording=wording)
        self._response_length = int(self.rollout_config.response_length)

    async def run(self, sampling_params: dict[str, Any], **prompt: Any) -> AgentLoopOutput:
        """Sample one response; `truncated` in its `extra_fields` says whether a limit ended it.

        Raises SandboxError if one of its programs could not be run.
        """
        messages = [Message(str(turn["role"]), str(turn["content"])) for turn in prompt["raw_prompt"]]
        prompt_ids = self._chat.tokenize([messages])[0].tolist()
        seed = None
        if DRAW in prompt:
            index = int(prompt[DRAW]) * int(self.rollout_config.n) + int(prompt["session_id"])
            # Other seeds than the estimate's, or its samples would repeat and be compared with their own mean.
            seed = sample_seed(self._seed, f"train:{prompt_id(messages)}", index)
        sampler = _Sampler(self, sampling_params, seed)
        if self._tools is None:
            return await self._sample_once(prompt_ids, sampler)
        return await self._sample_turns(prompt_ids, sampler, is_training=str(prompt.get("uid", "")).startswith(UID))

    async def _sample_once(self, prompt_ids: list[int], sampler: "_Sampler") -> AgentLoopOutput:
        turn = await sampler.sample(prompt_ids, self._stop, None, 0)
        response_ids = list(turn.token_ids)
        return AgentLoopOutput(
            prompt_ids=prompt_ids,
            response_ids=response_ids,
            response_mask=[1] * len(response_ids),
            response_logprobs=None if turn.token_logprobs is None else list(turn.token_logprobs),
            num_turns=2,
            metrics=AgentLoopMetrics(**sampler.timings),
            extra_fields=sampler.extra_fields | _make_fields(truncated=turn.finish_reason == "length"),
        )

    async def _sample_turns(self, prompt_ids: list[int], sampler: "_Sampler", *, is_training: bool) -> AgentLoopOutput:
        assert self._tools is not None
        assert self._tool_options is not None
        stop = [*self._stop, CODE_END]

        async def generate(context: list[int], max_tokens: int, number: int) -> Turn:
            return await sampler.sample(context, stop, max_tokens, number)

        try:
            interpreter = await share_interpreter(self._tool_options, self._workers, is_training=is_training)
        except UserError as error:
            raise self._count_failure(str(error), is_training) from error
        response = await tool_loop(
            generate,
            interpreter,
            self.tokenizer,
            prompt_ids,
            budget=self._response_length,
            settings=self._tools,
            stop=self._stop,
        )
        if response.finish_reason == "tool_error":
            raise self._count_failure(response.detail or "no detail", is_training)
        logprobs = response.token_logprobs
        if logprobs is not None:  # verl's convention for tokens that no model sampled
            logprobs = np.where(response.response_mask, logprobs, 0.0)
        return AgentLoopOutput(
            prompt_ids=prompt_ids,
            response_ids=response.token_ids.tolist(),
            response_mask=response.response_mask.astype(int).tolist(),
            response_logprobs=None if logprobs is None else logprobs.tolist(),
            num_turns=2 + 2 * response.tool_turns,
            metrics=AgentLoopMetrics(**sampler.timings, tool_calls=response.tool_seconds),
            extra_fields=sampler.extra_fields
            | _make_fields(
                truncated=response.finish_reason == "length",
                tool_turns=response.tool_turns,
                tool_seconds=response.tool_seconds,
                last_tokens=response.last_tokens,
            ),
        )

    @staticmethod
    def _count_failure(detail: str, is_training: bool) -> SandboxError:
        if is_training:  # validation counts its own failures
            failures.count(str(Verdict.TOOL_ERROR))
        return SandboxError(f"{Verdict.TOOL_ERROR}: {detail}")

    def ended_by_budget(self, token_ids: Sequence[int], stop: Sequence[str], max_tokens: int) -> bool:
        """Whether the budget ended a turn; verl reports every finish reason of vLLM as "completed"."""
        if len(token_ids) < max_tokens or token_ids[-1] in self._stop_ids():
            return False
        tail = self.tokenizer.decode(token_ids[-64:], skip_special_tokens=True) if stop else ""
        return not any(each in tail for each in stop)

    def _stop_ids(self) -> frozenset[int]:
        return stop_ids(str(self.config.actor_rollout_ref.model.path), self.tokenizer.eos_token_id)


@dataclass
class _Sampler:
    """The requests of one response, and their totals for verl."""

    loop: SPOAgentLoop
    sampling: Mapping[str, Any]
    seed: int | None
    extra_fields: dict[str, Any] = field(default_factory=dict)
    _seconds: float = 0.0
    _preempted: int | None = None
    _server: str = field(default_factory=lambda: uuid4().hex)
    """Requests with the same name go to the same server, whose prefix cache has the tokens so far."""

    @property
    def timings(self) -> dict[str, Any]:
        """Arguments of `AgentLoopMetrics`."""
        preempted = -1 if self._preempted is None else self._preempted
        return {"generate_sequences": self._seconds, "num_preempted": preempted}

    async def sample(self, context: list[int], stop: Sequence[str], max_tokens: int | None, number: int) -> Turn:
        """Sample one turn; with `max_tokens` None verl sets the budget."""
        sampling = dict(self.sampling)
        if stop:
            sampling["stop"] = list(stop)
        else:
            sampling["detokenize"] = False  # verl takes the tokens; vLLM needs their text for stop strings alone
        if max_tokens is not None:
            sampling["max_tokens"] = max_tokens
        if self.seed is not None:
            sampling["seed"] = turn_seed(self.seed, number)
        budget = self.loop._response_length if max_tokens is None else max_tokens
        timing: dict[str, float] = {}
        with simple_timer("generate", timing):
            output = await self.loop.server_manager.generate(
                request_id=self._server, prompt_ids=context, sampling_params=sampling
            )
        self._seconds += timing["generate"]
        token_ids = list(output.token_ids)[:budget]
        if not token_ids:
            raise RuntimeError("the engine returned no token")
        if output.num_preempted is not None:
            self._preempted = (self._preempted or 0) + output.num_preempted
        self.extra_fields = _merge(self.extra_fields, output.extra_fields)
        return Turn(
            token_ids=token_ids,
            finish_reason="length" if self.loop.ended_by_budget(token_ids, stop, budget) else "stop",
            token_logprobs=output.log_probs[:budget] if output.log_probs else None,
        )


def _merge(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Merge what verl's servers report for several requests; the weights' range spans the first to the last."""
    first = {name: earlier[name] for name in ("min_global_steps", "num_cached_tokens") if name in earlier}
    sums = {name: earlier[name] + later[name] for name in SUMMED if name in earlier and name in later}
    return {**earlier, **later, **first, **sums}


def _make_fields(**of_the_response: Any) -> dict[str, Any]:
    return {**of_the_response, "turn_scores": [], "tool_rewards": []}


_stop_ids: dict[str, frozenset[int]] = {}


def stop_ids(model_path: str, eos_token_id: int | None) -> frozenset[int]:
    """Return the tokens that end a response in vLLM: the tokenizer's, and the model's generation configuration's."""
    if model_path not in _stop_ids:
        from transformers import GenerationConfig

        try:
            configured = GenerationConfig.from_pretrained(model_path).eos_token_id
        except OSError:  # a model without generation_config.json
            configured = None
        listed = configured if isinstance(configured, list) else [configured]
        _stop_ids[model_path] = frozenset(token for token in (*listed, eos_token_id) if token is not None)
    return _stop_ids[model_path]
