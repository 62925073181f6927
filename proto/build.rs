//! Compiles the protocol with protox: no protoc to install.

#[expect(clippy::disallowed_methods, reason = "a build script writes what it makes")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["types", "rows", "memory", "spaces", "cluster", "log", "peer"];
    let files = files.map(|name| format!("proto/engram/v1/{name}.proto"));
    let foreign = ["proto/opentelemetry/trace.proto".to_string()];
    let descriptors = protox::compile(files.iter().chain(&foreign), ["proto"])?;
    // What clients may ask for by reflection: the public contract alone.
    let public = ["types", "rows", "memory", "spaces", "cluster"].map(|name| format!("proto/engram/v1/{name}.proto"));
    let path = std::path::PathBuf::from(std::env::var("OUT_DIR")?).join("engram.v1.bin");
    std::fs::write(path, prost::Message::encode_to_vec(&protox::compile(public, ["proto"])?))?;
    tonic_prost_build::configure()
        // The generated clients are generic over tower's Service: no socket, no runtime.
        .build_transport(false)
        // Maps are ordered, so equal values have equal bytes.
        .btree_map(".")
        // Embeddings and log payloads are slices of the message they came in.
        .bytes(".")
        // Many times the size of an ack, and seldom: what waits in a stream's outbox stays small.
        .boxed(".engram.v1.MemoryResponse.message.call")
        .compile_fds(descriptors)?;
    Ok(())
}
