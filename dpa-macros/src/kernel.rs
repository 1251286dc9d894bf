//! `#[dpa_kernel]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::Result;

use crate::signature::Function;
use crate::{args, refuse};

pub fn expand(attr: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function = Function::parse(attr, item, "kernel")?;
    if let Some(output) = function.output() {
        return refuse::at(
            output,
            "a kernel returns nothing: many threads run it; write results to a view, \
             or use #[dpa_rpc] for a function with a result",
        );
    }
    Ok(whole(&function, &kernel_impl(&function)))
}

/// The value, the arguments, and a nameless constant with everything that needs no name outside.
pub fn whole(function: &Function, implementation: &TokenStream) -> TokenStream {
    let (outer, conditions) = (function.outer_attributes(), function.conditions());
    let (vis, name) = (&function.item.vis, &function.item.sig.ident);
    let mirror = mirror(function);
    let hidden = hidden(function);
    quote! {
        #(#outer)*
        #[allow(non_camel_case_types, reason = "a kernel keeps its function's name")]
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
        #vis struct #name;

        #mirror

        #(#conditions)*
        const _: () = {
            #hidden
            #implementation
        };
    }
}

fn mirror(function: &Function) -> TokenStream {
    if function.arguments.is_empty() {
        return TokenStream::new();
    }
    let doc = format!(
        "The arguments of the {} [`{}`].",
        function.what,
        function.plain_name()
    );
    let conditions = function.conditions();
    let (name, vis) = (function.args_name(), &function.item.vis);
    let mirror = args::mirror(&name, vis, &doc, &function.arguments);
    quote!(#(#conditions)* #mirror)
}

/// The function itself, the wire form, and the check of its size.
fn hidden(function: &Function) -> TokenStream {
    let (attributes, sig, block) = (
        function.inner_attributes(),
        &function.item.sig,
        &function.item.block,
    );
    let impls = (!function.arguments.is_empty()).then(|| args::impls(function));
    let marker = args::marker(function);
    let (size, probe) = (size_check(function), probe());
    quote! {
        #(#attributes)*
        #sig #block
        type __Packed = <#marker as ::doca_dpa_dev::__private::KernelArgs>::Wire;
        #size
        #impls
        #probe
    }
}

fn size_check(function: &Function) -> TokenStream {
    let message = format!(
        "the arguments of the {} `{}` take more than 256 bytes; put them into a buffer and pass its address",
        function.what,
        function.plain_name(),
    );
    quote_spanned! {refuse::place(&function.item.sig.ident)=>
        const _: () = ::core::assert!(
            ::doca_dpa_dev::__private::fits::<__Packed>(::doca_dpa_dev::__private::MAX_ARG_BYTES),
            #message
        );
    }
}

/// Asks whether the standard library is in reach, and whether `alloc` is; in a module of its own, where no trait of the user's
/// can answer.
fn probe() -> TokenStream {
    quote! {
        mod __probe {
            use ::doca_dpa_dev::__private::Probe as _;
            pub(super) fn movable() -> bool {
                let __number = |__x: f64| __x.sin();
                ::doca_dpa_dev::__private::movable(__number(0.0))
            }
            pub(super) fn interruptible() -> bool {
                movable() && ::doca_dpa_dev::__private::without_alloc(|__text| __text.to_lowercase())
            }
        }
    }
}

/// The fields that the entries of kernels and calls have in common.
pub fn entry_fields(function: &Function) -> TokenStream {
    let name = function.plain_name();
    quote! {
        name: #name,
        file: ::core::file!(),
        line: ::core::line!(),
        arg_bytes: <__Packed as ::doca_dpa_dev::__private::Pod>::SIZE,
        // SAFETY: each says so only where what it is about is out of the crate's reach.
        reach: unsafe {
            ::doca_dpa_dev::__private::Reach::new(__probe::movable, __probe::interruptible)
        },
        run: __run,
        // SAFETY: so it is of `reach`; the arguments are bound for as long as the function runs, and are gone then.
        promise: unsafe { ::doca_dpa_dev::__private::Promise::new() },
    }
}

/// The call of the function with its arguments bound.
pub fn bound_call(function: &Function) -> TokenStream {
    let name = &function.item.sig.ident;
    let binds = function.arguments.iter().map(|argument| {
        let field = &argument.name;
        quote_spanned! {refuse::place(&argument.written)=>
            ::doca_dpa_dev::__private::bind(__wire.#field, &__context, ::core::panic::Location::caller())
        }
    });
    quote! {
        let __context = ::doca_dpa_dev::__private::ThreadContext::new(__unit);
        let __wire = ::doca_dpa_dev::__private::unpack::<__Packed>(__bytes);
        let __thread = ::doca_dpa_dev::__private::Thread::new(&__context);
        let _ = __wire;
        #name(&__thread, #(#binds),*)
    }
}

fn kernel_impl(function: &Function) -> TokenStream {
    let (name, marker) = (&function.item.sig.ident, args::marker(function));
    let given = match function.arguments.is_empty() {
        true => quote!(HasArgs),
        false => quote!(NeedsArgs),
    };
    let (fields, call) = (entry_fields(function), bound_call(function));
    let own = function.in_its_own_name();
    quote! {
        fn __run(__unit: ::doca_dpa_dev::__private::UnitRef<'_>, __bytes: &[u8]) {
            #call
        }
        static __ENTRY: ::doca_dpa_dev::__private::KernelEntry =
            ::doca_dpa_dev::__private::KernelEntry { #fields };
        // SAFETY: `movable` is true only where the standard library, and with it every value that is bound to an OS
        // thread, is out of the crate's reach; `interruptible` only where the allocator is, too.
        #own
        unsafe impl ::doca_dpa_dev::__private::Kernel for #name {
            type Args = #marker;
            type Given = ::doca_dpa_dev::__private::#given;
            fn entry(self) -> &'static ::doca_dpa_dev::__private::KernelEntry {
                &__ENTRY
            }
        }
    }
}
