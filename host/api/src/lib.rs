//! The REST API that speaks the Kubernetes API conventions.
