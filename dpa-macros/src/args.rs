//! The struct of a kernel's arguments: generic over what the host hands over, plain on the way.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{Ident, Member, Type, Visibility};

use crate::fields::Field;
use crate::pod::wire_struct;
use crate::signature::{Argument, Function};

/// Type parameters `A0, A1, ..`.
pub fn parameters(count: usize) -> Vec<Ident> {
    (0..count)
        .map(|i| format_ident!("A{}", i, span = Span::mixed_site()))
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
        #[derive(Clone, Copy, Debug)]
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

/// The hidden plain struct `__Wire`.
pub fn wire(args: &[Argument]) -> TokenStream {
    let fields: Vec<_> = args.iter().map(wire_field).collect();
    wire_struct(&wire_name(), &fields)
}

pub fn wire_name() -> Ident {
    Ident::new("__Wire", Span::mixed_site())
}

fn wire_field(arg: &Argument) -> Field {
    let marker = &arg.marker;
    Field {
        member: Member::Named(arg.name.clone()),
        ty: syn::parse_quote!(<#marker as ::doca_dpa_dev::__private::KernelArg>::Wire),
    }
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

/// `KernelArgs` and `IntoArgs` for the struct the host fills in.
pub fn impls(function: &Function) -> TokenStream {
    let (name, marker) = (function.args_name(), marker(function));
    let params = parameters(function.arguments.len());
    let types = function.arguments.iter().map(|a| &a.marker);
    let body = into_body(&function.arguments);
    quote! {
        impl ::doca_dpa_dev::__private::KernelArgs for #marker {
            type Wire = __Wire;
        }
        impl<#(#params),*> ::doca_dpa_dev::__private::IntoArgs<#marker> for #name<#(#params),*>
        where
            #(#params: ::doca_dpa_dev::__private::IntoArg<#types>,)*
        {
            type Kept = (#(#params::Kept,)*);
            fn into_args(self) -> (__Wire, Self::Kept) #body
        }
    }
}

/// Takes every field apart into its wire form and what it keeps.
pub fn into_body(args: &[Argument]) -> TokenStream {
    let names: Vec<_> = args.iter().map(|a| &a.name).collect();
    let params = parameters(args.len());
    let markers: Vec<_> = args.iter().map(|a| &a.marker).collect();
    let pairs: Vec<_> = pairs(args.len());
    quote! {{
        #(
            let #pairs = <#params as ::doca_dpa_dev::__private::IntoArg<#markers>>::into_arg(self.#names);
        )*
        (__Wire { #(#names: #pairs.0,)* }, (#(#pairs.1,)*))
    }}
}

fn pairs(count: usize) -> Vec<Ident> {
    (0..count)
        .map(|i| format_ident!("__pair{}", i, span = Span::mixed_site()))
        .collect()
}
