//! openraft's own test suite for storage, over this log and a state machine that only counts.

use super::*;
use crate::env::Threads;
use crate::raft::log::counting::Counting;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

struct Builder(Arc<dyn Pool>);

impl StoreBuilder<TypeConfig, Log, Counting, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, Log, Counting), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(Arc::new(OsDisk), self.0.clone(), Arc::new(Still), options(dir.path())).unwrap();
        Ok((dir, log, Counting::default()))
    }
}

#[test]
fn openrafts_own_suite_passes() {
    let builder = Builder(Arc::new(Threads::start(std::num::NonZeroUsize::MIN).unwrap()));
    TypeConfig::run(Suite::test_all(builder)).unwrap();
}
