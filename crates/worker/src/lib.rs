//! The one generic loop: permit, lease, heartbeat, handle, settle, drain.
