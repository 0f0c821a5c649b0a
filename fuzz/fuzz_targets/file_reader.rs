#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stepwell_fuzz::file_reader::check(data));
