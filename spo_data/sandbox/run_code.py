"""SandboxFusion's `/run_code` protocol: its request, its answer, and their conversion from and to an execution.

    Program(code="print(6 * 7)", language="python")
    answer_of(execution).status             # "Success", "Failed"
    execution_of(RunReply.model_validate(...))

Only the status "SandboxError" means that the sandbox failed; every other status is a result of the program. The limit
that ended a program is sent in `run_result.stopped`, which other clients ignore and other servers do not send.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from spo_data.sandbox.interpreter import Execution, SandboxError, Stopped

DEFAULT_MEMORY = -1
"""The memory limit of a request that leaves it to the server."""
KILLED = -9
"""The return code of a program that a memory or output limit ended, for clients that know only the time limit."""


def _make_encodable(text: Any) -> Any:
    """Replace a lone surrogate, which JSON can hold and UTF-8 cannot, by a question mark."""
    if not isinstance(text, str):
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text  # not a copy: a text may take 128 MB


def _replace_null(text: Any) -> Any:
    return "" if text is None else text


Text = Annotated[str, BeforeValidator(_make_encodable)]
NullableText = Annotated[Text, BeforeValidator(_replace_null)]


class Program(BaseModel):
    """The body of a request; the defaults are SandboxFusion's."""

    compile_timeout: float = Field(10.0, strict=True, allow_inf_nan=False)
    """Python has nothing to compile."""
    run_timeout: float = Field(10.0, strict=True, gt=0, allow_inf_nan=False)
    memory_limit_mb: int = Field(DEFAULT_MEMORY, strict=True, alias="memory_limit_MB")
    code: Text
    stdin: NullableText = ""
    language: str
    files: dict[str, str | None] = {}
    fetch_files: list[str] = []


class RunResult(BaseModel):
    """How the program's process ended."""

    status: Literal["Finished", "Error", "TimeLimitExceeded"]
    execution_time: float | None = None
    return_code: int | None = None
    stdout: NullableText = ""
    stderr: NullableText = ""
    stopped: Stopped | None = None


class RunReply(BaseModel):
    """The body of an answer."""

    status: Literal["Success", "Failed", "SandboxError"]
    message: NullableText = ""
    compile_result: RunResult | None = None
    run_result: RunResult | None = None
    executor_pod_name: str | None = None
    files: dict[str, str] = {}


def answer_of(execution: Execution) -> RunReply:
    """Return the protocol's answer for an execution."""
    code = execution.return_code
    if execution.stopped is not None:
        code = None if execution.stopped == "time" else KILLED
    result = RunResult(
        status="TimeLimitExceeded" if execution.stopped == "time" else "Finished",
        execution_time=execution.seconds,
        return_code=code,
        stdout=execution.stdout,
        stderr=execution.stderr,
        stopped=execution.stopped,
    )
    return RunReply(status="Success" if code == 0 else "Failed", run_result=result)


def execution_of(answer: RunReply) -> Execution:
    """Return the execution that an answer holds; raises SandboxError if the answer reports a failed sandbox."""
    result = answer.run_result
    if answer.status == "SandboxError":
        raise SandboxError(answer.message or "no reason given")
    if result is None:
        raise SandboxError(f"{answer.status}, without a run_result")
    stopped = "time" if result.status == "TimeLimitExceeded" else result.stopped
    code = result.return_code
    if code is None:
        code = 0 if answer.status == "Success" else 1
    return Execution(
        stdout=result.stdout,
        stderr=result.stderr,
        return_code=None if stopped else code,
        stopped=stopped,
        seconds=result.execution_time or 0.0,
    )
