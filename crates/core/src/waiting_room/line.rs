//! Counts of places given up, by range of numbers, in logarithmic time (a Fenwick tree that grows at its end).

/// How many of the numbers in a range are gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Gone {
    /// At index `i - 1`: how many of the numbers `i - lowbit(i) + 1 ..= i` are gone.
    tree: Vec<u32>,
}

impl Gone {
    /// Adds the next number, which is not gone.
    pub(super) fn push(&mut self) {
        let number = self.tree.len() + 1;
        let below = number - lowbit(number);
        self.tree.push(self.up_to(number - 1) - self.up_to(below));
    }

    /// Marks a number as gone; once only.
    pub(super) fn add(&mut self, number: u32) {
        let mut at = usize::try_from(number).expect("32 bits fit");
        while at <= self.tree.len() {
            self.tree[at - 1] += 1;
            at += lowbit(at);
        }
    }

    /// How many of the numbers above `after` up to `last` are gone.
    pub(super) fn between(&self, after: u32, last: u32) -> u32 {
        let up_to = |number: u32| self.up_to(usize::try_from(number).expect("32 bits fit"));
        up_to(last).saturating_sub(up_to(after))
    }

    fn up_to(&self, number: usize) -> u32 {
        let (mut at, mut sum) = (number.min(self.tree.len()), 0);
        while at > 0 {
            sum += self.tree[at - 1];
            at -= lowbit(at);
        }
        sum
    }
}

fn lowbit(number: usize) -> usize {
    number & number.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_range_counts_what_is_gone_in_it(numbers in 1_u32..300, picks in prop::collection::btree_set(1_u32..300, 0..100), grow in 0_u32..100) {
            let mut gone = Gone::default();
            for _ in 0..numbers { gone.push(); }
            let picks: Vec<u32> = picks.into_iter().filter(|pick| *pick <= numbers).collect();
            for pick in &picks { gone.add(*pick); }
            for _ in 0..grow { gone.push(); }
            let total = numbers + grow;
            for (after, last) in [(0, total), (numbers / 3, numbers), (numbers / 2, total)] {
                let expected = picks.iter().filter(|pick| **pick > after && **pick <= last).count();
                prop_assert_eq!(gone.between(after, last) as usize, expected);
            }
        }
    }
}
