//! The bytes of segments and groups, and nothing else: no files, no policy. docs/formats.md tells the same.
//!
//! Invariant `group_whole_or_absent`: a group is read only if its head, every frame's head and every payload
//! match their checksums and the frames fill it exactly. Group and frame checksums start from the disk's identity,
//! so bytes that a client sent can't pass for a group. Every input is untrusted; nothing here panics on one.

/// A segment's first block, which holds its header alone.
pub const BLOCK: u64 = 4096;
/// Of every file here.
pub const VERSION: u32 = 1;
/// Bytes before a group's first frame.
pub const GROUP_HEAD: usize = 56;
/// Bytes before a frame's payload.
pub const FRAME_HEAD: usize = 12;
const SEGMENT_MAGIC: &[u8; 8] = b"EngrmSeg";
const GROUP_MAGIC: &[u8; 8] = b"EngrmGrp";

/// A place in the log: ordered as it was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the segment, from 1.
    pub segment: u64,
    /// Bytes from the segment's start.
    pub offset: u64,
}

/// The identity of the disk: checksums of groups and frames start from it.
#[derive(Clone, Copy)]
pub struct Sum(u32);

impl Sum {
    /// For the disk `identity`.
    pub fn of(identity: &[u8; 16]) -> Self {
        Self(crc32c::crc32c(identity))
    }

    /// Of one frame: its length and kind, then its payload.
    fn frame(self, head: &[u8], payload: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(self.0, &head[4..]), payload)
    }
}

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing but zeros where it would begin.
    Blank,
    /// Something else than what belongs there.
    Damaged(&'static str),
    /// A whole header of a version that this build does not know.
    Version(u32),
    /// A whole header of another disk.
    OtherDisk([u8; 16]),
}

/// Little-endian u32 at `at`; 0 outside.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Little-endian u64 at `at`; 0 outside.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Sixteen bytes at `at`; zeros outside.
pub fn id_at(bytes: &[u8], at: usize) -> [u8; 16] {
    bytes.get(at..at + 16).and_then(|b| b.try_into().ok()).unwrap_or_default()
}

fn header_sum(block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&block[..12]), &block[16..])
}

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The segment's number, also its file's name.
    pub number: u64,
    /// Which life of a segment file this is; grows with every segment that is begun.
    pub generation: u64,
}

impl Header {
    /// The first block.
    pub fn encode(self, identity: &[u8; 16]) -> Vec<u8> {
        let mut block = vec![0; BLOCK as usize];
        block[..8].copy_from_slice(SEGMENT_MAGIC);
        block[8..12].copy_from_slice(&VERSION.to_le_bytes());
        block[16..24].copy_from_slice(&self.number.to_le_bytes());
        block[24..32].copy_from_slice(&self.generation.to_le_bytes());
        block[32..48].copy_from_slice(identity);
        let sum = header_sum(&block);
        block[12..16].copy_from_slice(&sum.to_le_bytes());
        block
    }

    /// Of a segment's bytes. The checksum comes first, so that a flipped bit is not taken for a version.
    pub fn decode(bytes: &[u8], identity: &[u8; 16]) -> Result<Self, Flaw> {
        let Some(block) = bytes.get(..BLOCK as usize) else {
            return Err(if blank(bytes) { Flaw::Blank } else { Flaw::Damaged("shorter than a segment's header") });
        };
        if &block[..8] != SEGMENT_MAGIC {
            return Err(if blank(block) { Flaw::Blank } else { Flaw::Damaged("not a segment's header") });
        }
        if u32_at(block, 12) != header_sum(block) {
            return Err(Flaw::Damaged("the segment header's checksum does not match"));
        }
        match (u32_at(block, 8), id_at(block, 32)) {
            (VERSION, id) if id == *identity => Ok(Self { number: u64_at(block, 16), generation: u64_at(block, 24) }),
            (VERSION, id) => Err(Flaw::OtherDisk(id)),
            (version, _) => Err(Flaw::Version(version)),
        }
    }
}

/// Only zeros.
pub fn blank(bytes: &[u8]) -> bool {
    // Without an early exit inside a chunk it vectorises: tails of segments are long.
    bytes.chunks(4096).all(|chunk| chunk.iter().fold(0, |sum, byte| sum | byte) == 0)
}

/// A group under construction: what follows `start` in `bytes`, which `seal` completes.
pub struct GroupBuilder {
    /// What will be written, a segment's first block before the group included.
    pub bytes: Vec<u8>,
    start: usize,
    frames: u32,
    sum: Sum,
}

impl GroupBuilder {
    /// After what `bytes` holds already.
    pub fn new(mut bytes: Vec<u8>, sum: Sum) -> Self {
        let start = bytes.len();
        bytes.resize(start + GROUP_HEAD, 0);
        Self { bytes, start, frames: 0, sum }
    }

    /// Adds a frame; answers where it begins in `bytes` and the length of its payload.
    pub fn frame(&mut self, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) -> (usize, u32) {
        let at = self.bytes.len();
        self.bytes.resize(at + FRAME_HEAD, 0);
        fill(&mut self.bytes);
        let length = (self.bytes.len() - at - FRAME_HEAD) as u32;
        self.bytes[at + 4..at + 8].copy_from_slice(&length.to_le_bytes());
        self.bytes[at + 8..at + 12].copy_from_slice(&kind.to_le_bytes());
        let (head, payload) = self.bytes[at..].split_at(FRAME_HEAD);
        let sum = self.sum.frame(head, payload);
        self.bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
        self.frames += 1;
        (at, length)
    }

    /// No frame yet.
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// A point to go `back` to.
    pub fn point(&self) -> (usize, u32) {
        (self.bytes.len(), self.frames)
    }

    /// Forgets the frames since `point`.
    pub fn back(&mut self, point: (usize, u32)) {
        self.bytes.truncate(point.0);
        self.frames = point.1;
    }

    /// Bytes to write once sealed.
    pub fn sealed_len(&self) -> u64 {
        self.bytes.len().next_multiple_of(8) as u64
    }

    /// Completes the head. `offset`: of the group in its segment; `previous`: what was durable before this write.
    pub fn seal(mut self, generation: u64, offset: u64, previous: Position) -> Vec<u8> {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let length = (self.bytes.len() - self.start) as u32;
        let group = &mut self.bytes[self.start..];
        group[..8].copy_from_slice(GROUP_MAGIC);
        group[12..16].copy_from_slice(&self.frames.to_le_bytes());
        group[16..20].copy_from_slice(&length.to_le_bytes());
        group[24..32].copy_from_slice(&generation.to_le_bytes());
        group[32..40].copy_from_slice(&offset.to_le_bytes());
        group[40..48].copy_from_slice(&previous.segment.to_le_bytes());
        group[48..56].copy_from_slice(&previous.offset.to_le_bytes());
        let mut sum = head_sum(group, self.sum);
        let mut at = GROUP_HEAD;
        for _ in 0..self.frames {
            sum = crc32c::crc32c_append(sum, &group[at..at + FRAME_HEAD]);
            at += FRAME_HEAD + u32_at(group, at + 4) as usize;
        }
        group[8..12].copy_from_slice(&sum.to_le_bytes());
        self.bytes
    }
}

fn head_sum(group: &[u8], sum: Sum) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(sum.0, &group[..8]), &group[12..GROUP_HEAD])
}

/// A frame that was read.
pub struct FrameRef<'a> {
    /// What the payload is.
    pub kind: u32,
    /// Of its head, in bytes from the segment's start.
    pub offset: u64,
    /// Checked bytes.
    pub payload: &'a [u8],
}

/// A whole group.
pub struct Group<'a> {
    /// Bytes, head and padding included.
    pub len: u64,
    /// What was durable when it was written.
    pub previous: Position,
    /// In order.
    pub frames: Vec<FrameRef<'a>>,
}

/// The group at `offset` of a segment's `bytes`, if a whole one of this generation is there.
pub fn parse_group(bytes: &[u8], offset: u64, generation: u64, sum: Sum) -> Result<Group<'_>, Flaw> {
    let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
    parse_group_alone(rest, offset, generation, sum)
}

/// The same of the segment's bytes from `offset` on, as many as there are.
pub fn parse_group_alone(rest: &[u8], offset: u64, generation: u64, sum: Sum) -> Result<Group<'_>, Flaw> {
    let Some(head) = rest.get(..GROUP_HEAD) else {
        return Err(if blank(rest) { Flaw::Blank } else { Flaw::Damaged("a group that is cut short") });
    };
    if &head[..8] != GROUP_MAGIC {
        return Err(if blank(head) { Flaw::Blank } else { Flaw::Damaged("not a group") });
    }
    let length = u32_at(head, 16) as usize;
    let group = rest.get(..length).filter(|group| group.len() >= GROUP_HEAD && length.is_multiple_of(8));
    let Some(group) = group else { return Err(Flaw::Damaged("a group's length goes past the file")) };
    let (frames, read_sum) = frames_of(group, offset, sum)?;
    if u32_at(head, 8) != read_sum {
        return Err(Flaw::Damaged("a group's checksum does not match"));
    }
    if u64_at(head, 24) != generation || u64_at(head, 32) != offset {
        return Err(Flaw::Damaged("a group of another time or place"));
    }
    let previous = Position { segment: u64_at(head, 40), offset: u64_at(head, 48) };
    Ok(Group { len: length as u64, previous, frames })
}

fn frames_of(group: &[u8], offset: u64, sum: Sum) -> Result<(Vec<FrameRef<'_>>, u32), Flaw> {
    let (mut at, mut read_sum, mut frames) = (GROUP_HEAD, head_sum(group, sum), Vec::new());
    for _ in 0..u32_at(group, 12) {
        let Some(head) = group.get(at..at + FRAME_HEAD) else { return Err(Flaw::Damaged("a frame past its group")) };
        let end = at + FRAME_HEAD + u32_at(head, 4) as usize;
        let Some(payload) = group.get(at + FRAME_HEAD..end) else {
            return Err(Flaw::Damaged("a frame's length goes past its group"));
        };
        if u32_at(head, 0) != sum.frame(head, payload) {
            return Err(Flaw::Damaged("a frame's checksum does not match"));
        }
        read_sum = crc32c::crc32c_append(read_sum, head);
        frames.push(FrameRef { kind: u32_at(head, 8), offset: offset + at as u64, payload });
        at = end;
    }
    match group.len() - at < 8 && blank(&group[at..]) {
        true => Ok((frames, read_sum)),
        false => Err(Flaw::Damaged("a group with bytes after its frames")),
    }
}

/// One frame read alone, head included: its kind and payload.
pub fn parse_frame(bytes: &[u8], sum: Sum) -> Result<(u32, &[u8]), Flaw> {
    let Some((head, payload)) = bytes.split_at_checked(FRAME_HEAD) else {
        return Err(Flaw::Damaged("a frame that is cut short"));
    };
    match u32_at(head, 4) as usize == payload.len() && u32_at(head, 0) == sum.frame(head, payload) {
        true => Ok((u32_at(head, 8), payload)),
        false => Err(Flaw::Damaged("a frame's checksum does not match")),
    }
}
