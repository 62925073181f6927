//! Pages that are made from tables of the code: a test holds each to its table, or writes it anew on demand.

/// Fails if the file at `path`, from the workspace's root, is not `text`; writes it first if `WRITE_DOCS` is set.
#[expect(clippy::disallowed_methods, reason = "tests read and write the tree itself")]
pub fn hold(path: &str, text: &str) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&file, text).expect("written");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == text, "{path} is not what the code says; WRITE_DOCS=1 writes it anew");
}
