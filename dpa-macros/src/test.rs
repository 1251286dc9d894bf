//! `#[dpa_test]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Expr, Ident, ItemFn, Result, Token};

use crate::refuse;
use crate::signature::with_outer_attributes;

const OPTIONS: [&str; 5] = ["seeds", "network", "mishaps", "device", "steps"];

/// `seeds = 1000`.
struct Choice {
    name: Ident,
    value: Expr,
}

impl Parse for Choice {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name: Ident = input.parse()?;
        input.parse::<Token![=]>()?;
        let value = input.parse()?;
        Ok(Self { name, value })
    }
}

struct Choices(Punctuated<Choice, Token![,]>);

impl Parse for Choices {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        Ok(Self(Punctuated::parse_terminated(input)?))
    }
}

pub fn expand(attr: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let Choices(choices) = syn::parse2(attr)?;
    let item = with_outer_attributes(syn::parse2(item)?);
    check(&item)?;
    let mut steps = TokenStream::new();
    let mut given = Vec::new();
    for Choice { name, value } in choices {
        if given.contains(&name) {
            return refuse::at(&name, format!("`{name}` is given twice"));
        }
        if !OPTIONS.iter().any(|known| name == known) {
            let message = format!("#[dpa_test] has the options {}", OPTIONS.join(", "));
            return refuse::at(name, message);
        }
        steps.extend(quote!(.#name(#value)));
        given.push(name);
    }
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
    } = &item;
    let name = &sig.ident;
    // With `r#`, as the test harness has it in its list.
    let plain = name.to_string();
    Ok(quote! {
        #(#attrs)*
        #[::core::prelude::v1::test]
        #vis fn #name() {
            #sig #block
            ::doca_dpa::testing::Check::named(::core::concat!(::core::module_path!(), "::", #plain))
                .in_package(::core::env!("CARGO_PKG_NAME"))
                #steps
                .run(#name);
        }
    })
}

fn check(item: &ItemFn) -> Result<()> {
    let sig = &item.sig;
    if sig.asyncness.is_none() {
        return refuse::at(sig.fn_token, "a simulated test is an `async fn` of a Dpa");
    }
    if sig.inputs.len() != 1 {
        return refuse::at(
            &sig.ident,
            "a simulated test has one parameter, the context: `async fn test(dpa: Dpa)`",
        );
    }
    if !sig.generics.params.is_empty() {
        return refuse::at(&sig.generics, "a test has no generic parameters");
    }
    Ok(())
}
