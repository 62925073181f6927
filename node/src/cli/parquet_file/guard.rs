//! The reader of Parquet files panics over some damage that it does not foresee: that ends the file, not the command.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread reads a file just now.
    static READING: Cell<bool> = const { Cell::new(false) };
}

/// What `work` gives, or that the file is damaged. After that nothing that it worked on may be used any more.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static HOOK: Once = Once::new();
    // A person is told what is wrong with the file, and nothing of the reader's insides.
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            if !READING.get() {
                usual(panicked);
            }
        }));
    });
    READING.set(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    READING.set(false);
    done.unwrap_or_else(|_| Err("the file is damaged; write it again".into()))
}
