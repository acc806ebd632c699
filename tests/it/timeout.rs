//! The timeout layer, in dialogue.
