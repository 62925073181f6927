"""What is lost in the middle of a stream: the leader, connections. Each row is in once, in its order."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import engram
import numpy as np
import pytest
from cluster import Cluster
from engram._link import Link
from engram._pool import Lane
from engram.v1 import memory_pb2

ROWS = 6000
OPTIONS = engram.ObserveOptions(batch_rows=50, window_rows=400)


def row(number: int) -> engram.Observation:
    angle = number / 1000
    return engram.Observation(f"row {number}", [np.cos(angle), np.sin(angle)], time_ms=number)


def assert_each_once_in_order(space: engram.Space, count: int) -> None:
    listing = space.list(consistency="linearizable")
    assert [row.text for row in listing] == [f"row {number}" for number in range(count)]
    assert [row.sequence for row in listing] == list(range(1, count + 1))
    assert len({row.session for row in listing}) == 1


@pytest.mark.parametrize("streams_to", ["leader", "follower"])
def test_a_leader_killed_in_the_middle_of_a_load_loses_and_doubles_nothing(
    mortal: Cluster, name: str, streams_to: str
) -> None:
    with engram.connect(mortal.endpoints) as asking:
        leader = mortal.leader(asking.status)
        endpoints = mortal.endpoints if streams_to == "leader" else mortal.without(leader)
        with engram.connect(endpoints) as client:
            if streams_to == "leader":
                # Any session tells who leads; the next one is opened there.
                client.space(f"{name}-first", 2).observe("tell", [1.0, 0.0])
            space = client.space(name, 2, options=OPTIONS)

            def rows() -> Iterator[engram.Observation]:
                for number in range(ROWS):
                    if number == ROWS // 3:
                        mortal.kill(leader)
                    yield row(number)

            summary = space.observe_many(rows())
            assert (summary.rows, summary.acked, summary.refused, summary.unknown) == (ROWS, ROWS, (), ())
            assert streams_to == "follower" or summary.resumes >= 1
            assert_each_once_in_order(space, ROWS)
        # The killed node comes back and catches up.
        mortal.start(leader)
        mortal.wait_ready(leader)
        back = asking.on(mortal.endpoints[leader - 1])
        back.adopt(summary.token)
        assert back.space(name).count().count == ROWS


def test_the_only_node_may_be_killed_and_started_again_in_the_middle_of_a_load(tmp_path: Path, name: str) -> None:
    with Cluster(tmp_path, 1) as cluster, engram.connect(cluster.endpoints) as client:
        space = client.space(name, 2, options=OPTIONS)

        def rows() -> Iterator[engram.Observation]:
            for number in range(ROWS):
                if number == ROWS // 3:
                    cluster.kill(1)
                    cluster.start(1)
                yield row(number)

        summary = space.observe_many(rows())
        assert summary.acked == ROWS and summary.resumes >= 1
        assert_each_once_in_order(space, ROWS)


def test_observations_that_wait_for_their_acks_outlive_the_leader(mortal: Cluster, name: str) -> None:
    async def run() -> list[engram.Ack]:
        async with engram.aio.connect(mortal.endpoints) as client:
            space = await client.space(name, 2, options=OPTIONS)
            status = await client.status()
            assert status.leader is not None
            await space.observe("row 0", [1.0, 0.0])

            async def one(number: int) -> engram.Ack:
                observation = row(number)
                return await space.observe(observation.text, observation.embedding)

            waiting = [asyncio.create_task(one(number)) for number in range(1, 200)]
            # Until some are under way.
            await waiting[0]
            mortal.kill(status.leader)
            return await asyncio.gather(*waiting)

    acks = asyncio.run(run())
    assert sorted(ack.sequence for ack in acks) == list(range(2, 201))
    with engram.connect(mortal.endpoints) as client:
        texts = [row.text for row in client.space(name).list(consistency="linearizable")]
        assert sorted(texts) == sorted(f"row {number}" for number in range(200))


class CuttingProxy:
    """Passes bytes on to a node, and cuts a connection after 4 KiB of requests, then after 8, and so on.

    The first two cuts come before 20 KiB at most, whatever the rows share a message or a segment with.
    """

    def __init__(self, node: str) -> None:
        host, _, port = node.rpartition(":")
        self._node = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        limit = 4 << 10
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            node = socket.create_connection(self._node)
            back = threading.Thread(target=self._pass, args=(node, client, None), daemon=True)
            back.start()
            if self._pass(client, node, limit):
                self.cuts += 1
            for end in (client, node):
                end.close()
            limit *= 2

    @staticmethod
    def _pass(source: socket.socket, sink: socket.socket, limit: int | None) -> bool:
        """Whether the limit was reached, and not the end."""
        passed = 0
        try:
            while data := source.recv(4096):
                sink.sendall(data)
                passed += len(data)
                if limit is not None and passed >= limit:
                    for end in (source, sink):
                        end.shutdown(socket.SHUT_RDWR)
                    return True
        except OSError:
            pass
        return False

    def close(self) -> None:
        self._listener.close()


def test_a_connection_that_is_cut_again_and_again_is_resumed(three: Cluster, client: engram.Client, name: str) -> None:
    direct = client.space(name, 2)
    proxy = CuttingProxy(three.endpoints[0])
    # Pinned to the proxy: otherwise the client would follow the hint to the leader, around the proxy.
    with engram.connect([proxy.address]) as through:
        space = through.on(proxy.address).space(name, options=OPTIONS)
        summary = space.observe_many(row(number) for number in range(2000))
    proxy.close()
    assert summary.acked == 2000
    assert proxy.cuts >= 2 and summary.resumes >= 2
    assert_each_once_in_order(direct, 2000)


@pytest.mark.parametrize("turn", range(5))
def test_a_session_that_another_connection_takes_over_is_left_to_it(
    three: Cluster, client: engram.Client, name: str, turn: int
) -> None:
    """In the middle of a load, as then a write meets the end of the stream: the stream must stop and say which rows are in
    doubt, and not take the session back."""
    space = client.space(name, 2, options=OPTIONS)
    space.observe("first", [1.0, 0.0])
    session, incarnation = space.list().rows[0].session, client.status().incarnation

    def endless() -> Iterator[engram.Observation]:
        for number in itertools.count():
            if number == 2000:
                asyncio.run(take_over(three.endpoints[turn % 3], session, incarnation))
            yield row(number)

    with pytest.raises(engram.Unknown) as told:
        space.observe_many(endless())
    assert told.value.kind == engram.ErrorKind.SUPERSEDED
    assert told.value.summary is not None and told.value.summary.resumes == 0
    # The next observation has a new session.
    assert space.observe("again", [0.0, 1.0]).sequence == 1


async def take_over(endpoint: str, session: int, incarnation: int) -> None:
    resume = memory_pb2.ResumeSession(session=session, incarnation=incarnation)
    lane = Lane(endpoint)
    await lane.dial(5.0)
    link = await Link.open(lane, memory_pb2.ObserveRequest(resume=resume), ())
    lane.retired = True
    await link.close()
