//! Adopts Kubernetes clusters.
