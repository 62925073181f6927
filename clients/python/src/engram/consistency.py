"""How fresh a read must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Union

from . import limits
from .errors import InvalidArgument
from .v1 import types_pb2


@dataclass(frozen=True)
class ReadToken:
    """A point in the log that a later read must not fall behind."""

    log_index: int = 0
    """Highest log index acked or seen; 0: none yet."""
    incarnation: int = 0
    """The cluster's incarnation, which a restore changes; 0: not known, not checked."""

    def raised(self, newer: ReadToken) -> ReadToken:
        """The later of both. Another incarnation's index means nothing here, so the newcomer then replaces it."""
        if newer.incarnation and self.incarnation and newer.incarnation != self.incarnation:
            return newer
        return ReadToken(max(self.log_index, newer.log_index), max(self.incarnation, newer.incarnation))


@dataclass(frozen=True)
class AtLeast:
    """At least a given point, such as the `token` of another client or process."""

    token: ReadToken


@dataclass(frozen=True)
class Bounded:
    """All that was acked to anybody earlier than this before the read began, in milliseconds, at most a day."""

    staleness_ms: int


Consistency = Union[Literal["eventual", "session", "linearizable"], AtLeast, Bounded]
"""`"session"`, the default: all that was acked to this client, and never back in time."""


def wire(consistency: Consistency, session: ReadToken) -> dict[str, Any]:
    """The field of a request that says so. Errors: `InvalidArgument`."""
    if consistency == "eventual":
        return {"eventual": types_pb2.Eventual()}
    if consistency == "linearizable":
        return {"linearizable": types_pb2.Linearizable()}
    if consistency == "session":
        return {"at_least": at_least(session)}
    if isinstance(consistency, AtLeast):
        return {"at_least": at_least(consistency.token)}
    if isinstance(consistency, Bounded):
        if not 0 <= consistency.staleness_ms <= limits.STALENESS_MS_MAX:
            raise InvalidArgument(f"staleness_ms is {consistency.staleness_ms}; 0 to {limits.STALENESS_MS_MAX}")
        return {"bounded": types_pb2.Bounded(staleness_ms=consistency.staleness_ms)}
    raise InvalidArgument(
        f"consistency is {consistency!r}; use 'eventual', 'session', 'linearizable', AtLeast(token) or Bounded(ms)"
    )


def at_least(token: ReadToken) -> types_pb2.AtLeast:
    return types_pb2.AtLeast(log_index=token.log_index, incarnation=token.incarnation)
