//! Tells code, comments and literals of a Rust file apart, so that a rule about code is not
//! fooled by a string or a comment. Finds where tokens end, and nothing about what they mean.

/// One file in two views of the same length and line structure.
pub(crate) struct RustSource {
    /// The code; comments, strings and characters are blank.
    pub(crate) code: String,
    /// The comments; all else is blank.
    pub(crate) comments: String,
}

impl RustSource {
    pub(crate) fn parse(text: &str) -> RustSource {
        let bytes = text.as_bytes();
        let mut code = Vec::with_capacity(bytes.len());
        let mut comments = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let (end, class) = token(bytes, at);
            for &byte in &bytes[at..end] {
                let blank = if byte == b'\n' { byte } else { b' ' };
                code.push(if class == Class::Code { byte } else { blank });
                comments.push(if class == Class::Comment { byte } else { blank });
            }
            at = end;
        }
        RustSource { code: text_of(code), comments: text_of(comments) }
    }
}

/// Classes change only at ASCII bytes, so each view is UTF-8; were it not, a rule would see a
/// replacement character and nothing worse.
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Code,
    Comment,
    Literal,
}

/// End and class of the token that starts at `at`; code goes byte by byte or word by word.
fn token(bytes: &[u8], at: usize) -> (usize, Class) {
    let rest = &bytes[at..];
    match rest {
        [b'/', b'/', ..] => (at + position(rest, b'\n').unwrap_or(rest.len()), Class::Comment),
        [b'/', b'*', ..] => (at + block_comment(rest), Class::Comment),
        [b'"', ..] => (at + 1 + quoted(&rest[1..], b'"'), Class::Literal),
        [b'\'', ..] => match char_literal(rest) {
            Some(length) => (at + length, Class::Literal),
            None => (at + 1, Class::Code),
        },
        [first, ..] if is_word(*first) => {
            let length = rest.iter().take_while(|b| is_word(**b)).count();
            let raw = matches!(&rest[..length], b"r" | b"br" | b"cr");
            match raw.then(|| raw_string(&rest[length..])).flatten() {
                Some(body) => (at + length + body, Class::Literal),
                None => (at + length, Class::Code),
            }
        }
        _ => (at + 1, Class::Code),
    }
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|b| *b == wanted)
}

/// Length of a block comment; they nest.
fn block_comment(bytes: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length up to and with the closing quote, escapes skipped.
fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Length of a character literal; `None` for a lifetime.
fn char_literal(bytes: &[u8]) -> Option<usize> {
    if bytes.get(1) == Some(&b'\\') {
        return Some(1 + quoted(&bytes[1..], b'\''));
    }
    // One character of up to four bytes, then the quote.
    let width = bytes.iter().skip(2).take_while(|b| (**b & 0xC0) == 0x80).count() + 1;
    (bytes.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

/// Length of the hashes and the body after `r`, `br` or `cr`; `None` if no string follows.
fn raw_string(bytes: &[u8]) -> Option<usize> {
    let hashes = bytes.iter().take_while(|b| **b == b'#').count();
    if bytes.get(hashes) != Some(&b'"') {
        return None;
    }
    let mut closing = vec![b'"'];
    closing.resize(1 + hashes, b'#');
    let body = &bytes[hashes + 1..];
    let end = body.windows(closing.len()).position(|w| w == closing).map(|p| p + closing.len());
    Some(hashes + 1 + end.unwrap_or(body.len()))
}

/// Byte offsets where `word` stands in `text` as a word of its own.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).and_then(|i| text.as_bytes().get(i));
        let after = text.as_bytes().get(at + word.len());
        !before.is_some_and(|b| is_word(*b)) && !after.is_some_and(|b| is_word(*b))
    })
}

/// 1-based line of a byte offset.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        RustSource::parse(text).code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn blanks_comments_and_literals() {
        assert_eq!(code("a // b\nc"), "a c");
        assert_eq!(code("a /* b /* c */ d */ e"), "a e");
        assert_eq!(code(r#"f("x \" unsafe", y)"#), "f( , y)");
        assert_eq!(code("r#\"unsafe \" x\"# z"), "z");
        assert_eq!(code("br\"unsafe\" z"), "z");
        assert_eq!(code("'\"' a '\\'' b 'é' c"), "a b c");
    }

    #[test]
    fn lifetimes_and_raw_names_are_code() {
        assert_eq!(code("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
        assert_eq!(code("r#type + 1"), "r#type + 1");
    }

    #[test]
    fn views_keep_lines_and_survive_unclosed_tokens() {
        let text = "a\n/* b\nc */ d\n\"e\nf";
        let source = RustSource::parse(text);
        assert_eq!(source.code.len(), text.len());
        assert_eq!(source.code.lines().count(), text.lines().count());
        assert_eq!(source.comments.trim(), "/* b\nc */");
        for text in ["/*", "\"\\", "r#\"", "'\\", "'"] {
            assert_eq!(RustSource::parse(text).code.len(), text.len());
        }
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(words("unsafe_code unsafe un", "unsafe").collect::<Vec<_>>(), [12]);
    }
}
