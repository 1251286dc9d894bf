//! Items, their aliases and the tests of the workspace, as far as lines of formatted Rust tell.

use std::collections::BTreeMap;

use super::paths::{declares, gives_out, is_below};
use super::reach::{self, Parsed, Reached};
use super::uses::Uses;
use crate::source::{self, File};

/// Something with a name of the original.
pub struct Item {
    /// The file it stands in.
    pub file: String,
    /// The crate, as Rust names it.
    krate: String,
    /// The type it belongs to.
    of: Option<String>,
    /// Its own name.
    pub name: String,
    kind: Kind,
}

/// What can be done with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Function,
    Method,
    Macro,
    Type,
    /// A constant or a variant.
    Value,
    Field,
    /// A private field, of which a macro makes the function that sets it.
    Setter,
}

/// Crates whose items kernels use.
const DEVICE: [&str; 3] = ["flexio_dev", "doca_dpa_dev", "dpa_macros"];

impl Item {
    /// Whether kernels use it, not the host.
    pub fn is_on_device(&self) -> bool {
        DEVICE.contains(&self.krate.as_str())
    }

    /// Whether a path could lead to it: the crate, any modules, its type, its name.
    pub fn is_at(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split("::").collect();
        let own: Vec<&str> = self
            .of
            .as_deref()
            .into_iter()
            .chain([self.name.as_str()])
            .collect();
        // `flexio` hands on what is the model's, which users do not name.
        let krate = match parts[0] {
            "flexio" if self.krate == "dpa_model" => "dpa_model",
            krate => krate,
        };
        krate == self.krate && parts[1..].ends_with(&own)
    }

    /// Whether code calls it or, if it is no function, uses it.
    pub fn is_used_by(&self, uses: &Uses) -> bool {
        let name = &self.name;
        let value = |of: Option<&String>| uses.values.contains(&(of.cloned(), name.clone()));
        match (self.kind, &self.of) {
            (Kind::Macro, _) => uses.macros.contains(name),
            (Kind::Type, _) => uses.segments.contains(name),
            (Kind::Setter, _) => uses.methods.contains(name),
            // Dropping is a function of its own.
            (Kind::Method, Some(_)) if name == "drop" => value(None),
            (Kind::Method, Some(of)) => uses.methods.contains(name) || value(Some(of)),
            (Kind::Function, Some(of)) => value(Some(of)),
            (Kind::Field, Some(of)) => {
                uses.fields.contains(name) || uses.given.contains(&(of.clone(), name.clone()))
            }
            (Kind::Value, Some(of)) => value(Some(of)),
            (_, None) => {
                let mut values = uses.values.iter();
                values.any(|(before, last)| last == name && before.as_deref().is_none_or(is_module))
            }
        }
    }
}

/// Whether a segment of a path is no type.
fn is_module(segment: &str) -> bool {
    segment.starts_with(char::is_lowercase)
}

/// What the check needs to know of all sources.
pub struct Sources<'f> {
    files: BTreeMap<&'f str, &'f File>,
    parsed: BTreeMap<&'f str, Parsed<'f>>,
    aliases: BTreeMap<String, Vec<Item>>,
}

impl<'f> Sources<'f> {
    /// Of these files.
    pub fn of(files: &'f [File]) -> Self {
        let mut aliases: BTreeMap<String, Vec<Item>> = BTreeMap::new();
        for (alias, item) in files.iter().flat_map(items) {
            aliases.entry(alias).or_default().push(item);
        }
        let parsed = files.iter().filter(|file| file.path.ends_with(".rs"));
        let parsed = parsed.map(|file| (file.path.as_str(), Parsed::of(file)));
        Self {
            files: files
                .iter()
                .map(|file| (file.path.as_str(), file))
                .collect(),
            parsed: parsed.collect(),
            aliases,
        }
    }

    /// The items that carry this name.
    pub fn aliases(&self, name: &str) -> impl Iterator<Item = &Item> {
        self.aliases.get(name).into_iter().flatten()
    }

    /// Every alias with every item that carries it.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Item)> {
        self.aliases
            .iter()
            .flat_map(|(alias, items)| items.iter().map(|item| (alias.as_str(), item)))
    }

    /// Whether the crate's root, or a public module of it, gives out what a path begins with.
    pub fn is_public(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split("::").collect();
        let [krate, rest @ ..] = &parts[..] else {
            return false;
        };
        let directory = krate.replace('_', "-");
        let Some(root) = self.files.get(format!("{directory}/src/lib.rs").as_str()) else {
            return false;
        };
        let code = source::code(&root.text);
        match rest {
            [module, item, ..] if module.starts_with(char::is_lowercase) => {
                let beside = format!("{directory}/src/{module}.rs");
                let file = self.files.get(beside.as_str());
                code.contains(&format!("pub mod {module};"))
                    && file.is_some_and(|file| gives_out(&source::code(&file.text), item))
            }
            // Macros stand at the root by themselves.
            [item, ..] => gives_out(&code, item) || self.is_macro(&directory, item),
            [] => false,
        }
    }

    /// Whether a path that could lead to an item does: what stands between the crate and the item are modules, and if the item is
    /// of that crate, the first of them has it, or its type, to which others may add.
    pub fn leads_to(&self, path: &str, item: &Item) -> bool {
        let parts: Vec<&str> = path.split("::").collect();
        let own = 1 + usize::from(item.of.is_some());
        let [module, below @ ..] = &parts[1..parts.len() - own] else {
            return true;
        };
        // Who sets a field is named with the type.
        let modules = item.kind == Kind::Setter || below.iter().all(|part| is_module(part));
        modules && (parts[0] != item.krate || self.has(module, item))
    }

    /// Whether a module of an item's crate has the item.
    fn has(&self, module: &str, item: &Item) -> bool {
        let directory = item.krate.replace('_', "-");
        let declares = |file: &str, name: &str| {
            let file = self.files.get(file);
            file.is_some_and(|file| declares(&source::code(&file.text), name))
        };
        let beside = format!("{directory}/src/{module}.rs");
        let mut of = item.of.iter();
        is_below(&item.file, &directory, module)
            || of.any(|of| !declares(&item.file, of) && declares(&beside, of))
    }

    fn is_macro(&self, directory: &str, name: &str) -> bool {
        let head = format!("macro_rules! {name} {{");
        let own = |file: &&&File| file.path.starts_with(&format!("{directory}/src/"));
        self.files
            .values()
            .filter(own)
            .any(|file| file.text.contains(&head))
    }

    /// What a test runs on the host or, if `device`, on the device; `None` if there is no such test.
    pub fn reached_by(&self, file: &str, test: &str, device: bool) -> Option<Reached<'_>> {
        reach::from_test(&self.parsed, file, test, device)
    }
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The aliases in a file and the items under them.
fn items(file: &File) -> Vec<(String, Item)> {
    let Some((directory, _)) = file.path.split_once("/src/") else {
        return Vec::new();
    };
    if !file.path.ends_with(".rs") || directory.contains('/') || directory == "xtask" {
        return Vec::new();
    }
    let krate = directory.replace('-', "_");
    let (mut found, mut pending, mut of) = (Vec::new(), Vec::new(), None);
    for (at, line) in file.text.lines().enumerate() {
        of = owner(line).unwrap_or(of);
        if let Some(alias) = alias(line) {
            pending.push(alias.to_owned());
        } else if !pending.is_empty()
            && let Some(name) = item(line)
        {
            let inside = line.starts_with(' ');
            found.extend(pending.drain(..).map(|alias| {
                let item = Item {
                    file: file.path.clone(),
                    krate: krate.clone(),
                    of: of.clone().filter(|_| inside),
                    name: name.to_owned(),
                    kind: match kind(line, &krate, inside) {
                        Kind::Function if takes_self(&file.text, at) => Kind::Method,
                        kind => kind,
                    },
                };
                (alias, item)
            }));
        }
    }
    found
}

fn alias(line: &str) -> Option<&str> {
    let rest = line.trim().strip_prefix("#[doc(alias = \"")?;
    rest.strip_suffix("\")]")
}

/// The type whose items follow from this line on; `Some(None)`: none's.
fn owner(line: &str) -> Option<Option<String>> {
    if line.starts_with(['}', ')']) {
        return Some(None);
    }
    if let Some(rest) = line.strip_prefix("impl") {
        let whose = without_generics(rest);
        let whose = whose.split_once(" for ").map_or(whose, |(_, whose)| whose);
        return Some(name_in(whose.trim_start()));
    }
    let kinds = ["struct ", "enum ", "trait "];
    let rest = line.strip_prefix("pub ").unwrap_or(line);
    let rest = rest.strip_prefix("unsafe ").unwrap_or(rest);
    let kind = kinds.iter().find_map(|kind| rest.strip_prefix(kind));
    // What ends in its line has nothing within it.
    kind.map(|rest| name_in(rest).filter(|_| !line.ends_with(';')))
}

/// What is behind `<..>` at the beginning.
fn without_generics(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return if c == '>' { &text[at + 1..] } else { text };
        }
    }
    text
}

fn name_in(text: &str) -> Option<String> {
    words(text)
        .next()
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

/// Whether the function whose declaration begins in a line is one that `a.name()` calls.
fn takes_self(text: &str, line: usize) -> bool {
    let mut lines = text.lines().skip(line);
    let first = lines.next().and_then(|line| line.split_once('('));
    let argument = match first {
        Some((_, "")) => lines.next(),
        first => first.map(|(_, arguments)| arguments),
    };
    let name = argument.and_then(|text| text.split([',', ')', ':']).next());
    name.is_some_and(|name| words(name).last() == Some("self"))
}

/// What a line declares. The functions that `dpa-macros` gives out are macros to everybody else.
fn kind(line: &str, krate: &str, inside: bool) -> Kind {
    let text = line.trim();
    let declares = |word: &str| {
        text.split(['(', '<', '{'])
            .next()
            .is_some_and(|head| source::has_word(head, word))
    };
    if text.starts_with("macro_rules!") || krate == "dpa_macros" {
        Kind::Macro
    } else if declares("fn") {
        Kind::Function
    } else if ["struct", "enum", "trait", "type"]
        .into_iter()
        .any(declares)
    {
        Kind::Type
    } else if !declares("const") && inside && text.contains(": ") {
        if declares("pub") {
            Kind::Field
        } else {
            Kind::Setter
        }
    } else {
        Kind::Value
    }
}

/// The name of what a line declares: an item, a field, a variant.
fn item(line: &str) -> Option<&str> {
    let text = line.trim();
    if text.starts_with(['#', '/', ')']) || text.is_empty() {
        return None;
    }
    if let Some(rest) = text.strip_prefix("macro_rules! ") {
        return words(rest).next();
    }
    let mut rest = text;
    for word in [
        "pub(crate) ",
        "pub(super) ",
        "pub ",
        "const ",
        "async ",
        "unsafe ",
        "static ",
    ] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    for kind in ["fn ", "struct ", "enum ", "trait ", "type ", "mod "] {
        rest = rest.strip_prefix(kind).unwrap_or(rest);
    }
    let name = words(rest).next()?;
    let attribute = rest[name.len()..].starts_with(" = \"");
    (!name.is_empty() && !attribute).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sample;

    fn named(text: &str) -> Vec<String> {
        let file = sample("flexio-dev/src/a.rs", text);
        let path = |item: &Item| match &item.of {
            Some(of) => format!("{of}::{}", item.name),
            None => item.name.clone(),
        };
        items(&file).iter().map(|(_, item)| path(item)).collect()
    }

    #[test]
    fn items_are_found_under_their_aliases() {
        let alias = "#[doc(alias = \"c\")]";
        let cases = [
            (format!("{alias}\npub struct A;\n"), "A"),
            (
                format!(
                    "impl<'t, T: Pod> B<'t, T> {{\n    {alias}\n    pub const fn b() {{}}\n}}\n"
                ),
                "B::b",
            ),
            (
                format!("impl Drop for C<'_> {{\n    {alias}\n    fn drop(&mut self) {{\n"),
                "C::drop",
            ),
            (
                format!("pub struct D {{\n    {alias}\n    pub d: u64,\n}}\n"),
                "D::d",
            ),
            (
                format!("pub enum E {{\n    {alias}\n    One = 1,\n}}\n"),
                "E::One",
            ),
            (
                format!("{alias}\n#[macro_export]\nmacro_rules! f {{\n"),
                "f",
            ),
            (
                format!(
                    "pub struct I(u32);\n\nbitflags! {{\n    {alias}\n    pub struct J: u32 {{\n"
                ),
                "J",
            ),
            (
                format!("struct G {{\n}}\n\n{alias}\n#[inline]\npub unsafe trait H: Copy {{\n"),
                "H",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(named(&text), [expected], "{text}");
        }
    }

    #[test]
    fn a_path_leads_where_an_item_stands() {
        let text = "impl A {\n    #[doc(alias = \"c\")]\n    pub fn a(&self) {\n";
        let files = [
            sample("flexio/src/queues/work.rs", text),
            sample("flexio/src/nic.rs", "pub struct A {\n}\n"),
            sample("flexio/src/backend.rs", "pub use dpa_model::A;\n"),
        ];
        let sources = Sources::of(&files);
        let item = sources.aliases("c").next().expect("an item");
        for (path, leads) in [
            ("flexio::queues::A::a", true),
            ("flexio::nic::A::a", true),
            ("flexio::A::a", true),
            ("flexio::backend::A::a", false),
            ("flexio::queues::B::A::a", false),
        ] {
            assert!(item.is_at(path), "{path}");
            assert_eq!(sources.leads_to(path, item), leads, "{path}");
        }
    }

    #[test]
    fn a_use_is_of_its_kind() {
        let item = |line: &str, of: Option<&str>| Item {
            file: String::new(),
            krate: String::new(),
            of: of.map(str::to_owned),
            name: item(line).expect("a name").to_owned(),
            kind: match kind(line, "flexio", of.is_some()) {
                Kind::Function if takes_self(line, 0) => Kind::Method,
                kind => kind,
            },
        };
        for (line, of, code, used) in [
            ("pub fn len(&self) {", Some("A"), "a.len();", true),
            ("pub fn len(&self) {", Some("A"), "map(A::len);", true),
            ("pub fn len(&self) {", Some("A"), "map(B::len);", false),
            ("pub fn len(&self) {", Some("A"), "a.len;", false),
            ("pub fn len(&self) {", Some("A"), "f(len);", false),
            ("pub fn len(\n    &mut self,\n", Some("A"), "a.len();", true),
            ("pub fn len(a: &self::A) {", Some("A"), "a.len();", false),
            ("pub fn len(a: &self::A) {", Some("A"), "A::len(a);", true),
            ("pub const fn len() {", None, "len(1);", true),
            ("pub const fn len() {", None, "a::len(1);", true),
            ("pub const fn len() {", None, "a.len();", false),
            ("pub len: u32,", Some("A"), "a.len;", true),
            ("pub len: u32,", Some("A"), "A { len: 1 };", true),
            ("pub len: u32,", Some("A"), "B { len: 1 };", false),
            ("len: u32,", Some("A"), "a.len(1);", true),
            ("len: u32,", Some("A"), "A { len: 1 };", false),
            ("pub struct Len {", None, "let x: Len = y;", true),
            ("pub struct Len {", None, "Len::new();", true),
            ("pub struct Len {", None, "len();", false),
            ("Len = 1,", Some("A"), "f(A::Len);", true),
            ("Len = 1,", Some("A"), "f(B::Len);", false),
            ("pub const LEN: u32 = 1;", None, "f(LEN);", true),
            ("macro_rules! len {", None, "len!(1);", true),
            ("macro_rules! len {", None, "len(1);", false),
        ] {
            let function: syn::ItemFn =
                syn::parse_str(&format!("fn f() {{ {code} }}")).expect("a function");
            let uses = Uses::of(&[], &function.sig, &function.block);
            assert_eq!(item(line, of).is_used_by(&uses), used, "{line} {code}");
        }
    }
}
