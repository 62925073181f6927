//! Saved and loaded: the same graph goes on to the same digests; damage is refused by block and offset.
//!
//! Place: the index from outside, with bytes in memory for a file. Leaves out: files, which are the caller's.

mod support;

use bytes::Bytes;
use engram_index::{FORMAT_VERSION, Index, Inline, LoadError, Metric, Options, Search, Snapshot};
use support::*;

fn saved(index: &Index) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert_eq!(index.save(&mut bytes).expect("memory does not fail"), index.epoch());
    bytes
}

fn loaded(bytes: &[u8]) -> Index {
    Index::open(&Bytes::copy_from_slice(bytes)).expect("what was saved")
}

#[test]
fn an_index_goes_on_after_loading_as_if_nothing_had_happened() {
    for (metric, dim) in [(Metric::Cosine, 256), (Metric::Dot, 100), (Metric::L2, 5)] {
        let data = Data::clustered(1500, dim, 20, 1);
        let options = Options { ef_construction: 40, ..Options::new(dim, metric, 9) };
        let index = Index::new(options).expect("good options");
        for (row, x) in data.rows().enumerate() {
            index.push(x).expect("a good vector");
            if row == 900 {
                build_all(&index, &Inline);
            }
        }
        let other = loaded(&saved(&index));
        assert_eq!((other.options(), other.epoch()), (index.options(), index.epoch()));
        assert_eq!((other.rows(), other.check()), (index.epoch().rows, Ok(())));
        for row in other.rows()..1500 {
            assert_eq!(other.push(data.row(row as usize)), Ok(row));
        }
        assert_eq!(build_all(&other, &Threads(2)), build_all(&index, &Inline));
        assert_eq!(other.check(), Ok(()));
        let params = Search { k: 10, ef: 50, at: Snapshot::LATEST };
        let answer = |index: &Index| index.search(&cue(index, data.row(7)), params, &everything, Some(&data));
        assert_eq!(answer(&other), answer(&index));
        assert_eq!(saved(&loaded(&saved(&other))), saved(&index));
    }
}

#[test]
fn an_empty_index_is_saved_and_loaded() {
    let index = Index::new(Options::new(3, Metric::L2, 1)).expect("good options");
    let other = loaded(&saved(&index));
    assert_eq!((other.rows(), other.epoch()), (0, index.epoch()));
    assert_eq!(other.push(&[1.0, 2.0, 3.0]), Ok(0));
}

#[test]
fn every_flipped_bit_is_refused_and_none_panics() {
    let data = Data::clustered(200, 6, 5, 1);
    let bytes = saved(&filled(Options { m: 4, ..Options::new(6, Metric::L2, 1) }, &data, &Inline));
    for at in (0..bytes.len()).step_by(7).chain(0..150) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        match Index::open(&Bytes::from(damaged)) {
            Err(LoadError::Damaged { block, offset, .. }) => {
                assert!(offset <= at as u64 && (block > 0) == (offset > 0), "byte {at}: block {block} at {offset}");
            }
            Err(LoadError::Version(_)) => panic!("byte {at} is damage"),
            Ok(_) => panic!("byte {at} was loaded"),
        }
    }
}

#[test]
fn a_file_cut_short_or_of_another_kind_is_refused() {
    let data = Data::clustered(200, 6, 5, 1);
    let bytes = saved(&filled(Options::new(6, Metric::L2, 1), &data, &Inline));
    for length in [0, 1, 15, 16, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(
            matches!(Index::open(&Bytes::copy_from_slice(&bytes[..length])), Err(LoadError::Damaged { .. })),
            "{length}"
        );
    }
    let noise: Vec<u8> = (0..4000u64).map(|i| mix(i) as u8).collect();
    let refused = Index::open(&Bytes::from(noise)).err().expect("noise is no index").to_string();
    assert_eq!(refused, "block 0 at offset 0 is damaged: not a saved index");
    assert_eq!(FORMAT_VERSION, 3);
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(Index::open(&longer.into()), Err(LoadError::Damaged { what: "bytes after the end", .. })));
    let mut oldest = bytes;
    oldest[4..8].copy_from_slice(&120u32.to_le_bytes());
    oldest[24] = 1;
    assert_eq!(Index::open(&oldest.into()).err(), Some(LoadError::Version(1)));
}
