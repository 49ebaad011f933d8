//! Compression and decompression of layers, deterministic for any number of threads.
