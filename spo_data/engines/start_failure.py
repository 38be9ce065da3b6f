"""Why vLLM did not start, in one line with the fix; the traceback goes to the engine's log.

    except Exception as error:
        raise find_start_failure(error, log, offset) from error

Most settings are refused in this process, before another one starts: then the exception says why. If a process of
vLLM's fails, the exception here says only that one did, and the cause is the last error in the log.
"""

import os
import re
import traceback
from pathlib import Path
from typing import Any

from spo_data.engines.protocol import EngineError
from spo_data.engines.vllm_log import last_error
from spo_data.errors import SpoError, UserError, first_line
from spo_data.text import excerpt

_ELSEWHERE = ("Engine core initialization failed", "DP Coordinator process failed")
"""What vLLM raises here if one of its processes failed."""
_REFUSALS = (ValueError, TypeError, AssertionError, NotImplementedError)
"""What vLLM raises in this process for a configuration that it refuses; pydantic's errors are ValueErrors."""
_LONGEST = 300
"""Characters of a cause: vLLM lists all architectures that it knows."""
_PREFIX = re.compile(r"^(?:Value error|Assertion failed),(?: |$)")
_EXIT_CODE = re.compile(r"'(?P<name>[^']+)': (?P<code>-?\d+)")
_OUT_OF_MEMORY, _ILLEGAL_INSTRUCTION = -9, -4
"""Exit codes of a process that a signal ended."""
_ADVICE = (
    (r"ipc path .* is longer than", "set TMPDIR to a folder whose path has fewer than 70 characters"),
    (r"max_model_len \(\d+\) is greater than", "lower --max-model-len"),
    (r"attention heads .* must be divisible by tensor parallel", "choose another --tensor-parallel-size"),
    (
        r"not implemented for '(?:Half|BFloat16)'|could not create a primitive|[Ii]llegal instruction",
        "this CPU lacks instructions for that type: use --dtype float32",
    ),
    (r"No module named|cannot import name", "install the missing package into this environment"),
)
_RAY = re.compile(r"Ray (?:instance|cluster)|\bGCS\b|ray\.init|ConnectionError")


def find_start_failure(error: Exception, log: Path, offset: int) -> SpoError:
    """Return the error to raise for what vLLM raised at its start, and append its traceback to the log.

    It is a UserError if this process refused the configuration, an EngineError otherwise. Lines before `offset` in the
    log are of an earlier engine.
    """
    said = last_error(log, offset)
    with log.open("a", errors="replace") as file:
        file.write("".join(traceback.format_exception(error)))
    traceback.clear_frames(error.__traceback__)  # they hold sockets, for which zmq would wait when its context ends
    if isinstance(error, _REFUSALS):
        return UserError(f"vLLM refuses its configuration: {_advise(describe(error))} (full log: {log})")
    if any(phrase in str(error) for phrase in _ELSEWHERE):
        cause = said or _describe_exit(str(error))
    else:
        cause = f"{type(error).__name__}: {describe(error)}"
    return EngineError(f"vLLM does not start: {_advise(cause)} (full log: {log})")


def describe(error: Exception) -> str:
    """Return the first meaningful line of an exception of vLLM's: of pydantic's, what the first failed check says."""
    errors: Any = getattr(error, "errors", None)
    if not callable(errors):
        return excerpt(first_line(error), _LONGEST)
    first = errors()[0]
    said = _PREFIX.sub("", str(first["msg"]).strip()).strip()
    said = said.splitlines()[0] if said else "an assertion without a message failed"
    where = ".".join(map(str, first["loc"]))
    return excerpt(f"{where}: {said}" if where else said, _LONGEST)


def _advise(cause: str) -> str:
    address = os.environ.get("RAY_ADDRESS")
    if address and _RAY.search(cause):
        return f"{cause}; RAY_ADDRESS is {address}: unset it, or name a cluster that runs"
    return next((f"{cause}; {advice}" for found, advice in _ADVICE if re.search(found, cause)), cause)


def _describe_exit(said: str) -> str:
    """Return how the first process that failed ended, if it wrote nothing."""
    failed = _EXIT_CODE.search(said)
    if failed is None:
        return "an engine process ended without an error message"
    name, code = failed["name"], int(failed["code"])
    if code == _OUT_OF_MEMORY:
        return f"{name} was killed, as when the machine's memory runs out"
    if code == _ILLEGAL_INSTRUCTION:
        return f"{name} ended with an illegal instruction"
    return f"{name} ended without an error message (exit status {code})"
