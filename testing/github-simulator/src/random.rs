//! Random numbers that depend on a seed and a place only, so that any part of a world can be made alone.

/// A generator for one place in a world: the same seed and parts give the same numbers, always.
pub(crate) fn stream(seed: u64, parts: &[u64]) -> fastrand::Rng {
    fastrand::Rng::with_seed(mix(seed, parts))
}

/// One number for one place, where a whole generator would be too much.
pub(crate) fn mix(seed: u64, parts: &[u64]) -> u64 {
    parts.iter().fold(scramble(seed ^ 0x9e37_79b9_7f4a_7c15), |state, part| scramble(state ^ scramble(*part)))
}

/// The finaliser of SplitMix64: every input bit reaches every output bit.
fn scramble(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Forty hexadecimal digits that look like a commit.
pub(crate) fn sha(seed: u64, parts: &[u64]) -> String {
    let [a, b, c] = [1, 2, 3].map(|part| scramble(mix(seed, parts) ^ part));
    format!("{a:016x}{b:016x}{:08x}", c >> 32)
}

/// One of a list that is known not to be empty.
pub(crate) fn pick<T: Clone>(random: &mut fastrand::Rng, list: &[T]) -> T {
    list[random.usize(..list.len())].clone()
}
