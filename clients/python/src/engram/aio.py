"""The client for asyncio: `connect`, a `Client` of a cluster, a `Space` of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from ._call import now, read_call, until, write_call
from ._pool import Lane, Pool, check_address
from ._rpc import CREATE_SPACE, DROP_SPACE, LIST_SPACES, STATUS, Metadata, Method, unary
from ._space import Space
from ._trace import TRACEPARENT, check_traceparent
from ._watch import Watcher
from .consistency import ReadToken
from .errors import ErrorKind, Failure, Refused, Unknown
from .options import ObserveOptions, Timing
from .spaces import check_same, space_config
from .status import SpaceInfo, Status
from .v1 import cluster_pb2, spaces_pb2

Spaces = dict[tuple[Optional[str], str, ObserveOptions], Space]
__all__ = ["Client", "Space", "Watcher", "connect"]


def connect(endpoints: str | Sequence[str], *, timing: Timing | None = None, seed: int | None = None) -> Client:
    """A client of the cluster of which these `host:port` are nodes, in the running event loop. Nothing is dialled yet.
    `seed` feeds jitter and the choice of the first node. Errors: `InvalidArgument`."""
    return Client(Pool(endpoints, timing or Timing(), seed))


class Client:
    """A client of one cluster. Close it, or use it in `async with`."""

    def __init__(
        self, pool: Pool, pin: str | None = None, spaces: Spaces | None = None, metadata: Metadata = ()
    ) -> None:
        self._pool, self._pin, self._metadata = pool, pin, metadata
        self._spaces: Spaces = {} if spaces is None else spaces

    def on(self, endpoint: str) -> Client:
        """The same client for one node only: it neither follows hints nor tries another endpoint. It shares connections
        and the token; close the first one."""
        check_address(endpoint)
        return Client(self._pool, endpoint, self._spaces, self._metadata)

    def traced(self, traceparent: str) -> Client:
        """The same client, whose calls belong to a trace: nodes that send spans to a collector add theirs to it, from the
        edge to the index. `traceparent` is W3C's, as `00-<trace id>-<span id>-01`. It shares connections and the token;
        its spaces have streams of their own, which its `close` ends, and no others. Errors: `InvalidArgument` when it is
        not as W3C says."""
        return Client(self._pool, self._pin, None, ((TRACEPARENT, check_traceparent(traceparent)),))

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Those that it was made with."""
        return tuple(self._pool.endpoints)

    @property
    def token(self) -> ReadToken:
        """What "session" reads wait for: the highest log index that was acked to this client, or that one of its reads
        was answered at."""
        return self._pool.token

    def adopt(self, token: ReadToken) -> None:
        """Takes over another client's token: its writes become visible to this one's "session" reads."""
        self._pool.raise_token(token)

    async def space(
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
        """The space of that name, made if there is none. Without `dim` it must be there. Metric: "cosine" (default),
        "dot" or "l2"; precision: "f16" (default) or "f32". Errors: `InvalidArgument`; `Refused` with the kind EXISTS
        if it is there and of another dim, metric or precision, with NOT_FOUND if it should be there and is not;
        `Unknown` when no node answers in time: call again. The same name and options share one stream."""
        config = space_config(name, dim, metric, precision, m, ef_construction, ttl_ms, history_ms)
        complete = (options or ObserveOptions()).complete()
        deadline_s = self._pool.timing.deadline_s if deadline_s is None else deadline_s
        made = await self._create(config, deadline_s) if dim is not None else None
        info = made if made is not None else await self._find(name, deadline_s, sure=dim is not None)
        check_same(config, info.config)
        key = (self._pin, name, complete)
        space = self._spaces.get(key)
        if space is None or space.info.id != info.id:
            # One of that name was dropped meanwhile, if there was one.
            gone, space = space, Space(self._pool, self._pin, info, complete, self._metadata)
            self._spaces[key] = space
            if gone is not None:
                await gone.close()
        return space

    async def _create(self, config: spaces_pb2.SpaceConfig, deadline_s: float) -> spaces_pb2.SpaceInfo | None:
        """`None` if there is one already. A space can't be made twice, so after doubt it is simply tried again."""
        end = until(deadline_s)
        request = spaces_pb2.CreateSpaceRequest(config=config)
        while True:
            try:
                response = await self._write(CREATE_SPACE, request, max(0.001, end - now()))
            except Unknown:
                if now() >= end:
                    raise
            except Refused as refused:
                if refused.kind == ErrorKind.EXISTS:
                    return None
                raise
            else:
                self._pool.raise_token(ReadToken(response.log_index))
                info: spaces_pb2.SpaceInfo = response.space
                return info

    async def _find(self, name: str, deadline_s: float, *, sure: bool) -> spaces_pb2.SpaceInfo:
        """Asks the leader first: a node that is behind may not know of it yet; then, if it is sure to be there, that node is
        asked again."""

        async def attempt(lane: Lane, budget_s: float) -> spaces_pb2.SpaceInfo:
            response = await unary(lane.channel, LIST_SPACES, spaces_pb2.ListSpacesRequest(), self._metadata)
            for space in response.spaces:
                if space.config.name == name:
                    found: spaces_pb2.SpaceInfo = space
                    return found
            text = f"{lane.address} knows no space called {name!r}; create it: give its dim"
            raise Failure(text, ErrorKind.BEHIND if sure else ErrorKind.NOT_FOUND, rejected=True)

        try:
            return await read_call(self._pool, self._pin, deadline_s, attempt, write_route=True)
        except Failure as failure:
            raise failure.as_refused() from None

    async def spaces(self) -> tuple[SpaceInfo, ...]:
        """All spaces, as the node that answers has them. Errors: `ReadError`."""
        response = await self._read(LIST_SPACES, spaces_pb2.ListSpacesRequest())
        return tuple(SpaceInfo.of(space) for space in response.spaces)

    async def drop_space(self, name: str) -> int:
        """Drops a space with all its rows; the answer is the log index. Errors: `Refused` with the kind NOT_FOUND;
        `Unknown`."""
        request = spaces_pb2.DropSpaceRequest(name=name)
        response = await self._write(DROP_SPACE, request, self._pool.timing.deadline_s)
        self._pool.raise_token(ReadToken(response.log_index))
        return int(response.log_index)

    async def status(self, node: str | None = None) -> Status:
        """The state of one node: of that endpoint, or of any. Errors: `ReadError`."""
        client = self.on(node) if node is not None else self
        return Status.of(await client._read(STATUS, cluster_pb2.StatusRequest()))

    async def close(self) -> None:
        """Ends streams and connections, a traced client its streams. Calls that wait for acks raise `Unknown`."""
        spaces = list(self._spaces.values())
        self._spaces.clear()
        for space in spaces:
            await space.close()
        if not self._metadata:
            await self._pool.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _read(self, method: Method, request: Any) -> Any:
        async def attempt(lane: Lane, budget_s: float) -> Any:
            return await unary(lane.channel, method, request, self._metadata)

        try:
            return await read_call(self._pool, self._pin, self._pool.timing.deadline_s, attempt)
        except Failure as failure:
            raise failure.as_read_error() from None

    async def _write(self, method: Method, request: Any, deadline_s: float) -> Any:
        async def attempt(lane: Lane, budget_s: float) -> Any:
            return await unary(lane.channel, method, request, self._metadata)

        return await write_call(self._pool, self._pin, deadline_s, attempt)
