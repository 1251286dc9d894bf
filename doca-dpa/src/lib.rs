//! Programming the data-path accelerator: launches chained by sync events, awaited from async Rust
