//! What several of these tests need.
