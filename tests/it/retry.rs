//! The retry layer, in dialogue.
