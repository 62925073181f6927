"""Recalls, lists and watches on one connection: their requests, and their pages put together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

from . import limits
from ._pool import Lane
from ._rpc import LIST, RECALL_STREAM, Metadata, both_streams, failure_of_detail, next_message, server_stream
from .consistency import Consistency, ReadToken, wire
from .errors import Failure, InvalidArgument
from .filters import Where, where_to_wire
from .results import Answer, Hit, Listing, Row, Snapshot
from .v1 import memory_pb2, rows_pb2, types_pb2
from .values import Shape, Vector, check_vectors


def recall_request(
    space: str,
    shape: Shape,
    token: ReadToken,
    cue: Vector,
    k: int,
    *,
    where: Where | None,
    consistency: Consistency | None,
    at_index: int | None,
    ef: int,
    score_min: float | None,
    with_embedding: bool,
) -> memory_pb2.RecallRequest:
    """A question. Errors: `InvalidArgument`."""
    if not 1 <= k <= limits.K_MAX:
        raise InvalidArgument(f"k is {k}; ask for 1 to {limits.K_MAX}")
    if not 0 <= ef <= limits.EF_MAX:
        raise InvalidArgument(f"ef is {ef}; at most {limits.EF_MAX}, or 0 for the server's default")
    if score_min is not None and score_min != score_min:
        raise InvalidArgument("score_min is not a number; no score reaches it")
    # A cue is not stored: what half floats can't hold is no fault of it.
    vector = check_vectors(cue, Shape(shape.dim, False, shape.directed), "cue")
    if vector.ndim != 1:
        raise InvalidArgument(f"the cue has shape {vector.shape}; recall one at a time")
    return memory_pb2.RecallRequest(
        space=space,
        cue=vector.tobytes(),
        k=k,
        ef=ef,
        filter=where_to_wire(where),
        score_min=score_min,
        with_embedding=with_embedding,
        **state(consistency, at_index, token),
    )


def state(consistency: Consistency | None, at_index: int | None, token: ReadToken) -> dict[str, Any]:
    """The fields of a request that say which state it is about. Errors: `InvalidArgument`."""
    if at_index is None:
        return wire(consistency or "session", token)
    if consistency is not None:
        raise InvalidArgument("at_index names the state itself; leave the consistency out")
    if not 0 <= at_index < 1 << 64:
        raise InvalidArgument(f"at_index is {at_index}; give a log index")
    return {"at_index": at_index}


def asks(request: memory_pb2.RecallRequest, metadata: Metadata) -> Callable[[Lane, float], Awaitable[Answer]]:
    """An attempt: one question on its own stream, all its pages."""

    async def attempt(lane: Lane, budget_s: float) -> Answer:
        # The server's wait ends a little before ours, so that it can still say how far behind it is.
        request.deadline_ms = min(max(1, int(budget_s * 800)), limits.DEADLINE_MS_MAX)
        call = both_streams(lane.channel, RECALL_STREAM, metadata)
        try:
            await call.write(request)
            await call.done_writing()
            return await _answer(call, request)
        finally:
            call.cancel()

    return attempt


async def _answer(call: grpc.aio.StreamStreamCall[Any, Any], request: memory_pb2.RecallRequest) -> Answer:
    hits: list[Hit] = []
    while True:
        page = await next_message(call)
        if page is None:
            raise Failure("the node closed the stream before the last page; ask again", broken=True)
        if page.request_id != request.request_id:
            raise Failure("the node answered another question; ask again", broken=True)
        if page.WhichOneof("outcome") == "error":
            raise failure_of_detail(page.error)
        hits.extend(Hit.of(hit) for hit in page.result.hits)
        if len(hits) > request.k:
            raise Failure("the node sent more hits than were asked for; ask again", broken=True)
        if page.result.last:
            return Answer(Snapshot.of(page.result.snapshot), tuple(hits))


def lists(
    request: rows_pb2.ListRequest, silence_s: float, metadata: Metadata
) -> Callable[[Lane, float], Awaitable[Listing]]:
    """An attempt: all rows of a listing, which are of one node and one snapshot."""

    async def attempt(lane: Lane, budget_s: float) -> Listing:
        call = server_stream(lane.channel, LIST, request, metadata)
        rows: list[Row] = []
        # An empty space may answer with no page at all.
        snapshot = types_pb2.Snapshot()
        try:
            while (page := await asyncio.wait_for(next_message(call), silence_s)) is not None:
                snapshot = page.snapshot
                rows.extend(Row.of(row) for row in page.rows)
        finally:
            call.cancel()
        return Listing(Snapshot.of(snapshot), tuple(rows))

    return attempt
