//! What the code of a function uses: calls, fields, paths, macros. Comments and strings are none of it.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Expr, Member, Path, Token};

/// A name with the segment of its path before it.
type Qualified = (Option<String>, String);

/// The names that code uses, by how it uses them.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    /// `.name(..)`
    pub methods: BTreeSet<String>,
    /// `.name`
    pub fields: BTreeSet<String>,
    /// `Type { name: .. }`, as an expression or a pattern.
    pub given: BTreeSet<(String, String)>,
    /// The last segments of paths in expressions, called or not.
    pub values: BTreeSet<Qualified>,
    /// Every segment of a path in an expression, a pattern or a type, but not in an import.
    pub segments: BTreeSet<String>,
    /// `name!(..)` and `#[name]`
    pub macros: BTreeSet<String>,
    /// Names of variables, which hide functions of the same name unless they are called.
    variables: BTreeSet<String>,
    called: BTreeSet<String>,
}

impl Uses {
    /// Those of a function: of its attributes, its signature and its body without the items in it.
    pub fn of(attributes: &[Attribute], signature: &syn::Signature, body: &Block) -> Self {
        let mut uses = Self::default();
        uses.visit_signature(signature);
        uses.visit_block(body);
        uses.macros.extend(
            attributes
                .iter()
                .filter_map(|attribute| name(attribute.path())),
        );
        uses.without_variables()
    }

    /// Those of the body of a macro.
    pub fn of_tokens(tokens: TokenStream) -> Self {
        let mut uses = Self::default();
        uses.scan(tokens);
        uses
    }

    fn without_variables(mut self) -> Self {
        let (variables, called) = (&self.variables, &self.called);
        self.values.retain(|(before, name)| {
            before.is_some() || called.contains(name) || !variables.contains(name)
        });
        self
    }

    fn value(&mut self, path: &Path) {
        let mut names = path
            .segments
            .iter()
            .rev()
            .map(|segment| segment.ident.to_string());
        if let Some(last) = names.next() {
            self.values.insert((names.next(), last));
        }
    }

    /// What a macro is given: expressions or statements if it reads so, else single tokens.
    fn scan_macro(&mut self, tokens: &TokenStream) {
        use syn::parse::Parser;
        let expressions = Punctuated::<Expr, Token![,]>::parse_terminated;
        if let Ok(list) = expressions.parse2(tokens.clone()) {
            list.iter()
                .for_each(|expression| self.visit_expr(expression));
        } else if let Ok(list) = Block::parse_within.parse2(tokens.clone()) {
            list.iter().for_each(|statement| self.visit_stmt(statement));
        } else {
            self.scan(tokens.clone());
        }
    }

    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(ident) => {
                    self.token(ident.to_string(), &tokens[..at], &tokens[at + 1..]);
                }
                _ => {}
            }
        }
    }

    fn token(&mut self, name: String, before: &[TokenTree], after: &[TokenTree]) {
        let called = is_called(after);
        if ends_with(before, ".") && !ends_with(before, "..") {
            let names = if called {
                &mut self.methods
            } else {
                &mut self.fields
            };
            names.insert(name);
        } else if ends_with(before, "::") {
            let qualifier = before.iter().rev().nth(2).map(ToString::to_string);
            self.segments.insert(name.clone());
            self.values.insert((qualifier, name));
        } else if is_punct(after.first(), '!') && !is_punct(after.get(1), '=') {
            self.macros.insert(name);
        } else if called && before.last().is_none_or(|token| token.to_string() != "fn") {
            self.values.insert((None, name));
        } else if is_punct(after.first(), ':') && is_punct(after.get(1), ':') {
            self.segments.insert(name);
        }
    }
}

/// Whether what follows a name are arguments, perhaps behind `::<..>`.
fn is_called(after: &[TokenTree]) -> bool {
    let turbofish = is_punct(after.first(), ':') && is_punct(after.get(2), '<');
    let arguments = |group: &proc_macro2::Group| group.delimiter() == Delimiter::Parenthesis;
    turbofish || matches!(after.first(), Some(TokenTree::Group(group)) if arguments(group))
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn ends_with(tokens: &[TokenTree], wanted: &str) -> bool {
    let count = wanted.len();
    tokens.len() >= count
        && tokens[tokens.len() - count..]
            .iter()
            .zip(wanted.chars())
            .all(|(token, wanted)| is_punct(Some(token), wanted))
}

/// The last segment.
fn name(path: &Path) -> Option<String> {
    path.segments
        .last()
        .map(|segment| segment.ident.to_string())
}

impl<'a> Visit<'a> for Uses {
    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        self.methods.insert(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_field(&mut self, field: &'a syn::ExprField) {
        if let Member::Named(name) = &field.member {
            self.fields.insert(name.to_string());
        }
        visit::visit_expr_field(self, field);
    }

    fn visit_expr_call(&mut self, call: &'a syn::ExprCall) {
        if let Expr::Path(path) = &*call.func {
            self.called.extend(name(&path.path));
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_path(&mut self, path: &'a syn::ExprPath) {
        self.value(&path.path);
        visit::visit_expr_path(self, path);
    }

    fn visit_expr_struct(&mut self, literal: &'a syn::ExprStruct) {
        for field in &literal.fields {
            if let (Some(of), Member::Named(field)) = (name(&literal.path), &field.member) {
                self.given.insert((of, field.to_string()));
            }
        }
        visit::visit_expr_struct(self, literal);
    }

    fn visit_pat_struct(&mut self, pattern: &'a syn::PatStruct) {
        for field in &pattern.fields {
            if let (Some(of), Member::Named(field)) = (name(&pattern.path), &field.member) {
                self.given.insert((of, field.to_string()));
            }
        }
        visit::visit_pat_struct(self, pattern);
    }

    fn visit_pat_ident(&mut self, variable: &'a syn::PatIdent) {
        self.variables.insert(variable.ident.to_string());
        visit::visit_pat_ident(self, variable);
    }

    fn visit_path(&mut self, path: &'a Path) {
        let names = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        self.segments.extend(names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'a syn::Macro) {
        self.macros.extend(name(&invocation.path));
        self.scan_macro(&invocation.tokens);
    }

    /// Neither comments of the documentation nor what other attributes say is code.
    fn visit_attribute(&mut self, _: &'a Attribute) {}

    /// Items within a function are functions of their own; an import uses nothing.
    fn visit_item(&mut self, _: &'a syn::Item) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(body: &str) -> Uses {
        let text = format!("#[marked] fn f(argument: u32) {{ {body} }}");
        let function: syn::ItemFn = syn::parse_str(&text).expect("a function");
        Uses::of(&function.attrs, &function.sig, &function.block)
    }

    fn own(name: &str) -> Qualified {
        (None, name.into())
    }

    #[test]
    fn words_are_no_uses() {
        for body in [
            "// a.take(); take();\n",
            "say(\"a.take() take()\");",
            "println!(\"take() {take}\");",
            "/* a.take() */",
            "use lock::take;",
            "let take = 1; give(take);",
            "fn inner() { a.take(); }",
        ] {
            let uses = uses(body);
            assert!(!uses.methods.contains("take"), "{body}");
            assert!(!uses.fields.contains("take"), "{body}");
            assert!(!uses.values.contains(&own("take")), "{body}");
        }
    }

    #[test]
    fn calls_are_uses() {
        for body in [
            "a.take();",
            "assert_eq!(a.take(), 1);",
            "select! { x = a.take() => x, }",
            "select! { x = a.take::<u8>() => x, }",
            "if let Some(x) = b(|| a.take()) {}",
        ] {
            assert!(uses(body).methods.contains("take"), "{body}");
        }
        for body in [
            "take(1);",
            "let take = take(1);",
            "launch(take);",
            "assert!(take(1));",
            "select! { x = take(1) => x, }",
        ] {
            assert!(uses(body).values.contains(&own("take")), "{body}");
        }
    }

    #[test]
    fn paths_say_whose_they_are() {
        let lock = (Some("Lock".to_owned()), "take".to_owned());
        for body in [
            "Lock::take(a);",
            "map(b::Lock::take);",
            "select! { x = Lock::take(a) => x }",
        ] {
            let uses = uses(body);
            assert!(uses.values.contains(&lock), "{body}");
            assert!(!uses.values.contains(&own("take")), "{body}");
            assert!(
                uses.segments.contains("Lock") || body.starts_with("select"),
                "{body}"
            );
        }
        assert!(uses("let x: Vec<Lock> = y;").segments.contains("Lock"));
    }

    #[test]
    fn fields_and_macros_are_uses() {
        assert!(uses("a.b.c;").fields.contains("b"));
        assert!(!uses("a.b();").fields.contains("b"));
        let given = ("A".to_owned(), "b".to_owned());
        for body in ["A { b: 1 };", "A { b };", "let A { b, .. } = a;"] {
            assert!(uses(body).given.contains(&given), "{body}");
        }
        let uses = uses("say!(tell!(1));");
        for name in ["say", "tell", "marked"] {
            assert!(uses.macros.contains(name), "{name}");
        }
    }
}
