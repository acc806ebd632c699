//! The bulkhead layer, in dialogue.
