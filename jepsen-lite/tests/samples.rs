//! Histories of correct systems are valid in every model, small ones full of doubt and larger ones.

use engram_jepsen_lite::sample::{Rng, Shape, history};
use engram_jepsen_lite::{History, Model, Verdict};

/// Whether the history is valid; nothing to check against is no verdict.
fn valid(model: Model, history: &History) -> Option<bool> {
    match model.check(history, 1 << 28) {
        Verdict::Valid(_) => Some(true),
        Verdict::Invalid(found) => panic!("{model}: {}\n{}", found.sentence, history.to_jsonl()),
        Verdict::Unusable(error) if error.message.starts_with("nothing to check against") => None,
        other => panic!("{model}: {other:?}"),
    }
}

#[test]
fn small_histories_full_of_doubt_are_valid() {
    for model in Model::ALL {
        let mut decided = 0;
        for seed in 0..1_500 {
            let mut rng = Rng(seed);
            let shape = Shape::small(&mut rng, 40);
            decided += usize::from(valid(model, &history(model, &shape, &mut rng)).is_some());
        }
        assert!(decided > 1_000, "{model}: {decided} decided");
    }
}

#[test]
fn larger_histories_are_valid_and_survive_the_file() {
    for model in Model::ALL {
        let written = history(model, &Shape::large(4_000), &mut Rng(1));
        let read = History::from_jsonl("sample", &written.to_jsonl()).expect("as written");
        assert_eq!(valid(model, &read), Some(true), "{model}");
    }
}
