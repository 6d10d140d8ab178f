//! Expressions and the operands of instructions, as the table says.

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dtype::DType;
use msd_ir::span::Span;

use super::lexer::Token;
use super::parser::Parser;
use crate::expr::{Binary, Expr, MAX_STEPS};
use crate::isa::memory::{Pipe, Space};
use crate::isa::{Kind, Op, Operand, Types};
use crate::program::{Arg, Instruction, PlaceExpr};

/// Brackets within each other.
const MAX_BRACKETS: usize = 32;

/// Signs by how tightly they bind.
const LEVELS: [&[Binary]; 3] = [
    &[Binary::Lt, Binary::Le, Binary::Eq, Binary::Ne],
    &[Binary::Add, Binary::Sub],
    &[Binary::Mul, Binary::Div, Binary::Rem],
];

impl<'a> Parser<'a> {
    /// An expression.
    pub(super) fn expr(&mut self) -> Result<Expr, Diagnostic> {
        let span = self.span();
        let expr = self.level(0, 0)?;
        if expr.len() > MAX_STEPS {
            let message = format!("an expression of more than {MAX_STEPS} steps");
            return Err(Diagnostic::new(Code::StreamTooLong, message).at(span).help("bind parts of it with `let`"));
        }
        Ok(expr)
    }

    fn level(&mut self, level: usize, brackets: usize) -> Result<Expr, Diagnostic> {
        let Some(signs) = LEVELS.get(level) else { return self.factor(brackets) };
        let mut left = self.level(level + 1, brackets)?;
        loop {
            let Token::Sign(sign) = self.peek() else { return Ok(left) };
            let Some(binary) = signs.iter().find(|b| b.sign() == Some(sign)) else { return Ok(left) };
            if left.len() > MAX_STEPS {
                return Ok(left);
            }
            self.take();
            let right = self.level(level + 1, brackets)?;
            left = Expr::binary(*binary, left, right);
            if level == 0 {
                return Ok(left);
            }
        }
    }

    fn factor(&mut self, brackets: usize) -> Result<Expr, Diagnostic> {
        let span = self.span();
        if brackets > MAX_BRACKETS {
            let message = format!("brackets nest deeper than {MAX_BRACKETS}");
            return Err(Diagnostic::new(Code::NestingTooDeep, message).at(span));
        }
        if self.takes("-") {
            let value = self.factor(brackets + 1)?;
            return Ok(Expr::binary(Binary::Sub, Expr::from(0), value));
        }
        if self.takes("(") {
            let inner = self.level(0, brackets + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if let Token::Integer(digits) = self.peek() {
            self.take();
            let number = digits.parse::<i64>();
            return number.map(Expr::from).map_err(|_| {
                Diagnostic::new(Code::InvalidNumber, format!("{digits} does not fit 64 bits"))
                    .at(span)
                    .help("offsets and extents are integers of 64 bits")
            });
        }
        let name = self.name("an expression")?;
        let call = match name {
            "min" => Some(Binary::Min),
            "max" => Some(Binary::Max),
            _ => None,
        };
        if let Some(binary) = call {
            self.expect("(")?;
            let a = self.level(0, brackets + 1)?;
            self.expect(",")?;
            let b = self.level(0, brackets + 1)?;
            self.expect(")")?;
            return Ok(Expr::binary(binary, a, b));
        }
        match self.slots.get(name).filter(|_| self.visible.contains(name)) {
            Some(slot) => Ok(Expr::variable(*slot)),
            None => {
                let names = self.program.variables.iter().filter(|v| self.visible.contains(v.as_str())).take(20);
                let known = names.cloned().collect::<Vec<_>>().join(", ");
                Err(Diagnostic::new(Code::UnknownName, format!("no variable is called `{name}`"))
                    .at(span)
                    .help(format!("there are {known}")))
            }
        }
    }

    /// The rest of an instruction whose first word is `word`.
    pub(super) fn instruction(&mut self, word: &str, span: Span) -> Result<Instruction, Diagnostic> {
        let Some(op) = Op::named(word) else {
            let like: Vec<&str> = Op::ALL
                .iter()
                .map(|op| op.spec().mnemonic)
                .filter(|m| m.chars().next() == word.chars().next())
                .collect();
            return Err(Diagnostic::new(Code::UnknownInstruction, format!("no instruction is called `{word}`"))
                .at(span)
                .help(format!("docs/isa.md lists them; some are {}", like.join(", "))));
        };
        let types = self.types(op, span)?;
        let args = self.args(op)?;
        let note = match self.peek() {
            Token::Comment(text) => Some(text.to_string()).filter(|t| !t.is_empty()),
            _ => None,
        };
        Ok(Instruction { op, types, args, note, span: Some(span) })
    }

    fn types(&mut self, op: Op, span: Span) -> Result<[Option<DType>; 2], Diagnostic> {
        let mut types = [None; 2];
        let mut count = 0;
        while self.takes(".") {
            let dtype = self.dtype()?;
            if let Some(slot) = types.get_mut(count) {
                *slot = Some(dtype);
            }
            count += 1;
        }
        let spec = op.spec();
        if count <= types.len() && spec.types.allow(types) {
            return Ok(types);
        }
        let list = |names: Vec<String>| format!("one of {}", names.join(", "));
        let wanted = match spec.types {
            Types::None => "no type".to_string(),
            Types::One(types) => list(types.iter().map(|d| d.name().to_string()).collect()),
            Types::Pair(types) => list(types.iter().map(|(a, b)| format!("{}.{}", a.name(), b.name())).collect()),
            Types::Scaled | Types::Cast => "two types".to_string(),
        };
        Err(Diagnostic::new(Code::BadOperand, format!("`{}` is not for these types", spec.mnemonic))
            .at(span)
            .help(format!("it takes {wanted}, written behind its name with dots")))
    }

    fn args(&mut self, op: Op) -> Result<Vec<Arg>, Diagnostic> {
        let operands = op.spec().operands;
        let mut args: Vec<Option<Arg>> = vec![None; operands.len()];
        let ends = |token: Token<'_>| matches!(token, Token::Line | Token::End | Token::Comment(_) | Token::Sign("}"));
        let mut first = true;
        while !ends(self.peek()) {
            if !first {
                self.expect(",")?;
            }
            first = false;
            let span = self.span();
            let named = match self.peek() {
                Token::Name(name) => operands.iter().position(|o| o.name == name && !positional(o)),
                _ => None,
            };
            let index = named.or_else(|| (0..operands.len()).find(|i| positional(&operands[*i]) && args[*i].is_none()));
            let Some(index) = index.filter(|i| args[*i].is_none()) else {
                return Err(Diagnostic::new(Code::BadOperand, "an operand too many").at(span).help(form(op)));
            };
            if named.is_some() {
                self.take();
                self.expect("=")?;
            }
            args[index] = Some(self.arg(&operands[index], op)?);
        }
        let span = self.span();
        let filled = operands.iter().zip(args).map(|(operand, arg)| arg.or_else(|| unsaid(operand)).ok_or(operand));
        filled.collect::<Result<Vec<Arg>, &Operand>>().map_err(|operand| {
            let name = op.spec().mnemonic;
            Diagnostic::new(Code::BadOperand, format!("`{name}` lacks its operand `{}`", operand.name))
                .at(span)
                .help(form(op))
        })
    }

    fn arg(&mut self, operand: &Operand, op: Op) -> Result<Arg, Diagnostic> {
        let span = self.span();
        match operand.kind {
            Kind::Place { spaces, .. } => self.place(spaces, operand, op),
            Kind::Int(..) | Kind::Id => self.expr().map(Arg::Int),
            Kind::Float(_) => self.float().map(Arg::Float),
            Kind::Pipe => {
                let name = self.name("a pipe")?;
                let pipe = Pipe::ALL.into_iter().find(|p| p.name() == name);
                pipe.map(Arg::Pipe).ok_or_else(|| {
                    let known = Pipe::ALL.map(Pipe::name).join(", ");
                    Diagnostic::new(Code::UnknownName, format!("no pipe is called `{name}`"))
                        .at(span)
                        .help(format!("there are {known}"))
                })
            }
            Kind::Word(words) => {
                let name = self.name("a word")?;
                let index = words.iter().position(|w| *w == name);
                index.map(|i| Arg::Word(i as u8)).ok_or_else(|| {
                    Diagnostic::new(Code::BadOperand, format!("`{}` is not `{name}`", operand.name))
                        .at(span)
                        .help(format!("it is one of {}", words.join(", ")))
                })
            }
        }
    }

    fn float(&mut self) -> Result<f32, Diagnostic> {
        let span = self.span();
        let sign = if self.takes("-") { -1.0 } else { 1.0 };
        let text = match self.peek() {
            Token::Integer(text) | Token::Decimal(text) | Token::Name(text) => text,
            _ => return Err(self.unexpected("a number")),
        };
        self.take();
        let number = text.parse::<f32>();
        number.map(|n| sign * n).map_err(|_| {
            Diagnostic::new(Code::InvalidNumber, format!("`{text}` is no number")).at(span).help("such as 0.5")
        })
    }

    fn place(&mut self, spaces: &[Space], operand: &Operand, op: Op) -> Result<Arg, Diagnostic> {
        let span = self.span();
        let name = self.name("a memory or a tensor")?;
        let on_chip = Space::ALL.into_iter().find(|s| *s != Space::Gm && s.name() == name);
        let (space, tensor) = match (on_chip, self.tensors.get(name)) {
            (Some(space), _) => (space, 0),
            (None, Some(tensor)) => (Space::Gm, *tensor),
            (None, None) => {
                return Err(Diagnostic::new(Code::UnknownName, format!("`{name}` is no memory and no tensor"))
                    .at(span)
                    .help("a tensor is declared with `tensor`; memories are L1, L0A, L0B, L0C, L0AS, L0BS and UB"));
            }
        };
        if !spaces.contains(&space) {
            let known: Vec<&str> = spaces.iter().map(|s| s.name()).collect();
            let message = format!("`{}` of `{}` does not lie in {}", operand.name, op.spec().mnemonic, space.name());
            return Err(Diagnostic::new(Code::BadOperand, message)
                .at(span)
                .help(format!("it lies in {}", known.join(" or "))));
        }
        self.expect("[")?;
        let offset = self.expr()?;
        let (mut row, mut block) = (None, None);
        loop {
            match self.peek() {
                Token::Name("row") if row.is_none() => {
                    self.take();
                    row = Some(self.expr()?);
                }
                Token::Name("block") if block.is_none() => {
                    self.take();
                    block = Some(self.expr()?);
                }
                _ => break,
            }
        }
        self.expect("]")?;
        Ok(Arg::Place(PlaceExpr { space, tensor, offset, row, block }))
    }
}

/// Whether an operand is told by its place and not by its name.
fn positional(operand: &Operand) -> bool {
    matches!(operand.kind, Kind::Place { .. } | Kind::Pipe | Kind::Id)
}

/// What an operand is if it is not said.
pub(crate) fn unsaid(operand: &Operand) -> Option<Arg> {
    match operand.kind {
        Kind::Int(_, _, value) => value.map(|v| Arg::Int(Expr::from(v))),
        Kind::Float(value) => Some(Arg::Float(value)),
        Kind::Word(_) => Some(Arg::Word(0)),
        Kind::Place { .. } | Kind::Pipe | Kind::Id => None,
    }
}

/// How an instruction is written, for help and reference.
pub(crate) fn form(op: Op) -> String {
    let spec = op.spec();
    let types = match spec.types {
        Types::None => "",
        Types::One(_) => ".T",
        Types::Pair(_) | Types::Scaled | Types::Cast => ".T.U",
    };
    let operands = spec.operands.iter().map(|operand| match operand.kind {
        Kind::Place { .. } => format!("{}[..]", operand.name),
        Kind::Pipe | Kind::Id => operand.name.to_string(),
        Kind::Int(_, _, None) => format!("{}=..", operand.name),
        Kind::Int(_, _, Some(_)) | Kind::Float(_) | Kind::Word(_) => format!("[{}=..]", operand.name),
    });
    format!("{}{types} {}", spec.mnemonic, operands.collect::<Vec<_>>().join(", ")).trim_end().to_string()
}
