// What a node says of itself, its spaces and its cluster.

import { type Member as WireMember, Role as WireRole, type StatusResponse } from "./gen/engram/v1/cluster_pb.js";
import { Metric, Precision, type SpaceInfo as WireSpace } from "./gen/engram/v1/spaces_pb.js";

/** A space as a node has it. */
export interface SpaceInfo {
  readonly name: string;
  readonly dim: number;
  /** "cosine", "dot" or "l2"; the number of one that is not known here. */
  readonly metric: string;
  /** "f16" or "f32". */
  readonly precision: string;
  /** The log index of its creation: never used again. */
  readonly id: number;
  /** Forgotten ones included. */
  readonly rows: number;
  readonly forgotten: number;
  /** 0: rows do not grow old. */
  readonly ttlMs: number;
  readonly historyMs: number;
}

/** A node of the cluster. */
export interface Member {
  readonly node: number;
  readonly clientAddress: string;
  readonly peerAddress: string;
  readonly voter: boolean;
  readonly quarantined: boolean;
}

/** One node, and what it knows of its cluster. */
export interface Status {
  readonly node: number;
  /** "blank", "learner", "follower", "candidate", "leader" or "stopped". */
  readonly role: string;
  readonly term: number;
  /** Null: none is known. */
  readonly leader: number | null;
  readonly incarnation: bigint;
  readonly applied: number;
  readonly committed: number;
  readonly stateDigest: bigint;
  readonly version: string;
  readonly sessions: number;
  /** Why it would not answer /readyz with 200; empty: it would. */
  readonly notReadyReason: string;
  readonly spaces: readonly SpaceInfo[];
  readonly members: readonly Member[];
}

export function spaceFromWire({ config, ...space }: WireSpace): SpaceInfo {
  return {
    name: config?.name ?? "",
    dim: config?.dim ?? 0,
    metric: nameOf(Metric, config?.metric ?? 0),
    precision: nameOf(Precision, config?.precision ?? 0),
    id: Number(space.id),
    rows: Number(space.rows),
    forgotten: Number(space.forgotten),
    ttlMs: Number(config?.ttlMs ?? 0n),
    historyMs: Number(config?.historyMs ?? 0n),
  };
}

function memberFromWire({ address, voter, quarantined }: WireMember): Member {
  const { node = 0n, clientAddress = "", peerAddress = "" } = address ?? {};
  return { node: Number(node), clientAddress, peerAddress, voter, quarantined };
}

export function statusFromWire(message: StatusResponse): Status {
  const { version, notReadyReason, incarnation, stateDigest, watermarks } = message;
  return {
    node: Number(message.node),
    role: nameOf(WireRole, message.role),
    term: Number(message.term),
    leader: message.leader === undefined ? null : Number(message.leader),
    incarnation,
    applied: Number(watermarks?.applied ?? 0n),
    committed: Number(watermarks?.committed ?? 0n),
    stateDigest,
    version,
    sessions: Number(message.sessions),
    notReadyReason,
    spaces: message.spaces.map(spaceFromWire),
    members: message.members.map(memberFromWire),
  };
}

/** The number of one that is not known to this version. */
function nameOf(names: Readonly<Record<number, string>>, number: number): string {
  return (names[number] ?? String(number)).toLowerCase();
}
