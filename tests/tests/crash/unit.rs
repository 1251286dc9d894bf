//! Units that have a number: of DPA threads that asked for one.

use doca_dpa::{Affinity, Error};
use tests::{PanicsArgs, panics};

use super::{Dir, builder, line, report};

#[tokio::test]
async fn rule_5_1_a_fault_and_its_report_name_a_unit_that_was_asked_for() -> Result<(), Error> {
    let dir = Dir::new("unit");
    let dpa = builder(&dir).crash_core_bytes(0).open()?;
    let thread = dpa.thread(panics, PanicsArgs { number: 1u64 });
    let thread = thread.affinity(Affinity::Strict(3)).start()?;
    thread.run()?;
    thread.notify();
    let fault = dpa.failed().await.expect("it panics");
    assert_eq!(fault.unit, Some(3));
    assert!(fault.to_string().contains("rank 0, unit 3)"), "{fault}");
    let (_, report) = report(&dpa);
    let text = std::fs::read_to_string(report.text.expect("a text")).expect("the text");
    assert_eq!(line(&text, "unit: "), "unit: 3");
    Ok(())
}
