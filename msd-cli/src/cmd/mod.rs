//! The commands, one file each. A command takes its parsed arguments and returns an
//! [`Outcome`](crate::report::Outcome); it writes to no stream.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod explain;
pub(crate) mod fmt;
pub(crate) mod npu;
pub(crate) mod opt;
pub(crate) mod paper;
pub(crate) mod run;
