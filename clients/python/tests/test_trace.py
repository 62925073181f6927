"""Calls that belong to a trace say so, and no others do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import engram
import engram.aio
import grpc
import pytest
from engram.v1 import memory_pb2, types_pb2
from fake import Fake, ack, opened

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
VECTOR = [0.6, 0.8]


def no_hits(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
    for request in requests:
        result = memory_pb2.RecallResult(snapshot=types_pb2.Snapshot(incarnation=1, applied_index=7), last=True)
        yield memory_pb2.RecallResponse(request_id=request.request_id, result=result)


def test_every_call_of_a_traced_client_carries_the_trace_over_a_resume_too() -> None:
    streams = 0

    def breaks_once(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        nonlocal streams
        streams += 1
        for request in requests:
            if request.WhichOneof("message") != "batch":
                yield opened()
            elif streams == 1:
                context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            else:
                yield ack(request.batch.first_sequence, request.batch.first_sequence)

    timing = engram.Timing(deadline_s=5.0, backoff_min_s=0.001, backoff_max_s=0.01)
    with Fake(breaks_once) as fake, engram.connect(fake.address, timing=timing) as client:
        fake.recall = no_hits
        with client.traced(TRACE) as traced:
            space = traced.on(fake.address).space("fake", dim=2)
            space.observe("row", VECTOR)
            space.recall(VECTOR)
            space.forget([1])
        names = [name for name, _ in fake.traces]
        assert names == ["CreateSpace", "ListSpaces", "ObserveStream", "ObserveStream", "RecallStream", "Forget"]
        assert {trace for _, trace in fake.traces} == {TRACE}
        # The client itself goes on, knows what the traced one saw, and is not traced.
        assert client.token.log_index >= 100
        fake.traces.clear()
        plain = client.space("fake")
        plain.observe("row", VECTOR)
        assert fake.traces == [("ListSpaces", None), ("ObserveStream", None)]


def test_the_same_with_asyncio() -> None:
    async def main(fake: Fake) -> None:
        async with engram.aio.connect(fake.address) as client, client.traced(TRACE) as traced:
            await (await traced.space("fake")).observe("row", VECTOR)

    with Fake() as fake:
        asyncio.run(main(fake))
        assert fake.traces == [("ListSpaces", TRACE), ("ObserveStream", TRACE)]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        f"{TRACE}-more",
        TRACE.replace("00-4", "ff-4"),
        TRACE.upper(),
        TRACE[:-3],
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        TRACE + "\n",
    ],
)
def test_what_is_not_as_w3c_says_is_refused(bad: str) -> None:
    with engram.connect("127.0.0.1:1") as client:
        with pytest.raises(engram.InvalidArgument, match="write 00-<32 hex digits>-<16 hex digits>-01"):
            client.traced(bad)
        client.traced("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02-later")
