"""The rows that are pushed and not acked yet, as a machine without I/O: numbering, credit, acks, refusals, resumes.

A row's number is its place: the front of the window is `acked + 1`. Dropping a refused row therefore moves the later
ones up, which is what the server expects: it took none of them.

Invariants: `once_per_sequence` (a number goes to another observation only after a refusal that names it as the expected
one, so that nothing at or after it was taken); `one_attempt_pending` (a row is sent again on the same stream only after
its earlier attempt was refused); `window_bounded`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice

from ._events import Acked, Event, Lost, RowRefused
from ._route import RETRY_AFTER_MAX_S
from ._rpc import failure_of_detail
from .errors import ErrorKind, Failure
from .options import ObserveOptions
from .v1 import memory_pb2, types_pb2

STAGES = {
    "received": memory_pb2.ACK_STAGE_RECEIVED,
    "committed": memory_pb2.ACK_STAGE_COMMITTED,
    "searchable": memory_pb2.ACK_STAGE_SEARCHABLE,
}


class Broken(Exception):
    """Drop the connection and resume: the server then says what it has."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class Superseded(Broken):
    """Another connection has the session now."""


class Over(Broken):
    """The session is over."""


@dataclass
class Slot:
    """A row in the window. Its ticket is the count of what was pushed, from 1."""

    ticket: int
    size: int
    observation: types_pb2.Observation


class Window:
    """See the module."""

    def __init__(self, options: ObserveOptions) -> None:
        self._options = options
        self._stage = STAGES[options.stage]
        self._rows: deque[Slot] = deque()
        self._bytes = 0
        self.acked = 0
        """The front row's sequence, less one."""
        self._sent = 0
        """So many rows from the front are in flight on this stream, with so many bytes."""
        self._sent_bytes = 0
        self._sent_ticket = 0
        """Highest ticket that was ever in flight: what is above surely was not taken."""
        self.last_ticket = 0
        self._credit_rows, self._credit_bytes = options.window_rows, options.window_bytes
        self._pace_rows = options.window_rows
        self.paused = False

    def has_room(self) -> bool:
        """Room for one more row; an empty window takes a row of any size."""
        if not self._rows:
            return True
        return len(self._rows) < self._options.window_rows and self._bytes < self._options.window_bytes

    def push(self, observation: types_pb2.Observation) -> int:
        """Takes a row and gives it its ticket. The caller has seen `has_room`."""
        self.last_ticket += 1
        size = observation.ByteSize()
        self._bytes += size
        self._rows.append(Slot(self.last_ticket, size, observation))
        return self.last_ticket

    @property
    def settled_through(self) -> int:
        """The highest ticket up to which everything is acked or refused."""
        return self._rows[0].ticket - 1 if self._rows else self.last_ticket

    @property
    def in_flight(self) -> int:
        return self._sent

    @property
    def unsent(self) -> int:
        return len(self._rows) - self._sent

    def __len__(self) -> int:
        return len(self._rows)

    def next_batch(self) -> memory_pb2.ObserveBatch | None:
        """The next rows to send: as many as batch, credit and pace allow. Under any credit but none, one row may go."""
        if self.paused or self._credit_rows == 0:
            return None
        first, size = self._sent, 0
        rows_max = min(self._credit_rows, self._pace_rows)
        bytes_max = min(self._credit_bytes, self._options.window_bytes)
        observations: list[types_pb2.Observation] = []
        for slot in islice(self._rows, first, None):
            full = len(observations) >= self._options.batch_rows or size + slot.size > self._options.batch_bytes
            over = self._sent >= rows_max or self._sent_bytes + slot.size > bytes_max
            if (observations and full) or (self._sent > 0 and over):
                break
            size += slot.size
            self._sent_bytes += slot.size
            self._sent_ticket = max(self._sent_ticket, slot.ticket)
            self._sent += 1
            observations.append(slot.observation)
        if not observations:
            return None
        return memory_pb2.ObserveBatch(first_sequence=self.acked + 1 + first, observations=observations)

    def opened(self, opened: memory_pb2.SessionOpened) -> list[Event]:
        """A stream was opened or resumed: its `last_sequence` is the truth about everything sent before."""
        self._sent = self._sent_bytes = 0
        self.paused, self._pace_rows = False, self._options.window_rows
        if opened.HasField("credit"):
            self._credit_rows, self._credit_bytes = opened.credit.credit_rows, opened.credit.credit_bytes
        last = opened.last_sequence
        if last > self.acked + self._ever_sent():
            text = f"session {opened.session} stands at {last}, which this client never sent; another one writes to it"
            raise Over(Failure(text))
        if last >= self.acked:
            return self._settle(last, opened.last_log_index, memory_pb2.ACK_STAGE_COMMITTED, True)
        first, through = last + 1, self.acked
        if self._stage != memory_pb2.ACK_STAGE_RECEIVED:
            raise Over(Failure(f"rows {first} to {through} were acked as committed and are gone; call the operator"))
        self.acked = last
        return [Lost(first, through)]

    def ack(self, ack: memory_pb2.Ack) -> list[Event]:
        """The server acked rows that are in flight; anything else breaks the stream."""
        first, last, sent_through = ack.first_sequence, ack.last_sequence, self.acked + self._sent
        if first > last or last > sent_through:
            raise Broken(Failure(f"an ack for {first} to {last}, but only {sent_through} was sent; resuming"))
        if ack.stage < self._stage:
            return self._acked_events(max(first, self.acked + 1), last, ack.log_index, ack.stage, ack.repeat)
        if first > self.acked + 1:
            raise Broken(Failure(f"an ack for {first}, but {self.acked + 1} has none; resuming"))
        return self._settle(last, ack.log_index, ack.stage, ack.repeat)

    def refused(self, refused: memory_pb2.Refused) -> RowRefused | float | None:
        """The server refused a row; it drops what follows until the expected number comes again. The answer is what to
        tell, or how many seconds to wait."""
        failure = failure_of_detail(refused.error)
        sequence, expected = refused.sequence, refused.expected
        _raise_unless_of_one_row(failure, unknown=getattr(refused.error, "class") == types_pb2.WRITE_CLASS_UNKNOWN)
        if sequence > expected:
            # A row after a refused one, which was told before: it goes again with that one.
            return None
        if sequence < expected:
            text = f"{sequence} is in the session with another payload ({failure}); another one writes to it"
            raise Over(Failure(text))
        wait_s = min(max(1, failure.retry_after_ms) / 1000, RETRY_AFTER_MAX_S)
        invalid = failure.kind == ErrorKind.INVALID
        if not invalid:
            self._slow_down()
        place = expected - (self.acked + 1)
        if not 0 <= place < self._sent:
            if not invalid:
                return wait_s
            raise Broken(Failure(f"a refusal of {sequence}, which is not in flight ({failure}); resuming"))
        self._rewind(place)
        if not invalid:
            return wait_s
        slot = self._rows[place]
        del self._rows[place]
        self._bytes -= slot.size
        return RowRefused(slot.ticket, sequence, failure)

    def flow(self, flow: memory_pb2.FlowControl) -> None:
        """Credit is a limit on what is in flight, not an increment. Unknown kinds are ignored."""
        if flow.kind == memory_pb2.FLOW_KIND_CREDIT or flow.credit_rows > 0:
            self._credit_rows, self._credit_bytes = flow.credit_rows, flow.credit_bytes
        if flow.kind == memory_pb2.FLOW_KIND_PAUSE:
            self.paused = True
        elif flow.kind == memory_pb2.FLOW_KIND_RESUME:
            self.paused = False
        elif flow.kind == memory_pb2.FLOW_KIND_SLOWER:
            self._slow_down()
        elif flow.kind == memory_pb2.FLOW_KIND_FASTER:
            self._pace_rows = min(self._pace_rows * 2, self._options.window_rows)

    def lost(self, last_sequence: int | None) -> list[Event]:
        """The session is over, and stood at `last_sequence` if that is known: then nothing after it was taken."""
        if last_sequence is None:
            return []
        events = self._settle(
            min(last_sequence, self.acked + self._ever_sent()), 0, memory_pb2.ACK_STAGE_COMMITTED, True
        )
        self._sent_ticket = self.settled_through
        return events

    def outstanding(self) -> tuple[range, range]:
        """Tickets without an ack: those in doubt, and those that were surely not taken."""
        ever_sent, first = self._ever_sent(), self.settled_through + 1
        split = self._rows[ever_sent].ticket if ever_sent < len(self._rows) else self.last_ticket + 1
        return range(first, split), range(split, self.last_ticket + 1)

    def _ever_sent(self) -> int:
        """Rows at the front that were in flight at some time."""
        count = 0
        for slot in self._rows:
            if slot.ticket > self._sent_ticket:
                break
            count += 1
        return count

    def _settle(self, last: int, log_index: int, stage: int, repeat: bool) -> list[Event]:
        """Takes the rows through `last` out; the caller has checked that they are there."""
        if last <= self.acked:
            return []
        events = self._acked_events(self.acked + 1, last, log_index, stage, repeat)
        for _ in range(last - self.acked):
            slot = self._rows.popleft()
            self._bytes -= slot.size
            if self._sent > 0:
                self._sent -= 1
                self._sent_bytes -= slot.size
        # A pace that was halved recovers even if the server never says "faster".
        self._pace_rows = min(self._pace_rows + last - self.acked, self._options.window_rows)
        self.acked = last
        return events

    def _acked_events(self, first: int, last: int, log_index: int, stage: int, repeat: bool) -> list[Event]:
        """One event for each run of tickets without a hole."""
        events: list[Event] = []
        settled = stage >= self._stage
        run: Acked | None = None
        for sequence, slot in zip(
            range(first, last + 1), islice(self._rows, first - self.acked - 1, last - self.acked)
        ):
            if run is not None and run.last_ticket + 1 == slot.ticket:
                run.last_ticket, run.last_sequence = slot.ticket, sequence
                continue
            run = Acked(slot.ticket, slot.ticket, sequence, sequence, log_index, repeat, settled, stage)
            events.append(run)
        return events

    def _slow_down(self) -> None:
        """Half of what is in flight now."""
        self._pace_rows = max(1, min(self._pace_rows, self._sent) // 2)

    def _rewind(self, place: int) -> None:
        """The rows from `place` on are to be sent again."""
        self._sent_bytes -= sum(slot.size for slot in islice(self._rows, place, self._sent))
        self._sent = place


def _raise_unless_of_one_row(failure: Failure, *, unknown: bool) -> None:
    """Only these leave the stream as it is."""
    if failure.kind == ErrorKind.SUPERSEDED:
        raise Superseded(failure)
    if failure.kind in (ErrorKind.SESSION_LOST, ErrorKind.NOT_FOUND, ErrorKind.UNSUPPORTED):
        raise Over(failure)
    if failure.kind not in (ErrorKind.INVALID, ErrorKind.OVERLOADED) or unknown:
        raise Broken(failure)
