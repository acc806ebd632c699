//! A hash that is quick in a build without optimisations, where most of an exploration would be SipHash.

use std::hash::{Hash, Hasher};

/// What tells `state` from any other.
pub(super) fn of(state: impl Hash) -> u64 {
    let mut fingerprint = Fingerprint(SEED);
    state.hash(&mut fingerprint);
    fingerprint.finish()
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u128 = 0xd6e8_feb8_6659_fd93_a076_1d64_78bd_642f;

/// Multiplies and folds, as wyhash does.
struct Fingerprint(u64);

impl Fingerprint {
    fn take(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word).wrapping_mul(FACTOR);
        self.0 = (product as u64) ^ ((product >> 64) as u64).rotate_left(23);
    }
}

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.take(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.take(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.take(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.take(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.take(number as u64);
    }

    // Of an enum: which variant it is.
    fn write_isize(&mut self, number: isize) {
        self.take(number as u64);
    }
}
