//! What Kubernetes does to an object's metadata on create, update and delete. Pure functions on JSON, used by `api` and `controller` alike.
