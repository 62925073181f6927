"""The window against a model server: whatever is lost, repeated, refused or resumed, every good row is in the log exactly
once and in order, and its owner hears of it once. Steps are drawn from seeds; a failing seed fails again."""

from __future__ import annotations

import random
from collections import deque

import pytest
from engram._events import Acked, Event, RowRefused
from engram._window import Broken, Over, Window
from engram.options import ObserveOptions
from engram.v1 import memory_pb2, types_pb2
from fake import ack, detail, opened, refused

OPTIONS = ObserveOptions(window_rows=8, window_bytes=400, batch_rows=3, batch_bytes=200)
STEPS = {"push": 6, "push_bad": 2, "send": 5, "serve": 5, "hear": 5, "break": 1, "overload": 1, "credit": 1, "pause": 1}


class Server:
    """One session as the protocol describes it."""

    def __init__(self, tells_gaps: bool) -> None:
        self.log: list[str] = []
        self.overload = 0
        self.tells_gaps = tells_gaps

    def serve(self, batch: memory_pb2.ObserveBatch) -> list[memory_pb2.ObserveResponse]:
        answers = []
        for sequence, row in enumerate(batch.observations, batch.first_sequence):
            expected = len(self.log) + 1
            if sequence < expected:
                assert self.log[sequence - 1] == row.text, f"{sequence} came with another payload"
                answers.append(ack(sequence, sequence))
            elif sequence > expected:
                if self.tells_gaps:
                    gap = memory_pb2.Refused(sequence=sequence, expected=expected, error=detail("INVALID", "REJECTED"))
                    answers.append(memory_pb2.ObserveResponse(refused=gap))
            elif self.overload > 0:
                self.overload -= 1
                answers.append(refused(sequence, detail("OVERLOADED", "REJECTED", retry_after_ms=10)))
            elif row.text.startswith("bad"):
                answers.append(refused(sequence, detail("INVALID", "REJECTED")))
            else:
                self.log.append(row.text)
                answers.append(ack(sequence, sequence))
        return answers


class World:
    """A client's window, a server, and what is on its way between them."""

    def __init__(self, tells_gaps: bool) -> None:
        self.window, self.server = Window(OPTIONS), Server(tells_gaps)
        self.up: deque[memory_pb2.ObserveBatch] = deque()
        self.down: deque[memory_pb2.ObserveResponse] = deque()
        self.pushed: list[str] = []
        self.heard: dict[int, str] = {}

    def step(self, step: str, draw: random.Random) -> None:
        if step in ("push", "push_bad") and self.window.has_room():
            text = f"{'bad' if step == 'push_bad' else 'good'} {len(self.pushed)}"
            assert self.window.push(types_pb2.Observation(text=text)) == len(self.pushed) + 1
            self.pushed.append(text)
        elif step == "send":
            batch = self.window.next_batch()
            if batch is not None:
                assert len(batch.observations) <= OPTIONS.batch_rows
                assert self.window.in_flight <= OPTIONS.window_rows
                self.up.append(batch)
        elif step == "serve" and self.up:
            self.down.extend(self.server.serve(self.up.popleft()))
        elif step == "hear" and self.down:
            self.hear(self.down.popleft())
        elif step == "break":
            self.reconnect(draw.randrange(4))
        elif step == "overload":
            self.server.overload = draw.randrange(1, 3)
        elif step == "credit":
            flow = memory_pb2.FlowControl(kind=memory_pb2.FLOW_KIND_CREDIT, credit_rows=draw.randrange(6))
            flow.credit_bytes = 1 << 20
            self.window.flow(flow)
        elif step == "pause":
            kind = draw.choice([memory_pb2.FLOW_KIND_PAUSE, memory_pb2.FLOW_KIND_RESUME])
            self.window.flow(memory_pb2.FlowControl(kind=kind))

    def hear(self, answer: memory_pb2.ObserveResponse) -> None:
        if answer.WhichOneof("message") == "ack":
            self.tell(self.window.ack(answer.ack))
        else:
            told = self.window.refused(answer.refused)
            if isinstance(told, RowRefused):
                self.tell([told])

    def tell(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RowRefused):
                self.note(event.ticket, "refused")
            elif isinstance(event, Acked):
                for ticket in range(event.first_ticket, event.last_ticket + 1):
                    sequence = event.first_sequence + ticket - event.first_ticket
                    assert self.server.log[sequence - 1] == self.pushed[ticket - 1]
                    self.note(ticket, "acked")

    def note(self, ticket: int, what: str) -> None:
        assert ticket not in self.heard, f"{ticket} is {self.heard.get(ticket)} and {what}"
        self.heard[ticket] = what

    def reconnect(self, served: int) -> None:
        """The connection breaks after the server got so many more batches, whose answers are lost."""
        for batch in list(self.up)[:served]:
            self.server.serve(batch)
        self.up.clear()
        self.down.clear()
        self.tell(self.window.opened(opened(last_sequence=len(self.server.log)).opened))

    def settle(self) -> None:
        """Without faults everything comes to its end."""
        self.server.overload = 0
        self.reconnect(0)
        for _ in range(200):
            for step in ("send", "serve", "hear"):
                self.step(step, random.Random(0))
        assert len(self.window) == 0


@pytest.mark.parametrize("seed", range(60))
def test_every_good_row_is_in_the_log_once_whatever_happens_on_the_way(seed: int) -> None:
    draw = random.Random(seed)
    world = World(tells_gaps=seed % 2 == 0)
    for step in draw.choices(list(STEPS), list(STEPS.values()), k=400):
        world.step(step, draw)
    world.settle()
    assert world.server.log == [text for text in world.pushed if text.startswith("good")]
    expected = {at: "acked" if text.startswith("good") else "refused" for at, text in enumerate(world.pushed, 1)}
    assert world.heard == expected


def window(sent: int, *, stage: str = "committed") -> Window:
    machine = Window(ObserveOptions(stage=stage))  # type: ignore[arg-type]
    for at in range(sent):
        machine.push(types_pb2.Observation(text=f"row {at}"))
    machine.next_batch()
    return machine


def test_what_a_server_must_not_say_breaks_or_ends_the_stream() -> None:
    for bad in (ack(1, 4), ack(3, 2), ack(2, 2)):
        with pytest.raises(Broken):
            window(3).ack(bad.ack)
    with pytest.raises(Broken, match="not in flight"):
        window(3).refused(refused(9, detail("INVALID", "REJECTED")).refused)
    with pytest.raises(Over, match="never sent"):
        window(3).opened(opened(last_sequence=4).opened)
    machine = window(3)
    machine.ack(ack(1, 2).ack)
    with pytest.raises(Over, match="rows 1 to 2 were acked as committed and are gone"):
        machine.opened(opened(last_sequence=0).opened)
    with pytest.raises(Over, match="another payload"):
        error = detail("INVALID", "REJECTED")
        window(3).refused(memory_pb2.Refused(sequence=1, expected=2, error=error))


def test_an_ack_of_a_lower_stage_settles_nothing() -> None:
    machine = window(3, stage="searchable")
    (event,) = machine.ack(ack(1, 3).ack)
    assert isinstance(event, Acked) and not event.settled
    assert (machine.settled_through, len(machine)) == (0, 3)
