"""One live stream of a session: acks in, batches out, and the watch over silence."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

import grpc.aio

from ._call import now
from ._events import RowRefused
from ._pool import Lane
from ._rpc import (
    OBSERVE_STREAM,
    Ending,
    Metadata,
    both_streams,
    failure_of_detail,
    failure_of_status,
    next_message,
)
from ._window import Broken, Over, Superseded
from .errors import ErrorKind, Failure
from .v1 import memory_pb2

if TYPE_CHECKING:
    from ._observer import Observer

# A stream that may not send (paused, no credit), or hears no more than hints, is silent after so many times the usual.
_PATIENCE = 6
# A timer that rings so late tells of a loop that stood still, not of a silent peer.
_LATE_S = 1.0


class Link:
    """A stream that is open. Whoever has it calls `run`, and `close` in any case."""

    def __init__(
        self,
        lane: Lane,
        call: grpc.aio.StreamStreamCall[Any, Any],
        ending: Ending,
        opened: memory_pb2.SessionOpened,
    ) -> None:
        lane.hold()
        self.lane, self.opened = lane, opened
        self._call, self._ending = call, ending
        self.progressed = False
        """Whether any row was acked or refused here."""
        self._heard = self._moved = now()
        self._hold_until = 0.0

    @staticmethod
    async def open(lane: Lane, first: memory_pb2.ObserveRequest, metadata: Metadata) -> Link:
        """Sends the first message and waits for `SessionOpened`. Bring your own time-out. Errors: `Failure`, gRPC's."""
        call = both_streams(lane.channel, OBSERVE_STREAM, metadata)
        ending = Ending(call)
        try:
            await call.write(first)
            response = await next_message(call)
        except asyncio.InvalidStateError:
            # The call was over before the first message was out: its status says why.
            response = await next_message(call)
        except grpc.aio.AioRpcError as error:
            raise await ending.status(error) from None
        except BaseException:
            call.cancel()
            raise
        which = None if response is None else response.WhichOneof("message")
        if which == "opened":
            return Link(lane, call, ending, response.opened)
        call.cancel()
        if which == "refused":
            raise failure_of_detail(response.refused.error)
        raise Failure(f"{lane.address} did not open the session", broken=True)

    async def run(self, observer: Observer) -> NoReturn:
        """Works until the stream can't go on. Errors: `Broken`, `Superseded`, `Over`."""
        tasks = [asyncio.create_task(work(observer)) for work in (self._receive, self._send, self._watch)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            fault = next(error for error in (task.exception() for task in tasks if task.done()) if error is not None)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        raise fault

    async def close(self) -> None:
        self._call.cancel()
        await self.lane.release()

    async def _receive(self, observer: Observer) -> NoReturn:
        while True:
            try:
                response = await next_message(self._call)
            except grpc.aio.AioRpcError as error:
                told = await self._ending.status(error)
                raise fault_of(failure_of_status(told, self.lane.address)) from None
            if response is None:
                raise Broken(Failure(f"{self.lane.address} closed the stream; resuming"))
            self._heard = max(self._heard, now())
            self._take(response, observer)

    def _take(self, response: memory_pb2.ObserveResponse, observer: Observer) -> None:
        which = response.WhichOneof("message")
        if which == "opened":
            raise Broken(Failure(f"{self.lane.address} opened the session twice; resuming"))
        if which == "flow":
            observer.window.flow(response.flow)
            observer.work.ring()
        elif which == "ack":
            events = observer.window.ack(response.ack)
            if events:
                self.progressed, self._moved = True, now()
            observer.tell(events)
            # Also of rows that are acked at a lower stage than the one asked for.
            if response.ack.stage >= memory_pb2.ACK_STAGE_COMMITTED:
                observer.raise_token(response.ack.log_index)
        elif which == "refused":
            told = observer.window.refused(response.refused)
            if isinstance(told, RowRefused):
                self.progressed, self._moved = True, now()
                observer.tell([told])
            elif told is not None:
                observer.overloads += 1
                self._hold_until = self._heard = self._moved = now() + told
                observer.work.ring()

    async def _send(self, observer: Observer) -> None:
        """Sends what is due; ends when the stream takes no more, for the receiver to say why."""
        window, options = observer.window, observer.options
        unsent_since: float | None = None
        while True:
            time = now()
            if time < self._hold_until:
                await asyncio.sleep(self._hold_until - time)
                continue
            if window.unsent == 0:
                observer.hurry = False
                unsent_since = None
                await observer.work.wait()
                continue
            if unsent_since is None:
                unsent_since = time
            due_at = unsent_since + options.linger_s
            enough = window.unsent >= options.batch_rows or window.in_flight == 0
            if not (enough or observer.hurry or due_at <= time):
                await observer.work.wait(due_at - time)
                continue
            batch = window.next_batch()
            if batch is None:
                await observer.work.wait()
                continue
            unsent_since = None
            try:
                await self._call.write(memory_pb2.ObserveRequest(batch=batch))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return

    async def _watch(self, observer: Observer) -> NoReturn:
        """Takes a stream that owes an answer and says nothing for dead."""
        silence_s = observer.pool.timing.silence_s
        window = observer.window
        while True:
            if len(window) == 0:
                await observer.work.wait()
                # Silence before there was anything to say means nothing.
                self._heard, self._moved = max(self._heard, now()), max(self._moved, now())
                continue
            moving = window.in_flight > 0 and not window.paused
            silent_at = self._heard + _PATIENCE * silence_s
            if moving:
                silent_at = min(self._heard + silence_s, self._moved + _PATIENCE * silence_s)
            wait_s = silent_at - now()
            if wait_s <= 0:
                text = f"{self.lane.address}: nothing came for {silence_s:g} s while rows wait; resuming"
                raise Broken(Failure(text, broken=True))
            await asyncio.sleep(wait_s)
            if now() > silent_at + _LATE_S:
                self._heard = self._moved = now()


def fault_of(failure: Failure) -> Broken:
    """What an error that ends a stream means for the session."""
    if failure.kind == ErrorKind.SUPERSEDED:
        return Superseded(failure)
    return Broken(failure) if failure.worth_another_try else Over(failure)
