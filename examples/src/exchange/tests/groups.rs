//! Groups: everyone gets everyone's, nobody is counted twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// All members of a group of this size, in order of rank.
async fn group(size: usize) -> Vec<Group> {
    let (mut listener, address) = listener(session()).await;
    let others = (1..size).map(|rank| Group::join(rank, size, &address, session()));
    let others = futures::future::try_join_all(others);
    let (hub, others) = tokio::join!(Group::host(&mut listener, size), others);
    std::iter::once(hub.unwrap())
        .chain(others.unwrap())
        .collect()
}

fn blob(rank: usize) -> Vec<u8> {
    vec![rank as u8; 4096 - rank]
}

#[tokio::test]
async fn everyone_gets_everyones_in_order_of_rank() {
    for size in [1, 2, 3, 20] {
        let mut members = group(size).await;
        let expected: Vec<_> = (0..size).map(blob).collect();
        for _ in 0..2 {
            let gathering = members.iter_mut().map(async |member| {
                let mine = blob(member.rank());
                member.all_gather("connection data", &mine).await
            });
            let all = futures::future::try_join_all(gathering).await.unwrap();
            assert_eq!(all, vec![expected.clone(); size]);
        }
    }
}

#[tokio::test]
async fn a_barrier_of_a_group_waits_for_all() {
    let arrived = Arc::new(AtomicUsize::new(0));
    let size = 5;
    let passing = group(size).await.into_iter().map(|mut member| {
        let arrived = arrived.clone();
        tokio::spawn(async move {
            tokio::time::sleep(SHORT / 10 * member.rank() as u32).await;
            arrived.fetch_add(1, Ordering::SeqCst);
            member.barrier("all there").await.unwrap();
            assert_eq!(arrived.load(Ordering::SeqCst), size);
        })
    });
    futures::future::try_join_all(passing).await.unwrap();
}

#[tokio::test]
async fn a_member_that_ends_is_named_by_its_rank() {
    let mut members = group(4).await;
    drop(members.remove(2));
    let ending = members.iter_mut().map(|member| member.barrier("end"));
    let ended = futures::future::join_all(ending).await;
    let errors: Vec<_> = ended.into_iter().map(Result::unwrap_err).collect();
    let text = "peer closed the connection while waiting for its end";
    assert_eq!(errors[0].to_string(), format!("rank 2: {text}"));
    for other in &errors[1..] {
        assert_eq!(other.to_string(), format!("rank 0: {text}"));
    }
    let later = members[0].barrier("later").await.unwrap_err();
    let text = "rank 1: no later: the connection was given up at end";
    assert_eq!(later.to_string(), text);
}

#[tokio::test]
async fn when_rank_0_ends_everyone_hears_it() {
    let mut members = group(3).await;
    drop(members.remove(0));
    for member in &mut members {
        let error = member.barrier("end").await.unwrap_err().to_string();
        let text = "rank 0: peer closed the connection while waiting for its end";
        assert_eq!(error, text);
    }
}

#[tokio::test]
async fn members_out_of_step_hear_it() {
    let mut members = group(2).await;
    let [hub, other] = &mut members[..] else {
        panic!("two members")
    };
    let both = tokio::join!(hub.barrier("one"), other.barrier("two"));
    let error = both.0.unwrap_err().to_string();
    assert_eq!(error, "rank 1: peer is at `two`, we are at `one`");
    both.1.unwrap_err();
}

#[tokio::test]
async fn another_size_and_a_rank_taken_twice_are_refused() {
    let (mut hub, address) = listener(session()).await;
    let joining = Group::join(1, 4, &address, session());
    let (hosted, joined) = tokio::join!(Group::host(&mut hub, 3), joining);
    let error = hosted.unwrap_err().to_string();
    let text = "a peer says it is rank 1 of 4: rank 0 expects another number";
    assert_eq!(error, text);
    let error = joined.unwrap_err().to_string();
    let text = "rank 0: a peer says it is rank 0 of 3: we are of another group";
    assert_eq!(error, text);

    let twice = futures::future::join(
        Group::join(2, 3, &address, session()),
        Group::join(2, 3, &address, session()),
    );
    let (hosted, twice) = tokio::join!(
        async {
            let hosted = Group::host(&mut hub, 3).await;
            drop(hub);
            hosted
        },
        twice
    );
    let error = hosted.unwrap_err().to_string();
    let text = "a peer says it is rank 2 of 3: there was one before";
    assert_eq!(error, text);
    twice.0.unwrap_err();
    twice.1.unwrap_err();
}

#[tokio::test]
async fn a_rank_that_cannot_be_is_refused_before_anything_else() {
    for (rank, size) in [(3, 3), (0, 0), (usize::MAX, 2)] {
        let error = Group::join(rank, size, "nowhere", session())
            .await
            .unwrap_err();
        let text = format!("there is no rank {rank} in a group of {size}");
        assert_eq!(error.to_string(), text);
    }
}
