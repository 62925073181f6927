//! `engram backup` and `engram restore`: a cluster's state in a directory, and a data directory made of it.
//!
//! A backup is a directory of two files: `snapshot`, and `backup.json`, which is written last and says what the other must
//! be. Invariant `backup_whole_or_refused`: without the second, or with another length or checksum, nothing is restored.

use super::cluster::node;
use super::exit::Failure;
use super::{Target, out};
use crate::backup::{Restore, prove, restore as make};
use crate::env::{Disk, Env, Open, OsDisk, disk};
use bytes::Bytes;
use clap::Args;
use engram_client::NodeAddress;
use serde::{Deserialize, Serialize};
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;
const SNAPSHOT: &str = "snapshot";
const HEAD: &str = "backup.json";
const HEAD_BYTES_MAX: u64 = 64 * 1024;

/// Where to.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// A new directory.
    dir: PathBuf,
    /// Print what the backup is as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// From where, and of what node.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup's directory.
    dir: PathBuf,
    /// The data directory that is made; new, or empty.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// ID=CLIENT,PEER: the restored cluster's one node; others are added to it.
    #[arg(long = "node", value_name = "ID=CLIENT,PEER", value_parser = node)]
    node: NodeAddress,
    /// Name of the restored cluster; the backup's otherwise.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

/// What `backup.json` says.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    cluster_name: String,
    cluster_id: String,
    incarnation: u64,
    log_index: u64,
    bytes: u64,
    crc32c: String,
}

fn local(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::Other => Failure::failed(error.to_string()),
        _ => Failure::input(error.to_string()),
    }
}

/// Takes a backup.
pub async fn backup(args: BackupArgs) -> Result<(), Failure> {
    let (disk, dir) = (OsDisk, &args.dir);
    disk.create_dir_all(dir).map_err(local)?;
    if !disk.list(dir).map_err(local)?.is_empty() {
        return Err(Failure::input(format!("{} is not empty; name a new directory", dir.display())));
    }
    let mut coming = args.target.client()?.backup().await?;
    let path = dir.join(SNAPSHOT);
    let file = disk.open(&path, Open::CreateNew).map_err(local)?;
    let (mut bytes, mut crc) = (0, 0);
    while let Some(piece) = coming.next().await? {
        file.write_at(bytes, &piece).map_err(local)?;
        bytes += piece.len() as u64;
        crc = crc32c::crc32c_append(crc, &piece);
    }
    if (bytes, crc) != (coming.head.bytes, coming.head.crc32c) {
        let text = format!("{bytes} of {} bytes came, or damaged ones", coming.head.bytes);
        return Err(Failure::failed(format!("{text}; remove {} and take another", dir.display())));
    }
    file.sync_data().map_err(local)?;
    let head = Head {
        format: FORMAT,
        cluster_name: coming.head.cluster_name.clone(),
        cluster_id: coming.head.cluster_id.iter().map(|byte| format!("{byte:02x}")).collect(),
        incarnation: coming.head.incarnation,
        log_index: coming.head.log_index,
        bytes,
        crc32c: format!("{crc:08x}"),
    };
    let text = serde_json::to_string_pretty(&head).expect("plain fields");
    disk::replace(&disk, &dir.join(HEAD), format!("{text}\n").as_bytes()).map_err(local)?;
    match args.json {
        true => out::json(&serde_json::to_value(&head).expect("plain fields")),
        false => out::line(format_args!("{bytes} bytes up to log index {} in {}", head.log_index, dir.display())),
    }
    Ok(())
}

/// Reads a backup, and checks it whole.
fn read(dir: &Path) -> Result<(Head, Bytes), Failure> {
    let (disk, path) = (OsDisk, dir.join(HEAD));
    let text = disk::read_all(&disk, &path, HEAD_BYTES_MAX).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => {
            Failure::input(format!("{} is no backup, or was broken off: it has no {HEAD}", dir.display()))
        }
        _ => local(e),
    })?;
    let place = path.display();
    let head: Head = serde_json::from_slice(&text).map_err(|e| Failure::input(format!("{place}: {e}")))?;
    if head.format != FORMAT {
        return Err(Failure::input(format!(
            "{place} has format {}; this version reads {FORMAT}; upgrade",
            head.format
        )));
    }
    let path = dir.join(SNAPSHOT);
    let bytes = Bytes::from(disk::read_all(&disk, &path, crate::state::SNAPSHOT_BYTES_MAX).map_err(local)?);
    let crc = format!("{:08x}", crc32c::crc32c(&bytes));
    if (bytes.len() as u64, &crc) != (head.bytes, &head.crc32c) {
        let text = format!("{} has {} bytes of checksum {crc}", path.display(), bytes.len());
        let wanted = format!("{HEAD} says {} of {}", head.bytes, head.crc32c);
        return Err(Failure::failed(format!("{text}, {wanted}: it is damaged; use another backup")));
    }
    Ok((head, bytes))
}

/// Proves a backup without restoring it: what it is, and how many rows it has.
pub fn verify(dir: &Path) -> Result<(u64, u64), Failure> {
    let (_, bytes) = read(dir)?;
    prove(bytes).map_err(|e| Failure::failed(format!("{}: damaged {e}", dir.join(SNAPSHOT).display())))
}

/// Makes a data directory of a backup.
pub async fn restore(args: RestoreArgs) -> Result<(), Failure> {
    let (head, snapshot) = read(&args.dir)?;
    let env = Env::os(NonZeroUsize::MIN).map_err(|e| Failure::failed(format!("threads do not start: {e}")))?;
    let (id, cluster_name) = (args.node.node, args.cluster.unwrap_or(head.cluster_name));
    let data_dir = args.data_dir.clone();
    let what = Restore { snapshot, incarnation: head.incarnation, cluster_name, node: args.node, data_dir };
    make(env, what).await.map_err(local)?;
    let place = args.data_dir.display();
    out::line(format_args!("{place} is node {id} of a cluster of one, at log index {}", head.log_index));
    out::note(format_args!("start it with `engram serve --node-id {id} --data-dir {place}`, then add others to it"));
    Ok(())
}
