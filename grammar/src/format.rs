//! The canonical layout of `.msd` text. Works on tokens, since comments live between them and
//! since keeping every token keeps the meaning; the parser only vouches for the text. Owns line
//! breaks, indentation and spaces, and adds or drops nothing but the comma behind a last item.
//!
//! A bracket that does not fit its line gets one line per item, and so do parameters with a comma
//! behind the last: that comma is the author's wish. A kernel without bindings or comments that
//! fits one line stands on it.

use msd_ir::diag::Diagnostic;

use crate::lexer::{Spanned, Token, lex};
use crate::parse;

/// Longest line, where a break is possible.
const WIDTH: usize = 120;
const INDENT: usize = 4;

/// Lays out `text` canonically: idempotent, comments kept, the same graph. Text with syntax
/// errors is not laid out; types and names are not checked.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    let all = lex(text);
    let is_comment = |t: &&Spanned<'_>| matches!(t.1, Token::Comment(_));
    let tokens: Vec<Spanned<'_>> = all.iter().filter(|t| !is_comment(t)).copied().collect();
    // A file of comments alone is no program, but there is nothing wrong with its layout.
    if !tokens.is_empty() {
        let mut errors = parse::file(&tokens).errors;
        if !errors.is_empty() {
            errors.sort_by_key(|e| e.span.map(|s| (s.start, s.end)));
            return Err(errors);
        }
    }
    let (items, tail) = attach(text, &all);
    let mut layout = Layout::new(&items);
    layout.run();
    layout.comments(&tail, 0);
    let mut out = layout.out;
    if !out.is_empty() {
        out.push('\n');
    }
    Ok(out)
}

/// A comment before a token.
#[derive(Clone, Copy)]
struct Comment<'a> {
    text: &'a str,
    /// Whether it stands on the line of what precedes it.
    trailing: bool,
    blank_before: bool,
}

/// A token with what stands before it.
struct Item<'a> {
    token: Token<'a>,
    comments: Vec<Comment<'a>>,
    /// Whether an empty line stands before it.
    blank_before: bool,
    /// Whether it closes a list with a comma behind its last item.
    after_comma: bool,
}

/// Attaches each comment to the token behind it. Commas behind a last item are dropped, to come
/// back where the layout wants them; a comment before a comma or semicolon moves behind it.
fn attach<'a>(text: &'a str, tokens: &[Spanned<'a>]) -> (Vec<Item<'a>>, Vec<Comment<'a>>) {
    let mut items: Vec<Item<'a>> = Vec::new();
    let mut comments: Vec<Comment<'a>> = Vec::new();
    let mut end = 0;
    for (start, token, stop) in tokens {
        let newlines = text[end..*start].matches('\n').count();
        let blank_before = newlines > 1 && end > 0;
        end = *stop;
        if let Token::Comment(text) = token {
            // A comment that moved behind a comma leaves no room for another on its line.
            let trailing = newlines == 0 && !items.is_empty() && comments.is_empty();
            comments.push(Comment { text, trailing, blank_before });
            continue;
        }
        let after_comma = matches!(token, Token::ParenClose | Token::BracketClose)
            && items.last().is_some_and(|i| i.token == Token::Comma);
        if after_comma {
            items.pop();
        }
        let before =
            if matches!(token, Token::Comma | Token::Semicolon) { Vec::new() } else { std::mem::take(&mut comments) };
        items.push(Item { token: *token, comments: before, blank_before, after_comma });
    }
    (items, comments)
}

/// What a bracket encloses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `#[...]`, set without spaces.
    Attribute,
    /// The parameters of a kernel.
    Params,
    /// Items with commas between them.
    List,
    /// Sizes, where products are set without spaces.
    Sizes,
    /// Parentheses around one value.
    Group,
    /// A kernel's body.
    Body,
}

/// An open bracket.
struct Open {
    kind: Kind,
    broken: bool,
    /// Indentation of the line the bracket opens on.
    indent: usize,
}

struct Layout<'i, 'a> {
    items: &'i [Item<'a>],
    /// The partner of each opening bracket; itself for other tokens.
    close: Vec<usize>,
    kinds: Vec<Option<Kind>>,
    /// For each token, where it would begin on an endless line.
    offsets: Vec<usize>,
    /// How many comments stand before each token and those before it.
    comments: Vec<usize>,
    open: Vec<Open>,
    out: String,
    column: usize,
    /// Indentation of the current line.
    indent: usize,
}

fn ends_operand(token: Token<'_>) -> bool {
    matches!(token, Token::Name(_) | Token::Number(_) | Token::Text(_) | Token::ParenClose | Token::BracketClose)
}

fn width(token: Token<'_>) -> usize {
    token.to_string().chars().count()
}

impl<'i, 'a> Layout<'i, 'a> {
    fn new(items: &'i [Item<'a>]) -> Self {
        let (close, kinds) = brackets(items);
        let mut layout = Layout {
            items,
            close,
            kinds,
            offsets: Vec::with_capacity(items.len() + 1),
            comments: Vec::with_capacity(items.len()),
            open: Vec::new(),
            out: String::new(),
            column: 0,
            indent: 0,
        };
        let (mut offset, mut comments) = (0, 0);
        let mut enclosing: Vec<Kind> = Vec::new();
        for (i, item) in items.iter().enumerate() {
            if matches!(item.token, Token::ParenClose | Token::BracketClose | Token::BraceClose) {
                enclosing.pop();
            }
            offset += usize::from(i > 0 && layout.spaced(i, enclosing.last().copied()));
            layout.offsets.push(offset);
            offset += width(item.token);
            comments += item.comments.len();
            layout.comments.push(comments);
            enclosing.extend(layout.kinds[i]);
        }
        layout.offsets.push(offset);
        layout
    }

    /// Whether a space stands between token `i` and the one before it on one line.
    fn spaced(&self, i: usize, within: Option<Kind>) -> bool {
        use Token::{
            Arrow, Assign, BraceClose, BraceOpen, BracketClose, BracketOpen, Colon, Comma, Dot, Hash, Kernel, Let,
            Minus, Name, Operator, ParenClose, ParenOpen, Semicolon,
        };
        let (before, token) = (self.items[i - 1].token, self.items[i].token);
        let tight = |op: &str| within == Some(Kind::Sizes) && matches!(op, "*" | "/");
        // A minus with no operand before it is a sign.
        let before_sign = before == Minus && (i < 2 || !ends_operand(self.items[i - 2].token));
        match (before, token) {
            (_, BraceOpen | BraceClose) | (BraceOpen | BraceClose, _) => true,
            (_, Comma | Semicolon | Colon | ParenClose | BracketClose | Dot) => false,
            (Comma | Semicolon | Colon | Assign | Arrow | Kernel | Let, _) | (_, Assign | Arrow) => true,
            (ParenOpen | BracketOpen | Dot | Hash, _) => false,
            (Minus, _) if within == Some(Kind::Attribute) || before_sign => false,
            (_, Minus) if within == Some(Kind::Attribute) => false,
            (Operator(op), _) | (_, Operator(op)) => !tight(op),
            (Minus, _) | (_, Minus) => true,
            (Name(_) | ParenClose | BracketClose, ParenOpen | BracketOpen) => false,
            (_, Name(_)) => true,
            _ => false,
        }
    }

    fn run(&mut self) {
        for i in 0..self.items.len() {
            self.separate(i);
            let item = &self.items[i];
            self.put(&item.token.to_string());
            if let Some(kind) = self.kinds[i] {
                let broken = match kind {
                    Kind::Body => !self.body_fits(i),
                    _ => self.must_break(i, kind),
                };
                self.open.push(Open { kind, broken, indent: self.indent });
            }
        }
    }

    /// Everything between token `i` and the one before it.
    fn separate(&mut self, i: usize) {
        let items = self.items;
        let item = &items[i];
        let closes = matches!(item.token, Token::ParenClose | Token::BracketClose | Token::BraceClose);
        let closed = if closes { self.open.pop() } else { None };
        let before = i.checked_sub(1).map(|b| items[b].token);
        // The comma behind a last item, before its comments.
        if let Some(open) = &closed
            && open.broken
            && matches!(open.kind, Kind::Params | Kind::List | Kind::Sizes)
            && self.kinds[i - 1].is_none()
        {
            self.put(",");
        }
        let group = closed.as_ref().or(self.open.last());
        let broken = group.is_none_or(|open| open.broken);
        let base = group.map_or(0, |open| open.indent);
        let kind = group.map(|open| open.kind);
        let inner = if group.is_some() { base + INDENT } else { 0 };
        let starts_line = match (before, kind) {
            (None, _) => false,
            (_, None) => top_level_break(before, item.token),
            _ if closed.is_some() => broken,
            (Some(Token::BraceOpen | Token::Semicolon), Some(Kind::Body)) => broken,
            (Some(Token::Comma), _) => broken,
            (Some(Token::ParenOpen | Token::BracketOpen), _) => broken && self.kinds[i - 1].is_some(),
            _ => false,
        };
        let comment_indent = if starts_line || closed.is_some() { inner } else { self.indent.max(inner) };
        let commented = !item.comments.is_empty();
        self.comments(&item.comments, comment_indent);
        let is_first = matches!(before, Some(Token::BraceOpen | Token::ParenOpen | Token::BracketOpen));
        let keeps_blank = item.blank_before && !closes && (!is_first || commented) && kind.is_some();
        if starts_line || commented {
            let between_kernels = kind.is_none() && before == Some(Token::BraceClose) && !commented;
            let indent = if closed.is_some() { base } else { comment_indent };
            // A line that goes on behind a comment is indented once more than its beginning.
            let goes_on = !starts_line && closed.is_none() && before.is_some();
            let indent = if goes_on && matches!(kind, None | Some(Kind::Body)) { inner + INDENT } else { indent };
            self.newline(indent, keeps_blank || between_kernels || (commented && item.blank_before && kind.is_none()));
            if !goes_on {
                self.indent = indent;
            }
        } else if i > 0 && self.spaced(i, kind.filter(|_| closed.is_none())) {
            self.put(" ");
        }
    }

    /// Writes comments, each to the end of its line.
    fn comments(&mut self, comments: &[Comment<'_>], indent: usize) {
        for comment in comments {
            if comment.trailing && !self.out.is_empty() {
                self.put(" ");
            } else {
                let opens = self.out.ends_with(['{', '(', '[']);
                let blank = comment.blank_before && !opens;
                self.newline(indent, blank);
            }
            self.put(comment.text);
        }
    }

    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn newline(&mut self, indent: usize, blank: bool) {
        if !self.out.is_empty() {
            self.out.push_str(if blank { "\n\n" } else { "\n" });
        }
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    fn has_comments(&self, from: usize, to: usize) -> bool {
        self.comments[to] > self.comments[from]
    }

    /// Whether the bracket that was just written must get a line per item.
    fn must_break(&self, i: usize, kind: Kind) -> bool {
        let close = self.close[i];
        let is_wished = kind == Kind::Params && self.items[close].after_comma;
        if is_wished || self.has_comments(i, close) {
            return true;
        }
        let fits_around = self.open.last().is_none_or(|open| open.broken);
        if !fits_around || close == i + 1 || kind == Kind::Attribute {
            return false;
        }
        let mut end = close;
        while let Some(item) = self.items.get(end + 1) {
            let follows = match kind {
                Kind::Params => self.items[end].token != Token::BraceOpen,
                _ => matches!(item.token, Token::ParenClose | Token::BracketClose | Token::Comma | Token::Semicolon),
            };
            if !follows || self.offsets[end] > self.offsets[i] + WIDTH {
                break;
            }
            end += 1;
        }
        let rest = self.offsets[end] + width(self.items[end].token) - self.offsets[i] - width(self.items[i].token);
        self.column + rest > WIDTH
    }

    /// Whether a body stands on the line of its head.
    fn body_fits(&self, i: usize) -> bool {
        let close = self.close[i];
        let has_lets = (i..close).any(|j| self.items[j].token == Token::Semicolon);
        let rest = self.offsets[close] + 1 - self.offsets[i] - 1;
        let head_is_flat = !self.out[self.out.rfind("kernel").unwrap_or(0)..].contains('\n');
        !has_lets && head_is_flat && !self.has_comments(i, close) && self.column + rest <= WIDTH
    }
}

/// Outside of brackets, attributes and kernels begin lines.
fn top_level_break(before: Option<Token<'_>>, token: Token<'_>) -> bool {
    matches!(token, Token::Hash) || (token == Token::Kernel && before.is_some())
}

/// The partner of each bracket and what it encloses.
fn brackets(items: &[Item<'_>]) -> (Vec<usize>, Vec<Option<Kind>>) {
    let mut close: Vec<usize> = (0..items.len()).collect();
    let mut kinds = vec![None; items.len()];
    let mut open: Vec<usize> = Vec::new();
    let at = |i: usize, back: usize| i.checked_sub(back).map(|b| items[b].token);
    for (i, item) in items.iter().enumerate() {
        match item.token {
            Token::ParenOpen => {
                let is_call = at(i, 1).is_some_and(ends_operand);
                let is_head = at(i, 2) == Some(Token::Kernel);
                kinds[i] = Some(if is_head {
                    Kind::Params
                } else if is_call {
                    Kind::List
                } else {
                    Kind::Group
                });
                if open.last().is_some_and(|o| kinds[*o] == Some(Kind::Attribute)) {
                    kinds[i] = Some(Kind::Attribute);
                }
                open.push(i);
            }
            Token::BracketOpen => {
                kinds[i] = Some(if at(i, 1) == Some(Token::Hash) { Kind::Attribute } else { Kind::Sizes });
                open.push(i);
            }
            Token::BraceOpen => {
                kinds[i] = Some(Kind::Body);
                open.push(i);
            }
            Token::Comma => {
                // Parentheses around several values are a list.
                if let Some(o) = open.last()
                    && kinds[*o] == Some(Kind::Group)
                {
                    kinds[*o] = Some(Kind::List);
                }
            }
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                if let Some(o) = open.pop() {
                    close[o] = i;
                }
            }
            _ => {}
        }
    }
    (close, kinds)
}
