//! From a test to all that it runs: functions of its file, of the modules beside it, and kernels.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use super::uses::Uses;
use crate::source::File;

/// A function, a method, or the body of a macro.
pub struct Function {
    name: String,
    /// The type whose method it is.
    of: Option<String>,
    is_test: bool,
    is_kernel: bool,
    is_macro: bool,
    uses: Uses,
}

/// A file with its functions, which are looked for when they are asked for.
pub struct Parsed<'f> {
    file: &'f File,
    functions: OnceCell<Vec<Function>>,
}

impl<'f> Parsed<'f> {
    /// Of this file.
    pub fn of(file: &'f File) -> Self {
        Self {
            file,
            functions: OnceCell::new(),
        }
    }

    /// Its functions; none if it is no Rust.
    fn functions(&self) -> &[Function] {
        self.functions.get_or_init(|| functions(&self.file.text))
    }
}

/// What a test runs on one side, as uses of each function.
pub type Reached<'f> = Vec<&'f Uses>;

/// What a test runs on the host or, if `device`, on the device: its functions or its kernels, and all that they call by name.
/// `None` if there is no such test.
pub fn from_test<'f>(
    files: &'f BTreeMap<&str, Parsed<'_>>,
    file: &str,
    test: &str,
    device: bool,
) -> Option<Reached<'f>> {
    let own = files.get(file)?.functions();
    let first = own
        .iter()
        .find(|function| function.is_test && function.name == test)?;
    let others: Vec<&Function> = beside(files, file).flat_map(Parsed::functions).collect();
    Some(closure(first, own, &others, device))
}

/// The files whose functions a test's file may call: those of its own program, of the directories that this names as
/// modules, and of its package's kernels.
fn beside<'f, 'p>(
    files: &'f BTreeMap<&str, Parsed<'p>>,
    file: &str,
) -> impl Iterator<Item = &'f Parsed<'p>> {
    let (package, within) = file.split_once("/tests/").unwrap_or((file, ""));
    let program = format!("{package}/tests/{}", module(within));
    let (tests, kernels) = (format!("{package}/tests/"), format!("{package}/src/"));
    let own = files.iter().filter(|(path, _)| is_of(path, &program));
    let text: String = own.map(|(_, parsed)| parsed.file.text.as_str()).collect();
    let wanted = move |path: &str| {
        let kernels = path.strip_prefix(&kernels).map(module);
        let support = path
            .strip_prefix(&tests)
            .and_then(|path| path.split_once('/'));
        is_of(path, &program)
            || kernels.is_some_and(|name| name == "lib" || names(&text, name))
            || support.is_some_and(|(name, _)| declares(&text, name))
    };
    let file = file.to_owned();
    files
        .iter()
        .filter(move |(path, _)| **path != file && wanted(path))
        .map(|(_, parsed)| parsed)
}

/// Whether a text names a module of the kernels in a path.
fn names(text: &str, module: &str) -> bool {
    text.contains(&format!("::{module}::"))
}

/// Whether a file is the root of a test program, or one of the modules in its directory.
fn is_of(path: &str, program: &str) -> bool {
    let rest = path.strip_prefix(program);
    rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// The module below a package's root that a file is, or is a part of: `queues` of `queues/fences.rs`.
fn module(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or(path)
}

fn declares(text: &str, module: &str) -> bool {
    text.lines()
        .any(|line| line.strip_suffix(';') == Some(&format!("mod {module}")))
}

fn closure<'f>(
    first: &'f Function,
    own: &'f [Function],
    others: &[&'f Function],
    device: bool,
) -> Reached<'f> {
    let mut reached = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![(first, false)];
    while let Some((function, by_kernel)) = open.pop() {
        let on_device = by_kernel || function.is_kernel;
        if !seen.insert((std::ptr::from_ref(function), on_device)) {
            continue;
        }
        if on_device == device {
            reached.push(&function.uses);
        }
        let called: Vec<&Function> = own.iter().filter(|other| function.calls(other)).collect();
        // A function of the file itself hides those of its name elsewhere.
        let hidden = |name: &str| {
            called
                .iter()
                .any(|own| own.of.is_none() && own.name == name)
        };
        let elsewhere = others.iter().copied().filter(|other| function.calls(other));
        let elsewhere = elsewhere.filter(|other| other.of.is_some() || !hidden(&other.name));
        let more = called.iter().copied().chain(elsewhere);
        open.extend(more.map(|function| (function, on_device)));
    }
    reached
}

impl Function {
    /// Whether it calls another, or hands it on, as far as names tell.
    fn calls(&self, other: &Self) -> bool {
        if other.is_macro {
            return self.uses.macros.contains(&other.name);
        }
        let Some(of) = &other.of else {
            let is_module = |name: &Option<String>| {
                let name = name.as_ref();
                name.is_none_or(|name| name.starts_with(char::is_lowercase))
            };
            let mut values = self.uses.values.iter();
            return values.any(|(before, name)| *name == other.name && is_module(before));
        };
        let path = |of: &str| (Some(of.to_owned()), other.name.clone());
        self.uses.methods.contains(&other.name)
            || self.uses.values.contains(&path(of))
            || self.of.as_ref() == Some(of) && self.uses.values.contains(&path("Self"))
    }
}

/// All functions of a text, wherever they stand in it.
fn functions(text: &str) -> Vec<Function> {
    let mut found = Collector::default();
    if let Ok(file) = syn::parse_file(text) {
        found.visit_file(&file);
    }
    found.functions
}

#[derive(Default)]
struct Collector {
    functions: Vec<Function>,
    of: Option<String>,
}

impl Collector {
    fn add(
        &mut self,
        attributes: &[syn::Attribute],
        signature: &syn::Signature,
        body: &syn::Block,
    ) {
        let uses = Uses::of(attributes, signature, body);
        let attribute = |wanted: fn(&str) -> bool| uses.macros.iter().any(|name| wanted(name));
        self.functions.push(Function {
            name: signature.ident.to_string(),
            of: self.of.clone(),
            is_test: attributes.iter().any(is_test),
            is_kernel: attribute(|name| ["dpa_kernel", "dpa_rpc"].contains(&name)),
            is_macro: false,
            uses,
        });
    }
}

/// `#[test]`, `#[tokio::test]`, `#[dpa_test(..)]`
fn is_test(attribute: &syn::Attribute) -> bool {
    let last = attribute.path().segments.last();
    last.is_some_and(|last| last.ident == "test" || last.ident == "dpa_test")
}

impl<'a> Visit<'a> for Collector {
    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        let of = self.of.take();
        self.add(&function.attrs, &function.sig, &function.block);
        visit::visit_item_fn(self, function);
        self.of = of;
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        self.add(&function.attrs, &function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        let of = self.of.take();
        if let syn::Type::Path(whose) = &*item.self_ty {
            self.of = whose
                .path
                .segments
                .last()
                .map(|last| last.ident.to_string());
        }
        visit::visit_item_impl(self, item);
        self.of = of;
    }

    fn visit_item_macro(&mut self, item: &'a syn::ItemMacro) {
        if let Some(name) = &item.ident {
            self.functions.push(Function {
                name: name.to_string(),
                of: None,
                is_test: false,
                is_kernel: false,
                is_macro: true,
                uses: Uses::of_tokens(item.mac.tokens.clone()),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sample;

    fn reached(files: &[(&str, &str)], test: &str, device: bool) -> Option<BTreeSet<String>> {
        let files: Vec<File> = files
            .iter()
            .map(|(path, text)| sample(path, text))
            .collect();
        let parsed = files
            .iter()
            .map(|file| (file.path.as_str(), Parsed::of(file)));
        let reached = from_test(&parsed.collect(), "tests/tests/a.rs", test, device)?
            .iter()
            .flat_map(|uses| uses.methods.iter().cloned())
            .collect();
        Some(reached)
    }

    fn some(names: &[&str]) -> Option<BTreeSet<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_test_reaches_helpers_and_kernels() {
        let files = [
            (
                "tests/src/lib.rs",
                "#[dpa_kernel]\npub fn kernel(t: &Thread) { t.rank(); help(t) }\nfn help(t: &Thread) { t.time(); }\n",
            ),
            (
                "tests/tests/a.rs",
                "fn start() { dpa.launch(kernel); }\n#[tokio::test]\nasync fn it() { start(); }\n",
            ),
        ];
        assert_eq!(reached(&files, "it", true), some(&["rank", "time"]));
        assert_eq!(reached(&files, "it", false), some(&["launch"]));
        assert_eq!(reached(&files, "start", false), None);
    }

    #[test]
    fn a_test_reaches_kernels_of_the_parts_of_a_module() {
        let kernel = "#[dpa_kernel]\npub fn kernel(t: &Thread) { t.rank(); }\n";
        let test = "use tests::queues::*;\n\n#[test]\nfn it() { launch(kernel); }\n";
        for (part, expected) in [
            ("tests/src/queues/fences.rs", &["rank"][..]),
            ("tests/src/fences/queues.rs", &[]),
        ] {
            let files = [(part, kernel), ("tests/tests/a.rs", test)];
            assert_eq!(reached(&files, "it", true), some(expected), "{part}");
        }
    }

    #[test]
    fn modules_of_a_test_are_those_it_declares() {
        let files = [
            (
                "tests/tests/rig/mod.rs",
                "impl Rig { pub fn new() { dpa.open(); } }\n",
            ),
            (
                "tests/tests/other/mod.rs",
                "impl Rig { pub fn new() { dpa.close(); } }\n",
            ),
            ("tests/tests/a/deep.rs", "pub fn work() { dpa.fill(); }\n"),
            (
                "tests/tests/a.rs",
                "mod rig;\n#[test]\nfn it() { Rig::new(); deep::work(); }\n#[test]\nfn not() { \"Rig::new()\"; }\n",
            ),
        ];
        assert_eq!(reached(&files, "it", false), some(&["fill", "open"]));
        assert_eq!(reached(&files, "not", false), some(&[]));
    }

    #[test]
    fn a_function_of_the_file_hides_others() {
        let files = [
            ("tests/src/lib.rs", "pub fn help() { a.far(); }\n"),
            (
                "tests/tests/a.rs",
                "fn help() { a.near(); }\n#[test]\nfn it() { help(); say!(1) }\nmacro_rules! say { ($x:expr) => { log.line($x) }; }\n",
            ),
        ];
        assert_eq!(reached(&files, "it", false), some(&["line", "near"]));
    }
}
