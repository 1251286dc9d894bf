//! `#[derive(Arg)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Data, DeriveInput, Fields, GenericParam, Ident, Lifetime, Result};

use crate::lifetimes::to_static;
use crate::signature::Argument;
use crate::{args, refuse};

pub fn expand(item: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let fields = arguments(&input)?;
    let mirror_name = format_ident!("{}Arg", input.ident);
    let doc = format!("What the host passes for [`{}`].", input.ident);
    let mirror = args::mirror(&mirror_name, &input.vis, &doc, &fields);
    let (wire, packed) = (args::wire(&fields), args::wire_type(&fields));
    let impls = impls(&input, &mirror_name, &fields)?;
    Ok(quote! {
        #mirror
        const _: () = {
            #wire
            type __Packed = #packed;
            #impls
        };
    })
}

fn arguments(input: &DeriveInput) -> Result<Vec<Argument>> {
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Ok(fields.named.iter().filter_map(argument).collect()),
            _ => refuse::at(
                &input.ident,
                "a struct of arguments has named fields: the host fills them in by name",
            ),
        },
        _ => refuse::at(
            &input.ident,
            "only a struct with named fields can be an argument",
        ),
    }
}

fn argument(field: &syn::Field) -> Option<Argument> {
    Some(Argument {
        name: field.ident.clone()?,
        written: field.ty.clone(),
        marker: to_static(&field.ty),
    })
}

/// The one lifetime the struct may have: its thread's.
fn lifetime(input: &DeriveInput) -> Result<Option<&Lifetime>> {
    let mut lifetimes = input.generics.lifetimes();
    let first = lifetimes.next();
    if let Some(second) = lifetimes.next() {
        return refuse::at(
            second,
            "a struct of arguments has one lifetime: its thread's",
        );
    }
    match input
        .generics
        .params
        .iter()
        .find(|p| !matches!(p, GenericParam::Lifetime(_)))
    {
        Some(param) => refuse::at(param, "a struct of arguments is not generic over types"),
        None => Ok(first.map(|param| &param.lifetime)),
    }
}

fn impls(input: &DeriveInput, mirror: &Ident, fields: &[Argument]) -> Result<TokenStream> {
    let name = &input.ident;
    let (written, marker) = match lifetime(input)? {
        Some(_) => (quote!(#name<'t>), quote!(#name<'static>)),
        None => (quote!(#name), quote!(#name)),
    };
    let params = args::apart(fields.len());
    let bounds = args::bounds(fields);
    let (names, binds) = (fields.iter().map(|f| &f.name), fields.iter().map(bind));
    let body = args::into_body(fields);
    let any = lifetime(input)?.map(|_| quote!(<'t>));
    Ok(quote! {
        impl #any ::doca_dpa_dev::__private::KernelArg for #written {
            type Wire = __Packed;
        }
        impl<'t> ::doca_dpa_dev::__private::BindArg<'t> for #written {
            fn bind_arg(
                __wire: __Packed,
                __thread: &'t ::doca_dpa_dev::__private::ThreadContext<'t>,
            ) -> ::core::result::Result<Self, ::doca_dpa_dev::__private::FaultKind> {
                ::core::result::Result::Ok(Self { #(#names: #binds,)* })
            }
        }
        impl<#(#params),*> ::doca_dpa_dev::__private::IntoArg<#marker> for #mirror<#(#params),*>
        where
            #bounds
        {
            type Kept = (#(#params::Kept,)*);
            fn into_arg(self) -> (__Packed, Self::Kept) #body
        }
    })
}

fn bind(field: &Argument) -> TokenStream {
    let name = &field.name;
    quote_spanned! {refuse::place(&field.written)=>
        ::doca_dpa_dev::__private::BindArg::bind_arg(__wire.#name, __thread)?
    }
}
