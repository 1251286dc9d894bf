//! Items, their aliases and the tests of the workspace, as far as lines of formatted Rust tell.

use std::collections::{BTreeMap, BTreeSet};

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
}

/// What the check needs to know of all sources.
pub struct Sources<'f> {
    files: BTreeMap<&'f str, &'f File>,
    aliases: BTreeMap<String, Vec<Item>>,
}

impl<'f> Sources<'f> {
    /// Of these files.
    pub fn of(files: &'f [File]) -> Self {
        let mut aliases: BTreeMap<String, Vec<Item>> = BTreeMap::new();
        for (alias, item) in files.iter().flat_map(items) {
            aliases.entry(alias).or_default().push(item);
        }
        let files = files
            .iter()
            .map(|file| (file.path.as_str(), file))
            .collect();
        Self { files, aliases }
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

    fn is_macro(&self, directory: &str, name: &str) -> bool {
        let head = format!("macro_rules! {name} {{");
        let own = |file: &&&File| file.path.starts_with(&format!("{directory}/src/"));
        self.files
            .values()
            .filter(own)
            .any(|file| file.text.contains(&head))
    }

    /// What a test runs on the host or, if `device`, on the device: the text of its functions or of its kernels, and of
    /// all functions they name, in its own file and among the kernels beside it.
    pub fn reached_by(&self, file: &str, test: &str, device: bool) -> Option<String> {
        let text = &self.files.get(file)?.text;
        let own: BTreeMap<_, _> = functions(text).into_iter().collect();
        if !own.get(test).is_some_and(|text| is_test(text)) {
            return None;
        }
        let mut known: BTreeMap<&str, &str> = self.kernels_of(file, text).collect();
        known.extend(own);
        Some(closure(test, &known, device))
    }

    /// The functions beside a test: those of its package's root, and of the modules that it names.
    fn kernels_of(&self, file: &str, text: &str) -> impl Iterator<Item = (&str, &str)> {
        let place = file
            .split_once("/tests/")
            .map(|(package, _)| format!("{package}/src/"));
        let (mut root, mut modules) = (Vec::new(), Vec::new());
        for (path, file) in &self.files {
            let name = place.as_deref().and_then(|place| path.strip_prefix(place));
            match name.and_then(|name| name.strip_suffix(".rs")) {
                Some("lib") => root.extend(functions(&file.text)),
                Some(name) if text.contains(&format!("::{}::", module_of(name))) => {
                    modules.extend(functions(&file.text));
                }
                _ => {}
            }
        }
        root.into_iter().chain(modules)
    }
}

/// The module of a package's root that a file is, or is a part of: `queues` of `queues/fences`.
fn module_of(file: &str) -> &str {
    file.split('/').next().unwrap_or(file)
}

/// Whether a module declares something publicly, or hands it on.
fn gives_out(code: &str, item: &str) -> bool {
    let handed_on = code.split("pub use ").skip(1);
    let mut handed_on = handed_on.filter_map(|rest| rest.split(';').next());
    handed_on.any(|names| source::has_word(names, item))
        || code.lines().filter(|line| declares(line)).any(|line| {
            source::has_word(
                line.split(['(', '{', '<', ';']).next().unwrap_or(line),
                item,
            )
        })
}

/// Whether a line declares something public, which may be a type within a macro such as `bitflags`.
fn declares(line: &str) -> bool {
    let within = line.trim_start().starts_with("pub struct ");
    within || line.starts_with("pub ") && !line.starts_with("pub use ")
}

fn is_test(text: &str) -> bool {
    text.starts_with("#[")
        && text
            .split("fn ")
            .next()
            .is_some_and(|head| head.contains("test]"))
}

fn is_kernel(text: &str) -> bool {
    text.contains("#[dpa_kernel]") || text.contains("#[dpa_rpc]")
}

fn closure(first: &str, known: &BTreeMap<&str, &str>, device: bool) -> String {
    let mut text = String::new();
    let mut seen = BTreeSet::from([first]);
    let mut open = vec![(first, false)];
    while let Some((name, by_kernel)) = open.pop() {
        let whole = known[name];
        let on_device = by_kernel || is_kernel(whole);
        let body = source::code(whole);
        for word in words(&body) {
            if let Some((name, _)) = known.get_key_value(word)
                && seen.insert(name)
            {
                open.push((name, on_device));
            }
        }
        if on_device == device {
            text += &body;
        }
    }
    text
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// Whether code uses an item: what belongs to a type, behind a dot, behind its path, or as a field that is given; anything
/// else as a word.
pub fn mentions(code: &str, item: &Item) -> bool {
    // Dropping is a function of its own.
    if item.of.is_none() || item.name == "drop" {
        return source::has_word(code, &item.name);
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(&item.name).any(|(at, name)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        let whole = !before.ends_with(is_word) && !after.starts_with(is_word);
        let given = after.starts_with(':') && !after.starts_with("::");
        whole && (before.ends_with(['.', ':']) || given)
    })
}

/// The functions at the left margin: their names and their text, with their attributes.
fn functions(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let (mut attributes, mut at) = (0, 0);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for (number, line) in lines.iter().enumerate() {
        if let Some(name) = function(line) {
            let more = lines[number..].iter().take_while(|line| !ends(line));
            let end = at + more.map(|line| line.len()).sum::<usize>();
            let last = text[end..]
                .find('\n')
                .map_or(text.len(), |length| end + length);
            found.push((name, &text[attributes..last]));
        }
        at += line.len();
        if !line.starts_with("#[") {
            attributes = at;
        }
    }
    found
}

fn ends(line: &str) -> bool {
    line.trim_end() == "}" && line.starts_with('}')
        || function(line).is_some() && line.trim_end().ends_with('}')
}

fn function(line: &str) -> Option<&str> {
    let mut rest = line;
    for word in ["pub ", "async ", "const "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    words(rest.strip_prefix("fn ")?).next()
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
    for line in file.text.lines() {
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
    if line.starts_with('}') {
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
    kind.map(name_in)
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
                format!("struct G {{\n}}\n\n{alias}\n#[inline]\npub unsafe trait H: Copy {{\n"),
                "H",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(named(&text), [expected], "{text}");
        }
    }

    #[test]
    fn a_test_reaches_helpers_and_kernels() {
        let files = [
            sample(
                "tests/src/lib.rs",
                "/// K.\n#[dpa_kernel]\npub fn kernel(t: &Thread) {\n    t.rank();\n}\n",
            ),
            sample(
                "tests/tests/a.rs",
                "fn help() {\n    launch(kernel);\n}\n\n#[tokio::test]\nasync fn it() -> Outcome {\n    help();\n}\n",
            ),
        ];
        let sources = Sources::of(&files);
        let device = sources.reached_by("tests/tests/a.rs", "it", true);
        assert!(device.is_some_and(|text| text.contains("rank") && !text.contains("launch")));
        let host = sources.reached_by("tests/tests/a.rs", "it", false);
        assert!(host.is_some_and(|text| text.contains("launch") && !text.contains("rank")));
        assert!(
            sources
                .reached_by("tests/tests/a.rs", "help", false)
                .is_none()
        );
    }

    #[test]
    fn a_test_reaches_kernels_of_the_parts_of_a_module() {
        let kernel = "/// K.\n#[dpa_kernel]\npub fn kernel(t: &Thread) {\n    t.rank();\n}\n";
        let test = "use tests::queues::*;\n\n#[test]\nfn it() {\n    launch(kernel);\n}\n";
        let reached = |part| {
            let files = [sample(part, kernel), sample("tests/tests/a.rs", test)];
            let sources = Sources::of(&files);
            sources.reached_by("tests/tests/a.rs", "it", true)
        };
        let part = reached("tests/src/queues/fences.rs");
        assert!(part.is_some_and(|text| text.contains("rank")));
        let other = reached("tests/src/fences/queues.rs");
        assert!(other.is_some_and(|text| !text.contains("rank")));
    }

    #[test]
    fn a_use_is_not_just_a_word() {
        let item = |of: Option<&str>| Item {
            file: String::new(),
            krate: String::new(),
            of: of.map(str::to_owned),
            name: "len".into(),
        };
        for (code, method) in [
            ("a.len()", true),
            ("map(A::len)", true),
            ("A { len: 1 }", true),
            ("let len = 1;", false),
            ("a.length()", false),
        ] {
            assert_eq!(mentions(code, &item(Some("A"))), method, "{code}");
        }
        assert!(mentions("len(1)", &item(None)));
    }
}
