//! tantivy's tokenizers on the product's own tokens, so that every engine cuts text alike.

use gharvest_search::tokens;
use tantivy::tokenizer::{TextAnalyzer, Token, TokenStream, Tokenizer, TokenizerManager};

/// Words: identifiers by their parts, stemmed.
pub(crate) const WORDS: &str = "words";
/// Identifiers: whole written tokens.
pub(crate) const IDENTIFIERS: &str = "ident";

/// The tokenizers that the schema names.
pub(crate) fn manager() -> TokenizerManager {
    let manager = TokenizerManager::default();
    manager.register(WORDS, TextAnalyzer::from(ProductTokenizer { identifiers: false }));
    manager.register(IDENTIFIERS, TextAnalyzer::from(ProductTokenizer { identifiers: true }));
    manager
}

#[derive(Clone)]
struct ProductTokenizer {
    identifiers: bool,
}

impl Tokenizer for ProductTokenizer {
    type TokenStream<'a> = Tokens<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Tokens<'a> {
        let tokens =
            if self.identifiers { Cut::Identifiers(tokens::ident(text)) } else { Cut::Words(tokens::words(text)) };
        Tokens { tokens, current: Token::default() }
    }
}

enum Cut<'a> {
    Words(tokens::Words<'a>),
    Identifiers(tokens::Ident<'a>),
}

struct Tokens<'a> {
    tokens: Cut<'a>,
    current: Token,
}

impl TokenStream for Tokens<'_> {
    fn advance(&mut self) -> bool {
        let next = match &mut self.tokens {
            Cut::Words(words) => words.next(),
            Cut::Identifiers(identifiers) => identifiers.next(),
        };
        let Some(token) = next else { return false };
        self.current = Token {
            offset_from: token.range.start,
            offset_to: token.range.end,
            position: token.position as usize,
            text: token.text,
            position_length: 1,
        };
        true
    }

    fn token(&self) -> &Token {
        &self.current
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.current
    }
}
