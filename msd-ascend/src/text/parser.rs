//! Tokens to a program. Owns the order of declarations and statements and how reading goes on behind an error: at the
//! next line, so that all errors of a text come at once. Operands are read in [`super::operands`].

use std::collections::{HashMap, HashSet};

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dtype::DType;
use msd_ir::span::Span;

use super::lexer::{Token, tokens};
use crate::expr::{Expr, NoValue, Slot};
use crate::isa::memory::Space;
use crate::program::{
    BUILT_IN_VARIABLES, MAX_NESTING, MAX_RANK, MAX_STATEMENTS, MAX_TENSORS, MAX_VARIABLES, Param, Program, Purpose,
    Statement, Tensor,
};

/// Assembles a program.
///
/// # Errors
/// All that is wrong with the text, with places in it.
pub fn parse(text: &str) -> Result<Program, Vec<Diagnostic>> {
    let mut parser = Parser::new(text);
    parser.program();
    match parser.errors.is_empty() {
        true => Ok(parser.program),
        false => Err(parser.errors),
    }
}

pub(super) struct Parser<'a> {
    tokens: Vec<(Token<'a>, Span)>,
    at: usize,
    errors: Vec<Diagnostic>,
    pub(super) program: Program,
    /// Names that were ever declared, and those that stand for something here.
    pub(super) slots: HashMap<&'a str, Slot>,
    pub(super) visible: HashSet<&'a str>,
    pub(super) tensors: HashMap<&'a str, u16>,
    statements: usize,
}

/// How a loop is written.
const LOOP: &str = "a loop is written `for i in 0..8 step 2 {`";

/// More errors than these help nobody.
const MAX_ERRORS: usize = 100;

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parser<'a> {
        let slots = BUILT_IN_VARIABLES.iter().enumerate().map(|(slot, name)| (*name, slot as Slot)).collect();
        let program = Program {
            name: "stream".to_string(),
            variables: BUILT_IN_VARIABLES.map(str::to_string).to_vec(),
            params: Vec::new(),
            tensors: Vec::new(),
            blocks: Expr::from(1),
            cube: Vec::new(),
            vector: Vec::new(),
        };
        let tokens = tokens(text);
        let visible = BUILT_IN_VARIABLES.into_iter().collect();
        Parser { tokens, at: 0, errors: Vec::new(), program, slots, visible, tensors: HashMap::new(), statements: 0 }
    }

    pub(super) fn peek(&self) -> Token<'a> {
        self.tokens[self.at].0
    }

    pub(super) fn span(&self) -> Span {
        self.tokens[self.at].1
    }

    /// The next token; the last one stays.
    pub(super) fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    /// Takes the sign if it is next.
    pub(super) fn takes(&mut self, sign: &str) -> bool {
        let is_next = self.peek() == Token::Sign(sign);
        if is_next {
            self.take();
        }
        is_next
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<(), Diagnostic> {
        if self.takes(sign) { Ok(()) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    pub(super) fn name(&mut self, what: &str) -> Result<&'a str, Diagnostic> {
        let Token::Name(name) = self.peek() else { return Err(self.unexpected(what)) };
        self.take();
        Ok(name)
    }

    /// An error at the next token, which is not what is wanted.
    pub(super) fn unexpected(&self, wanted: &str) -> Diagnostic {
        let (code, found) = match self.peek() {
            Token::Fault => (Code::InvalidToken, "no token".to_string()),
            Token::End => (Code::UnexpectedEnd, "the end".to_string()),
            Token::Line => (Code::UnexpectedToken, "the end of the line".to_string()),
            Token::Comment(_) => (Code::UnexpectedToken, "a comment".to_string()),
            Token::Dots => (Code::UnexpectedToken, "`..`".to_string()),
            Token::Name(t) | Token::Integer(t) | Token::Decimal(t) | Token::Sign(t) => {
                (Code::UnexpectedToken, format!("`{t}`"))
            }
        };
        let message = format!("expected {wanted}, found {found}");
        Diagnostic::new(code, message).at(self.span()).help("docs/npu-model.md shows how a program is written")
    }

    /// Passes line ends and comments.
    fn skip_lines(&mut self) {
        while matches!(self.peek(), Token::Line | Token::Comment(_)) {
            self.take();
        }
    }

    /// Notes an error and goes to the end of its line.
    fn recover(&mut self, error: Diagnostic) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        }
        while !matches!(self.peek(), Token::Line | Token::End) {
            self.take();
        }
    }

    fn program(&mut self) {
        loop {
            self.skip_lines();
            if self.peek() == Token::End {
                break;
            }
            let word = match self.name("`program`, `param`, `tensor`, `blocks`, `cube` or `vector`") {
                Ok(word) => word,
                Err(error) => {
                    self.recover(error);
                    continue;
                }
            };
            let done = match word {
                "program" => self.name("a name").map(|name| self.program.name = name.to_string()),
                "param" => self.param(),
                "tensor" => self.tensor(),
                "blocks" => self.expr().map(|blocks| self.program.blocks = blocks),
                "cube" => self.section().map(|body| self.program.cube.extend(body)),
                "vector" => self.section().map(|body| self.program.vector.extend(body)),
                _ => {
                    let message = format!("`{word}` does not start a declaration");
                    Err(Diagnostic::new(Code::UnexpectedToken, message)
                        .at(self.tokens[self.at.saturating_sub(1)].1)
                        .help("instructions stand within `cube { }` or `vector { }`"))
                }
            };
            if let Err(error) = done.and_then(|()| self.end_of_line()) {
                self.recover(error);
            }
        }
        if self.program.cube.is_empty() && self.program.vector.is_empty() && self.errors.is_empty() {
            let error = Diagnostic::new(Code::EmptyFile, "the program has no instruction").at(self.span());
            self.errors.push(error.help("instructions stand within `cube { }` or `vector { }`"));
        }
    }

    fn end_of_line(&mut self) -> Result<(), Diagnostic> {
        match self.peek() {
            Token::Line | Token::End | Token::Comment(_) => Ok(()),
            _ => Err(self.unexpected("the end of the line")),
        }
    }

    /// Declares a variable, or finds the one of a name that a former loop or section had.
    fn declare(&mut self, what: &str) -> Result<Slot, Diagnostic> {
        let span = self.span();
        let name = self.name(what)?;
        if is_reserved(name) {
            return Err(taken(name, "a memory or a built-in variable").at(span));
        }
        if self.tensors.contains_key(name) {
            return Err(taken(name, "a tensor").at(span));
        }
        self.visible.insert(name);
        if let Some(slot) = self.slots.get(name) {
            return Ok(*slot);
        }
        let slot = self.program.variables.len();
        if slot >= MAX_VARIABLES {
            let message = format!("more than {MAX_VARIABLES} variables");
            return Err(Diagnostic::new(Code::StreamTooLong, message).at(span));
        }
        self.program.variables.push(name.to_string());
        self.slots.insert(name, slot as Slot);
        Ok(slot as Slot)
    }

    fn param(&mut self) -> Result<(), Diagnostic> {
        let span = self.span();
        let slot = self.declare("a name")?;
        if !self.program.variables[usize::from(slot)].starts_with(|c: char| c.is_ascii_uppercase()) {
            let message = "a parameter starts with a capital letter";
            let help = "so that `-D` takes it, as it does dimensions";
            return Err(Diagnostic::new(Code::UnexpectedToken, message).at(span).help(help));
        }
        self.expect("=")?;
        let value = self.expr()?;
        if self.program.params.iter().any(|p| p.slot == slot) {
            let name = &self.program.variables[usize::from(slot)];
            return Err(taken(name, "a parameter").at(span));
        }
        let known = self.program.start(0, 0, 0);
        let no_value = |e: NoValue| Diagnostic::new(Code::NoValue, e.to_string()).at(span);
        value.value(&known).map_err(|e| no_value(e).help("a parameter depends on those before it alone"))?;
        self.program.params.push(Param { slot, value });
        Ok(())
    }

    fn tensor(&mut self) -> Result<(), Diagnostic> {
        let span = self.span();
        let name = self.name("a name")?;
        if is_reserved(name) || self.slots.contains_key(name) || self.tensors.contains_key(name) {
            return Err(taken(name, "something else").at(span));
        }
        self.expect(":")?;
        let dtype = self.dtype()?;
        self.expect("[")?;
        let mut shape = Vec::new();
        while !self.takes("]") {
            if !shape.is_empty() {
                self.expect(",")?;
            }
            shape.push(self.expr()?);
            if shape.len() > MAX_RANK {
                let message = format!("more than {MAX_RANK} dimensions");
                return Err(Diagnostic::new(Code::StreamTooLong, message).at(span).help("join some of them"));
            }
        }
        let at = self.span();
        let word = self.name("what it is for")?;
        let Some(purpose) = Purpose::ALL.into_iter().find(|p| p.name() == word) else {
            let known = Purpose::ALL.map(Purpose::name).join(", ");
            return Err(Diagnostic::new(Code::UnknownName, format!("a tensor is not for `{word}`"))
                .at(at)
                .help(format!("it is one of {known}")));
        };
        if self.program.tensors.len() >= MAX_TENSORS {
            return Err(Diagnostic::new(Code::StreamTooLong, format!("more than {MAX_TENSORS} tensors")).at(span));
        }
        self.tensors.insert(name, self.program.tensors.len() as u16);
        self.program.tensors.push(Tensor { name: name.to_string(), dtype, shape, purpose, span: Some(span) });
        Ok(())
    }

    pub(super) fn dtype(&mut self) -> Result<DType, Diagnostic> {
        let span = self.span();
        let name = self.name("a type")?;
        DType::from_name(name).ok_or_else(|| {
            Diagnostic::new(Code::UnknownType, format!("no type is called `{name}`"))
                .at(span)
                .help(DType::ALL.iter().map(|d| d.name()).collect::<Vec<_>>().join(", "))
        })
    }

    /// `{ statements }` of a core. What another core's have set is not known here.
    fn section(&mut self) -> Result<Vec<Statement>, Diagnostic> {
        let before = self.visible.clone();
        let body = self.block(0);
        self.visible = before;
        body
    }

    fn block(&mut self, depth: usize) -> Result<Vec<Statement>, Diagnostic> {
        let span = self.span();
        self.expect("{")?;
        if depth > MAX_NESTING {
            let message = format!("loops and conditions nest deeper than {MAX_NESTING}");
            return Err(self.pass_block(Diagnostic::new(Code::NestingTooDeep, message).at(span)));
        }
        let mut statements = Vec::new();
        loop {
            self.skip_lines();
            if self.takes("}") {
                return Ok(statements);
            }
            if self.peek() == Token::End {
                let diagnostic = Diagnostic::new(Code::UnexpectedEnd, "a block is not closed").at(self.span());
                return Err(diagnostic.label(span, "it starts here").help("add `}`"));
            }
            self.statements += 1;
            if self.statements > MAX_STATEMENTS {
                let message = format!("more than {MAX_STATEMENTS} statements");
                return Err(self.pass_block(Diagnostic::new(Code::StreamTooLong, message).at(self.span())));
            }
            match self.statement(depth) {
                Ok(statement) => statements.push(statement),
                Err(error) => self.recover(error),
            }
        }
    }

    /// Goes to the end of the text: what comes cannot be told apart.
    fn pass_block(&mut self, error: Diagnostic) -> Diagnostic {
        self.at = self.tokens.len() - 1;
        error
    }

    fn statement(&mut self, depth: usize) -> Result<Statement, Diagnostic> {
        let span = self.span();
        let word = self.name("an instruction, `let`, `for` or `if`")?;
        let statement = match word {
            "let" => {
                let slot = self.declare("a name")?;
                self.not_a_param(slot, span)?;
                self.expect("=")?;
                Statement::Let(slot, self.expr()?)
            }
            "for" => self.loop_(depth, span)?,
            "if" => self.condition(depth)?,
            _ => Statement::Instruction(self.instruction(word, span)?),
        };
        if self.peek() != Token::Sign("}") {
            self.end_of_line()?;
        }
        Ok(statement)
    }

    /// Parameters keep their value.
    fn not_a_param(&self, slot: Slot, span: Span) -> Result<(), Diagnostic> {
        if self.program.params.iter().all(|p| p.slot != slot) {
            return Ok(());
        }
        let name = &self.program.variables[usize::from(slot)];
        Err(taken(name, "a parameter").at(span))
    }

    fn loop_(&mut self, depth: usize, span: Span) -> Result<Statement, Diagnostic> {
        let slot = self.declare("a name")?;
        self.not_a_param(slot, span)?;
        if self.name("`in`")? != "in" {
            return Err(Diagnostic::new(Code::UnexpectedToken, "expected `in`").at(span).help(LOOP));
        }
        let from = self.expr()?;
        if self.take() != Token::Dots {
            let message = "expected `..` between the bounds of a loop";
            return Err(Diagnostic::new(Code::UnexpectedToken, message).at(span).help(LOOP));
        }
        let to = self.expr()?;
        let step = match self.peek() {
            Token::Name("step") => {
                self.take();
                self.expr()?
            }
            _ => Expr::from(1),
        };
        let body = self.block(depth + 1)?;
        Ok(Statement::For { slot, from, to, step, body })
    }

    fn condition(&mut self, depth: usize) -> Result<Statement, Diagnostic> {
        let value = self.expr()?;
        let then = self.block(depth + 1)?;
        let other = match self.peek() {
            Token::Name("else") => {
                self.take();
                self.block(depth + 1)?
            }
            _ => Vec::new(),
        };
        Ok(Statement::If { value, then, other })
    }
}

/// Names that no variable and no tensor may have.
fn is_reserved(name: &str) -> bool {
    BUILT_IN_VARIABLES.contains(&name) || Space::ALL.iter().any(|s| s.name() == name)
}

fn taken(name: &str, what: &str) -> Diagnostic {
    Diagnostic::new(Code::DuplicateName, format!("`{name}` is {what}")).help("take another name")
}
