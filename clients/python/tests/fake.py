"""A server that says what a test wants it to say: statuses, refusals, credit, silence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import grpc
from engram._rpc import CREATE_SPACE, FORGET, LIST_SPACES, OBSERVE_STREAM, RECALL_STREAM
from engram.v1 import memory_pb2, rows_pb2, spaces_pb2, types_pb2

SPACE = spaces_pb2.SpaceInfo(config=spaces_pb2.SpaceConfig(name="fake", dim=2), id=1)
Streamed = Callable[[Iterator[Any], grpc.ServicerContext], Iterator[Any]]


def detail(kind: str, write_class: str, message: str = "as asked", **more: Any) -> types_pb2.ErrorDetail:
    fields = {"class": types_pb2.WriteClass.Value(f"WRITE_CLASS_{write_class}")}
    return types_pb2.ErrorDetail(kind=types_pb2.ErrorKind.Value(f"ERROR_KIND_{kind}"), message=message, **fields, **more)


def end(context: grpc.ServicerContext, code: grpc.StatusCode, error: types_pb2.ErrorDetail | None) -> None:
    """Ends a call as a node does, or, without a detail, as a proxy would."""
    if error is not None:
        context.set_trailing_metadata((("grpc-status-details-bin", error.SerializeToString()),))
    context.abort(code, error.message if error is not None else "from a proxy")


def opened(credit_rows: int = 4096, last_sequence: int = 0, session: int = 9) -> memory_pb2.ObserveResponse:
    credit = memory_pb2.FlowControl(
        kind=memory_pb2.FLOW_KIND_CREDIT, credit_rows=credit_rows, credit_bytes=16 << 20
    )
    said = memory_pb2.SessionOpened(session=session, incarnation=1, last_sequence=last_sequence, dim=2, credit=credit)
    return memory_pb2.ObserveResponse(opened=said)


def ack(first: int, last: int, log_index: int = 100) -> memory_pb2.ObserveResponse:
    stage = memory_pb2.ACK_STAGE_COMMITTED
    return memory_pb2.ObserveResponse(
        ack=memory_pb2.Ack(first_sequence=first, last_sequence=last, log_index=log_index, stage=stage)
    )


def refused(sequence: int, error: types_pb2.ErrorDetail) -> memory_pb2.ObserveResponse:
    said = memory_pb2.Refused(sequence=sequence, expected=sequence, error=error)
    return memory_pb2.ObserveResponse(refused=said)


def acks_all(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
    """A server without a fault."""
    for request in requests:
        if request.WhichOneof("message") == "batch":
            batch = request.batch
            yield ack(batch.first_sequence, batch.first_sequence + len(batch.observations) - 1)
        else:
            yield opened()


class Fake(grpc.GenericRpcHandler):
    """One node with the space `fake` of two dimensions."""

    def __init__(self, observe: Streamed = acks_all) -> None:
        self.observe = observe
        self.recall: Streamed = lambda requests, context: iter(())
        self.forget: Callable[[Any, grpc.ServicerContext], Any] = lambda request, context: rows_pb2.ForgetResponse()
        self.calls: list[str] = []
        self.traces: list[tuple[str, str | None]] = []
        """Of each call: its name and the trace that it belongs to."""
        self.over = threading.Event()
        """Set at the end of the test: scripts that wait end then."""
        self._server = grpc.server(ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        self.calls.append(details.method)
        headers = dict(details.invocation_metadata)
        self.traces.append((details.method.rpartition("/")[2], headers.get("traceparent")))
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        exists = detail("EXISTS", "REJECTED")
        handlers: dict[str, tuple[Any, Any, Any]] = {
            CREATE_SPACE.path: (
                unary,
                lambda request, context: end(context, grpc.StatusCode.ALREADY_EXISTS, exists),
                spaces_pb2.CreateSpaceRequest,
            ),
            LIST_SPACES.path: (
                unary,
                lambda request, context: spaces_pb2.ListSpacesResponse(spaces=[SPACE]),
                spaces_pb2.ListSpacesRequest,
            ),
            FORGET.path: (unary, lambda request, context: self.forget(request, context), rows_pb2.ForgetRequest),
            OBSERVE_STREAM.path: (
                stream,
                lambda requests, context: self.observe(requests, context),
                memory_pb2.ObserveRequest,
            ),
            RECALL_STREAM.path: (
                stream,
                lambda requests, context: self.recall(requests, context),
                memory_pb2.RecallRequest,
            ),
        }
        kind, behaviour, request = handlers[details.method]
        handler: grpc.RpcMethodHandler[Any, Any] = kind(
            behaviour, request_deserializer=request.FromString, response_serializer=lambda m: m.SerializeToString()
        )
        return handler

    def __enter__(self) -> Fake:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.over.set()
        self._server.stop(None).wait()
