//! Sources without what is there for tests only.

use std::collections::BTreeSet;

use crate::source::File;

/// A source of a crate.
pub struct Source<'f> {
    /// The directory of its crate.
    pub krate: &'f str,
    pub path: &'f str,
    pub file: syn::File,
}

/// Those of these crates, but for modules of tests in files of their own.
pub fn sources<'f>(files: &'f [File], crates: &[&str]) -> Vec<Source<'f>> {
    let parsed = files.iter().filter_map(|file| parsed(file, crates));
    let mut parsed: Vec<_> = parsed.collect();
    let tests: BTreeSet<String> = parsed.iter().flat_map(test_modules).collect();
    parsed.retain(|source| !tests.iter().any(|module| is_module(source.path, module)));
    parsed
}

fn parsed<'f>(file: &'f File, crates: &[&str]) -> Option<Source<'f>> {
    let (krate, within) = file.path.split_once("/src/")?;
    let wanted = within.ends_with(".rs") && crates.contains(&krate);
    let parsed = wanted.then(|| syn::parse_file(&file.text).ok()).flatten()?;
    Some(Source {
        krate,
        path: &file.path,
        file: parsed,
    })
}

/// The modules in files of their own that a file has only for tests, as paths without `.rs`.
fn test_modules(source: &Source<'_>) -> Vec<String> {
    let own = source.path.trim_end_matches(".rs");
    let (beside, name) = own.rsplit_once('/').unwrap_or(("", own));
    let is_root = ["lib", "main", "mod"].contains(&name) || beside.ends_with("/bin");
    let below = if is_root { beside } else { own };
    let modules = source.file.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.content.is_none() && is_for_tests(&module.attrs) => {
            Some(match path_of(&module.attrs) {
                Some(path) => format!("{beside}/{}", path.trim_end_matches(".rs")),
                None => format!("{below}/{}", module.ident),
            })
        }
        _ => None,
    });
    modules.collect()
}

/// What a `path` attribute says.
fn path_of(attributes: &[syn::Attribute]) -> Option<String> {
    attributes
        .iter()
        .find_map(|attribute| match &attribute.meta {
            syn::Meta::NameValue(said) if said.path.is_ident("path") => match &said.value {
                syn::Expr::Lit(literal) => match &literal.lit {
                    syn::Lit::Str(path) => Some(path.value()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        })
}

/// Whether a file is a module or lies below it.
fn is_module(path: &str, module: &str) -> bool {
    let rest = path.strip_prefix(module);
    rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// Whether a `cfg` asks for `test`: by itself or with others, not negated.
pub fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition = attribute.parse_args::<syn::Meta>();
        attribute.path().is_ident("cfg") && condition.is_ok_and(|meta| asks_for_tests(&meta))
    })
}

fn asks_for_tests(condition: &syn::Meta) -> bool {
    match condition {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) if list.path.is_ident("all") => {
            type Conditions = syn::punctuated::Punctuated<syn::Meta, syn::Token![,]>;
            let all = list.parse_args_with(Conditions::parse_terminated);
            all.is_ok_and(|all| all.iter().any(asks_for_tests))
        }
        _ => false,
    }
}
