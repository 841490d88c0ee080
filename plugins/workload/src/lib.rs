//! Runs containers on a cluster.
