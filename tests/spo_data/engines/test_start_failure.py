"""Why vLLM did not start, in one line with the fix. The settings that vLLM's own code refuses are at the end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest

from spo_data.engines.protocol import EngineError
from spo_data.engines.start_failure import find_start_failure
from spo_data.errors import SpoError, UserError
from spo_data.options import EngineOptions

ELSEWHERE = "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': %d}"


class VllmConfig(pydantic.BaseModel):
    """Refuses as vLLM's configuration classes do."""

    heads: int = 9
    cache: str = pydantic.Field("auto", pattern="auto")

    @pydantic.field_validator("heads")
    @classmethod
    def _check(cls, heads: int) -> int:
        if heads != 9:
            raise ValueError("heads must be 9.\nPlease verify the following requirements:")
        return heads


class Checked(pydantic.BaseModel):
    """Refuses as a whole, so that pydantic names no field."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> "Checked":
        raise ValueError("Total number of attention heads (9) must be divisible by tensor parallel size (2).")


def raised(make: Callable[[], Any]) -> Exception:
    try:
        make()
    except Exception as error:
        return error
    raise AssertionError("it raises nothing")


def failure(tmp_path: Path, error: Exception, log: str = "") -> SpoError:
    path = tmp_path / "engine.log"
    path.write_text(f"ValueError: of an earlier engine\n{log}", encoding="utf-8")
    return find_start_failure(error, path, len("ValueError: of an earlier engine\n"))


def raise_here(error: Exception) -> Exception:
    def throw() -> None:
        raise error

    return raised(throw)


def test_a_refused_setting_is_named_and_its_traceback_logged(tmp_path: Path) -> None:
    """Whatever vLLM refused in our own process ended as "an engine process ended without an error message"."""
    found = failure(tmp_path, raised(Checked))
    assert isinstance(found, UserError)
    assert str(found) == (
        "vLLM refuses its configuration: Total number of attention heads (9) must be divisible by tensor parallel size"
        f" (2).; choose another --tensor-parallel-size (full log: {tmp_path / 'engine.log'})"
    )
    assert 'Traceback (most recent call last):\n  File "' in (tmp_path / "engine.log").read_text()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"heads": 8}, "heads: heads must be 9."),
        ({"cache": "int3"}, "cache: String should match pattern 'auto'"),
        ({"heads": "x"}, "heads: Input should be a valid integer, unable to parse string as an integer"),
    ],
)
def test_a_line_of_pydantic_says_which_field_and_what_it_should_be(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    found = failure(tmp_path, raised(lambda: VllmConfig(**given)))
    assert str(found).startswith(f"vLLM refuses its configuration: {said} (full log: ")


def test_an_assertion_without_a_message_is_still_a_cause(tmp_path: Path) -> None:
    """The whole cause was "Assertion failed,"."""

    class Plain(pydantic.BaseModel):
        @pydantic.model_validator(mode="after")
        def _check(self) -> "Plain":
            raise AssertionError

    said = str(failure(tmp_path, raised(Plain)))
    assert said.startswith("vLLM refuses its configuration: an assertion without a message failed (full log: ")
    assert "AssertionError" in str(failure(tmp_path, raise_here(AssertionError())))


def test_the_cause_in_an_engine_process_wins_over_the_report_that_one_failed(tmp_path: Path) -> None:
    error = raise_here(RuntimeError(ELSEWHERE % 1))
    found = failure(tmp_path, error, "(EngineCore pid=2) ValueError: the cause\nINFO bye\n")
    assert isinstance(found, EngineError)
    assert str(found).startswith("vLLM does not start: ValueError: the cause (full log: ")


def test_an_error_of_this_process_wins_over_what_the_log_mentions(tmp_path: Path) -> None:
    found = failure(tmp_path, raise_here(OSError("no such device")), "ImportError: an optional package\n")
    assert str(found).startswith("vLLM does not start: OSError: no such device (full log: ")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (1, "EngineCore ended without an error message (exit status 1)"),
        (-9, "EngineCore was killed, as when the machine's memory runs out"),
        (-4, "EngineCore ended with an illegal instruction; this CPU lacks instructions"),
    ],
)
def test_a_process_that_says_nothing_is_named_with_how_it_ended(tmp_path: Path, code: int, said: str) -> None:
    found = failure(tmp_path, raise_here(RuntimeError(ELSEWHERE % code)))
    assert str(found).startswith(f"vLLM does not start: {said}")


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (
            f'ipc path "/{"x" * 80}/3b527574-1465-479a-b454-a1ddef49d3b9" is longer than 107 characters',
            "set TMPDIR to a folder whose path has fewer than 70 characters",
        ),
        ("\"addmm_impl_cpu_\" not implemented for 'Half'", "this CPU lacks instructions for that type: use --dtype"),
        (  # what vLLM's oneDNN says to float16 without AVX-512, seen with ONEDNN_MAX_CPU_ISA=AVX2
            "could not create a primitive descriptor for the matmul primitive. Run workload with environment variable",
            "this CPU lacks instructions for that type: use --dtype float32",
        ),
        ("No module named 'bitsandbytes'", "install the missing package into this environment"),
    ],
)
def test_the_fix_is_in_the_line(tmp_path: Path, said: str, advice: str) -> None:
    found = failure(tmp_path, raise_here(RuntimeError(said)))
    assert f"RuntimeError: {said}; {advice}" in str(found)


def test_an_address_of_no_cluster_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    error = raise_here(ConnectionError("Could not find any running Ray instance."))
    assert "; RAY_ADDRESS is 10.0.0.1:6379: unset it, or name a cluster that runs (full log" in str(
        failure(tmp_path, error)
    )


def test_a_line_has_an_end(tmp_path: Path) -> None:
    """vLLM lists the 300 architectures that it knows."""
    assert len(str(failure(tmp_path, raise_here(ValueError("a" * 9_000))))) < 500


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tensor_parallel_size": 2}, "Total number of attention heads (9) must be divisible by tensor parallel size (2)"),
    ({"engine_arg": {"quantization": "nope"}}, "Unknown quantization method: nope. Must be one of ["),
    ({"engine_arg": {"kv_cache_dtype": "int3"}}, "cache_dtype: Input should be 'auto', "),
    ({"max_model_len": 100_000}, "User-specified max_model_len (100000) is greater than the derived max_model_len"),
    ({"engine_arg": {"attention_backend": "NOPE"}}, "Unknown attention backend: 'NOPE'. Valid options are: "),
    ({"engine_arg": {"enable_expert_parallel": True}}, "Number of experts in the model must be greater than 0"),
    ({"engine_arg": {"block_size": "abc"}}, "block_size: Input should be a valid integer"),
    (
        {"engine_arg": {"hf_overrides": {"architectures": ["NopeForCausalLM"]}}},
        "Model architectures ['NopeForCausalLM'] are not supported for now.",
    ),
]


@pytest.mark.slow
def test_what_vllm_refuses_before_a_process_starts(tmp_path: Path) -> None:
    """In one test, since to import vLLM takes ten seconds."""
    pytest.importorskip("vllm")
    from spo_data.engines.vllm import engine_arguments
    from spo_data.models.names import resolve_model

    model = resolve_model("smollm2-135m")

    def configure(options: EngineOptions) -> Any:
        return engine_arguments(model, options, options.max_model_len or 256).create_engine_config()

    configure(EngineOptions())
    for given, said in REFUSED:
        options = EngineOptions(**given)
        found = failure(tmp_path, raised(lambda options=options: configure(options)))
        assert isinstance(found, UserError)
        assert said in str(found), given
        assert len(str(found)) < 600


@pytest.mark.slow
def test_a_long_temporary_folder_is_named_before_a_process_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM's sockets lie there, and a socket's path has at most 107 characters."""
    pytest.importorskip("vllm")
    import asyncio
    import tempfile

    from spo_data.engines.vllm import start_vllm
    from spo_data.models.names import resolve_model
    from spo_data.options import Sampling

    folder = tmp_path / ("x" * 80)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    log = tmp_path / "engine.log"

    async def start() -> None:
        async with start_vllm(
            resolve_model("smollm2-135m"), Sampling(), EngineOptions(enforce_eager=True), max_model_len=256, log=log
        ):
            raise AssertionError("it started")

    with pytest.raises(EngineError) as raised:
        asyncio.run(start())
    assert "vLLM does not start: ZMQError: ipc path " in str(raised.value)
    assert "; set TMPDIR to a folder whose path has fewer than 70 characters (full log: " in str(raised.value)
    assert "zmq.error.ZMQError: ipc path" in log.read_text()
