//! Reading entries back: from memory where they are recent, else from their segments, on the files lane.
//!
//! Invariant `read_is_checked`: each frame's checksum and log id are compared on every read; a mismatch is an
//! error that names file and byte, never an answer.

use super::Shared;
use super::format::{Position, Sum, parse_frame};
use super::index::Place;
use super::record::get_entry;
use super::segment;
use crate::env::{File, Lane, disk::read_exact_at, run_on};
use crate::raft::types::{Entry, LogId};
use prost::bytes::Bytes;
use std::{io, ops::Range, path::Path, sync::Arc};

/// Frames that lie together are read together, up to this many bytes.
const SPAN_BYTES: u64 = 1 << 20;

enum Want {
    Here(Entry),
    There { id: LogId, place: Place, at: Position, file: Arc<dyn File> },
}

/// The entries of `range` that the log holds, the first `limit` bytes of them but at least one. Cancel safe.
pub async fn entries(shared: &Arc<Shared>, range: Range<u64>, limit: usize) -> io::Result<Vec<Entry>> {
    let wants = plan(shared, range, limit)?;
    if wants.iter().all(|want| matches!(want, Want::Here(_))) {
        let here = |want| match want {
            Want::Here(entry) => Some(entry),
            Want::There { .. } => None,
        };
        return Ok(wants.into_iter().filter_map(here).collect());
    }
    let (sum, options) = (Sum::of(&shared.options.identity), shared.options.clone());
    let read = run_on(&*shared.pool, Lane::Files, move || load(wants, sum, &options.dir)).await;
    read.unwrap_or_else(|| Err(io::Error::other("the files lane stopped")))
}

/// Taken at one instant: files stay readable through their handles even when they are removed meanwhile.
fn plan(shared: &Shared, range: Range<u64>, limit: usize) -> io::Result<Vec<Want>> {
    let state = shared.state();
    state.sound()?;
    let live = state.index.range();
    let (mut wants, mut bytes) = (Vec::new(), 0);
    for index in range.start.max(live.start)..range.end.min(live.end) {
        let (Some(place), Some(id)) = (state.index.get(index), state.index.log_id(index)) else { break };
        bytes += place.frame_len() as usize;
        if bytes > limit && !wants.is_empty() {
            break;
        }
        wants.push(match (state.recent(index), place.at) {
            (Some(entry), _) => Want::Here(entry.clone()),
            (None, Some(at)) => {
                let file = state.files.get(&at.segment).cloned();
                let file = file.ok_or_else(|| io::Error::other(format!("segment {} is not open", at.segment)))?;
                Want::There { id, place: *place, at, file }
            }
            (None, None) => return Err(io::Error::other(format!("entry {id} is neither in memory nor on disk"))),
        });
    }
    Ok(wants)
}

fn load(wants: Vec<Want>, sum: Sum, dir: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(wants.len());
    // What was read last: which segment, from where.
    let mut span: (Position, Bytes) = (Position::default(), Bytes::new());
    for (slot, want) in wants.iter().enumerate() {
        let (id, place, at, file) = match want {
            Want::Here(entry) => {
                entries.push(entry.clone());
                continue;
            }
            Want::There { id, place, at, file } => (*id, place, *at, file),
        };
        let len = place.frame_len();
        let known = |span: &(Position, Bytes)| {
            let start = at.offset.checked_sub(span.0.offset).filter(|_| span.0.segment == at.segment)?;
            (start + len <= span.1.len() as u64).then_some(start as usize)
        };
        if known(&span).is_none() {
            let mut bytes = vec![0; (span_end(&wants[slot..], at) - at.offset) as usize];
            read_exact_at(&**file, at.offset, &mut bytes)?;
            span = (at, bytes.into());
        }
        let rot = |detail: String| {
            let file = segment::path(dir, at.segment);
            let text = format!("write-ahead log: {} is damaged at byte {}: {detail}", file.display(), at.offset);
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let start = known(&span).ok_or_else(|| rot("read short".into()))?;
        let frame = span.1.slice(start..start + len as usize);
        let (kind, payload) = parse_frame(&frame, sum).map_err(|flaw| rot(format!("{flaw:?}")))?;
        entries.push(get_entry(kind, frame.slice_ref(payload), id).map_err(rot)?);
    }
    Ok(entries)
}

/// How far one read from `at` goes: over the frames that follow it closely.
fn span_end(wants: &[Want], at: Position) -> u64 {
    let mut end = at.offset;
    for want in wants {
        let Want::There { place, at: next, .. } = want else { break };
        let next_end = next.offset + place.frame_len();
        let close = next.segment == at.segment && next.offset >= end && next_end - at.offset <= SPAN_BYTES;
        if end > at.offset && !close {
            break;
        }
        end = next_end;
    }
    end
}
