//! `#[dpa_rpc]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Result, Type};

use crate::kernel::{bound_call, entry_fields, whole};
use crate::signature::Function;
use crate::{args, refuse};

pub fn expand(attr: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function = Function::parse(attr, item, "call")?;
    match function.output() {
        None => refuse::at(
            &function.item.sig.ident,
            "a call returns a value: write `-> u64`, or another plain type of at most 8 bytes; \
             use #[dpa_kernel] for a function without a result",
        ),
        Some(Type::Never(never)) => refuse::at(never, "a call returns a value, so it must return"),
        Some(output) => Ok(whole(&function, &rpc_impl(&function, output))),
    }
}

fn rpc_impl(function: &Function, output: &Type) -> TokenStream {
    let (name, marker) = (&function.item.sig.ident, args::marker(function));
    let (fields, call) = (entry_fields(function), bound_call(function));
    let (size, own) = (size_check(output), function.in_its_own_name());
    quote! {
        #size
        fn __run(__unit: ::doca_dpa_dev::__private::UnitRef<'_>, __bytes: &[u8]) -> u64 {
            ::doca_dpa_dev::__private::result_to_bits::<#output>({ #call })
        }
        static __ENTRY: ::doca_dpa_dev::__private::RpcEntry =
            ::doca_dpa_dev::__private::RpcEntry { #fields };
        // SAFETY: as for kernels, `movable` and `interruptible` are true only where the standard library, and the allocator,
        // are out of the crate's reach.
        #own
        unsafe impl ::doca_dpa_dev::__private::Rpc for #name {
            type Args = #marker;
            type Output = #output;
            fn entry(self) -> &'static ::doca_dpa_dev::__private::RpcEntry {
                &__ENTRY
            }
        }
    }
}

fn size_check(output: &Type) -> TokenStream {
    quote_spanned! {refuse::place(output)=>
        const _: () = ::core::assert!(
            ::doca_dpa_dev::__private::fits::<#output>(8),
            "a call returns at most 8 bytes; write a larger result to a view"
        );
    }
}
