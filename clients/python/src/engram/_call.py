"""One call with its attempts: reads go on until their deadline, writes only while an attempt surely had no effect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc.aio

from ._pool import Lane, Pool
from ._route import Route
from ._rpc import failure_of_status
from .errors import ErrorKind, Failure, InvalidArgument, Refused

T = TypeVar("T")
Attempt = Callable[[Lane, float], Awaitable[T]]
"""What to do on a connection, and for how many seconds it may take."""


def now() -> float:
    """The loop's monotonic clock, in seconds."""
    return asyncio.get_running_loop().time()


def until(deadline_s: float) -> float:
    """When a wait ends. Errors: `InvalidArgument`."""
    if not deadline_s > 0:
        raise InvalidArgument(f"deadline_s is {deadline_s}; give a positive number of seconds")
    return now() + deadline_s


async def attempt_once(pool: Pool, lane: Lane, budget_s: float, attempt: Attempt[T]) -> T:
    """Dials and calls, within a time. Errors: a `Failure`; a connection that is suspect is retired."""
    try:
        async with lane.use():
            await lane.dial(min(pool.timing.connect_s, budget_s))
            return await asyncio.wait_for(attempt(lane, budget_s), budget_s)
    except asyncio.TimeoutError:
        failure = silent(lane, budget_s)
    except grpc.aio.AioRpcError as error:
        failure = failure_of_status(error, lane.address)
    except Failure as told:
        failure = told
    if failure.broken:
        await pool.retire(lane)
    raise failure


def silent(lane: Lane, after_s: float) -> Failure:
    """Nothing came in time."""
    return Failure(f"{lane.address} did not answer within {after_s:.3g} s", broken=True)


async def read_call(
    pool: Pool,
    pin: str | None,
    deadline_s: float,
    attempt: Attempt[T],
    *,
    write_route: bool = False,
    whole: bool = False,
) -> T:
    """Repeats until an answer comes, the request proves wrong, or the time is over. `whole`: an attempt may take all of
    the time, as it looks after silence itself. Errors: the last attempt's, as a `Failure`; where the deadline has cut that
    one short, the last that a server gave."""
    end = until(deadline_s)
    route = Route(pool, pin, write=write_route)
    told: Failure | None = None
    while True:
        budget_s = max(0.001, end - now())
        if not whole:
            budget_s = min(budget_s, pool.timing.silence_s)
        try:
            return await attempt_once(pool, route.next(), budget_s, attempt)
        except Failure as failure:
            wait_s = route.failed(failure)
            if not failure.worth_another_try or now() + wait_s >= end:
                cut_short = failure.broken and budget_s < pool.timing.silence_s
                raise (told if cut_short and told is not None else failure) from None
            told = told if failure.broken else failure
        await asyncio.sleep(wait_s)


async def write_call(pool: Pool, pin: str | None, deadline_s: float, attempt: Attempt[T]) -> T:
    """Writes once; goes on to another attempt only when the last one surely had no effect. Errors: `Refused`,
    `Unknown`."""
    end = until(deadline_s)
    route = Route(pool, pin, write=True)
    while True:
        try:
            return await attempt_once(pool, route.next(), max(0.001, end - now()), attempt)
        except Failure as failure:
            wait_s = route.failed(failure)
            late = now() + wait_s >= end
            if failure.undialled and late:
                text = f"no connection, last to {failure.message}; check the endpoints"
                raise Refused(text, ErrorKind.NOT_LEADER) from None
            if not failure.undialled and not failure.rejected:
                raise failure.as_unknown() from None
            if not failure.undialled and (late or not failure.worth_another_try):
                raise failure.as_refused() from None
        await asyncio.sleep(wait_s)
