//! Pauses that nodes and proxies do not share, so that probes do not come in crowds.

use std::time::Duration;

/// A small generator of numbers: spreads pauses, decides nothing that must be secret.
#[derive(Clone, Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Evenly from nine to eleven tenths of a pause.
    pub(super) fn spread(&mut self, pause: Duration) -> Duration {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let permille = u32::try_from((mixed >> 33) % 201).unwrap_or_default() + 900;
        (pause / 1000).saturating_mul(permille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_around_their_length() {
        let mut jitter = Jitter::new(7);
        let pauses: Vec<_> =
            (0..1000).map(|_| jitter.spread(Duration::from_secs(1)).as_millis()).collect();
        assert!(pauses.iter().all(|pause| (900..=1100).contains(pause)));
        assert!(
            pauses.iter().any(|pause| *pause < 920) && pauses.iter().any(|pause| *pause > 1080)
        );
        let mean = pauses.iter().sum::<u128>() / 1000;
        assert!((990..1010).contains(&mean), "{mean}");
    }
}
