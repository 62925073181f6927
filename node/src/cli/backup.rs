//! `engram backup` and `engram restore`: a cluster's state in a directory, and a data directory made of it.
//!
//! A backup is a directory of a snapshot, its record files, and `backup.json`, which is written last and says what the
//! snapshot must be. A later backup into the same directory brings the files that are new, and takes the place of the one
//! before once it is whole.
//! Invariant `backup_whole_or_refused`: without `backup.json`, or with another snapshot or other record files than it
//! stands for, nothing is restored.

use super::cluster::node;
use super::exit::Failure;
use super::{Target, out};
use crate::backup::{Restore, prove, restore as make};
use crate::env::{Disk, Env, OsDisk, disk};
use crate::state::records::{Hash, Records};
use crate::state::snapshot;
use bytes::{Bytes, BytesMut};
use clap::Args;
use engram_client::{Backup, BackupPiece, NodeAddress};
use serde::{Deserialize, Serialize};
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FORMAT: u32 = 2;
/// Of formats that have no name for it.
const SNAPSHOT: &str = "snapshot";
const RECORDS: &str = "records";
const HEAD: &str = "backup.json";
const HEAD_BYTES_MAX: u64 = 64 * 1024;

/// Where to.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// A new directory, or one with a backup of the same cluster: then what is new is fetched.
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
    #[serde(default = "snapshot_1")]
    snapshot: String,
    bytes: u64,
    crc32c: String,
}

fn snapshot_1() -> String {
    SNAPSHOT.into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn local(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::Other => Failure::failed(error.to_string()),
        _ => Failure::input(error.to_string()),
    }
}

/// Takes a backup.
pub async fn backup(args: BackupArgs) -> Result<(), Failure> {
    let dir = &args.dir;
    OsDisk.create_dir_all(dir).map_err(local)?;
    let before = match OsDisk.list(dir).map_err(local)?.iter().any(|name| name == HEAD) {
        true => Some(head(dir)?),
        false => None,
    };
    let records = records(dir)?;
    if before.is_none() && OsDisk.list(dir).map_err(local)?.iter().any(|name| name != RECORDS) {
        return Err(Failure::input(format!("{} is not empty; name a new directory, or a backup's", dir.display())));
    }
    // What an unfinished one left is as good.
    let have = records.sound();
    let mut coming = args.target.client()?.backup(have.iter().map(|hash| hash.to_bytes()).collect()).await?;
    let cluster_id = hex(&coming.head.cluster_id);
    if let Some(before) = before.filter(|before| before.cluster_id != cluster_id) {
        let text = format!("{} has a backup of cluster {}, this is {cluster_id}", dir.display(), before.cluster_id);
        return Err(Failure::input(format!("{text}; name another directory")));
    }
    let (manifest, fetched) = receive(&mut coming, &records, dir).await?;
    let head = Head {
        format: FORMAT,
        cluster_name: coming.head.cluster_name.clone(),
        cluster_id,
        incarnation: coming.head.incarnation,
        log_index: coming.head.log_index,
        snapshot: format!("{:016x}.snap", coming.head.log_index),
        bytes: coming.head.bytes,
        crc32c: format!("{:08x}", coming.head.crc32c),
    };
    finish(dir, &head, &manifest, &records)?;
    let (bytes, files) = (manifest.len() as u64 + fetched, coming.head.files);
    match args.json {
        true => {
            let mut view = serde_json::to_value(&head).expect("plain fields");
            view["files"] = files.into();
            view["files_fetched"] = coming.head.files_sent.into();
            view["bytes_fetched"] = bytes.into();
            out::json(&view);
        }
        false => {
            let (sent, place) = (coming.head.files_sent, dir.display());
            out::line(format_args!("{place} is a backup up to log index {} of {files} record files", head.log_index));
            out::note(format_args!("{bytes} bytes were fetched, {sent} files of them"));
        }
    }
    Ok(())
}

/// All that comes: the manifest, and record files into their folder; how many bytes those had.
async fn receive(coming: &mut Backup, records: &Records, dir: &Path) -> Result<(Bytes, u64), Failure> {
    let broken =
        |what: String| Failure::failed(format!("{what}; take it again: what came is kept in {}", dir.display()));
    let (mut manifest, mut file, mut fetched) = (BytesMut::new(), (Bytes::new(), BytesMut::new()), 0);
    let take = |(name, bytes): &(Bytes, BytesMut)| match Hash::try_from(&name[..]) {
        Ok(hash) => records.take(&hash, bytes).map_err(|e| broken(e.to_string())),
        Err(_) if name.is_empty() => Ok(()),
        Err(_) => Err(broken("a record file came without its name".into())),
    };
    while let Some(BackupPiece { file: name, data }) = coming.next().await? {
        if name.is_empty() {
            manifest.extend_from_slice(&data);
            continue;
        }
        if name != file.0 {
            take(&file)?;
            file = (name, BytesMut::new());
        }
        file.1.extend_from_slice(&data);
        fetched += data.len() as u64;
    }
    take(&file)?;
    let crc = crc32c::crc32c(&manifest);
    if (manifest.len() as u64, crc) != (coming.head.bytes, coming.head.crc32c) {
        return Err(broken(format!("{} of {} bytes came, or damaged ones", manifest.len(), coming.head.bytes)));
    }
    Ok((manifest.freeze(), fetched))
}

/// Gives the directory its new meaning, then removes what the old one had alone.
fn finish(dir: &Path, head: &Head, manifest: &Bytes, records: &Records) -> Result<(), Failure> {
    let names = snapshot::named(manifest).map_err(|e| Failure::failed(format!("the snapshot is damaged {e}")))?;
    let mut files = records.hold();
    for hash in names.0 {
        files.add(hash);
    }
    if let Some(missing) = files.missing().first() {
        return Err(Failure::failed(format!("record file {missing} did not come; take the backup again")));
    }
    records.sync().map_err(local)?;
    disk::replace(&OsDisk, &dir.join(&head.snapshot), manifest).map_err(local)?;
    let text = serde_json::to_string_pretty(&head).expect("plain fields");
    disk::replace(&OsDisk, &dir.join(HEAD), format!("{text}\n").as_bytes()).map_err(local)?;
    for name in OsDisk.list(dir).map_err(local)? {
        if name != head.snapshot && (name == SNAPSHOT || name.ends_with(".snap")) {
            OsDisk.remove(&dir.join(name)).map_err(local)?;
        }
    }
    records.sweep().map(drop).map_err(local)
}

fn records(dir: &Path) -> Result<Records, Failure> {
    Records::open(Arc::new(OsDisk), dir.join(RECORDS)).map_err(local)
}

/// What a backup's directory says of itself.
fn head(dir: &Path) -> Result<Head, Failure> {
    let path = dir.join(HEAD);
    let text = disk::read_all(&OsDisk, &path, HEAD_BYTES_MAX).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => {
            Failure::input(format!("{} is no backup, or was broken off: it has no {HEAD}", dir.display()))
        }
        _ => local(e),
    })?;
    let place = path.display();
    let head: Head = serde_json::from_slice(&text).map_err(|e| Failure::input(format!("{place}: {e}")))?;
    match head.format {
        1 | FORMAT => Ok(head),
        other => {
            let text = format!("{place} has format {other}; this version reads 1 and {FORMAT}; upgrade");
            Err(Failure::input(text))
        }
    }
}

/// Reads a backup's head and snapshot, and checks them.
fn read(dir: &Path) -> Result<(Head, Bytes, Records), Failure> {
    let head = head(dir)?;
    let path = dir.join(&head.snapshot);
    let bytes = Bytes::from(disk::read_all(&OsDisk, &path, crate::state::SNAPSHOT_BYTES_MAX).map_err(local)?);
    let crc = format!("{:08x}", crc32c::crc32c(&bytes));
    if (bytes.len() as u64, &crc) != (head.bytes, &head.crc32c) {
        let text = format!("{} has {} bytes of checksum {crc}", path.display(), bytes.len());
        let wanted = format!("{HEAD} says {} of {}", head.bytes, head.crc32c);
        return Err(Failure::failed(format!("{text}, {wanted}: it is damaged; use another backup")));
    }
    let records = Records::look(Arc::new(OsDisk), dir.join(RECORDS)).map_err(local)?;
    Ok((head, bytes, records))
}

/// Proves a backup without restoring it: what it is, and how many rows it has.
pub fn verify(dir: &Path) -> Result<(u64, u64), Failure> {
    let (head, manifest, records) = read(dir)?;
    let damaged = |e| {
        let place = dir.join(&head.snapshot);
        Failure::failed(format!("{}: damaged {e}; use another backup", place.display()))
    };
    prove(&manifest, &records).map_err(damaged)
}

/// Makes a data directory of a backup.
pub async fn restore(args: RestoreArgs) -> Result<(), Failure> {
    let (head, manifest, records) = read(&args.dir)?;
    let env = Env::os(NonZeroUsize::MIN).map_err(|e| Failure::failed(format!("threads do not start: {e}")))?;
    let (id, cluster_name) = (args.node.node, args.cluster.unwrap_or(head.cluster_name));
    let data_dir = args.data_dir.clone();
    let what = Restore { manifest, records, incarnation: head.incarnation, cluster_name, node: args.node, data_dir };
    make(env, what).await.map_err(local)?;
    let place = args.data_dir.display();
    out::line(format_args!("{place} is node {id} of a cluster of one, at log index {}", head.log_index));
    out::note(format_args!("start it with `engram serve --node-id {id} --data-dir {place}`, then add others to it"));
    Ok(())
}
