"""verl's agent loop samples as an estimate does: the same prompts, seeds, ends, and tokens with programs."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spo_data.engines.protocol import Completion, Devices, SampleRequest
from spo_data.models.chat import Chat
from spo_data.options import ToolOptions
from spo_data.prompts.identity import Message, prompt_id, sample_seed
from spo_data.prompts.template import TOOL_WORDING
from spo_data.provenance import ToolsRecord
from spo_data.sandbox.interpreter import SandboxError
from spo_train.literal import to_literal
from support.tool_scripts import CASES, Case, ScriptedInterpreter, ScriptedTurns

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1? Put it into \\boxed{}."}]
MESSAGES = [Message(**turn) for turn in TURNS]
LOGPROB = -0.5


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    from spo_data.models.embedded import embedded_model

    return AutoTokenizer.from_pretrained(embedded_model())


class Server:
    """Replaces verl's rollout client. `answer` maps a request's number and parameters to its tokens."""

    def __init__(self, answer: Callable[[int, dict[str, Any]], list[int]]) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    async def generate(self, **request: Any) -> Any:
        from verl.workers.rollout.replica import TokenOutput

        number = len(self.asked)
        token_ids = self.answer(number, request["sampling_params"])
        self.asked.append(request)
        weights = {"min_global_steps": 4 + number, "max_global_steps": 5 + number}
        return TokenOutput(token_ids=token_ids, log_probs=[LOGPROB] * len(token_ids), extra_fields=weights)


def make_config(*, budget: int) -> Any:
    from omegaconf import OmegaConf

    from spo_data.models.embedded import embedded_model

    rollout, model = {"response_length": budget, "n": 4}, {"path": str(embedded_model())}
    return OmegaConf.create({"actor_rollout_ref": {"rollout": rollout, "model": model}, "data": {}})


def make_loop(tokenizer: Any, server: Server, *, budget: int, **settings: Any) -> Any:
    from verl.experimental.agent_loop.agent_loop import DictConfigWrap, ToolListWrap

    from spo_train.hooks.agent_loop import SPOAgentLoop

    config = make_config(budget=budget)
    return SPOAgentLoop(
        trainer_config=DictConfigWrap(config),
        server_manager=server,
        tokenizer=tokenizer,
        processor=None,
        dataset_cls=None,
        data_config=DictConfigWrap(config.data),
        tools=ToolListWrap([]),
        **settings,
    )


def always(*token_ids: int) -> Server:
    return Server(lambda *_: list(token_ids))


def test_the_prompt_is_the_estimates_to_the_token(tokenizer: Any) -> None:
    """Both render the prompt with the same code, because a value belongs to exactly these tokens."""
    server = always(5, tokenizer.eos_token_id)
    output = asyncio.run(make_loop(tokenizer, server, budget=8).run({"temperature": 1.0}, raw_prompt=TURNS))
    expected = Chat(tokenizer, {}, 0).tokenize([MESSAGES])[0].tolist()
    assert output.prompt_ids == server.asked[0]["prompt_ids"] == expected
    assert output.response_mask == [1, 1]
    assert server.asked[0]["sampling_params"] == {"temperature": 1.0, "detokenize": False}
    assert output.extra_fields["min_global_steps"] == 4
    assert "tool_turns" not in output.extra_fields


def test_a_numbered_draw_is_sampled_with_its_own_seed(tokenizer: Any) -> None:
    """A resumed run samples the same response for the same draw. The sessions of a group use different seeds."""
    import torch

    server = always(5, tokenizer.eos_token_id)
    loop = make_loop(tokenizer, server, budget=8, seed=7, stop=to_literal(["<end>", "${oc.env:HOME}"]))
    for session in (0, 1):
        draw = torch.tensor(3)
        asyncio.run(loop.run({"temperature": 1.0}, raw_prompt=TURNS, spo_draw=draw, session_id=session))
    seeds = [request["sampling_params"]["seed"] for request in server.asked]
    asyncio.run(loop.run({}, raw_prompt=TURNS, spo_draw=torch.tensor(3), session_id=1))
    assert server.asked[-1]["sampling_params"]["seed"] == seeds[1] != seeds[0]
    # With the estimate's seeds, the first draws would repeat samples that are part of the mean they are compared with.
    assert not {sample_seed(7, prompt_id(MESSAGES), index) for index in range(100)} & set(seeds)
    assert server.asked[0]["sampling_params"]["stop"] == ["<end>", "${oc.env:HOME}"]
    assert "detokenize" not in server.asked[0]["sampling_params"], "vLLM refuses stop strings without text"


def test_truncated_is_what_the_budget_ended(tokenizer: Any) -> None:
    """verl's finish reason is "completed" for both. An end token as the last token of the budget is a regular end."""
    end = tokenizer.eos_token_id
    stop = tokenizer("<end>")["input_ids"]
    for tokens, truncated in (([5, 6, 7], True), ([5, 6, end], False), ([5, end], False)):
        loop = make_loop(tokenizer, always(*tokens), budget=3)
        output = asyncio.run(loop.run({}, raw_prompt=TURNS))
        assert output.extra_fields["truncated"] is truncated
    loop = make_loop(tokenizer, always(5, *stop), budget=1 + len(stop), stop=["<end>"])
    assert asyncio.run(loop.run({}, raw_prompt=TURNS)).extra_fields["truncated"] is False


def tools_of(case: Case) -> ToolsRecord:
    return ToolsRecord(interpreter="python", max_turns=case.max_turns, seconds=3.0, memory_mb=512, output_chars=100)


def as_trained(
    tokenizer: Any, case: Case, monkeypatch: pytest.MonkeyPatch, **prompt: Any
) -> tuple[Any, Server, ScriptedInterpreter]:
    """The case in verl's loop: its output, the servers with their requests, and the interpreter with its programs."""
    from spo_train.hooks import agent_loop

    interpreter = ScriptedInterpreter(case.outputs)

    async def shared(*_: Any, **__: Any) -> ScriptedInterpreter:
        return interpreter

    monkeypatch.setattr(agent_loop, "share_interpreter", shared)
    script = ScriptedTurns(tokenizer, case)
    server = Server(lambda number, sampling: script.sample(number, sampling["max_tokens"], sampling["stop"])[0])
    loop = make_loop(
        tokenizer,
        server,
        budget=case.budget,
        stop=list(case.stop),
        seed=7,
        interpreter=tools_of(case).model_dump(),
        template="retool",
        workers=2,
    )
    return asyncio.run(loop.run({"temperature": 1.0}, raw_prompt=TURNS, **prompt)), server, interpreter


class ScriptedEngine:
    """Stands in for vLLM in the estimate."""

    capacity = 1
    devices = Devices("none", 1)

    def __init__(self, tokenizer: Any, case: Case) -> None:
        self.script = ScriptedTurns(tokenizer, case)
        self.asked: list[SampleRequest] = []

    async def submit(self, request: SampleRequest) -> Completion:
        stop = [*self.script.case.stop, *request.stop]
        token_ids, finish_reason = self.script.sample(len(self.asked), request.max_tokens, stop)
        self.asked.append(request)
        logprobs = np.full(len(token_ids), LOGPROB, np.float32)
        return Completion("", np.asarray(token_ids, np.int32), finish_reason, logprobs)


def as_estimated(tokenizer: Any, case: Case, seed: int) -> tuple[Completion, ScriptedEngine, ScriptedInterpreter]:
    """The case as the estimate's engine samples it."""
    from spo_data.engines.tool_use import ToolEngine

    prompt_ids = Chat(tokenizer, {}, 0, wording=TOOL_WORDING).tokenize([MESSAGES])[0]
    engine, interpreter = ScriptedEngine(tokenizer, case), ScriptedInterpreter(case.outputs)
    request = SampleRequest(prompt_id(MESSAGES), 0, seed, prompt_ids, max_tokens=case.budget)
    tools = ToolEngine(engine, interpreter, tokenizer, tools_of(case), case.stop)
    return asyncio.run(tools.submit(request)), engine, interpreter


DRAWN = {"uid": "draw3", "spo_draw": 3, "session_id": 1}
SEED = sample_seed(7, f"train:{prompt_id(MESSAGES)}", 3 * 4 + 1)
FINISHED = [case for case in CASES if case.finish_reason != "tool_error"]


@pytest.mark.parametrize("case", FINISHED, ids=lambda case: case.name)
def test_a_response_with_programs_is_the_estimates_to_the_token(
    tokenizer: Any, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value holds only for these tokens, sampled from the same requests and graded on the same text."""
    output, server, ran = as_trained(tokenizer, case, monkeypatch, **DRAWN)
    estimated, engine, ran_there = as_estimated(tokenizer, case, SEED)
    assert output.prompt_ids == engine.asked[0].prompt_token_ids.tolist()
    assert output.response_ids == estimated.token_ids.tolist()
    assert estimated.response_mask is not None
    assert output.response_mask == estimated.response_mask.astype(int).tolist()
    assert graded_text(tokenizer, output, case) == estimated.text
    assert output.extra_fields["truncated"] is (case.finish_reason == "length")
    assert estimated.finish_reason == case.finish_reason
    assert ran.programs == ran_there.programs
    assert len(ran.programs) == len(case.outputs), "the case is what it says"
    assert [request["prompt_ids"] for request in server.asked] == [
        request.prompt_token_ids.tolist() for request in engine.asked
    ]
    assert [request["sampling_params"] for request in server.asked] == [
        {
            "temperature": 1.0,
            "stop": [*case.stop, *request.stop],
            "max_tokens": request.max_tokens,
            "seed": request.seed,
        }
        for request in engine.asked
    ]


@pytest.mark.parametrize("case", FINISHED, ids=lambda case: case.name)
def test_what_verl_is_told_of_a_response_with_programs(
    tokenizer: Any, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, server, ran = as_trained(tokenizer, case, monkeypatch, **DRAWN)
    assert len(output.response_ids) == len(output.response_mask) == len(output.response_logprobs) <= case.budget
    assert output.response_logprobs == [LOGPROB * own for own in output.response_mask]
    assert output.response_mask[-1] == 1
    assert output.extra_fields["tool_turns"] == len(ran.programs)
    assert output.num_turns == 2 + 2 * len(ran.programs)
    assert output.metrics.tool_calls == output.extra_fields["tool_seconds"] >= 0
    assert len({request["request_id"] for request in server.asked}) == 1, "one server has its prefix"
    weights = (output.extra_fields["min_global_steps"], output.extra_fields["max_global_steps"])
    assert weights == (4, 4 + len(server.asked)), "from the first request's to the last one's"


def test_a_stop_string_in_output_ends_no_text(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text was cut at the first stop string. Here a program had printed it, so the answer was lost."""
    case = named("a stop string that the output has too")
    output, _, _ = as_trained(tokenizer, case, monkeypatch)
    text = graded_text(tokenizer, output, case)
    assert "<interpreter>\nDONE\n</interpreter>" in text
    assert text.endswith("\nIt is \\boxed{42}. ")


def test_the_loop_of_a_written_file_is_made_as_verl_makes_it(tokenizer: Any) -> None:
    """verl passes its own tools to each loop as `tools`, so a setting with that name would be lost."""
    import hydra
    from omegaconf import OmegaConf
    from verl.experimental.agent_loop.agent_loop import DictConfigWrap, ToolListWrap

    from spo_train.data.loop_file import make_loop_settings

    asked = ToolOptions(tools="python", max_tool_turns=3, sandbox="http://localhost:8080")
    written = {
        "_target_": "spo_train.hooks.agent_loop.SPOAgentLoop",
        "name": "spo_agent",
        **make_loop_settings(asked, 5, "retool"),
    }
    loop = hydra.utils.instantiate(
        config=OmegaConf.create(written),
        trainer_config=DictConfigWrap(make_config(budget=8)),
        server_manager=None,
        tokenizer=tokenizer,
        processor=None,
        hf_model_type="llama",
        dataset_cls=None,
        data_config=DictConfigWrap(OmegaConf.create({})),
        tools=ToolListWrap([]),
    )
    assert loop._tools == ToolsRecord.of(asked)
    assert (loop._tool_options, loop._workers) == (asked, 5)
    assert loop._chat.wording == TOOL_WORDING


def test_without_a_draw_number_no_request_has_a_seed(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """This covers validation, and the modes in which weights change while a response is sampled."""
    _, server, _ = as_trained(tokenizer, named("two blocks"), monkeypatch)
    assert len(server.asked) == 3
    assert all("seed" not in request["sampling_params"] for request in server.asked)


@pytest.mark.parametrize(("uid", "count"), [("draw3", ["tool_error"]), ("5fb1", [])])
def test_a_program_that_we_failed_to_run_fails_the_response(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, uid: str, count: list[str]
) -> None:
    """verl replaces a failed response. A score of 0 instead would teach the model that programs are wrong."""
    from spo_train.hooks import failures

    counted: list[str] = []
    monkeypatch.setattr(failures, "count", counted.append)
    with pytest.raises(SandboxError, match="tool_error: the sandbox is down"):
        as_trained(tokenizer, named("no sandbox"), monkeypatch, uid=uid)
    assert counted == count


def test_verl_marks_a_response_whose_program_failed_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """verl's own code around the loop gives it the same mark as a response that could not be graded."""
    from verl.trainer.ppo.v1 import agent_loop_tq

    marks: list[dict[str, Any]] = []

    async def put(**given: Any) -> None:
        marks.append(given["tag"])

    async def failing(*_: Any, **__: Any) -> None:
        raise SandboxError("tool_error: the sandbox is down")

    monkeypatch.setattr(agent_loop_tq.tq, "async_kv_put", put)
    worker_class = agent_loop_tq.AgentLoopWorkerTQ.__ray_metadata__.modified_class
    worker = SimpleNamespace(
        config=SimpleNamespace(actor_rollout_ref=SimpleNamespace(rollout=SimpleNamespace(n=1))),
        _run_agent_loop=failing,
    )
    asyncio.run(worker_class._run_prompt(worker, {"uid": "draw3"}, {}, {"validate": False}))
    assert [mark["status"] for mark in marks] == ["running", "failure"]


def named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def graded_text(tokenizer: Any, output: Any, case: Case) -> str:
    """The text of a response as the reward worker reads it."""
    import torch
    from omegaconf import OmegaConf

    from spo_train.hooks.reward import GradedReward

    reward = object.__new__(GradedReward)
    reward.tokenizer = tokenizer
    reward.config = OmegaConf.create({"reward": {"reward_kwargs": {"stop": list(case.stop)}}})
    padded = torch.tensor([*output.response_ids, 0, 0])
    mask = torch.tensor([1] * len(output.prompt_ids) + [1] * len(output.response_ids) + [0, 0])
    item = SimpleNamespace(
        batch={"responses": padded, "attention_mask": mask},
        non_tensor_batch={"tool_extra_fields": output.extra_fields},
    )
    return reward._text(item)
