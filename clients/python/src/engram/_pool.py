"""What all parts of a client share: its connections, the leader it last heard of, its read token."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from . import limits
from .consistency import ReadToken
from .errors import Failure, InvalidArgument
from .options import Timing

# Connections kept, hinted addresses included; over it the hinted ones are forgotten.
_LANES_MAX = 64
_ADDRESS_BYTES_MAX = 261
_CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 10000),
    ("grpc.http2.max_pings_without_data", 0),
    # Only this package sends again, as only it knows what may be: never the library below.
    ("grpc.enable_retries", 0),
    # A connection that was given up leaves neither its back-off nor itself to the next one.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]


class Lane:
    """A connection to one address. It closes once it is retired and nobody uses it any more."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self.retired = False
        self._users = 0

    def hold(self) -> None:
        self._users += 1

    async def release(self) -> None:
        self._users -= 1
        await self.close_if_done()

    @asynccontextmanager
    async def use(self) -> AsyncIterator[None]:
        self.hold()
        try:
            yield
        finally:
            await self.release()

    async def close_if_done(self) -> None:
        if self.retired and self._users == 0:
            await self.channel.close()

    async def dial(self, connect_s: float) -> None:
        """Waits until there is a connection. Errors: a `Failure` after which surely nothing was sent."""
        try:
            await asyncio.wait_for(self._ready(), connect_s)
        except asyncio.TimeoutError:
            raise Failure(f"{self.address}: no connection within {connect_s:g} s", undialled=True, broken=True) from None

    async def _ready(self) -> None:
        state = self.channel.get_state(try_to_connect=True)
        while state != grpc.ChannelConnectivity.READY:
            if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
                raise Failure(f"{self.address}: cannot be connected to", undialled=True, broken=True)
            await self.channel.wait_for_state_change(state)
            state = self.channel.get_state(try_to_connect=True)


class Pool:
    """Endpoints, waits, randomness, connections. Belongs to one event loop."""

    def __init__(self, endpoints: Sequence[str], timing: Timing, seed: int | None) -> None:
        if isinstance(endpoints, str):
            endpoints = [endpoints]
        self.endpoints = list(endpoints)
        if not self.endpoints:
            raise InvalidArgument("no endpoints; name at least one as host:port")
        for endpoint in self.endpoints:
            check_address(endpoint)
        self.timing = timing
        self.random = random.Random(seed)
        self.leader: str | None = None
        self.token = ReadToken()
        self._operations = 0
        self._lanes: dict[str, Lane] = {}

    def operation(self) -> int:
        """A number for one operation: reads start at an endpoint each in turn."""
        self._operations += 1
        return self._operations

    def lane(self, address: str) -> Lane:
        if len(self._lanes) >= _LANES_MAX and address not in self._lanes:
            for known in [known for known in self._lanes if known not in self.endpoints]:
                self._lanes.pop(known).retired = True
        if address not in self._lanes:
            self._lanes[address] = Lane(address)
        return self._lanes[address]

    async def retire(self, lane: Lane) -> None:
        """The connection is suspect: the next attempt at this address makes another."""
        if self._lanes.get(lane.address) is lane:
            del self._lanes[lane.address]
        lane.retired = True
        await lane.close_if_done()

    def hint(self, address: str) -> str | None:
        """Remembers where the leader is said to be; a hint that is no address is dropped."""
        if not address or _fault_of_address(address) is not None:
            return None
        self.leader = address
        return address

    def forget(self, address: str) -> None:
        """Forgets a leader that did not behave like one."""
        if self.leader == address:
            self.leader = None

    def raise_token(self, token: ReadToken) -> None:
        self.token = self.token.raised(token)

    async def close(self) -> None:
        lanes, self._lanes = list(self._lanes.values()), {}
        for lane in lanes:
            await lane.channel.close()


def check_address(endpoint: str) -> None:
    """Errors: `InvalidArgument`."""
    why = _fault_of_address(endpoint)
    if why is not None:
        raise InvalidArgument(f"endpoint {endpoint!r} {why}; write host:port")


def _fault_of_address(address: str) -> str | None:
    """Only `host:port` is an address: no scheme, no path."""
    if not isinstance(address, str) or len(address) > _ADDRESS_BYTES_MAX:
        return "is no plain address"
    if "://" in address or any(sign in address for sign in "/@ ?#"):
        return "is no plain address"
    host, colon, port = address.rpartition(":")
    if not colon:
        return "has no port"
    if not host:
        return "has no host"
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        return "has a bad port"
    return None
