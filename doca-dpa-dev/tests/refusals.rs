//! What must not compile does not, and says why.

#[test]
fn refusals_are_sentences() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
