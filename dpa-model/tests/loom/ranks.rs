//! Workers that claim ranks of one launch.

use super::*;

#[test]
fn two_workers_vs_the_last_ranks() {
    check(|| {
        let gang = Arc::new(Gang::new(2));
        let claim_all = |gang: Arc<Gang>| {
            let claimed = std::iter::from_fn(|| gang.claim(1, 2));
            // A worker would drop what its chunk has counted if it got a range of none.
            let ranks = |(first, end)| (first..end).last().expect("a rank") - first + 1;
            claimed.map(ranks).sum::<u32>()
        };
        let other = thread::spawn({
            let gang = gang.clone();
            move || claim_all(gang)
        });
        let own = claim_all(gang);
        assert_eq!(own + other.join().expect("no panic"), 2);
    });
}
