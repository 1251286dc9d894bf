//! `#[derive(Pod)]`.

use proc_macro2::TokenStream;
use syn::meta::ParseNestedMeta;
use syn::{
    Attribute, Data, DeriveInput, Fields, GenericParam, Generics, Index, Member, Result,
    parse_quote,
};

use crate::fields::{Field, pod_impl};
use crate::refuse;

pub fn expand(item: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    check_layout(&input.attrs)?;
    let fields = members(fields_of(&input)?);
    let generics = with_bounds(input.generics)?;
    Ok(pod_impl(&input.ident, &generics, &fields))
}

/// What `#[repr]` may ask of the struct: nothing that would lay its bytes out otherwise.
fn check_layout(attributes: &[Attribute]) -> Result<()> {
    let mut reprs = attributes.iter().filter(|a| a.path().is_ident("repr"));
    reprs.try_for_each(|repr| repr.parse_nested_meta(check_repr))
}

fn check_repr(meta: ParseNestedMeta<'_>) -> Result<()> {
    if meta.path.is_ident("packed") {
        return refuse::at(
            &meta.path,
            "a plain value is laid out as C does without packing; \
             make fields that stand elsewhere arrays of bytes, as `len: [u8; 4]`",
        );
    }
    if meta.path.is_ident("align") {
        return refuse::at(
            &meta.path,
            "a plain value has the alignment of its fields; fill a struct up to its size with a field, as `rest: [u8; 56]`",
        );
    }
    Ok(())
}

fn fields_of(input: &DeriveInput) -> Result<&Fields> {
    match &input.data {
        Data::Struct(data) => Ok(&data.fields),
        Data::Enum(_) => refuse::at(
            &input.ident,
            "an enum is not a plain value: not every bit pattern would be one of its variants; \
             keep its number in an integer field and convert where it is used",
        ),
        Data::Union(_) => refuse::at(
            &input.ident,
            "a union is not a plain value: it does not say which of its fields is there; use a struct",
        ),
    }
}

fn members(fields: &Fields) -> Vec<Field> {
    let member = |(i, field): (usize, &syn::Field)| Field {
        member: match &field.ident {
            Some(name) => Member::Named(name.clone()),
            None => Member::Unnamed(Index::from(i)),
        },
        ty: field.ty.clone(),
    };
    fields.iter().enumerate().map(member).collect()
}

/// Type parameters must be plain, too.
fn with_bounds(mut generics: Generics) -> Result<Generics> {
    for param in &mut generics.params {
        match param {
            GenericParam::Lifetime(lifetime) => {
                return refuse::at(
                    lifetime,
                    "a plain value has no lifetime: it is bytes that may stay in device memory; \
                     keep a DevAddr in it, or use #[derive(Arg)] for a struct of arguments",
                );
            }
            GenericParam::Type(ty) => ty.bounds.push(parse_quote!(::doca_dpa_dev::__private::Pod)),
            GenericParam::Const(_) => {}
        }
    }
    Ok(generics)
}
