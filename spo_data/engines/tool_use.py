"""An engine that gives the model an interpreter: the tool loop around another engine.

    engine = ToolEngine(vllm_engine, interpreter, chat.tokenizer, policy.tools, sampling.stop)
    completion = await engine.submit(request)       # sends one request to vLLM per turn of the response

Each response takes its turns at its own pace: a response that waits for its program delays no other.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from spo_data.engines.protocol import Completion, Devices, Engine, SampleRequest
from spo_data.engines.tool_loop import CODE_END, Turn, tool_loop
from spo_data.engines.use import EngineUse, use_of
from spo_data.prompts.identity import turn_seed
from spo_data.provenance import ToolsRecord
from spo_data.sandbox.interpreter import Interpreter


class ToolEngine:
    """See `spo_data.engines.protocol.Engine`."""

    def __init__(
        self,
        engine: Engine,
        interpreter: Interpreter,
        tokenizer: Any,
        settings: ToolsRecord,
        stop: tuple[str, ...] = (),
    ) -> None:
        self._engine = engine
        self._interpreter = interpreter
        self._tokenizer = tokenizer
        self._settings = settings
        self._stop = stop

    @property
    def capacity(self) -> int:
        """Twice the engine's, so that the engine stays full while as many other responses wait for their programs."""
        return 2 * self._engine.capacity

    @property
    def devices(self) -> Devices:
        """The devices of the engine."""
        return self._engine.devices

    @property
    def use(self) -> EngineUse | None:
        """What the engine reports."""
        return use_of(self._engine)

    async def submit(self, request: SampleRequest) -> Completion:
        """Draw one response with its programs' output; it ends as "tool_error" if the interpreter itself fails."""

        async def generate(context: list[int], max_tokens: int, number: int) -> Turn:
            completion = await self._engine.submit(
                replace(
                    request,
                    seed=turn_seed(request.seed, number),
                    prompt_token_ids=np.asarray(context, dtype=np.int32),
                    max_tokens=max_tokens,
                    stop=(CODE_END,),
                    turn=number,
                )
            )
            assert completion.finish_reason != "tool_error"
            logprobs = completion.token_logprobs
            return Turn(
                completion.token_ids.tolist(),
                completion.finish_reason,
                None if logprobs is None else logprobs.tolist(),
            )

        response = await tool_loop(
            generate,
            self._interpreter,
            self._tokenizer,
            request.prompt_token_ids.tolist(),
            budget=request.max_tokens,
            settings=self._settings,
            stop=self._stop,
        )
        return Completion(
            text=response.text,
            token_ids=response.token_ids,
            finish_reason=response.finish_reason,
            token_logprobs=response.token_logprobs,
            response_mask=response.response_mask,
            tool_turns=response.tool_turns,
            detail=response.detail,
        )
