"""Following a space from any node, over the loss of nodes: each row once, in log order."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc.aio

from ._call import read_call, silent
from ._pool import Lane, Pool
from ._rpc import COUNT, WATCH, Metadata, failure_of_status, next_message, server_stream, unary
from .consistency import at_least
from .errors import ErrorKind, Failure
from .results import Change, Row
from .v1 import rows_pb2, types_pb2

# A server breaks its silence every 10 s.
_SERVER_SILENCE_MAX_S = 15.0


class Watcher:
    """A watch that is under way; an asynchronous iterator of `Change`."""

    def __init__(
        self,
        pool: Pool,
        pin: str | None,
        space: str,
        after_log_index: int | None,
        where: types_pb2.Filter | None,
        with_embedding: bool,
        patience_s: float,
        metadata: Metadata,
    ) -> None:
        self._pool, self._pin, self._space = pool, pin, space
        self._after_log_index, self._where, self._with_embedding = after_log_index, where, with_embedding
        self._patience_s, self._metadata = patience_s, metadata
        self._lane: Lane | None = None
        self._call: grpc.aio.UnaryStreamCall[Any, Any] | None = None
        self._reading: asyncio.Future[Any] | None = None
        self._next_row = 0
        """The row after the last that was given: rows before it are repeats."""

    async def connect(self) -> None:
        """Errors: a `Failure`, once patience is at its end."""

        async def attempt(lane: Lane, budget_s: float) -> None:
            if self._after_log_index is None:
                # "From now on" is fixed once: it must not move on with a node that is lost before it has said anything.
                token = at_least(self._pool.token)
                request = rows_pb2.CountRequest(space=self._space, at_least=token)
                counted = await unary(lane.channel, COUNT, request, self._metadata)
                self._after_log_index = counted.snapshot.applied_index
            call = server_stream(lane.channel, WATCH, self._request(), self._metadata)
            try:
                # They come once the server has begun to watch.
                await call.initial_metadata()
            except BaseException:
                call.cancel()
                raise
            lane.hold()
            self._lane, self._call = lane, call

        await read_call(self._pool, self._pin, self._patience_s, attempt)

    def _request(self) -> rows_pb2.WatchRequest:
        return rows_pb2.WatchRequest(
            space=self._space,
            after_log_index=self._after_log_index,
            filter=self._where,
            with_embedding=self._with_embedding,
            at_least=at_least(self._pool.token),
        )

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Change:
        """What comes next; with neither rows nor forgets it says how far the space has come. Goes to another node when
        one is lost. Cancel safe. Errors: `ReadError`, with the kind NOT_FOUND when the space is dropped."""
        while True:
            try:
                if self._lane is None:
                    await self.connect()
                return self._take(await self._read())
            except Failure as failure:
                if self._lane is not None and failure.broken:
                    await self._pool.retire(self._lane)
                connected = self._lane is not None
                await self.close()
                if not connected or not failure.worth_another_try:
                    raise failure.as_read_error() from None

    async def next(self, timeout_s: float | None = None) -> Change | None:
        """The same; `None` if nothing came in time, and nothing is lost by that."""
        try:
            return await asyncio.wait_for(self.__anext__(), timeout_s)
        except asyncio.TimeoutError:
            return None

    async def _read(self) -> rows_pb2.WatchResponse:
        """One page. The reading goes on when its waiter is cancelled, so that no page is lost."""
        lane, call = self._lane, self._call
        if lane is None or call is None:
            raise Failure("the watch is closed; begin another", ErrorKind.INVALID)
        if self._reading is None:
            self._reading = asyncio.ensure_future(next_message(call))
        silence_s = max(self._pool.timing.silence_s, _SERVER_SILENCE_MAX_S)
        done, _ = await asyncio.wait([self._reading], timeout=silence_s)
        if not done:
            raise silent(lane, silence_s)
        reading, self._reading = self._reading, None
        if reading.cancelled():
            raise Failure(f"{lane.address}: the connection was closed", broken=True)
        try:
            page = reading.result()
        except grpc.aio.AioRpcError as error:
            raise failure_of_status(error, lane.address) from None
        if page is None:
            raise Failure(f"{lane.address} ended the watch")
        return cast(rows_pb2.WatchResponse, page)

    def _take(self, page: rows_pb2.WatchResponse) -> Change:
        rows = tuple(Row.of(row) for row in page.rows if row.row >= self._next_row)
        if rows:
            self._next_row = rows[-1].row + 1
        if page.log_index > 0:
            self._after_log_index = page.log_index
        return Change(rows, tuple(page.forgotten), page.log_index)

    async def close(self) -> None:
        """Ends the watch."""
        call, lane, self._call, self._lane = self._call, self._lane, None, None
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        if call is not None:
            call.cancel()
        if lane is not None:
            await lane.release()

    async def __aenter__(self) -> Watcher:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
