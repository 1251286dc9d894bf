//! The layout of plain structs, shared by `#[derive(Pod)]` and the wire forms of arguments.

use crate::refuse;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Generics, Ident, Member, Type};

/// One field of a plain struct.
pub struct Field {
    /// Its name or number.
    pub member: Member,
    /// Its type.
    pub ty: Type,
}

/// `impl Pod` with C's layout: offsets are constants of the type, computed one from the other.
pub fn pod_impl(name: &Ident, generics: &Generics, fields: &[Field]) -> TokenStream {
    let (params, args, bounds) = generics.split_for_impl();
    let (members, types): (Vec<_>, Vec<_>) = fields.iter().map(|f| (&f.member, &f.ty)).unzip();
    let (steps, aligns) = (types.iter().map(step), types.iter().map(align));
    let numbers: Vec<_> = (0..fields.len()).collect();
    let sizes = types.iter().map(size);
    let offset = offsets(&types);
    quote! {
        #[automatically_derived]
        #[diagnostic::do_not_recommend]
        impl #params ::doca_dpa_dev::__private::Pod for #name #args #bounds {
            const ALIGN: usize = {
                let __align = 1usize;
                #(let __align = #aligns;)*
                __align
            };
            const SIZE: usize = {
                let __end = 0usize;
                #(let __end = #steps;)*
                ::doca_dpa_dev::__private::align_up(__end, Self::ALIGN)
            };
            fn load<__L: ::doca_dpa_dev::__private::Load + ?::core::marker::Sized>(
                __from: &__L,
                __at: usize,
            ) -> Self {
                let __offsets = const { #offset };
                let _ = __offsets;
                Self {
                    #(#members: ::doca_dpa_dev::__private::Pod::load(__from, __at + __offsets[#numbers]),)*
                }
            }
            fn store<__S: ::doca_dpa_dev::__private::Store + ?::core::marker::Sized>(
                self,
                __to: &mut __S,
                __at: usize,
            ) {
                let __offsets = const { #offset };
                let _ = __offsets;
                #(::doca_dpa_dev::__private::Pod::store(self.#members, __to, __at + __offsets[#numbers]);)*
            }
            // Field by field where it lies: it may be larger than the stack has room for copies of it.
            fn encode_slice(__items: &[Self], __out: &mut [u8]) {
                let __offsets = const { #offset };
                let _ = __offsets;
                let __size = <Self as ::doca_dpa_dev::__private::Pod>::SIZE;
                ::core::assert_eq!(__out.len(), __items.len() * __size, "bytes for the items");
                let __chunks = __out.chunks_exact_mut(::doca_dpa_dev::__private::max(__size, 1));
                for (__item, __chunk) in ::core::iter::Iterator::zip(__items.iter(), __chunks) {
                    #(::doca_dpa_dev::__private::Pod::encode_slice(
                        ::core::slice::from_ref(&__item.#members),
                        &mut __chunk[__offsets[#numbers]..][..#sizes],
                    );)*
                }
            }
        }
    }
}

/// Where each field begins: an array.
fn offsets(types: &[&Type]) -> TokenStream {
    let count = types.len();
    let numbers = 0..count;
    let begins = types.iter().map(begin);
    let ends = types.iter().map(step);
    quote! {{
        let mut __offsets = [0usize; #count];
        let __end = 0usize;
        #(
            __offsets[#numbers] = #begins;
            let __end = #ends;
        )*
        let _ = __end;
        __offsets
    }}
}

fn begin(ty: &&Type) -> TokenStream {
    let pod = as_pod(ty);
    quote!(::doca_dpa_dev::__private::align_up(__end, #pod::ALIGN))
}

fn step(ty: &&Type) -> TokenStream {
    let (pod, begin) = (as_pod(ty), begin(ty));
    quote!(#begin + #pod::SIZE)
}

fn size(ty: &&Type) -> TokenStream {
    let pod = as_pod(ty);
    quote!(#pod::SIZE)
}

fn align(ty: &&Type) -> TokenStream {
    let pod = as_pod(ty);
    quote!(::doca_dpa_dev::__private::max(__align, #pod::ALIGN))
}

/// The field's `Pod`, with the field's place in errors.
fn as_pod(ty: &Type) -> TokenStream {
    quote_spanned!(refuse::place(ty)=> <#ty as ::doca_dpa_dev::__private::Pod>)
}
