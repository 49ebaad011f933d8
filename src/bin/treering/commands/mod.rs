//! One file per verb.

pub mod commit;
pub mod completion;
pub mod df;
pub mod diff;
pub mod fsck;
pub mod history;
pub mod images;
pub mod info;
pub mod inspect;
pub mod layer;
pub mod man;
pub mod prune;
pub mod rmi;
pub mod snapshot;
pub mod tag;
pub mod unpack;
pub mod version;
