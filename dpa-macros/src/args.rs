//! The struct of a kernel's arguments: generic over what the host hands over, plain on the way.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Ident, Member, Type, Visibility};

use crate::fields::{Field, pod_impl};
use crate::refuse;
use crate::signature::{Argument, Function};

/// Type parameters `A0, A1, ..`, where no type of the user's is named.
fn parameters(count: usize) -> Vec<Ident> {
    (0..count)
        .map(|i| format_ident!("A{}", i, span = Span::mixed_site()))
        .collect()
}

/// Type parameters beside types of the user's, one of which may be called `A0`.
pub fn apart(count: usize) -> Vec<Ident> {
    (0..count)
        .map(|i| format_ident!("__A{}", i, span = Span::mixed_site()))
        .collect()
}

/// The struct the host fills in.
pub fn mirror(name: &Ident, vis: &Visibility, doc: &str, args: &[Argument]) -> TokenStream {
    let params = parameters(args.len());
    let names = args.iter().map(|a| &a.name);
    let docs = args
        .iter()
        .map(|a| format!("For `{}`.", spelled(&a.written)));
    quote! {
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
        #vis struct #name<#(#params),*> {
            #(#[doc = #docs] pub #names: #params,)*
        }
    }
}

/// A type as a person would write it.
fn spelled(ty: &Type) -> String {
    let text = ty.to_token_stream().to_string();
    [
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        (" ::", "::"),
        (":: ", "::"),
        (" ;", ";"),
    ]
    .iter()
    .fold(text, |text, (from, to)| text.replace(from, to))
}

/// The hidden plain struct `__Wire`, generic over its fields like the mirror, so that a type which cannot be an argument
/// is named in few places and refused in few words.
pub fn wire(args: &[Argument]) -> TokenStream {
    let fields: Vec<_> = args
        .iter()
        .zip(parameters(args.len()))
        .map(wire_field)
        .collect();
    let params = parameters(args.len());
    let (names, types) = (
        fields.iter().map(|f| &f.member),
        fields.iter().map(|f| &f.ty),
    );
    let generics = syn::parse_quote!(<#(#params: ::doca_dpa_dev::__private::Pod),*>);
    let pod = pod_impl(&Ident::new("__Wire", Span::call_site()), &generics, &fields);
    quote! {
        #[doc(hidden)]
        #[derive(::core::clone::Clone, ::core::marker::Copy)]
        pub struct __Wire<#(#params),*> {
            #(#names: #types,)*
        }
        #pod
    }
}

fn wire_field((arg, param): (&Argument, Ident)) -> Field {
    Field {
        member: Member::Named(arg.name.clone()),
        ty: syn::parse_quote!(#param),
    }
}

/// The wire form with the types of these arguments.
pub fn wire_type(args: &[Argument]) -> TokenStream {
    let wires = args.iter().map(|arg| {
        let marker = &arg.marker;
        quote_spanned!(refuse::place(&arg.written)=> <#marker as ::doca_dpa_dev::__private::KernelArg>::Wire)
    });
    quote!(__Wire<#(#wires),*>)
}

/// What the host's types must be.
pub fn bounds(args: &[Argument]) -> TokenStream {
    let bounds = args.iter().zip(apart(args.len())).map(|(arg, param)| {
        let marker = &arg.marker;
        quote_spanned!(refuse::place(&arg.written)=> #param: ::doca_dpa_dev::__private::IntoArg<#marker>)
    });
    quote!(#(#bounds,)*)
}

/// The type that names the arguments in `Kernel::Args`.
pub fn marker(function: &Function) -> TokenStream {
    if function.arguments.is_empty() {
        return quote!(());
    }
    let name = function.args_name();
    let types = function.arguments.iter().map(|a| &a.marker);
    quote!(#name<#(#types),*>)
}

/// The wire form, and `KernelArgs` and `IntoArgs` for the struct the host fills in.
pub fn impls(function: &Function) -> TokenStream {
    let (name, marker) = (function.args_name(), marker(function));
    let params = apart(function.arguments.len());
    let (wire, bounds) = (wire_type(&function.arguments), bounds(&function.arguments));
    let (definition, body) = (
        self::wire(&function.arguments),
        into_body(&function.arguments),
    );
    quote! {
        #definition
        impl ::doca_dpa_dev::__private::KernelArgs for #marker {
            type Wire = #wire;
        }
        impl<#(#params),*> ::doca_dpa_dev::__private::IntoArgs<#marker> for #name<#(#params),*>
        where
            #bounds
        {
            type Kept = (#(#params::Kept,)*);
            fn into_args(self) -> (__Packed, Self::Kept) #body
        }
    }
}

/// Takes every field apart into its wire form and what it keeps.
pub fn into_body(args: &[Argument]) -> TokenStream {
    let names: Vec<_> = args.iter().map(|a| &a.name).collect();
    let pairs: Vec<_> = pairs(args.len());
    quote! {{
        #(
            let #pairs = ::doca_dpa_dev::__private::IntoArg::into_arg(self.#names);
        )*
        (__Wire { #(#names: #pairs.0,)* }, (#(#pairs.1,)*))
    }}
}

fn pairs(count: usize) -> Vec<Ident> {
    (0..count)
        .map(|i| format_ident!("__pair{}", i, span = Span::mixed_site()))
        .collect()
}
