"""A space's configuration, checked before it is sent."""

from __future__ import annotations

from . import limits
from .errors import ErrorKind, InvalidArgument, Refused
from .v1 import spaces_pb2
from .values import check_space_name

_METRICS = {
    "cosine": spaces_pb2.METRIC_COSINE,
    "dot": spaces_pb2.METRIC_DOT,
    "l2": spaces_pb2.METRIC_L2,
}
_PRECISIONS = {"f16": spaces_pb2.PRECISION_F16, "f32": spaces_pb2.PRECISION_F32}


def space_config(
    name: str,
    dim: int | None,
    metric: str | None,
    precision: str | None,
    m: int,
    ef_construction: int,
    ttl_ms: int,
    history_ms: int,
) -> spaces_pb2.SpaceConfig:
    """What is not given stays unspecified: the server has the defaults. Errors: `InvalidArgument`."""
    check_space_name(name)
    if dim is not None and not limits.DIM_MIN <= dim <= limits.DIM_MAX:
        raise InvalidArgument(f"dim is {dim}; a space has {limits.DIM_MIN} to {limits.DIM_MAX} dimensions")
    if metric is not None and metric not in _METRICS:
        raise InvalidArgument(f"metric is {metric!r}; use 'cosine', 'dot' or 'l2'")
    if precision is not None and precision not in _PRECISIONS:
        raise InvalidArgument(f"precision is {precision!r}; use 'f16' or 'f32'")
    for what, number in (("m", m), ("ef_construction", ef_construction), ("history_ms", history_ms)):
        if number < 0:
            raise InvalidArgument(f"{what} is {number}; give a positive number, or 0 for the server's default")
    if ttl_ms != 0 and ttl_ms < limits.TTL_MS_MIN:
        raise InvalidArgument(f"ttl_ms is {ttl_ms}; at least {limits.TTL_MS_MIN}, or 0 for none")
    return spaces_pb2.SpaceConfig(
        name=name,
        dim=dim or 0,
        metric=_METRICS[metric] if metric is not None else spaces_pb2.METRIC_UNSPECIFIED,
        precision=_PRECISIONS[precision] if precision is not None else spaces_pb2.PRECISION_UNSPECIFIED,
        m=m,
        ef_construction=ef_construction,
        ttl_ms=ttl_ms,
        history_ms=history_ms,
    )


def check_same(wanted: spaces_pb2.SpaceConfig, have: spaces_pb2.SpaceConfig) -> None:
    """A space that is there must be what was asked for. Errors: `Refused` with the kind EXISTS."""
    asked = {"dim": wanted.dim, "metric": wanted.metric, "precision": wanted.precision, "ttl_ms": wanted.ttl_ms}
    for what, value in asked.items():
        there = getattr(have, what)
        if value and value != there:
            names = {"metric": spaces_pb2.Metric.Name, "precision": spaces_pb2.Precision.Name}
            say = names.get(what, str)
            text = f"space {have.name!r} exists with {what} {say(there)}, not {say(value)}; choose another name or drop it"
            raise Refused(text, ErrorKind.EXISTS)
