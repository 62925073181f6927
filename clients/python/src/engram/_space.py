"""A memory space: observe, recall, forget, watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Mapping, Sequence
from typing import Any

from ._call import read_call, write_call
from ._driver import open_observer
from ._load import Load, progress_bar
from ._named import check_named, forget_request
from ._observer import Observer
from ._pool import Lane, Pool
from ._reads import asks, lists, recall_request, state
from ._rows import Rows, chunks, chunks_of_stream, to_wire
from ._rpc import COUNT, FORGET, GET, Metadata, Method, unary
from ._watch import Watcher
from .consistency import Consistency, ReadToken, wire
from .errors import Failure
from .filters import Where, where_to_wire
from .options import ObserveOptions
from .results import Ack, Answer, Counted, Forgotten, Listing, Row, Snapshot, Summary
from .status import SpaceInfo
from .v1 import rows_pb2, spaces_pb2
from .values import Observation, Shape, Time, Value, Vector


class Space:
    """A space of one cluster. Its observations share one exactly-once stream, opened at the first of them."""

    def __init__(
        self, pool: Pool, pin: str | None, info: spaces_pb2.SpaceInfo, options: ObserveOptions, metadata: Metadata
    ) -> None:
        self.info = SpaceInfo.of(info)
        self.name, self.dim = self.info.name, self.info.dim
        self._pool, self._pin, self._options, self._metadata = pool, pin, options, metadata
        self.shape = Shape.of(info.config)
        self._observer: Observer | None = None
        self._opening = asyncio.Lock()

    async def observe(
        self,
        text: str,
        embedding: Vector,
        *,
        time_ms: Time = 0,
        metadata: Mapping[str, Value] | None = None,
        id: str = "",
        deadline_s: float | None = None,
    ) -> Ack:
        """One observation, exactly once; returns once it is acked. Many may be under way at once. Errors:
        `InvalidArgument` and `Refused`: it was not taken. `Unknown`: it may have been; after a deadline that passed it
        is on its way yet. Cancelled: the same doubt."""
        row = to_wire(Observation(text, embedding, time_ms, metadata or {}, id), self.shape, "observation")
        load = await self.load(None, deadline_s, False)
        try:
            return await load.push_one(row)
        finally:
            load.close()

    async def observe_many(
        self, rows: Rows | AsyncIterable[Any], *, progress: bool | None = None, deadline_s: float | None = None
    ) -> Summary:
        """Many observations, each exactly once, in their order; returns once all are acked. Takes no more rows from an
        iterable than fit into the window. `progress`: a bar on stderr; by default where tqdm is there and a terminal.

        Errors, each with the `summary` of what became of the rows: `InvalidArgument` for a row that is wrong; columns
        and frames are checked whole before the first row is sent, and of another iterable the rows before the wrong one
        are in. `Refused`: the server did not take some rows; the others are in, unless the summary calls them unsent.
        `Unknown`: it is not known of some rows."""
        if isinstance(rows, AsyncIterable):
            load = await self.load(None, deadline_s, progress)
            return await load.run(chunks_of_stream(rows, self.shape))
        source, count = chunks(rows, self.shape)
        load = await self.load(count, deadline_s, progress)
        return await load.run(source)

    async def load(self, count: int | None, deadline_s: float | None, progress: bool | None) -> Load:
        """What `observe_many` is made of: push chunks, then finish. Errors: `Refused`, as there is no session."""
        return Load(await self._stream(deadline_s), deadline_s, progress_bar(progress, count))

    async def _stream(self, deadline_s: float | None) -> Observer:
        async with self._opening:
            if self._observer is None or self._observer.stopped is not None:
                limit_s = self._pool.timing.deadline_s if deadline_s is None else deadline_s
                try:
                    self._observer = await open_observer(
                        self._pool, self._pin, self.name, self._options, limit_s, self._metadata
                    )
                except Failure as failure:
                    raise failure.as_refused() from None
            return self._observer

    async def recall(
        self,
        cue: Vector,
        k: int = 10,
        *,
        where: Where | None = None,
        consistency: Consistency | None = None,
        at_index: int | None = None,
        ef: int = 0,
        score_min: float | None = None,
        with_embedding: bool = False,
        deadline_s: float = 10.0,
    ) -> Answer:
        """The `k` memories nearest to a cue, best first, from any node. `consistency` is "session" if not given: all that
        was acked to this client is in it. `at_index` asks for the state as of a log index in place of it. Errors:
        `InvalidArgument`; `ReadError` once the deadline has passed, or at once with NOT_FOUND or BELOW_FLOOR."""
        token = self._pool.token
        request = recall_request(
            self.name,
            self.shape,
            token,
            cue,
            k,
            where=where,
            consistency=consistency,
            at_index=at_index,
            ef=ef,
            score_min=score_min,
            with_embedding=with_embedding,
        )
        request.request_id = self._pool.operation()
        answer: Answer = await self._read(asks(request, self._metadata), deadline_s)
        self._pool.raise_token(answer.snapshot.token)
        return answer

    async def forget(
        self,
        rows: Sequence[int] | None = None,
        *,
        ids: Sequence[str] | None = None,
        where: Where | None = None,
        older_than_ms: int | None = None,
        erase: bool = False,
        deadline_s: float | None = None,
    ) -> Forgotten:
        """Forgets rows by number, by id, by a filter (of those acked before), or by age: no later snapshot has them. With
        `erase`, the past in which they were can't be read any more. Errors: `InvalidArgument`, `Refused`; `Unknown`:
        call again, a row is forgotten once."""
        request = forget_request(self.name, rows, ids, where, older_than_ms, erase)
        limit_s = self._pool.timing.deadline_s if deadline_s is None else deadline_s
        response = await write_call(self._pool, self._pin, limit_s, self._one(FORGET, request))
        self._pool.raise_token(ReadToken(response.log_index))
        return Forgotten(response.forgotten, response.log_index, response.floor)

    async def watch(
        self,
        *,
        after_log_index: int | None = None,
        where: Where | None = None,
        with_embedding: bool = False,
        patience_s: float = 60.0,
    ) -> Watcher:
        """Follows what is committed after a log index, or from now on: `async for change in await space.watch()`. Goes to
        another node when one is lost, and gives up when none answers for `patience_s`. Errors: `InvalidArgument`,
        `ReadError`."""
        meant = where_to_wire(where)
        watcher = Watcher(
            self._pool, self._pin, self.name, after_log_index, meant, with_embedding, patience_s, self._metadata
        )
        try:
            await watcher.connect()
        except Failure as failure:
            raise failure.as_read_error() from None
        return watcher

    async def get(
        self,
        rows: Sequence[int] = (),
        *,
        ids: Sequence[str] = (),
        consistency: Consistency = "session",
        with_embedding: bool = False,
    ) -> Listing:
        """Some rows, at one snapshot, in the order asked for; those that are forgotten or not there are left out.
        Errors: `InvalidArgument`, `ReadError`."""
        check_named(rows, ids)
        level = wire(consistency, self._pool.token)
        request = rows_pb2.GetRequest(space=self.name, rows=rows, ids=ids, with_embedding=with_embedding, **level)
        response = await self._read(self._one(GET, request))
        return Listing(self._seen(response.snapshot), tuple(Row.of(row) for row in response.rows))

    async def list(
        self,
        *,
        from_row: int = 0,
        limit: int = 0,
        where: Where | None = None,
        consistency: Consistency | None = None,
        at_index: int | None = None,
        with_embedding: bool = False,
        deadline_s: float | None = None,
    ) -> Listing:
        """Rows in log order, at one snapshot; `limit` 0 means all. The consistency is "session" unless another is given;
        `at_index` asks for the state as of a log index in place of it. Errors: `InvalidArgument`, `ReadError`."""
        request = rows_pb2.ListRequest(
            space=self.name,
            from_row=from_row,
            limit=limit,
            filter=where_to_wire(where),
            with_embedding=with_embedding,
            **state(consistency, at_index, self._pool.token),
        )
        listing: Listing = await self._read(
            lists(request, self._pool.timing.silence_s, self._metadata), deadline_s, whole=True
        )
        self._pool.raise_token(listing.snapshot.token)
        return listing

    async def count(self, where: Where | None = None, *, consistency: Consistency = "session") -> Counted:
        """How many rows the space has, all or those that a filter means. Errors: `InvalidArgument`, `ReadError`."""
        level = wire(consistency, self._pool.token)
        request = rows_pb2.CountRequest(space=self.name, filter=where_to_wire(where), **level)
        response = await self._read(self._one(COUNT, request))
        return Counted(response.count, self._seen(response.snapshot))

    async def close(self) -> None:
        """Ends the stream. What has no ack by now is in doubt."""
        observer, self._observer = self._observer, None
        if observer is not None:
            await observer.close()

    async def _read(self, attempt: Any, deadline_s: float | None = None, *, whole: bool = False) -> Any:
        limit_s = self._pool.timing.deadline_s if deadline_s is None else deadline_s
        try:
            return await read_call(self._pool, self._pin, limit_s, attempt, whole=whole)
        except Failure as failure:
            raise failure.as_read_error() from None

    def _one(self, method: Method, request: Any) -> Any:
        async def attempt(lane: Lane, budget_s: float) -> Any:
            return await unary(lane.channel, method, request, self._metadata)

        return attempt

    def _seen(self, message: Any) -> Snapshot:
        snapshot = Snapshot.of(message)
        self._pool.raise_token(snapshot.token)
        return snapshot
