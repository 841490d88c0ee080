//! What: claim, request, plan, act, complete.
