"""The client without asyncio: the same calls, carried out by `engram.aio` in a thread of the client's own.

May be used from several threads. Docs of each call are those of its namesake in `engram.aio`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from . import aio
from ._rows import Rows, chunks
from ._runner import Runner
from .consistency import Consistency, ReadToken
from .filters import Where
from .options import ObserveOptions, Timing
from .results import Ack, Answer, Change, Counted, Forgotten, Listing, Summary
from .status import SpaceInfo, Status
from .values import Time, Value, Vector


def connect(endpoints: str | Sequence[str], *, timing: Timing | None = None, seed: int | None = None) -> Client:
    """A client of the cluster of which these `host:port` are nodes. Nothing is dialled yet. Close it, or use it in
    `with`. Errors: `InvalidArgument`."""
    runner = Runner()

    async def make() -> aio.Client:
        return aio.connect(endpoints, timing=timing, seed=seed)

    try:
        return Client(runner, runner.run(make()))
    except BaseException:
        runner.close()
        raise


class Client:
    """See `engram.aio.Client`."""

    def __init__(self, runner: Runner, client: aio.Client, traced: bool = False) -> None:
        self._runner, self._client, self._traced = runner, client, traced

    def on(self, endpoint: str) -> Client:
        return Client(self._runner, self._client.on(endpoint), self._traced)

    def traced(self, traceparent: str) -> Client:
        return Client(self._runner, self._client.traced(traceparent), True)

    @property
    def endpoints(self) -> tuple[str, ...]:
        return self._client.endpoints

    @property
    def token(self) -> ReadToken:
        return self._client.token

    def adopt(self, token: ReadToken) -> None:
        async def adopt() -> None:
            self._client.adopt(token)

        self._runner.run(adopt())

    def space(
        self,
        name: str,
        dim: int | None = None,
        *,
        metric: str | None = None,
        precision: str | None = None,
        m: int = 0,
        ef_construction: int = 0,
        ttl_ms: int = 0,
        history_ms: int = 0,
        options: ObserveOptions | None = None,
        deadline_s: float | None = None,
    ) -> Space:
        space = self._client.space(
            name,
            dim,
            metric=metric,
            precision=precision,
            m=m,
            ef_construction=ef_construction,
            ttl_ms=ttl_ms,
            history_ms=history_ms,
            options=options,
            deadline_s=deadline_s,
        )
        return Space(self._runner, self._runner.run(space))

    def spaces(self) -> tuple[SpaceInfo, ...]:
        return self._runner.run(self._client.spaces())

    def drop_space(self, name: str) -> int:
        return self._runner.run(self._client.drop_space(name))

    def status(self, node: str | None = None) -> Status:
        return self._runner.run(self._client.status(node))

    def close(self) -> None:
        """May be called again."""
        if not self._runner.closed:
            self._runner.run(self._client.close())
            if not self._traced:
                self._runner.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Space:
    """See `engram.aio.Space`."""

    def __init__(self, runner: Runner, space: aio.Space) -> None:
        self._runner, self._space = runner, space
        self.info, self.name, self.dim = space.info, space.name, space.dim

    def observe(
        self,
        text: str,
        embedding: Vector,
        *,
        time_ms: Time = 0,
        metadata: Mapping[str, Value] | None = None,
        id: str = "",
        deadline_s: float | None = None,
    ) -> Ack:
        return self._runner.run(
            self._space.observe(
                text, embedding, time_ms=time_ms, metadata=metadata, id=id, deadline_s=deadline_s
            )
        )

    def observe_many(self, rows: Rows, *, progress: bool | None = None, deadline_s: float | None = None) -> Summary:
        """The rows are taken from their iterable in the calling thread, so that a slow one holds nothing up."""
        run = self._runner.run
        source, count = chunks(rows, self._space.shape)
        load = run(self._space.load(count, deadline_s, progress))
        try:
            for chunk in source:
                run(load.push(chunk))
        except Exception as error:
            return run(load.finish(error))
        except BaseException:
            self._runner.soon(load.close)
            raise
        return run(load.finish(None))

    def recall(
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
        return self._runner.run(
            self._space.recall(
                cue,
                k,
                where=where,
                consistency=consistency,
                at_index=at_index,
                ef=ef,
                score_min=score_min,
                with_embedding=with_embedding,
                deadline_s=deadline_s,
            )
        )

    def forget(
        self,
        rows: Sequence[int] | None = None,
        *,
        ids: Sequence[str] | None = None,
        where: Where | None = None,
        older_than_ms: int | None = None,
        erase: bool = False,
        deadline_s: float | None = None,
    ) -> Forgotten:
        return self._runner.run(
            self._space.forget(
                rows, ids=ids, where=where, older_than_ms=older_than_ms, erase=erase, deadline_s=deadline_s
            )
        )

    def watch(
        self,
        *,
        after_log_index: int | None = None,
        where: Where | None = None,
        with_embedding: bool = False,
        patience_s: float = 60.0,
    ) -> Watcher:
        """`for change in space.watch()`, or `next` on it with a limit of time."""
        watch = self._space.watch(
            after_log_index=after_log_index, where=where, with_embedding=with_embedding, patience_s=patience_s
        )
        return Watcher(self._runner, self._runner.run(watch))

    def get(
        self,
        rows: Sequence[int] = (),
        *,
        ids: Sequence[str] = (),
        consistency: Consistency = "session",
        with_embedding: bool = False,
    ) -> Listing:
        return self._runner.run(
            self._space.get(rows, ids=ids, consistency=consistency, with_embedding=with_embedding)
        )

    def list(
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
        return self._runner.run(
            self._space.list(
                from_row=from_row,
                limit=limit,
                where=where,
                consistency=consistency,
                at_index=at_index,
                with_embedding=with_embedding,
                deadline_s=deadline_s,
            )
        )

    def count(self, where: Where | None = None, *, consistency: Consistency = "session") -> Counted:
        return self._runner.run(self._space.count(where, consistency=consistency))

    def close(self) -> None:
        self._runner.run(self._space.close())


class Watcher:
    """See `engram.aio.Watcher`; an iterator of `Change`."""

    def __init__(self, runner: Runner, watcher: aio.Watcher) -> None:
        self._runner, self._watcher = runner, watcher

    def next(self, timeout_s: float | None = None) -> Change | None:
        """What comes next; `None` if nothing came in time. Errors: `ReadError`."""
        return self._runner.run(self._watcher.next(timeout_s))

    def __iter__(self) -> Iterator[Change]:
        return self

    def __next__(self) -> Change:
        return self._runner.run(self._watcher.__anext__())

    def close(self) -> None:
        self._runner.run(self._watcher.close())

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
