//! The door for observations: bounds, finite check, and the stored form of an embedding.
//!
//! Invariant `same_bits`: what is logged is what every replica works on; floats are rounded here, once.

use crate::error::{Error, Result};
use crate::limits;
use crate::wire::v1::{Observation, Precision, Value, value};
use crate::wire::{log::Record, v1};
use bytes::Bytes;
use half::f16;
use half::slice::HalfFloatSliceExt;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Half floats that are widened at a time.
const PIECE: usize = 64;

/// What a space demands of its embeddings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Components of an embedding.
    pub dim: usize,
    /// How they are stored.
    pub precision: Precision,
    /// Zero vectors have no direction: refused where the metric is cosine.
    pub metric: v1::Metric,
}

impl Shape {
    /// The shape that a space's configuration gives.
    pub fn of(config: &v1::SpaceConfig) -> Self {
        Self { dim: config.dim as usize, precision: config.precision(), metric: config.metric() }
    }

    fn stored_bytes(&self) -> usize {
        self.dim * if self.precision == Precision::F32 { 4 } else { 2 }
    }
}

/// Checks an observation and converts it to its stored form. Errors are `Invalid`.
pub fn admit(observation: Observation, shape: Shape) -> Result<Record> {
    check_text(&observation.text)?;
    check_metadata(&observation.metadata)?;
    check_id(&observation.id)?;
    let vector = vector_from_wire(&observation.embedding, shape, "embedding")?;
    let embedding = store(&vector, shape)?;
    let Observation { text, time_ms, metadata, id, .. } = observation;
    Ok(Record { text, embedding, time_ms, metadata, id })
}

/// Little-endian f32 to floats: right length, all finite, a direction where the metric needs one.
pub fn vector_from_wire(bytes: &[u8], shape: Shape, what: &str) -> Result<Vec<f32>> {
    if bytes.len() != shape.dim * 4 {
        return Err(Error::invalid(format!(
            "{what} has {} bytes; the space has {} dimensions, so send {} (little-endian f32)",
            bytes.len(),
            shape.dim,
            shape.dim * 4
        )));
    }
    let vector: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    if let Some(at) = vector.iter().position(|v| !v.is_finite()) {
        return Err(Error::invalid(format!("{what}[{at}] is {}; send finite numbers", vector[at])));
    }
    if shape.metric != v1::Metric::Dot && shape.metric != v1::Metric::L2 && vector.iter().all(|&v| v == 0.0) {
        return Err(Error::invalid(format!(
            "{what} is all zeros, which has no direction; the space's metric is cosine"
        )));
    }
    Ok(vector)
}

fn store(vector: &[f32], shape: Shape) -> Result<Bytes> {
    if shape.precision == Precision::F32 {
        return Ok(vector.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>().into_flattened().into());
    }
    let mut halves = vec![f16::ZERO; vector.len()];
    halves.convert_from_f32_slice(vector);
    if let Some(at) = halves.iter().position(|h| !h.is_finite()) {
        return Err(Error::invalid(format!(
            "embedding[{at}] is {}, over 65504, the largest half float; scale it, or make the space with f32",
            vector[at]
        )));
    }
    let needs_direction = shape.metric != v1::Metric::Dot && shape.metric != v1::Metric::L2;
    if needs_direction && halves.iter().all(|h| *h == f16::ZERO) {
        return Err(Error::invalid("embedding is all zeros as half floats; scale it, or make the space with f32"));
    }
    Ok(halves.iter().map(|h| h.to_le_bytes()).collect::<Vec<_>>().into_flattened().into())
}

/// The stored form to floats; `into` is `[f32; dim]`. False when the lengths do not match.
pub fn load(stored: &[u8], precision: Precision, into: &mut [f32]) -> bool {
    if precision == Precision::F32 {
        let (chunks, rest) = stored.as_chunks::<4>();
        if chunks.len() != into.len() || !rest.is_empty() {
            return false;
        }
        chunks.iter().zip(into).for_each(|(four, out)| *out = f32::from_le_bytes(*four));
        return true;
    }
    let (chunks, rest) = stored.as_chunks::<2>();
    if chunks.len() != into.len() || !rest.is_empty() {
        return false;
    }
    // In pieces: a slice is converted by the instructions for it, several times as fast as one by one.
    let mut halves = [f16::ZERO; PIECE];
    for (stored, out) in chunks.chunks(PIECE).zip(into.chunks_mut(PIECE)) {
        let halves = &mut halves[..out.len()];
        halves.iter_mut().zip(stored).for_each(|(half, two)| *half = f16::from_le_bytes(*two));
        halves.convert_to_f32_slice(out);
    }
    true
}

/// Checks a record that came through the log or from another node: the same bounds as at the edge.
pub fn check_record(record: &Record, shape: Shape) -> Result<()> {
    check_text(&record.text)?;
    check_metadata(&record.metadata)?;
    check_id(&record.id)?;
    if record.embedding.len() != shape.stored_bytes() {
        return Err(Error::invalid(format!(
            "stored embedding has {} bytes; the space stores {}",
            record.embedding.len(),
            shape.stored_bytes()
        )));
    }
    Ok(())
}

/// Checks a client's own name for a row; the empty one is none.
pub fn check_id(id: &str) -> Result<()> {
    let max = limits::ID_BYTES_MAX;
    match id.len() > max {
        true => Err(Error::invalid(format!("id has {} bytes; at most {max}", id.len()))),
        false => Ok(()),
    }
}

fn check_text(text: &str) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::invalid("text is empty; an observation needs a text"));
    }
    if text.len() > limits::TEXT_BYTES_MAX {
        let max = limits::TEXT_BYTES_MAX;
        return Err(Error::invalid(format!("text has {} bytes; at most {max}; split it", text.len())));
    }
    Ok(())
}

fn check_metadata(metadata: &std::collections::BTreeMap<String, Value>) -> Result<()> {
    if metadata.len() > limits::METADATA_ENTRIES_MAX {
        let max = limits::METADATA_ENTRIES_MAX;
        return Err(Error::invalid(format!("metadata has {} entries; at most {max}", metadata.len())));
    }
    let mut bytes = 0;
    for (key, value) in metadata {
        bytes += key.len();
        match &value.kind {
            None => return Err(Error::invalid(format!("metadata {key:?} has no value; give it one or leave it out"))),
            Some(value::Kind::Text(text)) => bytes += text.len(),
            Some(value::Kind::Real(real)) if !real.is_finite() => {
                return Err(Error::invalid(format!("metadata {key:?} is {real}; send a finite number")));
            }
            Some(_) => bytes += 8,
        }
    }
    if bytes > limits::METADATA_BYTES_MAX {
        let max = limits::METADATA_BYTES_MAX;
        return Err(Error::invalid(format!("metadata has {bytes} bytes; at most {max}")));
    }
    Ok(())
}

/// A hash of everything in a record: tells a repeat from another payload under the same number.
/// 64 bits against accident, not against an adversary.
pub fn payload_hash(record: &Record) -> u64 {
    // In one piece: a hash that is fed field by field costs twice as much where records are short.
    let mut whole = Vec::with_capacity(record.text.len() + record.embedding.len() + record.id.len() + 64);
    let mut field = |bytes: &[u8]| {
        whole.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        whole.extend_from_slice(bytes);
    };
    field(record.text.as_bytes());
    field(&record.embedding);
    field(&record.time_ms.to_le_bytes());
    field(record.id.as_bytes());
    for (key, value) in &record.metadata {
        field(key.as_bytes());
        match &value.kind {
            None => field(b""),
            Some(value::Kind::Text(text)) => field(text.as_bytes()),
            Some(value::Kind::Integer(integer)) => field(&[&b"i"[..], &integer.to_le_bytes()].concat()),
            Some(value::Kind::Real(real)) => field(&[&b"r"[..], &real.to_bits().to_le_bytes()].concat()),
            Some(value::Kind::Boolean(boolean)) => field(&[b'b', u8::from(*boolean)]),
        }
    }
    xxh3_64_with_seed(&whole, 0x656e_6772_616d)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { dim: 3, precision: Precision::F16, metric: v1::Metric::Cosine };

    fn observation(vector: &[f32]) -> Observation {
        let embedding = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
        Observation { text: "a memory".into(), embedding, ..Observation::default() }
    }

    #[test]
    fn good_observations_pass_and_load_back_rounded() {
        let record = admit(observation(&[0.1, -0.5, 2.0]), SHAPE).expect("valid");
        let mut back = [0.0; 3];
        assert!(load(&record.embedding, Precision::F16, &mut back));
        assert_eq!(back, [0.099975586, -0.5, 2.0]);
        assert!(check_record(&record, SHAPE).is_ok());
    }

    #[test]
    fn each_bad_observation_is_refused_by_name() {
        let says = |observation: Observation, word: &str| {
            let error = admit(observation, SHAPE).expect_err("must be refused");
            assert!(error.to_string().contains(word), "{error}");
        };
        says(observation(&[1.0, 2.0]), "3 dimensions");
        says(observation(&[1.0, f32::NAN, 2.0]), "embedding[1]");
        says(observation(&[1.0, f32::INFINITY, 2.0]), "embedding[1]");
        says(observation(&[0.0, 0.0, 0.0]), "no direction");
        says(observation(&[1e-30, 0.0, 0.0]), "half floats");
        says(observation(&[1e6, 0.0, 0.0]), "65504");
        says(Observation { text: " ".into(), ..observation(&[1.0; 3]) }, "empty");
        says(Observation { text: "x".repeat(70_000), ..observation(&[1.0; 3]) }, "split");
        let metadata = [("k".to_string(), Value { kind: None })].into();
        says(Observation { metadata, ..observation(&[1.0; 3]) }, "no value");
        says(Observation { id: "x".repeat(257), ..observation(&[1.0; 3]) }, "id has 257");
    }

    #[test]
    fn a_payload_has_its_hash_for_good() {
        let embedding: Vec<u8> = [1.0f32, -0.5, 2.0].iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        let short = Record { text: "a memory".into(), embedding: embedding.into(), time_ms: 7, ..Record::default() };
        let long = Record { text: "x".repeat(3000), id: "name".into(), ..short.clone() };
        assert_eq!((payload_hash(&short), payload_hash(&long)), (0xe2fd_1b3d_9a26_7fca, 0x7138_2c24_efb4_42ea));
    }

    #[test]
    fn another_payload_has_another_hash() {
        let record = admit(observation(&[1.0; 3]), SHAPE).expect("valid");
        let other = Record { time_ms: 1, ..record.clone() };
        assert_ne!(payload_hash(&record), payload_hash(&other));
        let named = Record { id: "a".into(), ..record.clone() };
        assert_ne!(payload_hash(&record), payload_hash(&named));
        let value = |kind| [("k".to_string(), Value { kind: Some(kind) })].into();
        let integer = Record { metadata: value(value::Kind::Integer(1)), ..record.clone() };
        let boolean = Record { metadata: value(value::Kind::Boolean(true)), ..record };
        assert_ne!(payload_hash(&integer), payload_hash(&boolean));
    }
}
