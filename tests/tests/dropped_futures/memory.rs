//! Memory of the device: what a future has allocated is free again, and what it writes is written as a whole or not at all.

use crate::harness::cut_everywhere;

#[test]
fn rule_4_1_allocations_and_what_they_hold() {
    cut_everywhere(async |dpa, cut| {
        if let Some(zeroed) = cut.off(dpa.zeroed::<u64>(9)).await {
            assert_eq!(zeroed?.copy_out().await?, [0; 9]);
        }
        assert_eq!(dpa.memory_info().allocations, 0, "it went with its future");
        assert_eq!(dpa.zeroed::<u8>(3).await?.copy_out().await?, [0; 3]);
        Ok(())
    });
    cut_everywhere(async |dpa, cut| {
        if let Some(copied) = cut.off(dpa.copy_in(&[1u32, 2, 3])).await {
            assert_eq!(copied?.copy_out().await?, [1, 2, 3]);
        }
        assert_eq!(dpa.memory_info().allocations, 0, "it went with its future");
        assert_eq!(dpa.copy_in(&[4u8]).await?.copy_out().await?, [4]);
        Ok(())
    });
}

#[test]
fn rule_4_2_copies_and_fills() {
    cut_everywhere(async |dpa, cut| {
        let words = dpa.copy_in(&[5u64; 40]).await?;
        if let Some(copied) = cut.off(words.copy_out()).await {
            assert_eq!(copied?, [5; 40]);
        }
        assert_eq!(words.copy_out().await?, [5; 40]);
        Ok(())
    });
    cut_everywhere(async |dpa, cut| {
        let words = dpa.copy_in(&[5u64; 40]).await?;
        let written = cut.off(words.write(1, &[6; 38])).await.transpose()?;
        all_or_nothing(&words.copy_out().await?[1..39], 6, written);
        words.write(0, &[7; 40]).await?;
        assert_eq!(words.copy_out().await?, [7; 40]);
        Ok(())
    });
    cut_everywhere(async |dpa, cut| {
        let words = dpa.copy_in(&[5u64; 40]).await?;
        let filled = cut.off(words.fill(6)).await.transpose()?;
        all_or_nothing(&words.copy_out().await?, 6, filled);
        words.fill(7).await?;
        assert_eq!(words.copy_out().await?, [7; 40]);
        Ok(())
    });
}

/// What was 5 is all this now, or all as it was; it is this if the future has completed.
fn all_or_nothing(words: &[u64], now: u64, completed: Option<()>) {
    let whole = |value| words.iter().all(|&word| word == value);
    assert!(whole(now) || whole(5), "{words:?}");
    assert!(completed.is_none() || whole(now), "{words:?}");
}
