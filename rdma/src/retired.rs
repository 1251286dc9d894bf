//! Numbers of queue pairs that are gone, and are not given again for a while: packets of theirs may still be on their way.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::nic::QUARANTINE;
use crate::psn::Qpn;
use crate::region::Domain;

/// Queue pairs of a domain that may be gone less than [`QUARANTINE`] ago before it gets no other.
pub const MOST_RETIRED_OF_DOMAIN: usize = 1 << 18;

/// Queue pairs of all domains, as for one. Sixteen times as many numbers exist: one that is free is soon drawn.
pub const MOST_RETIRED: usize = 1 << 20;

/// Numbers that are let go of at a time: each that comes pays for a few that go.
const AT_ONCE: usize = 4;

/// As many before a domain is refused: those of others may stand before its own.
const BEFORE_REFUSED: usize = 1 << 12;

#[derive(Debug)]
struct Gone {
    since: Duration,
    number: Qpn,
    domain: Domain,
}

/// The numbers.
#[derive(Debug)]
pub(crate) struct Retired {
    /// The oldest first.
    order: VecDeque<Gone>,
    /// Since when each is gone.
    since: BTreeMap<Qpn, Duration>,
    /// How many in `order` are of each domain.
    of_domain: BTreeMap<Domain, usize>,
}

impl Retired {
    pub(crate) const fn new() -> Self {
        Self {
            order: VecDeque::new(),
            since: BTreeMap::new(),
            of_domain: BTreeMap::new(),
        }
    }

    /// A queue pair with this number is gone.
    pub(crate) fn add(&mut self, now: Duration, number: Qpn, domain: Domain) {
        self.release(now, AT_ONCE);
        self.since.insert(number, now);
        *self.of_domain.entry(domain).or_default() += 1;
        self.order.push_back(Gone {
            since: now,
            number,
            domain,
        });
    }

    /// Whether it may not be given yet.
    pub(crate) fn has(&self, now: Duration, number: Qpn) -> bool {
        let since = self.since.get(&number);
        since.is_some_and(|since| !is_old(now, *since))
    }

    /// How many are too many, if there are so many that this domain gets no other number now.
    pub(crate) fn limit(&mut self, now: Duration, domain: Domain) -> Option<usize> {
        self.release(now, AT_ONCE);
        self.limit_of(domain)?;
        self.release(now, BEFORE_REFUSED);
        self.limit_of(domain)
    }

    fn limit_of(&self, domain: Domain) -> Option<usize> {
        let of_domain = self.of_domain.get(&domain);
        match of_domain.is_some_and(|of| *of >= MOST_RETIRED_OF_DOMAIN) {
            true => Some(MOST_RETIRED_OF_DOMAIN),
            false => (self.order.len() >= MOST_RETIRED).then_some(MOST_RETIRED),
        }
    }

    /// Forgets some of those that may be given again.
    fn release(&mut self, now: Duration, at_most: usize) {
        for _ in 0..at_most {
            let Some(gone) = self.order.pop_front_if(|gone| is_old(now, gone.since)) else {
                return;
            };
            // It may have been given since, and be gone again.
            if self.since.get(&gone.number) == Some(&gone.since) {
                self.since.remove(&gone.number);
            }
            if let Some(of) = self.of_domain.get_mut(&gone.domain) {
                *of -= 1;
                if *of == 0 {
                    self.of_domain.remove(&gone.domain);
                }
            }
        }
    }
}

fn is_old(now: Duration, since: Duration) -> bool {
    now.saturating_sub(since) >= QUARANTINE
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Domain = Domain(1);
    const OTHER: Domain = Domain(2);
    const NOW: Duration = Duration::from_secs(5);

    fn number(at: usize) -> Qpn {
        Qpn::new(at as u32 + 2).expect("a number")
    }

    #[test]
    fn a_domain_that_has_let_go_of_too_many_is_refused_and_no_other() {
        let mut retired = Retired::new();
        for at in 0..MOST_RETIRED_OF_DOMAIN {
            assert_eq!(retired.limit(NOW, ONE), None);
            retired.add(NOW, number(at), ONE);
        }
        assert_eq!(retired.limit(NOW, ONE), Some(MOST_RETIRED_OF_DOMAIN));
        assert_eq!(retired.limit(NOW, OTHER), None);
        let later = NOW + QUARANTINE;
        assert!(retired.has(NOW, number(7)) && !retired.has(later, number(7)));
        assert_eq!(retired.limit(later, ONE), None);
        let left = MOST_RETIRED_OF_DOMAIN - BEFORE_REFUSED;
        assert!(retired.order.len() >= left, "not all at a time");
    }

    #[test]
    fn numbers_of_others_that_may_be_given_again_keep_nobody_from_its_own() {
        let mut retired = Retired::new();
        (0..100).for_each(|at| retired.add(NOW, number(at), OTHER));
        (100..100 + MOST_RETIRED_OF_DOMAIN).for_each(|at| retired.add(NOW, number(at), ONE));
        assert!(retired.limit(NOW, ONE).is_some());
        assert_eq!(retired.limit(NOW + QUARANTINE, ONE), None);
    }

    #[test]
    fn all_domains_together_have_a_limit() {
        let mut retired = Retired::new();
        for at in 0..MOST_RETIRED {
            retired.add(NOW, number(at), Domain((at % 100) as u32));
        }
        assert_eq!(retired.limit(NOW, Domain(1000)), Some(MOST_RETIRED));
    }

    #[test]
    fn a_number_that_is_gone_twice_counts_from_the_second_time() {
        let mut retired = Retired::new();
        (0..100).for_each(|at| retired.add(NOW, number(at), ONE));
        let again = NOW + QUARANTINE;
        assert!(!retired.has(again, number(99)));
        retired.add(again, number(99), ONE);
        retired.release(again, 100);
        assert_eq!(retired.order.len(), 1, "the first is let go of");
        assert!(retired.has(again + QUARANTINE / 2, number(99)));
        retired.release(again + QUARANTINE, 1);
        assert!(retired.order.is_empty() && retired.since.is_empty());
        assert!(retired.of_domain.is_empty());
    }
}
