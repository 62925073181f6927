"""How the client waits and streams, each knob with its unit and default."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from . import limits
from .errors import InvalidArgument

AckStage = Literal["received", "committed", "searchable"]
Priority = Literal["high", "normal", "low"]


@dataclass(frozen=True)
class Timing:
    """The client's waits, in seconds."""

    connect_s: float = 2.0
    """For a connection."""
    silence_s: float = 5.0
    """A peer that owes an answer and was not heard for so long is taken for dead; without credit six times that."""
    backoff_min_s: float = 0.05
    """The first wait between two attempts; it doubles from there, with jitter down to its half."""
    backoff_max_s: float = 2.0
    """The longest wait between two attempts, unless the server asks for more."""
    deadline_s: float = 30.0
    """For a call that has no deadline of its own, and for opening a session, attempts included."""
    give_up_s: float = 300.0
    """A stream that made no progress for so long, with rows waiting, gives up."""


@dataclass(frozen=True)
class ObserveOptions:
    """How a space's observations are streamed."""

    stage: AckStage = "committed"
    """When a row counts as acked."""
    searchable_nodes: int = 0
    """With "searchable": on so many nodes at least; 0: on the one that takes the stream."""
    priority: Priority = "normal"
    """The admission lane."""
    window_rows: int = 4096
    """Rows kept unacked; over it `observe` waits. The server's credit may ask for less in flight."""
    window_bytes: int = 16 << 20
    """The same in bytes."""
    batch_rows: int = 500
    """Rows of one batch, 1 to 1000."""
    batch_bytes: int = 1 << 20
    """Bytes of one batch, rounded up to a row, at most 8 MiB."""
    linger_s: float = 0.001
    """How long a row may wait for others to share its batch while earlier ones are in flight."""

    def complete(self) -> ObserveOptions:
        """The same with every bound kept. Errors: `InvalidArgument` for a stage or priority that is none."""
        if self.stage not in ("received", "committed", "searchable"):
            raise InvalidArgument(f"stage is {self.stage!r}; use 'received', 'committed' or 'searchable'")
        if self.priority not in ("high", "normal", "low"):
            raise InvalidArgument(f"priority is {self.priority!r}; use 'high', 'normal' or 'low'")
        return replace(
            self,
            window_rows=max(1, self.window_rows),
            window_bytes=max(1, self.window_bytes),
            batch_rows=min(max(1, self.batch_rows), limits.BATCH_ROWS_MAX),
            batch_bytes=min(max(1, self.batch_bytes), limits.MESSAGE_BYTES_MAX // 2),
        )
