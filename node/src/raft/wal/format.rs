//! The log's bytes: segment headers, groups, frames, the durable mark. docs/formats.md tells them to the byte.
//!
//! Invariant `rot_is_told_from_a_torn_tail`: each group says where it stands, in which life of its file, and how
//! far the log was durable before it; so a hole below durable bytes can never pass for a torn end.
//!
//! Leaves out: files and the order of writes.

use engram_proto::wire::peer;
use prost::Message;

/// Bytes of a segment before its first group.
pub const SEGMENT_HEADER_BYTES: u64 = 4096;
/// Bytes of a group before its first frame.
pub const GROUP_HEADER_BYTES: usize = 48;
/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 16;
/// Everything begins at a multiple of this.
pub const ALIGN: usize = 8;
/// Bytes of one slot of the durable mark: a slot never shares a sector with the other.
pub const MARK_SLOT_BYTES: usize = 4096;

const VERSION: u32 = 1;
const SEGMENT_MAGIC: &[u8; 8] = b"ENGWAL\r\n";
const GROUP_MAGIC: u32 = 0x3150_5247; // "GRP1"
const MARK_MAGIC: u32 = 0x314b_524d; // "MRK1"

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `engram.peer.v1.RaftEntry`.
    Entry = 1,
    /// `engram.peer.v1.RaftVote`.
    Vote = 2,
    /// `engram.peer.v1.LogId`: entries after it are gone; empty: all entries.
    Truncate = 3,
    /// `engram.peer.v1.LogId`: entries up to it are gone.
    Purge = 4,
    /// `engram.peer.v1.LogId`: known as committed.
    Committed = 5,
}

/// The first block of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Rising by one from file to file.
    pub number: u64,
    /// Rising with each reuse of a file.
    pub generation: u64,
    /// Of the data directory.
    pub identity: [u8; 16],
}

/// Why a segment's first block is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// Not a segment, or damaged.
    Damaged,
    /// Of another version.
    Version(u32),
}

impl SegmentHeader {
    /// The block.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; SEGMENT_HEADER_BYTES as usize];
        block[..8].copy_from_slice(SEGMENT_MAGIC);
        block[8..12].copy_from_slice(&VERSION.to_le_bytes());
        block[16..24].copy_from_slice(&self.number.to_le_bytes());
        block[24..32].copy_from_slice(&self.generation.to_le_bytes());
        block[32..48].copy_from_slice(&self.identity);
        let crc = crc32c::crc32c(&block[..48]);
        block[48..52].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Reads the block.
    pub fn decode(block: &[u8]) -> Result<Self, HeaderFault> {
        if block.len() < 52 || block[..8] != SEGMENT_MAGIC[..] {
            return Err(HeaderFault::Damaged);
        }
        if u32_at(block, 48) != crc32c::crc32c(&block[..48]) {
            return Err(HeaderFault::Damaged);
        }
        match u32_at(block, 8) {
            VERSION => {}
            other => return Err(HeaderFault::Version(other)),
        }
        let identity = block[32..48].try_into().expect("16 bytes");
        Ok(Self { number: u64_at(block, 16), generation: u64_at(block, 24), identity })
    }
}

/// What stands before a group's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    /// Bytes of the frames, padding included.
    pub bytes: u64,
    /// Of the segment.
    pub generation: u64,
    /// Where the group itself stands in the segment.
    pub offset: u64,
    /// How far the log was durable before this group: in this segment, or for a segment's first group in the one
    /// before.
    pub previous_end: u64,
    /// Frames.
    pub frames: u32,
}

impl GroupHeader {
    /// Writes the header over the first bytes of `group`.
    pub fn encode_into(&self, group: &mut [u8]) {
        group[..4].copy_from_slice(&GROUP_MAGIC.to_le_bytes());
        group[4..8].copy_from_slice(&self.frames.to_le_bytes());
        group[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        group[16..24].copy_from_slice(&self.generation.to_le_bytes());
        group[24..32].copy_from_slice(&self.offset.to_le_bytes());
        group[32..40].copy_from_slice(&self.previous_end.to_le_bytes());
        let crc = crc32c::crc32c(&group[..40]);
        group[40..44].copy_from_slice(&crc.to_le_bytes());
        group[44..48].fill(0);
    }

    /// Reads a header that may stand at `offset` of a segment of `generation`.
    pub fn decode(bytes: &[u8], generation: u64, offset: u64) -> Option<Self> {
        if bytes.len() < GROUP_HEADER_BYTES || u32_at(bytes, 0) != GROUP_MAGIC {
            return None;
        }
        if u32_at(bytes, 40) != crc32c::crc32c(&bytes[..40]) || bytes[44..48] != [0; 4] {
            return None;
        }
        let header = Self {
            frames: u32_at(bytes, 4),
            bytes: u64_at(bytes, 8),
            generation: u64_at(bytes, 16),
            offset: u64_at(bytes, 24),
            previous_end: u64_at(bytes, 32),
        };
        (header.generation == generation && header.offset == offset).then_some(header)
    }
}

/// Appends a frame to a group; returns where it begins in the group.
pub fn put_frame(group: &mut Vec<u8>, kind: Kind, payload: &[u8]) -> usize {
    let start = group.len();
    group.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    group.extend_from_slice(&[0; 4]);
    group.extend_from_slice(&[kind as u8, 0, 0, 0, 0, 0, 0, 0]);
    group.extend_from_slice(payload);
    let crc = frame_crc(&group[start..]);
    group[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    group.resize(group.len().next_multiple_of(ALIGN), 0);
    start
}

/// Of the length, the kind with its padding, and the payload.
fn frame_crc(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..])
}

/// Reads the frame at the start of `bytes`: its kind, its payload, and the bytes that it takes.
pub fn take_frame(bytes: &[u8]) -> Option<(Kind, &[u8], usize)> {
    if bytes.len() < FRAME_HEADER_BYTES {
        return None;
    }
    let length = u32_at(bytes, 0) as usize;
    let whole = FRAME_HEADER_BYTES.checked_add(length)?;
    let frame = bytes.get(..whole)?;
    if frame_crc(frame) != u32_at(bytes, 4) {
        return None;
    }
    let kinds = [Kind::Entry, Kind::Vote, Kind::Truncate, Kind::Purge, Kind::Committed];
    let kind = kinds.into_iter().find(|kind| *kind as u8 == frame[8])?;
    let padded = whole.next_multiple_of(ALIGN);
    // Padding is checked too: no byte of a durable group may change unseen.
    bytes.get(whole..padded)?.iter().all(|byte| *byte == 0).then_some((kind, &frame[FRAME_HEADER_BYTES..], padded))
}

/// How far the log is known to be durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Segment number.
    pub segment: u64,
    /// Bytes in it.
    pub offset: u64,
}

impl Mark {
    /// A slot's bytes; `turn` rises with each writing.
    pub fn encode(&self, turn: u64) -> Vec<u8> {
        let mut slot = vec![0; MARK_SLOT_BYTES];
        slot[..4].copy_from_slice(&MARK_MAGIC.to_le_bytes());
        slot[8..16].copy_from_slice(&turn.to_le_bytes());
        slot[16..24].copy_from_slice(&self.segment.to_le_bytes());
        slot[24..32].copy_from_slice(&self.offset.to_le_bytes());
        let crc = crc32c::crc32c(&slot[..32]);
        slot[32..36].copy_from_slice(&crc.to_le_bytes());
        slot
    }

    /// Reads a slot: its turn and the mark.
    pub fn decode(slot: &[u8]) -> Option<(u64, Self)> {
        if slot.len() < 36 || u32_at(slot, 0) != MARK_MAGIC || u32_at(slot, 32) != crc32c::crc32c(&slot[..32]) {
            return None;
        }
        Some((u64_at(slot, 8), Self { segment: u64_at(slot, 16), offset: u64_at(slot, 24) }))
    }
}

/// A log id as a payload; nothing for none.
pub fn encode_log_id(id: Option<peer::LogId>) -> Vec<u8> {
    id.map(|id| id.encode_to_vec()).unwrap_or_default()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_headers_come_back_and_no_changed_bit_passes() {
        let mut group = vec![0; GROUP_HEADER_BYTES];
        put_frame(&mut group, Kind::Vote, b"12345");
        let header = GroupHeader { bytes: 24, generation: 3, offset: 4096, previous_end: 17, frames: 1 };
        header.encode_into(&mut group);
        assert_eq!(GroupHeader::decode(&group, 3, 4096), Some(header));
        assert_eq!(GroupHeader::decode(&group, 3, 4104), None);
        assert_eq!(take_frame(&group[48..]), Some((Kind::Vote, &b"12345"[..], 24)));
        for at in 0..group.len() {
            let mut bad = group.clone();
            bad[at] ^= 1;
            let same = GroupHeader::decode(&bad, 3, 4096).is_some() && take_frame(&bad[48..]).is_some();
            assert!(!same, "byte {at}");
        }
    }
}
