//! The signature of a kernel or call, checked.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::{
    AttrStyle, Attribute, FnArg, GenericArgument, GenericParam, Ident, ItemFn, Lifetime, Meta,
    MetaList, Pat, PatType, PathArguments, PathSegment, Result, ReturnType, Signature, Token, Type,
};

use crate::lifetimes::to_static;
use crate::refuse;

/// One argument.
pub struct Argument {
    /// Its name.
    pub name: Ident,
    /// Its type as written.
    pub written: Type,
    /// Its type with the lifetime `'static`.
    pub marker: Type,
}

/// A function that can become a kernel or a call.
pub struct Function {
    /// The function itself.
    pub item: ItemFn,
    /// Its arguments, without the thread.
    pub arguments: Vec<Argument>,
    /// What the user calls it in messages: `kernel` or `call`.
    pub what: &'static str,
}

impl Function {
    /// Parses and checks; `what` is the word for it in messages.
    pub fn parse(attr: TokenStream, item: TokenStream, what: &'static str) -> Result<Self> {
        if !attr.is_empty() {
            return refuse::at(attr, format!("a {what} takes no options here"));
        }
        let item = with_outer_attributes(syn::parse2(item)?);
        check_qualifiers(&item.sig, what)?;
        check_generics(&item.sig, what)?;
        check_attributes(&item.attrs, what)?;
        let arguments = arguments(&item.sig, what)?;
        Ok(Self {
            item,
            arguments,
            what,
        })
    }

    /// The function's name without `r#`.
    pub fn plain_name(&self) -> String {
        self.item.sig.ident.unraw().to_string()
    }

    /// The name of the struct of its arguments: `count_all` has `CountAllArgs`.
    pub fn args_name(&self) -> Ident {
        let name = camel_case(&self.plain_name());
        // `_2d_fft`: no name begins with a digit.
        let start = match name.starts_with(|c: char| c.is_ascii_digit()) {
            true => "_",
            false => "",
        };
        format_ident!("{start}{name}Args", span = self.item.sig.ident.span())
    }

    /// What it returns, if anything.
    pub fn output(&self) -> Option<&Type> {
        match &self.item.sig.output {
            ReturnType::Default => None,
            ReturnType::Type(_, ty) => Some(ty),
        }
    }

    /// Attributes that go to the value that stands for the function.
    pub fn outer_attributes(&self) -> Vec<&Attribute> {
        self.attributes(|a| is(a, &["doc", "cfg", "deprecated"]))
    }

    /// Attributes that stay on the function.
    pub fn inner_attributes(&self) -> Vec<&Attribute> {
        self.attributes(|a| !is(a, &["doc", "cfg", "deprecated"]))
    }

    /// Conditions under which all of it is there.
    pub fn conditions(&self) -> Vec<&Attribute> {
        self.attributes(|a| is(a, &["cfg"]))
    }

    /// For what names the value in its own expansion: that is no use of something deprecated.
    pub fn in_its_own_name(&self) -> Option<TokenStream> {
        let deprecated = self.item.attrs.iter().any(|a| is(a, &["deprecated"]));
        deprecated.then(|| {
            quote!(#[allow(deprecated, reason = "what is deprecated is to be used, not to be made")])
        })
    }

    fn attributes(&self, keep: impl Fn(&Attribute) -> bool) -> Vec<&Attribute> {
        self.item.attrs.iter().filter(|a| keep(a)).collect()
    }
}

/// Attributes that stand within the function's block say the same above it, where they can be taken apart.
pub fn with_outer_attributes(mut item: ItemFn) -> ItemFn {
    item.attrs
        .iter_mut()
        .for_each(|attribute| attribute.style = AttrStyle::Outer);
    item
}

fn is(attribute: &Attribute, names: &[&str]) -> bool {
    names.iter().any(|name| attribute.path().is_ident(name))
}

fn camel_case(name: &str) -> String {
    name.split('_').map(capitalized).collect()
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

fn check_qualifiers(sig: &Signature, what: &str) -> Result<()> {
    if let Some(token) = &sig.asyncness {
        return refuse::at(
            token,
            format!("a {what} is not async: waiting in it blocks its thread only, so just wait"),
        );
    }
    if let Some(token) = &sig.constness {
        return refuse::at(
            token,
            format!("a {what} is not const: it runs on the device"),
        );
    }
    if let Some(token) = &sig.unsafety {
        return refuse::at(
            token,
            format!(
                "a {what} is not unsafe: the host can launch it with any arguments of its types"
            ),
        );
    }
    if let Some(abi) = &sig.abi {
        return refuse::at(
            abi,
            format!("a {what} is a plain Rust function, without `extern`"),
        );
    }
    match &sig.variadic {
        Some(dots) => refuse::at(dots, format!("a {what} has a fixed number of arguments")),
        None => Ok(()),
    }
}

fn check_generics(sig: &Signature, what: &str) -> Result<()> {
    let is_lifetime = |p: &&GenericParam| matches!(p, GenericParam::Lifetime(_));
    match sig.generics.params.iter().find(|p| !is_lifetime(p)) {
        Some(param) => refuse::at(
            param,
            format!(
                "a {what} is not generic: the device needs one function; \
                 write a generic helper and one {what} per type"
            ),
        ),
        None => Ok(()),
    }
}

fn check_attributes(attributes: &[Attribute], what: &str) -> Result<()> {
    match attributes.iter().find(|a| is(a, &["target_feature"])) {
        Some(attribute) => refuse::at(
            attribute,
            format!(
                "a {what} has no #[target_feature]: nobody asks for features where it is called; put it on a helper"
            ),
        ),
        None => Ok(()),
    }
}

fn arguments(sig: &Signature, what: &str) -> Result<Vec<Argument>> {
    let mut inputs = sig.inputs.iter();
    match inputs.next() {
        Some(FnArg::Receiver(receiver)) => return refuse_self(receiver, what),
        Some(FnArg::Typed(first)) if is_thread(&first.ty) => {
            check_conditions(first, what)?;
            check_lifetimes(&first.ty, what)?;
        }
        Some(FnArg::Typed(first)) => return refuse::at(&first.ty, thread_first(what)),
        None => return refuse::at(&sig.ident, thread_first(what)),
    }
    inputs
        .map(|input| match input {
            FnArg::Receiver(receiver) => refuse_self(receiver, what),
            FnArg::Typed(typed) => argument(typed, what),
        })
        .collect()
}

fn refuse_self<T>(receiver: &syn::Receiver, what: &str) -> Result<T> {
    refuse::at(
        receiver,
        format!("a {what} is a free function, without `self`"),
    )
}

fn thread_first(what: &str) -> String {
    format!("the first parameter of a {what} is its thread: `thread: &Thread`")
}

fn is_thread(ty: &Type) -> bool {
    let Type::Reference(reference) = ty else {
        return false;
    };
    let Type::Path(path) = &*reference.elem else {
        return false;
    };
    reference.mutability.is_none()
        && path
            .path
            .segments
            .last()
            .is_some_and(|s| s.ident == "Thread")
}

/// Whether an attribute is a condition, be it only under another condition.
fn is_condition(attribute: &Meta) -> bool {
    let conditional = |list: &MetaList| {
        let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
        parts.is_ok_and(|parts| parts.iter().skip(1).any(is_condition))
    };
    match attribute {
        Meta::List(list) if list.path.is_ident("cfg_attr") => conditional(list),
        other => other.path().is_ident("cfg"),
    }
}

fn check_conditions(typed: &PatType, what: &str) -> Result<()> {
    match typed.attrs.iter().find(|a| is_condition(&a.meta)) {
        Some(condition) => refuse::at(
            condition,
            format!(
                "a parameter of a {what} is always there; put the condition on the {what}, and write another"
            ),
        ),
        None => Ok(()),
    }
}

/// What a thread hands out lives as long as the thread.
fn check_lifetimes(ty: &Type, what: &str) -> Result<()> {
    let forever = match ty {
        Type::Reference(reference) => match reference.lifetime.as_ref().filter(is_static) {
            None => return check_lifetimes(&reference.elem, what),
            forever => forever,
        },
        Type::Path(path) => path.path.segments.last().and_then(static_among),
        _ => None,
    };
    match forever {
        Some(lifetime) => refuse::at(
            lifetime,
            format!(
                "what a {what} is given is gone when it returns: write `'_` in place of `'static`"
            ),
        ),
        None => Ok(()),
    }
}

fn static_among(segment: &PathSegment) -> Option<&Lifetime> {
    let PathArguments::AngleBracketed(list) = &segment.arguments else {
        return None;
    };
    let lifetimes = list.args.iter().filter_map(|argument| match argument {
        GenericArgument::Lifetime(lifetime) => Some(lifetime),
        _ => None,
    });
    lifetimes.into_iter().find(is_static)
}

fn is_static(lifetime: &&Lifetime) -> bool {
    lifetime.ident == "static"
}

fn argument(typed: &PatType, what: &str) -> Result<Argument> {
    check_conditions(typed, what)?;
    let Pat::Ident(pat) = &*typed.pat else {
        return refuse::at(
            &typed.pat,
            format!(
                "an argument of a {what} has a name, not a pattern: the host fills it in by name"
            ),
        );
    };
    if pat.by_ref.is_some() || pat.subpat.is_some() {
        return refuse::at(pat, format!("an argument of a {what} is just a name"));
    }
    match &*typed.ty {
        Type::Reference(_) => refuse::at(
            &typed.ty,
            "a reference cannot travel to the device; take a view (DevSlice<T>, AtomicSlice<T>) or a plain value",
        ),
        Type::Path(path) if path.path.is_ident("usize") || path.path.is_ident("isize") => {
            refuse::at(
                &typed.ty,
                "an argument has the same size on both sides: take a u64 or u32, or their signed ones",
            )
        }
        Type::ImplTrait(_) => refuse::at(
            &typed.ty,
            format!("a {what} is not generic: name the type of each argument"),
        ),
        ty => {
            check_lifetimes(ty, what)?;
            Ok(Argument {
                name: pat.ident.clone(),
                written: ty.clone(),
                marker: to_static(ty),
            })
        }
    }
}
