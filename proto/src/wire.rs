//! Generated code, by package. Nothing else in the project is generated.
#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated; the .proto files carry the documentation")]

/// Nested as the packages are, because the generated code refers to its neighbours by path.
mod engram {
    pub mod v1 {
        tonic::include_proto!("engram.v1");
    }
    pub mod log {
        pub mod v1 {
            tonic::include_proto!("engram.log.v1");
        }
    }
    pub mod peer {
        pub mod v1 {
            tonic::include_proto!("engram.peer.v1");
        }
    }
}

/// What a collector of OpenTelemetry takes.
pub mod otlp {
    tonic::include_proto!("opentelemetry.proto.collector.trace.v1");
}

/// Descriptors of the public contract and of what it imports: an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/engram.v1.bin"));

/// What the replicated log holds: `engram.log.v1`.
pub use engram::log::v1 as log;
/// Node to node: `engram.peer.v1`.
pub use engram::peer::v1 as peer;
/// The public contract: `engram.v1`.
pub use engram::v1;
