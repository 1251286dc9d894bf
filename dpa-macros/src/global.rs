//! `#[dpa_global]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Item, ItemStatic, Result, StaticMutability, Type};

use crate::refuse;

pub fn expand(attr: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !attr.is_empty() {
        return refuse::at(attr, "#[dpa_global] takes no arguments");
    }
    let item = match syn::parse2(item)? {
        Item::Static(item) => item,
        other => {
            return refuse::at(
                other,
                "#[dpa_global] stands above a static: `static HITS: Global<u64> = Global::new(0);`",
            );
        }
    };
    let ItemStatic {
        attrs,
        vis,
        mutability,
        ident,
        ty,
        expr,
        ..
    } = item;
    if !matches!(mutability, StaticMutability::None) {
        return refuse::at(
            ident,
            "a global of the device is no `static mut`: each process has one, and kernels reach it through their thread",
        );
    }
    if !is_global(&ty) {
        return refuse::at(
            ty,
            "a global of the device has the type Global<T>: this static is one value for all processes of the host",
        );
    }
    Ok(quote! {
        #(#attrs)*
        #vis static #ident: #ty = (#expr).named(::core::stringify!(#ident));
    })
}

fn is_global(ty: &Type) -> bool {
    match ty {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|last| last.ident == "Global"),
        _ => false,
    }
}
