"""One exactly-once stream into a space: numbers what is pushed, keeps it until it is acked, and resumes by itself.

`_window` is the machine without I/O, `_link` one live stream, `_driver` the task that keeps the session connected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ._bell import Bell
from ._events import Acked, Event, Resumed, RowRefused, Stopped
from ._pool import Pool
from ._rpc import Metadata
from ._window import Window
from .consistency import ReadToken
from .errors import EngramError, Failure
from .options import ObserveOptions
from .results import Ack
from .v1 import memory_pb2, types_pb2


class Observer:
    """What its owners and its driver share."""

    def __init__(
        self, pool: Pool, options: ObserveOptions, opened: memory_pb2.SessionOpened, metadata: Metadata
    ) -> None:
        self.pool, self.options, self.metadata = pool, options, metadata
        self.session, self.incarnation = opened.session, opened.incarnation
        self.window = Window(options)
        self.window.opened(opened)
        self.work = Bell()
        """Rung for the driver: rows came, or credit."""
        self.moved = Bell()
        """Rung for owners: rows left the window."""
        self.hurry = False
        """Somebody waits for acks or room: half a batch is better than none."""
        self.stopped: Stopped | None = None
        self.resumes = self.overloads = 0
        self.listeners: set[Callable[[Event], None]] = set()
        self._acks: dict[int, asyncio.Future[Ack]] = {}
        self.driver: asyncio.Task[None] | None = None

    async def push(self, observation: types_pb2.Observation) -> int:
        """Takes a row into the window, and waits while that is full. Errors: `Refused`, as the stream has ended and the
        row surely was not taken. Cancelled while it waits: the same."""
        while self.stopped is None and not self.window.has_room():
            self.hurry = True
            self.work.ring()
            await self.moved.wait()
        if self.stopped is not None:
            raise self.stopped.failure.as_refused()
        ticket = self.window.push(observation)
        # In between the driver waits for its linger or for a full batch.
        if self.window.unsent == 1 or self.window.unsent % self.options.batch_rows == 0:
            self.work.ring()
        return ticket

    async def ack_of(self, ticket: int) -> Ack:
        """Waits for the ack of a row that was pushed just now. Errors: `Refused`, `Unknown`."""
        future: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self._acks[ticket] = future
        self.hurry = True
        self.work.ring()
        try:
            return await future
        finally:
            self._acks.pop(ticket, None)

    async def settled(self, through: int) -> None:
        """Waits until every row up to a ticket is acked or refused, or the stream has ended."""
        while self.stopped is None and self.window.settled_through < through:
            self.hurry = True
            self.work.ring()
            await self.moved.wait()

    def tell(self, events: list[Event]) -> None:
        """Passes on what the window or the driver has to say."""
        for event in events:
            if isinstance(event, Acked):
                self.raise_token(event.log_index)
            elif isinstance(event, Resumed):
                self.resumes += 1
            for listener in list(self.listeners):
                listener(event)
            self._answer(event)
        if events:
            self.moved.ring()
            self.work.ring()

    def raise_token(self, log_index: int) -> None:
        self.pool.raise_token(ReadToken(log_index, self.incarnation))

    def _answer(self, event: Event) -> None:
        if isinstance(event, Acked) and event.settled:
            # Whichever is shorter: the rows, or those who wait for one.
            tickets = range(event.first_ticket, event.last_ticket + 1)
            for ticket in [t for t in self._acks if t in tickets] if len(self._acks) < len(tickets) else tickets:
                sequence = event.first_sequence + ticket - event.first_ticket
                self._resolve(ticket, Ack(sequence, event.log_index, event.repeat))
        elif isinstance(event, RowRefused):
            self._resolve(event.ticket, event.failure.as_refused())
        elif isinstance(event, Stopped):
            for ticket in list(self._acks):
                refused = ticket in event.unsent
                self._resolve(ticket, event.failure.as_refused() if refused else event.failure.as_unknown())

    def _resolve(self, ticket: int, outcome: Ack | EngramError) -> None:
        future = self._acks.pop(ticket, None)
        if future is None or future.done():
            return
        if isinstance(outcome, Ack):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)

    def stop(self, failure: Failure) -> None:
        """Ends the stream for good; the first cause counts. None of its rows is sent again: under another session they
        could be written twice."""
        if self.stopped is None:
            unknown, unsent = self.window.outstanding()
            self.stopped = Stopped(failure, unknown, unsent)
            self.tell([self.stopped])

    async def close(self) -> None:
        """What has no ack by now is in doubt."""
        if self.driver is not None:
            self.driver.cancel()
            await asyncio.gather(self.driver, return_exceptions=True)
        self.stop(Failure("the client was closed before the rows were acked"))
