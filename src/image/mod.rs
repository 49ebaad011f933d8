//! Images: configuration, manifest, index, platform, history.
