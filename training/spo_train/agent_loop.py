"""The agent loop that verl runs for each response: the estimate's rendering, sampling and end of a response.

    - name: spo_agent                                   # in agent_loop_config_path
      _target_: spo_train.agent_loop.SPOAgentLoop
      stop: []
      template_kwargs: {}
      seed: 0

The prompt is tokenized by `spo_data.chat`, which estimation uses too, so that a value belongs to the very tokens that
are trained on. A numbered draw is sampled with a seed of its own: the same draw of a resumed run is the same response.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput
from verl.utils.profiler import simple_timer

from spo_data.chat import Chat
from spo_data.prompt import Message, prompt_id, sample_seed

DRAW = "spo_draw"
"""The column of a draw's number; absent in validation and where weights change while a response is sampled."""


class SPOAgentLoop(AgentLoopBase):
    """One turn: prompt tokens to the engine, response tokens back."""

    def __init__(
        self,
        *arguments: Any,
        stop: Sequence[str] = (),
        template_kwargs: Mapping[str, Any] | None = None,
        seed: int = 0,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self._stop = list(stop)
        self._seed = seed
        self._chat = Chat(self.tokenizer, dict(template_kwargs or {}), context_length=0)
        self._response_length = int(self.rollout_config.response_length)

    async def run(self, sampling_params: dict[str, Any], **prompt: Any) -> AgentLoopOutput:
        """Sample one response; `truncated` in its `extra_fields` says that the token budget ended it."""
        messages = [Message(str(turn["role"]), str(turn["content"])) for turn in prompt["raw_prompt"]]
        prompt_ids = self._chat.tokenize([messages])[0].tolist()
        sampling = dict(sampling_params)
        if self._stop:
            sampling["stop"] = self._stop
        if DRAW in prompt:
            index = int(prompt[DRAW]) * int(self.rollout_config.n) + int(prompt["session_id"])
            # Not the estimate's seeds: its samples would come again, to be compared with a mean that they are part of.
            sampling["seed"] = sample_seed(self._seed, f"train:{prompt_id(messages)}", index)
        timings: dict[str, Any] = {}
        with simple_timer("generate_sequences", timings):
            output = await self.server_manager.generate(
                request_id=uuid4().hex, prompt_ids=prompt_ids, sampling_params=sampling
            )
        response_ids = list(output.token_ids)[: self._response_length]
        if not response_ids:
            raise RuntimeError("the engine returned no token")
        timings["num_preempted"] = -1 if output.num_preempted is None else output.num_preempted
        return AgentLoopOutput(
            prompt_ids=prompt_ids,
            response_ids=response_ids,
            response_mask=[1] * len(response_ids),
            response_logprobs=output.log_probs[: self._response_length] if output.log_probs else None,
            num_turns=2,
            metrics=AgentLoopMetrics(**timings),
            extra_fields={
                **output.extra_fields,
                "truncated": self._truncated(response_ids),
                "turn_scores": [],
                "tool_rewards": [],
            },
        )

    def _truncated(self, response_ids: Sequence[int]) -> bool:
        # verl keeps "completed" of vLLM's finish reason, whether a stop token or the budget ended the response.
        if len(response_ids) < self._response_length or response_ids[-1] in self._stop_ids():
            return False
        tail = self.tokenizer.decode(response_ids[-64:], skip_special_tokens=True) if self._stop else ""
        return not any(stop in tail for stop in self._stop)

    def _stop_ids(self) -> frozenset[int]:
        return stop_ids(str(self.config.actor_rollout_ref.model.path), self.tokenizer.eos_token_id)


_stop_ids: dict[str, frozenset[int]] = {}


def stop_ids(model_path: str, eos_token_id: int | None) -> frozenset[int]:
    """The tokens that end a response in vLLM: the tokenizer's, and those of the model's generation configuration."""
    if model_path not in _stop_ids:
        from transformers import GenerationConfig

        try:
            configured = GenerationConfig.from_pretrained(model_path).eos_token_id
        except OSError:  # a model without generation_config.json
            configured = None
        listed = configured if isinstance(configured, list) else [configured]
        _stop_ids[model_path] = frozenset(token for token in (*listed, eos_token_id) if token is not None)
    return _stop_ids[model_path]
