"""Keeps a session connected: one task per observer, which ends with it.

A break leads to a resume, on the hinted leader or on the endpoints in turn. Only the session's end, a rival or too long
a standstill end the stream.
"""

from __future__ import annotations

import asyncio
import logging

from ._call import attempt_once, now, read_call
from ._events import Resumed
from ._link import Link, fault_of
from ._observer import Observer
from ._pool import Lane, Pool
from ._route import Route
from ._rpc import Metadata
from ._window import STAGES, Broken, Over, Superseded
from .errors import ErrorKind, Failure
from .options import ObserveOptions
from .v1 import memory_pb2

_log = logging.getLogger("engram")
# For so long a resume without an answer may still be carried out, and supersede its own successor.
_LATE_RESUME_S = 60.0
_PRIORITIES = {
    "high": memory_pb2.PRIORITY_HIGH,
    "normal": memory_pb2.PRIORITY_NORMAL,
    "low": memory_pb2.PRIORITY_LOW,
}


async def open_observer(
    pool: Pool, pin: str | None, space: str, options: ObserveOptions, deadline_s: float, metadata: Metadata
) -> Observer:
    """Opens a session in a space. An attempt without an answer is followed by another: a session that was opened and not
    used expires. Errors: `Failure`; nothing was observed yet, so nothing is in doubt."""
    open_session = memory_pb2.OpenSession(
        space=space,
        ack_stage=STAGES[options.stage],
        priority=_PRIORITIES[options.priority],
        searchable_nodes=options.searchable_nodes,
    )
    request = memory_pb2.ObserveRequest(open=open_session)

    async def attempt(lane: Lane, budget_s: float) -> Link:
        return await Link.open(lane, request, metadata)

    link = await read_call(pool, pin, deadline_s, attempt, write_route=True)
    try:
        observer = Observer(pool, options, link.opened, metadata)
    except Over as fault:
        await link.close()
        raise fault.failure from None
    route = Route(pool, pin, write=True)
    route.last = link.lane.address
    route.prefer(link.opened.leader_address)
    observer.driver = asyncio.create_task(Driver(observer, route).run(link))
    return observer


class Driver:
    """See the module."""

    def __init__(self, observer: Observer, route: Route) -> None:
        self._observer, self._route = observer, route
        self._doubtful = 0
        """Resumes without an answer, and when the last one was sent."""
        self._doubtful_at = 0.0
        self._stalled_since: float | None = None
        """Since when nothing was acked or refused while rows wait, over several links."""

    async def run(self, link: Link | None) -> None:
        """Works until the stream has ended, or the task is cancelled."""
        try:
            while link is not None:
                link = await self._live(link)
        except Exception as bug:
            # Nobody shall wait in vain for a task that is no more.
            self._observer.stop(Failure(f"the client failed: {bug!r}; report this"))
            raise

    async def _live(self, link: Link) -> Link | None:
        """One link's life, and the next link; `None` when the stream has ended."""
        try:
            await link.run(self._observer)
        except Broken as ended:
            fault = ended
        finally:
            # The old stream ends before the next begins.
            await link.close()
        if link.progressed:
            self._stalled_since = None
            self._route.progressed()
        failure = self._judge(fault)
        if failure is not None and failure.broken:
            # Silent or broken: a later attempt at this node shall not wait for a dead connection.
            await self._observer.pool.retire(link.lane)
        return None if failure is None else await self._resume(failure)

    async def _resume(self, failure: Failure) -> Link | None:
        observer = self._observer
        while True:
            _log.info("session %d is interrupted: %s", observer.session, failure)
            if self._stalled_since is None:
                self._stalled_since = now()
            stalled_s = now() - self._stalled_since
            if stalled_s >= observer.pool.timing.give_up_s and len(observer.window) > 0:
                observer.stop(failure)
                return None
            await asyncio.sleep(self._route.failed(failure))
            try:
                link = await self._handshake()
            except Failure as told:
                if not told.undialled and not told.rejected:
                    self._doubtful += 1
                    self._doubtful_at = now()
                fault = fault_of(told)
            else:
                try:
                    self._adopt(link)
                    return link
                except Broken as refused:
                    await link.close()
                    fault = refused
            judged = self._judge(fault)
            if judged is None:
                return None
            failure = judged

    async def _handshake(self) -> Link:
        observer = self._observer
        resume = memory_pb2.ResumeSession(
            session=observer.session,
            incarnation=observer.incarnation,
            ack_stage=STAGES[observer.options.stage],
            priority=_PRIORITIES[observer.options.priority],
            searchable_nodes=observer.options.searchable_nodes,
        )
        request = memory_pb2.ObserveRequest(resume=resume)

        async def attempt(lane: Lane, budget_s: float) -> Link:
            return await Link.open(lane, request, observer.metadata)

        return await attempt_once(observer.pool, self._route.next(), observer.pool.timing.silence_s, attempt)

    def _adopt(self, link: Link) -> None:
        """The session goes on there: what it has is acked, the rest goes again."""
        observer, opened = self._observer, link.opened
        if (opened.session, opened.incarnation) != (observer.session, observer.incarnation):
            raise Broken(Failure(f"{link.lane.address} answered for another session; resuming elsewhere"))
        events = observer.window.opened(opened)
        if events or len(observer.window) == 0:
            self._stalled_since = None
            self._route.progressed()
        self._route.prefer(opened.leader_address)
        _log.info("session %d goes on at %s after %d", observer.session, link.lane.address, opened.last_sequence)
        observer.tell([*events, Resumed(link.lane.address, opened.last_sequence)])

    def _judge(self, fault: Broken) -> Failure | None:
        """What to go on with; `None` when the stream has ended."""
        if isinstance(fault, Superseded):
            if self._by_ourselves():
                return fault.failure
        elif not isinstance(fault, Over):
            return fault.failure
        failure = fault.failure
        if failure.kind == ErrorKind.SESSION_LOST:
            self._observer.tell(self._observer.window.lost(failure.last_sequence))
        self._observer.stop(failure)
        return None

    def _by_ourselves(self) -> bool:
        """A resume of ours that had no answer may have been carried out late. Each can have done so once."""
        if self._doubtful == 0 or now() - self._doubtful_at > _LATE_RESUME_S:
            self._doubtful = 0
            return False
        self._doubtful -= 1
        return True
