//! What must not compile at a launch does not, and says why in a sentence.

#[test]
fn rule_2_7_arguments_are_checked_by_the_compiler() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
