"""What a caller hears when something failed, with doubt in the type.

A write raises `Refused` when it surely had no effect and `Unknown` when it may have had one; there is nothing between.
A read raises `ReadError`: nothing is in doubt, and it may be sent again.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .results import Summary


class ErrorKind(enum.IntEnum):
    """What is wrong, and so what to do: the kinds of the protocol."""

    UNSPECIFIED = 0
    INVALID = 1
    NOT_LEADER = 2
    OVERLOADED = 3
    SESSION_LOST = 4
    IN_DOUBT = 5
    POISONED = 6
    NOT_FOUND = 7
    EXISTS = 8
    SUPERSEDED = 9
    BEHIND = 10
    QUARANTINED = 11
    BELOW_FLOOR = 12
    UNSUPPORTED = 13


class EngramError(Exception):
    """Base of all errors of this package. Its text says what, where and what to do."""

    def __init__(self, message: str, kind: ErrorKind = ErrorKind.UNSPECIFIED, *, retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.retry_after_ms = retry_after_ms
        """How long the server asks to wait before the next attempt; 0: it did not say."""
        self.summary: Summary | None = None
        """After a failed `observe_many`: what became of each row."""


class Refused(EngramError):
    """It surely had no effect. After `observe_many` this holds for the rows that `summary` calls refused or unsent."""


class InvalidArgument(Refused, ValueError):
    """The input is wrong; correct it. Nothing of it was taken."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ErrorKind.INVALID)


class Unknown(EngramError):
    """It may or may not have had its effect, and was not sent again. Look before you repeat it."""


class ReadError(EngramError):
    """A read had no answer. Reads have no effect: ask again, later or with a longer deadline."""


# Whether another node, or the same one later, may answer better.
_PASSING = {
    ErrorKind.UNSPECIFIED,
    ErrorKind.NOT_LEADER,
    ErrorKind.OVERLOADED,
    ErrorKind.IN_DOUBT,
    ErrorKind.POISONED,
    ErrorKind.BEHIND,
    ErrorKind.QUARANTINED,
}


class Failure(Exception):
    """One attempt that failed, inside the package: the protocol's ErrorDetail and what is known of the connection."""

    def __init__(
        self,
        message: str,
        kind: ErrorKind = ErrorKind.IN_DOUBT,
        *,
        rejected: bool = False,
        retry_after_ms: int = 0,
        leader_address: str = "",
        last_sequence: int | None = None,
        undialled: bool = False,
        broken: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.rejected = rejected
        """The server's word that this attempt surely had no effect."""
        self.retry_after_ms = retry_after_ms
        self.leader_address = leader_address
        self.last_sequence = last_sequence
        """With SESSION_LOST: the last sequence that was committed, if it is still known."""
        self.undialled = undialled
        """The request surely never left: there was no connection."""
        self.broken = broken
        """No server said this, so the connection is suspect."""

    @property
    def worth_another_try(self) -> bool:
        return self.kind in _PASSING

    def as_read_error(self) -> EngramError:
        if self.kind == ErrorKind.INVALID:
            return InvalidArgument(self.message)
        return ReadError(self.message, self.kind, retry_after_ms=self.retry_after_ms)

    def as_refused(self) -> Refused:
        if self.kind == ErrorKind.INVALID:
            return InvalidArgument(self.message)
        return Refused(self.message, self.kind, retry_after_ms=self.retry_after_ms)

    def as_unknown(self) -> Unknown:
        return Unknown(self.message, self.kind, retry_after_ms=self.retry_after_ms)
