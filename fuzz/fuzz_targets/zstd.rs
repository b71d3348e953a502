#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| framewise_fuzz::zstd::check(data));
