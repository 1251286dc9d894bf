//! Every source that keeps something in a container that can grow is named in `docs/limits.md`, where its bound stands.
//!
//! What keeps something is a field of a struct, a union or a variant, a static, and a name given to such a type. Locals,
//! signatures and what is only borrowed keep nothing. Modules of tests do not count, those in files of their own neither.

use proc_macro2::TokenStream;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::shipped::{self, Source, is_for_tests};
use crate::source::File;

const TABLE: &str = "docs/limits.md";

/// Where the files are that the document names without their crate.
const FIRST: &str = "dpa-model/src/";

/// What runs when a program uses the library.
const CRATES: [&str; 8] = [
    "dpa-model",
    "rdma",
    "sync-event",
    "flexio",
    "flexio-dev",
    "doca-dpa",
    "doca-dpa-dev",
    "examples",
];

/// Types that can grow, by a word of their path.
const CONTAINERS: [&str; 23] = [
    "ArrayQueue",
    "BTreeMap",
    "BTreeSet",
    "BinaryHeap",
    "BytesMut",
    "FuturesOrdered",
    "FuturesUnordered",
    "HashMap",
    "HashSet",
    "Injector",
    "JoinSet",
    "LinkedList",
    "Receiver",
    "SegQueue",
    "SelectAll",
    "Sender",
    "Slab",
    "SmallVec",
    "SyncSender",
    "UnboundedReceiver",
    "UnboundedSender",
    "Vec",
    "VecDeque",
];

/// A finding for each container in a file that the document does not name.
pub fn check(files: &[File]) -> Vec<String> {
    let Some(table) = files.iter().find(|file| file.path == TABLE) else {
        return vec![format!("{TABLE} is not there")];
    };
    let named = named(&table.text);
    let sources = shipped::sources(files, &CRATES).into_iter();
    sources
        .filter(|source| !named.iter().any(|name| is_named(source.path, name)))
        .flat_map(|Source { path, file, .. }| {
            kept(&file).into_iter().map(move |(line, what)| {
                format!("{path}:{line}: `{what}` can grow: a row of {TABLE} must name this file and say what bounds it")
            })
        })
        .collect()
}

/// What the document names between backticks, with `{a,b}` written out.
fn named(document: &str) -> Vec<String> {
    let lines = document.lines().filter(|line| line.starts_with('|'));
    let quoted = lines.flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted.flat_map(written_out).collect()
}

/// A path for each word of the first braces, and of those behind them.
fn written_out(path: &str) -> Vec<String> {
    let braces = path.split_once('{');
    let Some((before, (within, after))) =
        braces.and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    else {
        return vec![path.to_owned()];
    };
    let each = within.split(',').map(str::trim);
    each.flat_map(|word| written_out(&format!("{before}{word}{after}")))
        .collect()
}

/// Whether a name is that of a file: its path, which may leave out [`FIRST`].
fn is_named(path: &str, name: &str) -> bool {
    path == name || path.strip_prefix(FIRST) == Some(name)
}

/// The containers that a file keeps: the line, and the name.
fn kept(file: &syn::File) -> Vec<(usize, String)> {
    let mut kept = Kept::default();
    kept.visit_file(file);
    kept.found
}

#[derive(Default)]
struct Kept {
    /// The type or the variant whose fields are looked at.
    of: String,
    found: Vec<(usize, String)>,
}

impl Kept {
    fn look(&mut self, name: &str, at: &impl Spanned, of: &syn::Type) {
        if can_grow(of) {
            self.found.push((at.span().start().line, name.to_owned()));
        }
    }

    /// What stands in `thread_local!`, and in other macros that hold items.
    fn items(&mut self, tokens: &TokenStream) {
        let closed: TokenStream = tokens.clone().into_iter().chain(semicolon()).collect();
        let items = [tokens.clone(), closed].into_iter();
        if let Some(file) = items.map(syn::parse2::<syn::File>).find_map(Result::ok) {
            self.visit_file(&file);
        }
    }
}

/// The one that the last static of a macro may lack.
fn semicolon() -> TokenStream {
    proc_macro2::TokenTree::from(proc_macro2::Punct::new(';', proc_macro2::Spacing::Alone)).into()
}

impl<'a> Visit<'a> for Kept {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_item_impl(&mut self, block: &'a syn::ItemImpl) {
        if !is_for_tests(&block.attrs) {
            visit::visit_item_impl(self, block);
        }
    }

    fn visit_item_struct(&mut self, item: &'a syn::ItemStruct) {
        if !is_for_tests(&item.attrs) {
            self.of = item.ident.to_string();
            visit::visit_item_struct(self, item);
        }
    }

    fn visit_item_union(&mut self, item: &'a syn::ItemUnion) {
        if !is_for_tests(&item.attrs) {
            self.of = item.ident.to_string();
            visit::visit_item_union(self, item);
        }
    }

    fn visit_item_enum(&mut self, item: &'a syn::ItemEnum) {
        if !is_for_tests(&item.attrs) {
            for variant in &item.variants {
                self.of = format!("{}::{}", item.ident, variant.ident);
                visit::visit_variant(self, variant);
            }
        }
    }

    fn visit_field(&mut self, field: &'a syn::Field) {
        if !is_for_tests(&field.attrs) {
            let name = field.ident.as_ref();
            let name = name.map_or_else(|| self.of.clone(), |name| format!("{}.{name}", self.of));
            self.look(&name, field, &field.ty);
        }
    }

    fn visit_item_static(&mut self, item: &'a syn::ItemStatic) {
        if !is_for_tests(&item.attrs) {
            self.look(&item.ident.to_string(), &item.ident, &item.ty);
        }
    }

    fn visit_item_type(&mut self, item: &'a syn::ItemType) {
        if !is_for_tests(&item.attrs) {
            self.look(&item.ident.to_string(), &item.ident, &item.ty);
        }
    }

    fn visit_macro(&mut self, item: &'a syn::Macro) {
        if !item.path.is_ident("macro_rules") {
            self.items(&item.tokens);
        }
    }
}

/// Whether a type has a container in it that is its own.
fn can_grow(of: &syn::Type) -> bool {
    let mut inside = Inside(false);
    inside.visit_type(of);
    inside.0
}

struct Inside(bool);

impl<'a> Visit<'a> for Inside {
    fn visit_path_segment(&mut self, segment: &'a syn::PathSegment) {
        self.0 |= CONTAINERS.iter().any(|name| segment.ident == name);
        visit::visit_path_segment(self, segment);
    }

    /// What a function takes and returns, it does not keep.
    fn visit_parenthesized_generic_arguments(&mut self, _: &'a syn::ParenthesizedGenericArguments) {
    }

    fn visit_type_bare_fn(&mut self, _: &'a syn::TypeBareFn) {}

    /// What is borrowed for less than ever is someone else's.
    fn visit_type_reference(&mut self, of: &'a syn::TypeReference) {
        if of.lifetime.as_ref().is_some_and(|of| of.ident == "static") {
            visit::visit_type_reference(self, of);
        }
    }
}

#[cfg(test)]
mod tests;
