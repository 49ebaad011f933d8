//! The store: an OCI image layout on disk plus what treering keeps beside it.
