//! What of the host's crates can be awaited, as far as their sources tell: types that are futures, and functions that give some.
//! What macros make is not seen.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{ItemImpl, ReturnType, Signature, Type, Visibility};

use crate::source::File;
use crate::tidy::shipped::{self, Source, is_for_tests};

/// Crates whose public futures count.
const CRATES: [&str; 5] = ["doca-dpa", "dpa-model", "flexio", "rdma", "sync-event"];

/// Traits of what can be awaited.
const TRAITS: [&str; 3] = ["Future", "IntoFuture", "Stream"];

/// Something public that can be awaited, or that gives such a thing.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Awaited {
    /// `crate::Type`, `crate::Type::function` or `crate::function`.
    pub path: String,
    /// The file it stands in.
    pub file: String,
    /// The name of the function, if it is one.
    pub function: Option<String>,
}

/// All of them, in order.
pub fn all(files: &[File]) -> BTreeSet<Awaited> {
    let mut sources = shipped::sources(files, &CRATES);
    sources.retain(|source| !source.path.split('/').any(|part| part == "tests.rs"));
    let mut crates = BTreeMap::<&str, Types>::new();
    for Source { krate, file, .. } in &sources {
        crates.entry(krate).or_default().visit_file(file);
    }
    let mut found = BTreeSet::new();
    for Source { krate, path, file } in &sources {
        let mut functions = Functions {
            crates: &crates,
            krate,
            file: path,
            of: None,
            found: &mut found,
        };
        functions.visit_file(file);
    }
    found
}

/// The types of a crate.
#[derive(Default)]
struct Types {
    /// By name: whether it is public.
    declared: BTreeMap<String, bool>,
    /// Those that implement one of the traits.
    futures: BTreeSet<String>,
    /// Other names of types: what stands behind them.
    aliases: BTreeMap<String, String>,
}

impl Types {
    fn declare(&mut self, name: &syn::Ident, visibility: &Visibility) {
        *self.declared.entry(name.to_string()).or_default() |= is_public(visibility);
    }

    fn is_public(&self, name: &str) -> bool {
        self.declared.get(name).is_some_and(|public| *public)
    }

    fn is_future(&self, name: &str) -> bool {
        let name = self.aliases.get(name).map_or(name, String::as_str);
        self.futures.contains(name)
    }
}

impl<'a> Visit<'a> for Types {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_struct(&mut self, item: &'a syn::ItemStruct) {
        self.declare(&item.ident, &item.vis);
    }

    fn visit_item_enum(&mut self, item: &'a syn::ItemEnum) {
        self.declare(&item.ident, &item.vis);
    }

    fn visit_item_trait(&mut self, item: &'a syn::ItemTrait) {
        self.declare(&item.ident, &item.vis);
    }

    fn visit_item_type(&mut self, item: &'a syn::ItemType) {
        self.declare(&item.ident, &item.vis);
        if let Some(behind) = name_of(&item.ty) {
            self.aliases.insert(item.ident.to_string(), behind);
        }
    }

    fn visit_item_impl(&mut self, item: &'a ItemImpl) {
        // What implements `IntoFuture` is a builder: what it makes is looked for, and not who hands it on.
        if future_trait(item).is_some_and(|name| name != "IntoFuture") {
            self.futures.extend(name_of(&item.self_ty));
        }
    }
}

/// The functions of a file.
struct Functions<'f> {
    crates: &'f BTreeMap<&'f str, Types>,
    krate: &'f str,
    file: &'f str,
    /// The type or trait whose functions these are.
    of: Option<String>,
    found: &'f mut BTreeSet<Awaited>,
}

impl Functions<'_> {
    fn types(&self) -> &Types {
        &self.crates[self.krate]
    }

    /// Whether a type of this name, as this crate knows it, is a future: its own, or else another's.
    fn is_future(&self, name: &str) -> bool {
        if self.types().declared.contains_key(name) {
            return self.types().is_future(name);
        }
        let mut others = self.crates.values();
        others.any(|types| types.is_public(name) && types.is_future(name))
    }

    fn add(&mut self, function: Option<&Signature>) {
        let name = function.map(|signature| signature.ident.to_string());
        let parts = [Some(self.krate.replace('-', "_")), self.of.clone(), name];
        let [.., function] = &parts;
        let function = function.clone();
        let path: Vec<String> = parts.into_iter().flatten().collect();
        self.found.insert(Awaited {
            path: path.join("::"),
            file: self.file.to_owned(),
            function,
        });
    }

    fn look_at(&mut self, signature: &Signature) {
        let mut given = Given {
            functions: self,
            is_future: signature.asyncness.is_some(),
        };
        if let ReturnType::Type(_, given_back) = &signature.output {
            given.visit_type(given_back);
        }
        if given.is_future {
            self.add(Some(signature));
        }
    }
}

impl<'a> Visit<'a> for Functions<'_> {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        if is_public(&function.vis) && !is_for_tests(&function.attrs) {
            self.look_at(&function.sig);
        }
    }

    fn visit_item_impl(&mut self, item: &'a ItemImpl) {
        self.of = name_of(&item.self_ty).filter(|name| self.types().is_public(name));
        if self.of.is_some() && !is_for_tests(&item.attrs) {
            match future_trait(item) {
                Some(_) => self.add(None),
                None => visit::visit_item_impl(self, item),
            }
        }
        self.of = None;
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        if is_public(&function.vis) && !is_for_tests(&function.attrs) {
            self.look_at(&function.sig);
        }
    }

    fn visit_item_trait(&mut self, item: &'a syn::ItemTrait) {
        self.of = is_public(&item.vis).then(|| item.ident.to_string());
        if self.of.is_some() {
            visit::visit_item_trait(self, item);
        }
        self.of = None;
    }

    fn visit_trait_item_fn(&mut self, function: &'a syn::TraitItemFn) {
        self.look_at(&function.sig);
    }
}

/// Looks for a future in what a function gives back.
struct Given<'f, 'g> {
    functions: &'f Functions<'g>,
    is_future: bool,
}

impl<'a> Visit<'a> for Given<'_, '_> {
    fn visit_trait_bound(&mut self, bound: &'a syn::TraitBound) {
        self.is_future |= last(&bound.path).is_some_and(|name| TRAITS.contains(&name.as_str()));
        visit::visit_trait_bound(self, bound);
    }

    fn visit_type_path(&mut self, path: &'a syn::TypePath) {
        let name = last(&path.path).and_then(|name| match name.as_str() {
            "Self" => self.functions.of.clone(),
            _ => Some(name),
        });
        self.is_future |= name.is_some_and(|name| self.functions.is_future(&name));
        visit::visit_type_path(self, path);
    }
}

/// The trait, if it is one of those.
fn future_trait(item: &ItemImpl) -> Option<String> {
    let (_, path, _) = item.trait_.as_ref()?;
    last(path).filter(|name| TRAITS.contains(&name.as_str()))
}

fn name_of(path: &Type) -> Option<String> {
    match path {
        Type::Path(path) => last(&path.path),
        _ => None,
    }
}

fn last(path: &syn::Path) -> Option<String> {
    let last = path.segments.last();
    last.map(|segment| segment.ident.to_string())
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sample;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> = files
            .iter()
            .map(|(path, text)| sample(path, text))
            .collect();
        all(&files).into_iter().map(|one| one.path).collect()
    }

    fn of_flexio(text: &str) -> Vec<String> {
        found(&[("flexio/src/a.rs", text)])
    }

    #[test]
    fn async_functions_that_are_public() {
        let text = "pub struct A;\nimpl A {\n pub async fn b(&self) {}\n async fn c() {}\n pub(crate) async fn d() {}\n}\n\
            pub async fn e() {}\n/// pub async fn f() {}\nstruct G;\nimpl G { pub async fn h() {} }\n\
            #[cfg(test)]\nmod tests { pub async fn i() {} }\n";
        assert_eq!(of_flexio(text), ["flexio::A::b", "flexio::e"]);
        for elsewhere in ["examples/src/a.rs", "flexio/src/a/tests.rs", "flexio/src/a"] {
            assert!(found(&[(elsewhere, text)]).is_empty(), "{elsewhere}");
        }
    }

    #[test]
    fn functions_that_give_a_future() {
        let text = "pub fn a() -> impl Future<Output = ()> + Send {}\n\
            pub fn b() -> Pin<Box<dyn Future<Output = u8>>> {}\npub fn c() -> impl Iterator<Item = u8> {}\n\
            pub fn d() -> Option<impl Stream> {}\npub trait E { async fn f(); fn g() -> impl Future; fn h() -> u8; }\n\
            trait I { async fn j(); }\n";
        let expected = ["a", "b", "d", "E::f", "E::g"].map(|name| format!("flexio::{name}"));
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(of_flexio(text), expected);
    }

    #[test]
    fn types_that_are_futures_and_functions_that_give_them() {
        let text = "pub struct A<W>(W);\nimpl<W: B> Future for A<W> {}\nimpl<W> A<W> { pub fn new(w: W) -> Self {} \
            pub fn is_over(&self) -> bool {} fn own() -> Self {} }\npub type C = A<u8>;\npub fn d() -> Result<C, E> {}\n\
            struct F;\nimpl Future for F {}\npub struct G;\nimpl IntoFuture for G {}\npub fn h() -> G {}\n";
        let expected = ["A", "A::new", "G", "d"].map(|name| format!("flexio::{name}"));
        assert_eq!(of_flexio(text), expected);
    }

    #[test]
    fn a_name_is_that_of_the_crate_or_else_of_another() {
        let model = (
            "dpa-model/src/a.rs",
            "pub struct A;\npub struct B;\nimpl Future for B {}\npub fn a() -> A {}\n",
        );
        let own = (
            "flexio/src/a.rs",
            "pub struct A;\nimpl Future for A {}\npub fn a() -> A {}\npub fn b() -> Option<B> {}\n",
        );
        let expected = ["dpa_model::B", "flexio::A", "flexio::a", "flexio::b"];
        assert_eq!(found(&[model, own]), expected);
    }
}
