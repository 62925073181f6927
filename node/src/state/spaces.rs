//! A space in memory: its rows, its index (codes, tail and graph), and the conversion between the two.

use super::rows::Rows;
use engram_index::{Index, Options, Originals};
use engram_proto::observation::{Shape, load};
use engram_proto::wire::v1::{Metric, SpaceConfig};

/// Spaces that may exist at once; part of the format, as every cap that apply checks.
pub const SPACES_MAX: usize = 10_000;

/// One space. Rows and index are appended to by apply alone; the graph is built by the indexer alone.
pub struct Space {
    /// The log index of its creation.
    pub id: u64,
    /// Complete: defaults filled in before it was logged.
    pub config: SpaceConfig,
    /// What embeddings must look like.
    pub shape: Shape,
    /// Payloads.
    pub rows: Rows,
    /// Codes and graph.
    pub index: Index,
}

impl Space {
    /// An empty space. The error says which option the index refuses.
    pub fn new(id: u64, config: SpaceConfig) -> Result<Self, String> {
        let metric = match config.metric() {
            Metric::Unspecified | Metric::Cosine => engram_index::Metric::Cosine,
            Metric::Dot => engram_index::Metric::Dot,
            Metric::L2 => engram_index::Metric::L2,
        };
        let mut options = Options::new(config.dim as usize, metric, id);
        options.m = config.m as usize;
        options.ef_construction = config.ef_construction as usize;
        let index = Index::new(options).map_err(|e| e.to_string())?;
        let shape = Shape::of(&config);
        Ok(Self { id, config, shape, rows: Rows::default(), index })
    }
}

/// The rows' stored embeddings, for the last rescoring.
impl Originals for Space {
    fn vector(&self, row: u32, into: &mut [f32]) -> bool {
        self.rows.get(row).is_some_and(|row| load(&row.record.embedding, self.shape.precision, into))
    }
}
