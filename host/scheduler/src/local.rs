//! The bell inside one process.
