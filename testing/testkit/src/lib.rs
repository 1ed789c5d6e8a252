//! What tests share: real services, temporary worlds, fault wrappers.
