//! The framing of snapshots and of record files: a magic, then checksummed sections, the last of them an empty one.

use super::Damaged;
use bytes::{Buf, Bytes};
use prost::Message;

/// A snapshot of this version.
pub const SNAPSHOT: &[u8; 8] = b"ENGSNAP\x03";
/// One of indexes that are all in their first generation.
pub const SNAPSHOT_2: &[u8; 8] = b"ENGSNAP\x02";
/// One without record files.
pub const SNAPSHOT_1: &[u8; 8] = b"ENGSNAP\x01";
/// A record file.
pub const RECORDS: &[u8; 8] = b"ENGRECS\x01";
const HEADER_BYTES: usize = 12;

/// What a section is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Kind {
    /// `SnapshotHead`.
    Head = 1,
    /// `SnapshotSpace`.
    Space = 2,
    /// `SnapshotRows`.
    Rows = 3,
    /// `SnapshotSessions`.
    Sessions = 4,
    /// Empty, the last.
    End = 5,
    /// Bytes of a graph.
    Graph = 6,
}

const KINDS: [Kind; 6] = [Kind::Head, Kind::Space, Kind::Rows, Kind::Sessions, Kind::End, Kind::Graph];

/// Appends a section.
pub fn put(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&(kind as u32).to_le_bytes());
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..8]), payload);
    header[8..].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

/// Appends a message as a section.
pub fn put_message(out: &mut Vec<u8>, kind: Kind, message: &impl Message) {
    put(out, kind, &message.encode_to_vec());
}

/// Reads sections back.
pub struct Sections {
    rest: Bytes,
    offset: usize,
}

impl Sections {
    /// Of bytes that begin with one of these; which.
    pub fn begin(bytes: Bytes, magics: &[&[u8; 8]]) -> Result<(Self, usize), Damaged> {
        let mut sections = Self { rest: bytes, offset: 0 };
        let magic = sections.take(8)?;
        let at = magics.iter().position(|known| known[..] == magic[..]);
        let unknown = || Damaged { offset: 0, detail: "not of a version that this one reads".into(), lost: None };
        Ok((sections, at.ok_or_else(unknown)?))
    }

    /// Damage here.
    pub fn damaged(&self, detail: impl Into<String>) -> Damaged {
        Damaged { offset: self.offset, detail: detail.into(), lost: None }
    }

    fn take(&mut self, bytes: usize) -> Result<Bytes, Damaged> {
        if self.rest.len() < bytes {
            return Err(self.damaged(format!("{} bytes left where {bytes} should follow", self.rest.len())));
        }
        self.offset += bytes;
        Ok(self.rest.split_to(bytes))
    }

    /// The next section; none after the last, which must end the bytes.
    pub fn section(&mut self) -> Result<Option<(Kind, Bytes)>, Damaged> {
        let start = self.offset;
        let at = |detail: String| Damaged { offset: start, detail, lost: None };
        let header = self.take(HEADER_BYTES)?;
        let (kind, length, crc) = {
            let mut fields = header.clone();
            (fields.get_u32_le(), fields.get_u32_le(), fields.get_u32_le())
        };
        let payload = self.take(length as usize)?;
        if crc32c::crc32c_append(crc32c::crc32c(&header[..8]), &payload) != crc {
            return Err(at("checksum does not match".into()));
        }
        let kind = KINDS.into_iter().find(|known| *known as u32 == kind);
        match kind.ok_or_else(|| at("section not known to this version".into()))? {
            Kind::End if self.rest.is_empty() => Ok(None),
            Kind::End => Err(self.damaged("bytes after the end")),
            kind => Ok(Some((kind, payload))),
        }
    }

    /// A section's message.
    pub fn message<M: Message + Default>(&self, payload: Bytes) -> Result<M, Damaged> {
        M::decode(payload).map_err(|e| self.damaged(e.to_string()))
    }
}

/// Where the bytes of a record file are damaged first; 0 if their framing does not tell.
pub fn first_damage(bytes: &[u8]) -> usize {
    let read = || {
        let (mut sections, _) = Sections::begin(Bytes::copy_from_slice(bytes), &[RECORDS])?;
        while sections.section()?.is_some() {}
        Ok::<(), Damaged>(())
    };
    read().err().map_or(0, |damaged| damaged.offset)
}
