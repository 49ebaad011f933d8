//! A record of a build step is read or is none, in the store and from another machine; what was read comes back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use treering::Digest;
use treering::store::CacheRecord;

fuzz_target!(|input: (&[u8], &[u8], bool)| {
    let (key, bytes, sum) = input;
    let key = Digest::of(key);
    let bytes = match sum {
        // The checksum is right, as no fuzzer finds it.
        true => CacheRecord::with_checksum(&key, bytes),
        false => bytes.to_vec(),
    };
    if let Some(record) = CacheRecord::decode(&bytes, &key) {
        let again = record.encode(&key).expect("what was read can be written");
        assert_eq!(CacheRecord::decode(&again, &key), Some(record));
        assert_eq!(CacheRecord::decode(&again, &Digest::of(b"another")), None);
    }
    treering::build::check_travelling_record(&String::from_utf8_lossy(&bytes), &key);
});
