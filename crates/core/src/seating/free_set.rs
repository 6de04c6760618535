//! The free spots of a standing area, as a set of small numbers.
//!
//! Two levels of bits: taking the first few costs a few words, however large the area and however full.
//! Kept true: a bit of the upper level is set exactly when its word below is not zero.

/// A set of numbers below a fixed capacity.
#[derive(Clone, Debug)]
pub(super) struct FreeSet {
    words: Vec<u64>,
    upper: Vec<u64>,
}

impl FreeSet {
    /// All numbers below `capacity`.
    pub(super) fn full(capacity: u32) -> Self {
        let mut set = Self {
            words: vec![0; (capacity as usize).div_ceil(64)],
            upper: vec![0; (capacity as usize).div_ceil(64 * 64)],
        };
        for number in 0..capacity {
            set.insert(number);
        }
        set
    }

    pub(super) fn insert(&mut self, number: u32) {
        let word = number as usize / 64;
        self.words[word] |= 1 << (number % 64);
        self.upper[word / 64] |= 1 << (word % 64);
    }

    pub(super) fn remove(&mut self, number: u32) {
        let word = number as usize / 64;
        self.words[word] &= !(1 << (number % 64));
        if self.words[word] == 0 {
            self.upper[word / 64] &= !(1 << (word % 64));
        }
    }

    /// The numbers in the set, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        ones(&self.upper).flat_map(|word| {
            let base = u32::try_from(word * 64).expect("a set is no larger than a plan");
            ones(&self.words[word..=word])
                .map(move |bit| base + u32::try_from(bit).expect("a bit is below 64"))
        })
    }
}

/// The places of the bits that are set, ascending.
fn ones(words: &[u64]) -> impl Iterator<Item = usize> + '_ {
    words.iter().enumerate().flat_map(|(at, &word)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            let bit = rest.trailing_zeros() as usize;
            (rest != 0).then(|| {
                rest &= rest - 1;
                at * 64 + bit
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in_ascending() {
        let mut set = FreeSet::full(10_000);
        assert_eq!(set.iter().count(), 10_000);
        for number in 0..10_000 {
            set.remove(number);
        }
        assert_eq!(set.iter().next(), None);
        for number in [9_999, 64, 4_096, 0] {
            set.insert(number);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 64, 4_096, 9_999]);
        set.remove(64);
        set.remove(64);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 4_096, 9_999]);
    }
}
