"""A sandbox that fails is tried again, here and there alike: what is in the way has often passed half a minute later.

    await retry(once, "http://sandbox:8080", attempts=5, wait=WAIT)      # `once` raises PassingError for that

In the end there is either what the program did or a SandboxError that says why and after how many attempts.
"""

from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_base, wait_exponential, wait_random

from spo_data.sandbox.interpreter import Execution, SandboxError

ATTEMPTS = 5
WAIT = wait_exponential(multiplier=2, max=16) + wait_random(0, 1)
"""2, 4, 8 and 16 seconds, and up to one more each: half a minute."""
LONGEST_WAIT = 60.0
"""What is granted to a server that says how long to wait."""


class PassingError(Exception):
    """What may be over at the next attempt."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait
        """Seconds that a server asks for."""


async def retry(once: Callable[[], Awaitable[Execution]], name: str, *, attempts: int, wait: wait_base) -> Execution:
    """What `once` returns, at the first of some attempts that does; raises SandboxError after the last one."""

    def waiting(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, PassingError) else None
        return max(wait(state), min(asked or 0.0, LONGEST_WAIT))

    async def attempt() -> Execution:
        return await once()

    tries = AsyncRetrying(
        retry=retry_if_exception_type(PassingError), wait=waiting, stop=stop_after_attempt(attempts), reraise=True
    )
    try:
        return await tries(attempt)
    except PassingError as error:
        times = f"{attempts} attempts" if attempts != 1 else "1 attempt"
        raise SandboxError(f"{name}: {error} ({times})") from error
