//! Archives: save and load, import and export.
