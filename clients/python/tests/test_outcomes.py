"""Refused and unknown are told apart; credit and refusals are obeyed. A fake server says what a node would."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import engram
import grpc
import pytest
from cluster import eventually, free_addresses
from engram import ErrorKind
from engram.v1 import memory_pb2, rows_pb2
from fake import Fake, ack, detail, end, opened, refused

FAST = engram.Timing(deadline_s=2.0, backoff_min_s=0.001, backoff_max_s=0.01)
# A stream that makes no progress gives up at once.
IMPATIENT = engram.Timing(deadline_s=2.0, backoff_min_s=0.001, backoff_max_s=0.01, give_up_s=0.0)
VECTOR = [0.6, 0.8]


def connect(fake: Fake, timing: engram.Timing = FAST) -> engram.Client:
    return engram.connect(fake.address, timing=timing)


def rows(count: int) -> list[tuple[str, list[float]]]:
    return [(f"row {number}", VECTOR) for number in range(count)]


def test_a_call_that_never_left_is_refused() -> None:
    with engram.connect(free_addresses(1), timing=engram.Timing(deadline_s=0.3, backoff_max_s=0.05)) as client:
        with pytest.raises(engram.Refused, match="no connection, last to .*; check the endpoints"):
            client.drop_space("fake")
        with pytest.raises(engram.ReadError, match="cannot be connected to"):
            client.status()


def test_a_write_whose_status_no_server_explains_is_unknown_and_sent_once() -> None:
    with Fake() as fake, connect(fake) as client:
        space = client.space("fake")
        fake.forget = lambda request, context: end(context, grpc.StatusCode.INVALID_ARGUMENT, None)
        before = len(fake.calls)
        with pytest.raises(engram.Unknown, match="INVALID_ARGUMENT: from a proxy"):
            space.forget([1])
        assert len(fake.calls) == before + 1


def test_a_write_that_was_rejected_for_now_is_sent_again() -> None:
    with Fake() as fake, connect(fake) as client:
        space = client.space("fake")
        answers = iter([detail("OVERLOADED", "REJECTED", retry_after_ms=1), detail("NOT_LEADER", "REJECTED"), None])

        def forget(request: Any, context: grpc.ServicerContext) -> Any:
            error = next(answers)
            if error is not None:
                end(context, grpc.StatusCode.RESOURCE_EXHAUSTED, error)
            return rows_pb2.ForgetResponse(forgotten=1, log_index=7)

        fake.forget = forget
        assert space.forget([1]) == engram.Forgotten(rows=1, log_index=7, floor=0)
        assert client.token.log_index == 7


def test_a_refused_row_is_told_and_the_others_are_in() -> None:
    def observe(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        expected = 1
        for request in requests:
            if request.WhichOneof("message") != "batch":
                yield opened()
                continue
            for sequence, row in enumerate(request.batch.observations, request.batch.first_sequence):
                if sequence != expected:
                    break
                if row.text in ("row 3", "row 5"):
                    yield refused(sequence, detail("INVALID", "REJECTED", f"{row.text} is bad"))
                    break
                yield ack(sequence, sequence)
                expected += 1

    with Fake(observe) as fake, connect(fake) as client:
        space = client.space("fake")
        with pytest.raises(engram.Refused, match="2 of 8 rows were refused, first row 3: row 3 is bad") as told:
            space.observe_many(rows(8))
        summary = told.value.summary
        assert summary is not None
        assert [(row.index, str(row.error)) for row in summary.refused] == [(3, "row 3 is bad"), (5, "row 5 is bad")]
        assert (summary.rows, summary.acked, summary.unknown, summary.unsent) == (8, 6, (), ())
        with pytest.raises(engram.InvalidArgument, match="row 3 is bad"):
            space.observe("row 3", VECTOR)


def test_an_overloaded_server_gets_the_row_again_after_the_wait_that_it_asks_for() -> None:
    seen: list[int] = []

    def observe(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for request in requests:
            if request.WhichOneof("message") != "batch":
                yield opened()
                continue
            first, count = request.batch.first_sequence, len(request.batch.observations)
            seen.append(first)
            if len(seen) == 1:
                yield refused(first, detail("OVERLOADED", "REJECTED", "full", retry_after_ms=20))
            else:
                yield ack(first, first + count - 1)

    with Fake(observe) as fake, connect(fake) as client:
        assert client.space("fake").observe_many(rows(3)).acked == 3
    assert seen[:2] == [1, 1]


def test_a_stream_stays_within_the_credit_and_takes_no_more_rows_than_its_window() -> None:
    """Nothing is acked, so the client must stop: sending at the credit, taking at the window."""
    received: list[int] = []
    taken: list[int] = []

    def observe(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for request in requests:
            if request.WhichOneof("message") != "batch":
                yield opened(credit_rows=10)
                continue
            received.extend(range(len(request.batch.observations)))
            if len(received) == 10:
                # Credit is a limit: 15 in flight are 5 more.
                flow = memory_pb2.FlowControl(kind=memory_pb2.FLOW_KIND_CREDIT, credit_rows=15, credit_bytes=1 << 20)
                yield memory_pb2.ObserveResponse(flow=flow)

    def endless() -> Iterator[tuple[str, list[float]]]:
        while True:
            taken.append(1)
            yield "row", VECTOR

    options = engram.ObserveOptions(window_rows=300, batch_rows=4)
    with Fake(observe) as fake, connect(fake) as client:
        space = client.space("fake", options=options)
        with pytest.raises(engram.Unknown, match="15 rows|on their way") as told:
            space.observe_many(endless(), deadline_s=1.0)
        assert told.value.summary is not None and told.value.summary.acked == 0
        assert len(received) == 15
        # Rows are taken in chunks: of one more chunk some may wait outside of the window.
        assert len(taken) <= 300 + 256


def test_rows_in_flight_when_a_stream_gives_up_are_unknown_and_those_behind_them_unsent() -> None:
    def observe(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        first = next(requests)
        if first.WhichOneof("message") == "resume":
            end(context, grpc.StatusCode.UNAVAILABLE, detail("IN_DOUBT", "UNKNOWN", "no leader"))
        yield opened(credit_rows=2)
        next(requests)
        # The connection goes away with two rows in flight.
        end(context, grpc.StatusCode.UNAVAILABLE, None)

    with Fake(observe) as fake, connect(fake, IMPATIENT) as client:
        space = client.space("fake")
        with pytest.raises(engram.Unknown) as told:
            space.observe_many(rows(5))
        summary = told.value.summary
        assert summary is not None
        assert (summary.acked, summary.unknown, summary.unsent) == (0, (0, 1), (2, 3, 4))


def test_an_expired_session_that_is_remembered_says_what_is_in() -> None:
    def observe(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        first = next(requests)
        if first.WhichOneof("message") == "resume":
            lost = detail("SESSION_LOST", "REJECTED", "session 9 expired; open a new one", last_sequence=3)
            end(context, grpc.StatusCode.NOT_FOUND, lost)
        yield opened()
        next(requests)
        end(context, grpc.StatusCode.UNAVAILABLE, None)

    with Fake(observe) as fake, connect(fake) as client:
        with pytest.raises(engram.Refused, match="session 9 expired") as told:
            client.space("fake").observe_many(rows(5))
        summary = told.value.summary
        assert summary is not None
        assert (summary.acked, summary.unknown, summary.unsent) == (3, (), (3, 4))


def test_a_server_that_goes_silent_is_left_and_the_session_resumed() -> None:
    silent_once = [True]

    def observe(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        first = next(requests)
        resumed = first.WhichOneof("message") == "resume"
        if resumed:
            assert (first.resume.session, first.resume.incarnation) == (9, 1)
        yield opened()
        for request in requests:
            sequences = request.batch.first_sequence, len(request.batch.observations)
            if silent_once.pop() if silent_once else False:
                fake.over.wait()
                return
            yield ack(sequences[0], sequences[0] + sequences[1] - 1)

    timing = engram.Timing(silence_s=0.2, backoff_min_s=0.001)
    with Fake(observe) as fake, connect(fake, timing) as client:
        summary = client.space("fake").observe_many(rows(3))
        assert (summary.acked, summary.resumes) == (3, 1)


def test_a_deadline_that_passes_says_whether_the_observation_was_sent() -> None:
    def observe(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        next(requests)
        yield opened()
        for _ in requests:
            pass

    with Fake(observe) as fake, connect(fake) as client:
        space = client.space("fake", options=engram.ObserveOptions(window_rows=1))
        with pytest.raises(engram.Unknown, match="on its way yet"):
            space.observe("sent", VECTOR, deadline_s=0.1)
        with pytest.raises(engram.Refused, match="not sent"):
            space.observe("no room", VECTOR, deadline_s=0.1)


def test_reads_try_again_until_the_deadline_and_tell_the_last_error() -> None:
    with Fake() as fake, connect(fake) as client:
        space = client.space("fake")
        behind = detail("BEHIND", "UNSPECIFIED", "applied is 3; wait or ask another node", need_index=9, have_index=3)

        def recall(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            for request in requests:
                yield memory_pb2.RecallResponse(request_id=request.request_id, error=behind)

        fake.recall = recall
        with pytest.raises(engram.ReadError, match="applied is 3") as told:
            space.recall(VECTOR, 1, deadline_s=0.2)
        assert told.value.kind == ErrorKind.BEHIND
        assert sum(call.endswith("RecallStream") for call in fake.calls) > 1


def test_a_closed_client_says_so_and_its_waiting_calls_are_unknown() -> None:
    def observe(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        next(requests)
        yield opened()
        for _ in requests:
            pass

    with Fake(observe) as fake:
        client = connect(fake)
        space = client.space("fake")
        told: list[BaseException] = []

        def wait() -> None:
            try:
                space.observe("waits", VECTOR)
            except BaseException as error:
                told.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        eventually("the row is in flight", lambda: space._space._observer and space._space._observer.window.in_flight or None)
        client.close()
        thread.join(10)
        assert len(told) == 1 and isinstance(told[0], engram.Unknown), told
        with pytest.raises(RuntimeError, match="closed"):
            space.observe("too late", VECTOR)
