//! Compiles the protocol with protox: no protoc to install.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["types", "rows", "memory", "spaces", "cluster", "log", "peer"]
        .map(|name| format!("proto/engram/v1/{name}.proto"));
    let descriptors = protox::compile(&files, ["proto"])?;
    tonic_prost_build::configure()
        // The generated clients are generic over tower's Service: no socket, no runtime.
        .build_transport(false)
        // Maps are ordered, so equal values have equal bytes.
        .btree_map(".")
        // Embeddings and log payloads are slices of the message they came in.
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
