//! One file per verb.

pub mod clone;
pub mod commit;
pub mod completion;
pub mod df;
pub mod diff;
pub mod export;
pub mod fsck;
pub mod history;
pub mod images;
pub mod import;
pub mod info;
pub mod inspect;
pub mod layer;
pub mod load;
pub mod man;
pub mod prune;
pub mod rmi;
pub mod save;
pub mod snapshot;
pub mod tag;
pub mod unpack;
pub mod version;
