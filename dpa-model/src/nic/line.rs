//! Those that wait for the same, each once.

use std::collections::HashSet;
use std::hash::Hash;

/// Who waits, in the order they came.
#[derive(Debug)]
pub(crate) struct Line<T> {
    order: Vec<T>,
    there: HashSet<T>,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self {
            order: Vec::new(),
            there: HashSet::new(),
        }
    }
}

impl<T: Copy + Eq + Hash> Line<T> {
    /// Puts one at the end, unless it stands in the line already.
    pub(crate) fn push(&mut self, who: T) {
        if self.there.insert(who) {
            self.order.push(who);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// All of them, in order; nobody waits then.
    pub(crate) fn take(&mut self) -> Vec<T> {
        self.there.clear();
        std::mem::take(&mut self.order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_in_it_once_in_the_order_they_came() {
        let mut line = Line::default();
        [3, 1, 3, 2, 1].into_iter().for_each(|who| line.push(who));
        assert_eq!(line.take(), [3, 1, 2]);
        assert!(line.is_empty());
        line.push(3);
        assert_eq!(line.take(), [3], "it may come again");
    }
}
