"""One `observe_many`: pushes rows, counts what becomes of them, and tells it at the end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Protocol, TypeVar

from ._call import now, until
from ._events import Acked, Event, Lost, RowRefused, Stopped
from ._observer import Observer
from .errors import EngramError, InvalidArgument, Refused, Unknown
from .results import Ack, RefusedRow, Summary
from .v1 import types_pb2

# Refused rows that are told one by one; more of them end the load.
REFUSED_MAX = 1000
T = TypeVar("T")
Chunk = list[types_pb2.Observation]


class Progress(Protocol):
    """What shows how far a load is; tqdm's bars are such."""

    def update(self, n: int) -> Any: ...
    def close(self) -> Any: ...


class Late(EngramError):
    """The deadline has passed; inside the package."""


class Load:
    """Rows of one load have ascending tickets, though not consecutive ones where others use the stream too."""

    def __init__(self, observer: Observer, deadline_s: float | None, progress: Progress | None) -> None:
        self._observer, self._progress = observer, progress
        self._end = None if deadline_s is None else until(deadline_s)
        self._places: dict[int, int] = {}
        """Of each row that has no outcome yet: its place in the load, by ticket. As bounded as the window."""
        self._rows = self._acked = self._lost = 0
        self._refused: list[RefusedRow] = []
        self._unknown: list[int] = []
        self._unsent: list[int] = []
        self._resumes = observer.resumes

    async def push_one(self, observation: types_pb2.Observation) -> Ack:
        """One row and its ack. Errors: `Refused`, `Unknown`."""
        try:
            ticket = await self._within(self._observer.push(observation))
        except Late:
            raise Refused("the deadline has passed before there was room; the observation was not sent") from None
        try:
            return await self._within(self._observer.ack_of(ticket))
        except Late:
            raise Unknown("the deadline has passed before the ack; the observation is on its way yet") from None

    async def run(self, source: Iterator[Chunk] | AsyncIterator[Chunk]) -> Summary:
        """All of it. Errors: as `finish`, and whatever the source raises, once the rows before it are settled."""
        try:
            if isinstance(source, AsyncIterator):
                async for chunk in source:
                    await self.push(chunk)
            else:
                for chunk in source:
                    await self.push(chunk)
        except Exception as error:
            return await self.finish(error)
        except BaseException:
            self.close()
            raise
        return await self.finish(None)

    async def push(self, chunk: Chunk) -> None:
        """Waits while the window is full. Errors: `Refused` when the stream has ended, `Late`; then `finish` with it."""
        await self._within(self._push(chunk))
        # A source that never waits shall not keep the stream from its work.
        await asyncio.sleep(0)

    async def _push(self, chunk: Chunk) -> None:
        self._observer.listeners.add(self._hear)
        for observation in chunk:
            if len(self._refused) >= REFUSED_MAX:
                raise self._refused[0].error
            ticket = await self._observer.push(observation)
            self._places[ticket] = self._rows
            self._rows += 1

    async def finish(self, error: Exception | None) -> Summary:
        """Waits until each row that was pushed is acked or refused. `error` is what ended the pushing early, if it did.
        Errors: that; `Refused`, `Unknown`; each with the summary."""
        try:
            if self._places and not isinstance(error, Late):
                await self._within(self._observer.settled(max(self._places)))
        except Late as late:
            error = late
        finally:
            self.close()
        self._unknown.extend(self._places.values())
        summary = self.summary()
        if error is not None and not isinstance(error, EngramError):
            raise error
        raised = self._verdict(summary, error)
        if raised is None:
            return summary
        raised.summary = summary
        raise raised

    def close(self) -> None:
        self._observer.listeners.discard(self._hear)
        if self._progress is not None:
            self._progress.close()

    def summary(self) -> Summary:
        return Summary(
            rows=self._rows,
            acked=self._acked,
            lost=self._lost,
            refused=tuple(self._refused),
            unknown=tuple(self._unknown),
            unsent=tuple(self._unsent),
            resumes=self._observer.resumes - self._resumes,
            token=self._observer.pool.token,
        )

    async def _within(self, work: Coroutine[Any, Any, T]) -> T:
        if self._end is None:
            return await work
        try:
            return await asyncio.wait_for(work, max(0.0, self._end - now()))
        except asyncio.TimeoutError:
            raise Late("the deadline has passed") from None

    def _verdict(self, summary: Summary, error: EngramError | None) -> EngramError | None:
        stopped = self._observer.stopped
        if summary.unknown:
            why = stopped.failure.message if stopped is not None else "the deadline has passed; they are on their way yet"
            unknown = Unknown(f"{len(summary.unknown)} rows, from row {summary.unknown[0]} on: {why}")
            if stopped is not None:
                unknown.kind = stopped.failure.kind
            return unknown
        if isinstance(error, Late):
            return Refused(f"the deadline has passed; the rows from row {summary.rows} on were not sent")
        if error is not None:
            return error
        if summary.unsent and stopped is not None:
            return stopped.failure.as_refused()
        if summary.refused:
            first = summary.refused[0]
            text = f"{len(summary.refused)} of {summary.rows} rows were refused, first row {first.index}: {first.error}"
            return Refused(text, first.error.kind)
        return None

    def _hear(self, event: Event) -> None:
        if isinstance(event, Acked) and event.settled:
            tickets = range(event.first_ticket, event.last_ticket + 1)
            mine = sum(1 for ticket in tickets if self._places.pop(ticket, None) is not None)
            self._acked += mine
            if self._progress is not None and mine > 0:
                self._progress.update(mine)
        elif isinstance(event, RowRefused):
            place = self._places.pop(event.ticket, None)
            if place is not None:
                self._refused.append(RefusedRow(place, event.failure.as_refused()))
        elif isinstance(event, Lost):
            self._lost += event.last_sequence - event.first_sequence + 1
        elif isinstance(event, Stopped):
            for ticket, place in self._places.items():
                (self._unsent if ticket in event.unsent else self._unknown).append(place)
            self._places.clear()


def progress_bar(wanted: bool | None, total: int | None) -> Progress | None:
    """A bar of tqdm's. Wanted: yes, no, or, with `None`, where it is installed and stderr is a terminal."""
    if wanted is False or (wanted is None and not sys.stderr.isatty()):
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        if wanted:
            raise InvalidArgument("progress=True needs tqdm: pip install 'engram-client[progress]'") from None
        return None
    bar: Progress = tqdm(total=total, unit="row", desc="observe")
    return bar
