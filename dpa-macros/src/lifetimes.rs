//! Types as they stand in a signature, and the same types with the lifetime `'static`, which name an argument.

use syn::visit_mut::{self, VisitMut};
use syn::{
    GenericArgument, Lifetime, PathArguments, PathSegment, Type, TypeReference, parse_quote,
};

/// Views that may be written without their lifetime.
const VIEWS: [&str; 8] = [
    "AsyncOps",
    "DevSlice",
    "DevSliceMut",
    "AtomicSlice",
    "DevEvent",
    "Rdma",
    "Completions",
    "HashTable",
];

/// The type with every lifetime `'static`, and with the lifetime that a known view lacks.
pub fn to_static(ty: &Type) -> Type {
    let mut ty = ty.clone();
    Static.visit_type_mut(&mut ty);
    ty
}

struct Static;

impl VisitMut for Static {
    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        lifetime.ident = syn::Ident::new("static", lifetime.ident.span());
    }

    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        reference
            .lifetime
            .get_or_insert_with(|| parse_quote!('static));
        visit_mut::visit_type_reference_mut(self, reference);
    }

    fn visit_path_segment_mut(&mut self, segment: &mut PathSegment) {
        if VIEWS.iter().any(|view| segment.ident == view) {
            complete(&mut segment.arguments);
        }
        visit_mut::visit_path_segment_mut(self, segment);
    }
}

/// Adds the lifetime if there is none.
fn complete(arguments: &mut PathArguments) {
    match arguments {
        PathArguments::None => *arguments = PathArguments::AngleBracketed(parse_quote!(<'static>)),
        PathArguments::AngleBracketed(list) if !list.args.iter().any(is_lifetime) => {
            list.args.insert(0, parse_quote!('static));
        }
        _ => {}
    }
}

fn is_lifetime(argument: &GenericArgument) -> bool {
    matches!(argument, GenericArgument::Lifetime(_))
}
