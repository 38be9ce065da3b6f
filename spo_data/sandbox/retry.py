"""Try again if a sandbox fails, locally or remotely: most failures clear within 30 s.

    await retry(once, "http://sandbox:8080", attempts=5, wait=WAIT)      # `once` raises PassingError to be tried again

The outcome is either the program's result or a SandboxError with the reason and the number of attempts.
"""

from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_base, wait_exponential, wait_random

from spo_data.sandbox.interpreter import Execution, SandboxError

ATTEMPTS = 5
WAIT = wait_exponential(multiplier=2, max=16) + wait_random(0, 1)
"""2, 4, 8 and 16 seconds, each plus up to one second: about half a minute in all."""
LONGEST_WAIT = 60.0
"""The most seconds that we wait if a server asks us to wait longer than `WAIT` does."""


class PassingError(Exception):
    """A failure that the next attempt may not meet."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait
        """The seconds that a server asks us to wait."""


async def retry(once: Callable[[], Awaitable[Execution]], name: str, *, attempts: int, wait: wait_base) -> Execution:
    """Call `once` up to `attempts` times, until it returns; raises SandboxError after the last attempt."""

    def choose_wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, PassingError) else None
        return max(wait(state), min(asked or 0.0, LONGEST_WAIT))

    async def attempt() -> Execution:
        return await once()

    tries = AsyncRetrying(
        retry=retry_if_exception_type(PassingError), wait=choose_wait, stop=stop_after_attempt(attempts), reraise=True
    )
    try:
        return await tries(attempt)
    except PassingError as error:
        times = f"{attempts} attempts" if attempts != 1 else "1 attempt"
        raise SandboxError(f"{name}: {error} ({times})") from error
