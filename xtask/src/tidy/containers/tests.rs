use super::*;
use crate::tidy::sample;

const ROW: &str = "| what | `nic/world.rs`, `rdma/src/{requester,responder}.rs` | bound |\n";

fn findings(table: &str, sources: &[(&str, &str)]) -> Vec<String> {
    let sources = sources.iter().map(|(path, text)| sample(path, text));
    let files: Vec<File> = [sample(TABLE, table)].into_iter().chain(sources).collect();
    check(&files)
}

fn found(text: &str) -> Vec<String> {
    findings(ROW, &[("rdma/src/other.rs", text)])
}

#[test]
fn a_container_that_no_row_names_is_found_with_its_line_and_name() {
    let found = found("struct Nic {\n    at: u64,\n    index: Mutex<BTreeMap<u64, usize>>,\n}");
    let [only] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(
        only.starts_with("rdma/src/other.rs:3: `Nic.index` "),
        "{only}"
    );
}

#[test]
fn fields_payloads_statics_and_names_of_types_keep_something() {
    for (text, name) in [
        ("struct A(Vec<u8>);", "A"),
        ("struct A { b: Arc<Mutex<VecDeque<u8>>> }", "A.b"),
        ("struct A { b: std::collections::HashMap<u8, u8> }", "A.b"),
        ("union A { b: ManuallyDrop<Vec<u8>> }", "A.b"),
        ("enum A { B, C { d: Vec<u8> } }", "A::C.d"),
        ("enum A { B(Slab<u8>) }", "A::B"),
        ("static A: Mutex<Vec<u8>> = Mutex::new(Vec::new());", "A"),
        ("type A = SmallVec<[u8; 4]>;", "A"),
        ("fn f() { struct A { b: Vec<u8> } }", "A.b"),
        ("mod m { struct A { b: Vec<u8> } }", "A.b"),
        ("struct A { b: &'static Mutex<Vec<u8>> }", "A.b"),
        (
            "thread_local! { static A: Cell<Vec<u8>> = Cell::default(); }",
            "A",
        ),
        (
            "thread_local! {\n/// B.\nstatic A: Cell<Vec<u8>> = const { Cell::new(Vec::new()) } }",
            "A",
        ),
        (
            "fn f() { thread_local! { static A: Cell<Vec<u8>> = const { Cell::new(Vec::new()) }; } }",
            "A",
        ),
        ("#[cfg(not(test))]\nstruct A(Vec<u8>);", "A"),
        ("#[cfg(any(test, loom))]\nstruct A(Vec<u8>);", "A"),
    ] {
        let found = found(text);
        let named = |found: &String| found.contains(&format!(" `{name}` "));
        assert!(
            found.len() == 1 && found.iter().all(named),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn locals_signatures_and_what_is_borrowed_keep_nothing() {
    for text in [
        "fn f(a: Vec<u8>) -> Vec<u8> { let b: Vec<u8> = a; b }",
        "impl A { fn f(&self) -> Vec<u8> { Vec::new() } }",
        "trait A { type B; fn f(&self) -> Vec<u8>; }",
        "struct A<'a> { b: &'a mut Vec<u8> }",
        "struct A { b: fn(Vec<u8>) -> Vec<u8>, c: Box<dyn FnOnce(Vec<u8>) -> Vec<u8> + Send> }",
        "struct A { b: [u8; 4], c: Box<[u8]>, d: Vector }",
        "const A: Vec<u8> = Vec::new();",
        "// struct A(Vec<u8>);",
        "fn f() { let a = vec![1]; println!(\"{a:?}\"); }",
    ] {
        assert_eq!(found(text), [""; 0], "{text}");
    }
}

#[test]
fn tests_are_left_out() {
    for text in [
        "#[cfg(test)]\nmod tests { struct A(Vec<u8>); }",
        "#[cfg(all(test, not(loom)))]\nmod tests { struct A(Vec<u8>); }",
        "#[cfg(test)]\nstruct A(Vec<u8>);",
        "struct A { #[cfg(test)] b: Vec<u8> }",
        "#[cfg(test)]\nfn f() { struct A(Vec<u8>); }",
        "#[cfg(test)]\nimpl B { fn f() { struct A(Vec<u8>); } }",
        "#[cfg(test)]\nstatic A: Mutex<Vec<u8>> = Mutex::new(Vec::new());",
    ] {
        assert_eq!(found(text), [""; 0], "{text}");
    }
}

#[test]
fn modules_of_tests_in_files_of_their_own_are_left_out() {
    let keeps = "struct A(Vec<u8>);";
    for (parent, says, child) in [
        (
            "rdma/src/a.rs",
            "#[cfg(test)]\nmod tests;",
            "rdma/src/a/tests.rs",
        ),
        (
            "rdma/src/a.rs",
            "#[cfg(test)]\nmod tests;",
            "rdma/src/a/tests/b.rs",
        ),
        (
            "rdma/src/lib.rs",
            "#[cfg(test)]\nmod rig;",
            "rdma/src/rig.rs",
        ),
        (
            "rdma/src/wire/mod.rs",
            "#[cfg(test)]\nmod rig;",
            "rdma/src/wire/rig.rs",
        ),
        (
            "examples/src/bin/a.rs",
            "#[cfg(test)]\nmod rig;",
            "examples/src/bin/rig.rs",
        ),
        (
            "rdma/src/a/b.rs",
            "#[cfg(test)]\n#[path = \"c.rs\"]\nmod tests;",
            "rdma/src/a/c.rs",
        ),
    ] {
        assert_eq!(
            findings(ROW, &[(parent, says), (child, keeps)]),
            [""; 0],
            "{child}"
        );
        let shipped = says.replace("#[cfg(test)]\n", "");
        assert_eq!(
            findings(ROW, &[(parent, &shipped), (child, keeps)]).len(),
            1,
            "{child}"
        );
    }
}

#[test]
fn a_row_names_a_file_by_its_path_with_braces_written_out() {
    let keeps = "struct A(Vec<u8>);";
    for (path, count) in [
        ("dpa-model/src/nic/world.rs", 0),
        ("rdma/src/requester.rs", 0),
        ("rdma/src/responder.rs", 0),
        ("rdma/src/responder/replies.rs", 1),
        // Without a crate it is that of the model.
        ("rdma/src/nic/world.rs", 1),
        ("dpa-model/src/world.rs", 1),
        ("dpa-model/src/other/nic/world.rs", 1),
        // No part of what runs.
        ("dpa-model/tests/a.rs", 0),
        ("xtask/src/a.rs", 0),
        ("examples/kernels/src/a.rs", 0),
    ] {
        assert_eq!(findings(ROW, &[(path, keeps)]).len(), count, "{path}");
    }
    let all: Vec<_> = written_out("a{b, c/d}e{f,g}.rs");
    assert_eq!(all, ["abef.rs", "abeg.rs", "ac/def.rs", "ac/deg.rs"]);
}

#[test]
fn only_rows_name_files() {
    let text = "The world of a NIC is in `nic/world.rs`.\n";
    let source = ("dpa-model/src/nic/world.rs", "struct A(Vec<u8>);");
    assert_eq!(findings(text, &[source]).len(), 1);
}

#[test]
fn without_the_document_that_is_said() {
    assert_eq!(check(&[]).len(), 1);
}
