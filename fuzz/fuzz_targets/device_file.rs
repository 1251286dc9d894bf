//! Device files (partitions, groups, functions): a text is refused with its line, or is a configuration that a device takes.
#![no_main]

use std::path::Path;

use flexio::device_file::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match parse(Path::new("fuzz.toml"), text) {
        Ok(config) => {
            config.validate().expect("what was read is valid");
            let again = parse(Path::new("fuzz.toml"), text).expect("it is the same text");
            assert_eq!(format!("{again:?}"), format!("{config:?}"));
        }
        Err(error) => assert!(error.to_string().contains("fuzz.toml"), "{error}"),
    }
});
