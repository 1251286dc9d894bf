//! Refusals: an error at the culprit, and nothing of the expansion.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Error, Result};

/// Refuses, pointing at `culprit`.
pub fn at<T>(culprit: impl ToTokens, message: impl std::fmt::Display) -> Result<T> {
    Err(Error::new_spanned(culprit, message))
}

/// The expansion, or the error as tokens.
pub fn answer(expansion: Result<TokenStream>) -> proc_macro::TokenStream {
    expansion.unwrap_or_else(|e| e.to_compile_error()).into()
}

/// The place of `culprit` for generated code: errors point there, lints know that a macro wrote it.
pub fn place(culprit: &impl Spanned) -> Span {
    culprit.span().resolved_at(Span::call_site())
}
