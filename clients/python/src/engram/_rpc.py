"""The calls of the protocol by name, and its errors. Nothing else of gRPC's is generated."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from .errors import ErrorKind, Failure
from .v1 import cluster_pb2, memory_pb2, rows_pb2, spaces_pb2, types_pb2

Metadata = tuple[tuple[str, str], ...]
"""Headers of a call."""
# How long the server's status may come after grpcio's own, and how often it is looked for.
_STATUS_WAIT_S = 1.0
_STATUS_POLL_S = 0.005


class Method:
    """A method of a service: its path and what it answers with."""

    def __init__(self, service: str, name: str, response: type[Message]) -> None:
        self.service, self.name, self.response = service, name, response
        self.path = f"/engram.v1.{service}/{name}"


OBSERVE_STREAM = Method("Memory", "ObserveStream", memory_pb2.ObserveResponse)
RECALL_STREAM = Method("Memory", "RecallStream", memory_pb2.RecallResponse)
LIST = Method("Memory", "List", rows_pb2.ListResponse)
GET = Method("Memory", "Get", rows_pb2.GetResponse)
COUNT = Method("Memory", "Count", rows_pb2.CountResponse)
FORGET = Method("Memory", "Forget", rows_pb2.ForgetResponse)
WATCH = Method("Memory", "Watch", rows_pb2.WatchResponse)
CREATE_SPACE = Method("Spaces", "CreateSpace", spaces_pb2.CreateSpaceResponse)
LIST_SPACES = Method("Spaces", "ListSpaces", spaces_pb2.ListSpacesResponse)
DROP_SPACE = Method("Spaces", "DropSpace", spaces_pb2.DropSpaceResponse)
STATUS = Method("Cluster", "Status", cluster_pb2.StatusResponse)


async def unary(channel: grpc.aio.Channel, method: Method, request: Message, metadata: Metadata) -> Any:
    """One request, one answer."""
    call = channel.unary_unary(
        method.path, request_serializer=_serialize, response_deserializer=method.response.FromString
    )
    return await call(request, metadata=metadata)


def server_stream(
    channel: grpc.aio.Channel, method: Method, request: Message, metadata: Metadata
) -> grpc.aio.UnaryStreamCall[Any, Any]:
    """One request, many answers."""
    call = channel.unary_stream(
        method.path, request_serializer=_serialize, response_deserializer=method.response.FromString
    )
    return call(request, metadata=metadata)


def both_streams(
    channel: grpc.aio.Channel, method: Method, metadata: Metadata
) -> grpc.aio.StreamStreamCall[Any, Any]:
    """Many requests, many answers."""
    call = channel.stream_stream(
        method.path, request_serializer=_serialize, response_deserializer=method.response.FromString
    )
    return call(metadata=metadata)


async def next_message(call: Any) -> Any:
    """The next message of a stream; `None` at its end. Not by `read`, which gives up what the server has still sent, its
    status too, once a write has failed."""
    try:
        return await call.__aiter__().__anext__()
    except StopAsyncIteration:
        return None


class Ending:
    """What the server said at the end of a stream that is read to its end.

    A write that meets this end makes grpcio report an error of its own, INTERNAL without metadata: before the server's
    status has come, or in its place. It would hide, for example, that another connection has superseded this one."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._said: grpc.aio.AioRpcError | None = None
        # Called with the first status alone: the server's, if grpcio's own comes second.
        call.add_done_callback(self._note)

    async def status(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """The server's word, where `error` is what the call raised."""
        end = asyncio.get_running_loop().time() + _STATUS_WAIT_S
        while True:
            self._note(self._call)
            if self._said is not None or asyncio.get_running_loop().time() >= end:
                return self._said or error
            await asyncio.sleep(_STATUS_POLL_S)

    def _note(self, call: Any) -> None:
        code, trailing = _at_once(call.code()), _at_once(call.trailing_metadata())
        if self._said is None and (code != grpc.StatusCode.INTERNAL or trailing):
            details = _at_once(call.details())
            self._said = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing or grpc.aio.Metadata(), details)


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The outcome of a coroutine that has nothing to wait for: an ended call's status is there."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    finally:
        coroutine.close()
    return None


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def failure_of_detail(detail: types_pb2.ErrorDetail) -> Failure:
    """What the server said."""
    try:
        kind = ErrorKind(detail.kind)
    except ValueError:
        # A newer server's: as much as doubt.
        kind = ErrorKind.UNSPECIFIED
    return Failure(
        detail.message,
        kind,
        rejected=getattr(detail, "class") == types_pb2.WRITE_CLASS_REJECTED,
        retry_after_ms=detail.retry_after_ms,
        leader_address=detail.leader_address,
        last_sequence=detail.last_sequence if detail.HasField("last_sequence") else None,
    )


def failure_of_status(error: grpc.aio.AioRpcError, address: str) -> Failure:
    """A status without details was made by a proxy or a library: its outcome is unknown, whatever its code."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                detail = types_pb2.ErrorDetail.FromString(value)
            except DecodeError:
                break
            if detail.kind != types_pb2.ERROR_KIND_UNSPECIFIED:
                return failure_of_detail(detail)
    return Failure(f"{address}: {error.code().name}: {error.details()}", broken=True)
