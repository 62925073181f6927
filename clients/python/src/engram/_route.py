"""Where to go next: the leader hint, or the endpoints in turn, with jittered exponential back-off.

A pinned route knows one address and follows nothing.
"""

from __future__ import annotations

from ._pool import Lane, Pool
from .errors import ErrorKind, Failure

# Hints followed in a row; then the endpoints are tried in turn again.
_HINTS_IN_A_ROW_MAX = 3
# The longest wait that a server's retry_after_ms may ask for.
RETRY_AFTER_MAX_S = 60.0


class Route:
    """The attempts of one operation. Writes prefer the leader, reads spread over the endpoints."""

    def __init__(self, pool: Pool, pin: str | None, *, write: bool) -> None:
        self._pool, self._pin = pool, pin
        number, count = pool.operation(), len(pool.endpoints)
        self._cursor = pool.random.randrange(count) if write else number % count
        self._hint = pool.leader if write else None
        self._hints_in_a_row = 0
        self._failures = 0
        self.last = ""

    def next(self) -> Lane:
        """The connection to try now."""
        hint, self._hint = self._hint, None
        if self._pin is not None:
            self.last = self._pin
        elif hint is not None:
            self._hints_in_a_row += 1
            self.last = hint
        else:
            self._hints_in_a_row = 0
            self._cursor = (self._cursor + 1) % len(self._pool.endpoints)
            self.last = self._pool.endpoints[self._cursor]
        return self._pool.lane(self.last)

    def prefer(self, leader_address: str) -> None:
        """A hint that came with good news: where to go if this connection breaks."""
        hint = self._pool.hint(leader_address)
        if hint != self.last:
            self._hint = hint

    def progressed(self) -> None:
        """The next failure counts as the first one."""
        self._failures = self._hints_in_a_row = 0

    def failed(self, failure: Failure) -> float:
        """Takes note of a failure; the answer is how many seconds to wait before the next attempt."""
        self._pool.forget(self.last)
        at_once = False
        hint = self._pool.hint(failure.leader_address)
        if hint is not None and hint != self.last and self._hints_in_a_row < _HINTS_IN_A_ROW_MAX:
            at_once = self._failures == 0 and failure.kind == ErrorKind.NOT_LEADER
            self._hint = hint
        timing = self._pool.timing
        doubled = min(timing.backoff_min_s * 2.0 ** min(self._failures, 16), timing.backoff_max_s)
        backoff = doubled * self._pool.random.uniform(0.5, 1.0)
        self._failures += 1
        asked = min(failure.retry_after_ms / 1000, RETRY_AFTER_MAX_S)
        return asked if at_once and self._pin is None else max(backoff, asked)
