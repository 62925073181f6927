"""The same with asyncio: many at once, rows that come by and by, cancellation."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import engram
import pytest
from cluster import PATIENCE_S, Cluster


def test_many_observations_and_recalls_are_under_way_at_once(three: Cluster, name: str) -> None:
    async def run() -> None:
        async with engram.aio.connect(three.endpoints) as client:
            space = await client.space(name, 2)
            acks = await asyncio.gather(*(space.observe(f"row {at}", [1.0, at / 100]) for at in range(300)))
            assert sorted(ack.sequence for ack in acks) == list(range(1, 301))
            # They shared batches, and so entries of the log.
            assert len({ack.log_index for ack in acks}) < 300
            answers = await asyncio.gather(*(space.recall([1.0, at / 100], 1) for at in range(50)))
            assert [answer[0].text for answer in answers] == [f"row {at}" for at in range(50)]

    asyncio.run(run())


def test_rows_that_come_by_and_by_are_observed_as_they_come(three: Cluster, name: str) -> None:
    async def run() -> None:
        async with engram.aio.connect(three.endpoints) as client:
            space = await client.space(name, 2)
            watcher = await space.watch()

            async def rows() -> AsyncIterator[tuple[str, list[float]]]:
                for at in range(5):
                    yield f"row {at}", [1.0, 0.0]
                    # The next one comes only once this one is there.
                    while True:
                        change = await asyncio.wait_for(watcher.__anext__(), PATIENCE_S)
                        if any(row.text == f"row {at}" for row in change.rows):
                            break

            assert (await space.observe_many(rows())).acked == 5
            await watcher.close()

    asyncio.run(run())


def test_a_cancelled_wait_for_a_change_loses_none(three: Cluster, name: str) -> None:
    async def run() -> None:
        async with engram.aio.connect(three.endpoints) as client:
            space = await client.space(name, 2)
            async with await space.watch() as watcher:
                for at in range(20):
                    assert await watcher.next(0.0) is None
                    await space.observe(f"row {at}", [1.0, 0.0])
                    seen: list[str] = []
                    while not seen:
                        change = await asyncio.wait_for(watcher.__anext__(), PATIENCE_S)
                        seen = [row.text for row in change.rows]
                    assert seen == [f"row {at}"]

    asyncio.run(run())


def test_a_watch_outlives_the_node_that_it_reads_from(mortal: Cluster, name: str) -> None:
    async def run() -> None:
        async with engram.aio.connect(mortal.endpoints) as client:
            space = await client.space(name, 2)
            watcher = await space.watch()
            await space.observe("row 0", [1.0, 0.0])
            assert watcher._lane is not None
            mortal.kill(mortal.endpoints.index(watcher._lane.address) + 1)
            await space.observe("row 1", [1.0, 0.0])
            seen: list[str] = []
            while len(seen) < 2:
                seen += [row.text for row in (await asyncio.wait_for(watcher.__anext__(), PATIENCE_S)).rows]
            assert seen == [f"row {at}" for at in range(2)]
            await watcher.close()

    asyncio.run(run())


def test_a_cancelled_load_leaves_the_space_usable(three: Cluster, name: str) -> None:
    async def run() -> None:
        async with engram.aio.connect(three.endpoints) as client:
            space = await client.space(name, 2)
            started = asyncio.Event()

            def endless() -> Iterator[tuple[str, list[float]]]:
                while True:
                    started.set()
                    yield "row", [1.0, 0.0]

            load = asyncio.create_task(space.observe_many(endless()))
            await started.wait()
            load.cancel()
            with pytest.raises(asyncio.CancelledError):
                await load
            ack = await space.observe("after", [0.0, 1.0])
            assert (await space.count()).count == ack.sequence

    asyncio.run(run())


def test_a_client_that_is_forgotten_open_holds_the_interpreter_up_for_nothing(three: Cluster, name: str) -> None:
    program = f"""
import engram
space = engram.connect({three.endpoints!r}).space({name!r}, 2)
space.observe("left open", [1.0, 0.0])
watcher = space.watch()
print(len(space.recall([1.0, 0.0])))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
