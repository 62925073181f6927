"""What a node says of itself, its spaces and its cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .v1 import cluster_pb2, spaces_pb2


@dataclass(frozen=True)
class SpaceInfo:
    """A space as a node has it."""

    name: str
    dim: int
    metric: str
    precision: str
    id: int
    rows: int
    forgotten: int
    ttl_ms: int
    history_ms: int

    @staticmethod
    def of(message: spaces_pb2.SpaceInfo) -> SpaceInfo:
        config = message.config
        return SpaceInfo(
            name=config.name,
            dim=config.dim,
            metric=_name(spaces_pb2.Metric, config.metric),
            precision=_name(spaces_pb2.Precision, config.precision),
            id=message.id,
            rows=message.rows,
            forgotten=message.forgotten,
            ttl_ms=config.ttl_ms,
            history_ms=config.history_ms,
        )


@dataclass(frozen=True)
class Member:
    """A node of the cluster."""

    node: int
    client_address: str
    peer_address: str
    voter: bool
    quarantined: bool


@dataclass(frozen=True)
class Status:
    """One node, and what it knows of its cluster."""

    node: int
    role: str
    """blank, learner, follower, candidate, leader or stopped."""
    term: int
    leader: int | None
    incarnation: int
    applied: int
    committed: int
    state_digest: int
    version: str
    sessions: int
    not_ready_reason: str
    """Why it would not answer /readyz with 200; empty: it would."""
    spaces: tuple[SpaceInfo, ...]
    members: tuple[Member, ...]

    @staticmethod
    def of(message: cluster_pb2.StatusResponse) -> Status:
        members = (
            Member(
                member.address.node,
                member.address.client_address,
                member.address.peer_address,
                member.voter,
                member.quarantined,
            )
            for member in message.members
        )
        return Status(
            node=message.node,
            role=_name(cluster_pb2.Role, message.role),
            term=message.term,
            leader=message.leader if message.HasField("leader") else None,
            incarnation=message.incarnation,
            applied=message.watermarks.applied,
            committed=message.watermarks.committed,
            state_digest=message.state_digest,
            version=message.version,
            sessions=message.sessions,
            not_ready_reason=message.not_ready_reason,
            spaces=tuple(SpaceInfo.of(space) for space in message.spaces),
            members=tuple(members),
        )


def _name(enum: Any, number: int) -> str:
    """`ROLE_LEADER` is "leader"; one that is not known to this version is its number."""
    if number not in enum.values():
        return str(number)
    return str(enum.Name(number)).partition("_")[2].lower()
