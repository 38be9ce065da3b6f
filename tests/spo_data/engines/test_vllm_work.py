"""What vLLM is asked to do for speed, held by vLLM's own scheduler, output processing and configuration, without a
model."""

import asyncio
import gc
import os
import sys
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spo_data.engines.vllm_runner import VARIABLE, faster_runner, runner_of, supports_second_runner
from spo_data.models.names import resolve_model
from spo_data.options import EngineOptions, Sampling

BENCHMARKS = str(Path(__file__).resolve().parents[3] / "benchmarks")


def load(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = import_module(name)
    assert str(module.__file__).startswith(BENCHMARKS), sys.path
    return module


def config(unsupported: tuple[str, ...] = (), **changed: Any) -> Any:
    """A configuration of vLLM's of a plain text model, as far as its runner depends on it."""
    model = {"is_multimodal_model": False, "is_encoder_decoder": False, "has_inner_state": False, "is_hybrid": False}
    return SimpleNamespace(
        model_config=SimpleNamespace(**{"runner_type": "generate", **model, **changed}),
        parallel_config=SimpleNamespace(pipeline_parallel_size=changed.get("pipeline", 1)),
        lora_config=changed.get("lora"),
        use_v2_model_runner=changed.get("default", False),
        _get_v2_model_runner_unsupported_features=lambda: list(unsupported),
    )


@pytest.mark.parametrize(
    ("changed", "is_supported"),
    [
        ({}, True),
        ({"unsupported": ("custom logits processors",)}, False),
        ({"is_hybrid": True}, False),
        ({"has_inner_state": True}, False),
        ({"is_multimodal_model": True}, False),
        ({"is_encoder_decoder": True}, False),
        ({"runner_type": "pooling"}, False),
        ({"pipeline": 2}, False),
        ({"lora": object()}, False),
    ],
)
def test_the_second_runner_is_for_plain_models_and_settings_that_vllm_supports(
    changed: dict[str, Any], is_supported: bool
) -> None:
    assert supports_second_runner(config(**changed)) is is_supported


def pretend_cuda(monkeypatch: pytest.MonkeyPatch, on_cuda: bool = True) -> None:
    platform = SimpleNamespace(current_platform=SimpleNamespace(is_cuda=lambda: on_cuda))
    monkeypatch.setitem(sys.modules, "vllm.platforms", platform)  # type: ignore[arg-type]
    usage = SimpleNamespace(UsageContext=SimpleNamespace(LLM_CLASS=None))
    monkeypatch.setitem(sys.modules, "vllm.usage.usage_lib", usage)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["0", "1"])
def test_a_user_s_choice_of_the_runner_stays(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    pretend_cuda(monkeypatch)
    monkeypatch.setenv(VARIABLE, value)
    with faster_runner(SimpleNamespace(create_engine_config=lambda _: config())):
        assert os.environ[VARIABLE] == value
    assert os.environ[VARIABLE] == value


@pytest.mark.parametrize(
    ("on_cuda", "found", "asks"),
    [
        (True, config(), True),
        (True, config(default=True), False),
        (True, config(is_hybrid=True), False),
        (False, config(), False),
    ],
    ids=["plain", "vLLM chooses it", "hybrid", "no CUDA"],
)
def test_the_second_runner_is_asked_for_while_the_engine_starts(
    monkeypatch: pytest.MonkeyPatch, on_cuda: bool, found: Any, asks: bool
) -> None:
    pretend_cuda(monkeypatch, on_cuda)
    monkeypatch.delenv(VARIABLE, raising=False)
    arguments = SimpleNamespace(create_engine_config=lambda _: found)
    for failure in (nullcontext(), pytest.raises(KeyError)):
        with failure, faster_runner(arguments):
            assert os.environ.get(VARIABLE) == ("1" if asks else None)
            if not isinstance(failure, nullcontext):
                raise KeyError
        assert VARIABLE not in os.environ, "an engine that other code starts chooses for itself"


@pytest.mark.slow
def test_a_real_configuration_answers_which_runner_it_has_and_keeps_a_part_of_the_cache_free() -> None:
    from vllm.usage.usage_lib import UsageContext

    from spo_data.engines.vllm import KV_WATERMARK, engine_arguments

    model = resolve_model("smollm2-135m")
    for given, share in (({}, KV_WATERMARK), ({"watermark": 0.0}, 0.0)):
        arguments = engine_arguments(model, EngineOptions(engine_arg=given), 512)
        found = arguments.create_engine_config(UsageContext.LLM_CLASS)
        assert found.scheduler_config.watermark == share
        assert runner_of(found) in ("V1", "V2")
        assert isinstance(supports_second_runner(found), bool)


@pytest.mark.slow
def test_a_free_part_of_the_cache_saves_most_of_what_preemptions_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM admitted each request as soon as its prompt fitted, and computed many tokens several times."""
    from spo_data.engines.vllm import KV_WATERMARK

    preemptions = load(monkeypatch, "preemptions")
    lengths = np.clip(np.random.default_rng(1).lognormal(np.log(150), 0.75, 250), 1, 400).astype(int).tolist()
    without, with_share = (
        preemptions.draw_all(lengths, share, cache_tokens=9_600, max_num_seqs=256) for share in (0.0, KV_WATERMARK)
    )
    assert without.tokens == with_share.tokens == sum(lengths)
    assert without.recomputed > 0.2 * without.tokens, "the cache is too small for all"
    assert with_share.recomputed < 0.75 * without.recomputed
    assert with_share.preemptions < 0.75 * without.preemptions
    assert with_share.seconds < without.seconds
    roomy = preemptions.draw_all(lengths, 0.0, cache_tokens=10 * sum(lengths), max_num_seqs=256)
    assert (roomy.preemptions, roomy.recomputed) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "statistics"),
    [((), "ours"), (("<never>",), "ours"), ((), "both")],
    ids=["decoded once", "decoded by vLLM", "vLLM logs too"],
)
def test_an_engine_counts_preemptions_and_the_cache_and_gives_the_text_of_its_tokens(
    monkeypatch: pytest.MonkeyPatch, stop: tuple[str, ...], statistics: str
) -> None:
    from vllm.v1.metrics.loggers import LoggingStatLogger

    logged: list[int] = []
    monkeypatch.setattr(
        LoggingStatLogger,
        "record",
        lambda _, __, step, *___, **____: logged.append(step.num_generation_tokens if step else 0),
    )
    front = load(monkeypatch, "front_end")
    options = EngineOptions(max_num_seqs=2, enforce_eager=True)

    async def draw() -> None:
        core = front.StubCore(2)
        core.preempted_at = 5
        engine = front.stub_engine(core, resolve_model("smollm2-135m"), options, Sampling(stop=stop), statistics)
        tokenizer = engine._client.get_tokenizer()
        asked: list[Any] = []
        monkeypatch.setattr(core, "add_request_async", record(core.add_request_async, asked))
        for completion in await asyncio.gather(*(engine.submit(front.make_request(number)) for number in range(3))):
            assert completion.finish_reason == "length"
            assert completion.token_ids.tolist() == core.text
            assert completion.text == tokenizer.decode(core.text).rstrip("\ufffd")
        assert {request.sampling_params.detokenize for request in asked} == {bool(stop)}
        use = engine.use
        assert use is not None
        assert use.preemptions == 3
        assert use.preempted_tokens == 3 * (front.PROMPT_TOKENS + 5)
        assert use.kv_now == pytest.approx(0.9)
        assert use.kv_mean == pytest.approx(0.9)
        engine._client.shutdown()
        engine._client = None

    asyncio.run(draw())
    gc.collect()
    assert sum(logged) == (3 * front.RESPONSE_TOKENS if statistics == "both" else 0), "vLLM's own log stays right"


def record(call: Any, asked: list[Any]) -> Any:
    async def recorded(request: Any) -> None:
        asked.append(request)
        await call(request)

    return recorded
