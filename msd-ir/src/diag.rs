//! Diagnostics: every code the project can report is declared once, in the table below.
//! This module owns codes, texts and places; drawing them belongs to the command line and the macros.

use std::fmt;

use crate::span::Span;

macro_rules! codes {
    ($($variant:ident $code:literal $title:literal;)*) => {
        /// What went wrong. The code string is stable; the title names the kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $title] $variant,)* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The stable code, such as `E0301`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code,)* }
            }

            /// The kind of fault in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }
        }
    };
}

codes! {
    // Text: lexer and parser.
    InvalidUtf8        "E0101" "the file is not UTF-8";
    InvalidToken       "E0102" "no token starts here";
    UnexpectedToken    "E0103" "unexpected token";
    UnexpectedEnd      "E0104" "unexpected end of file";
    NestingTooDeep     "E0105" "brackets nest too deeply";
    InvalidNumber      "E0106" "number out of range";
    EmptyFile          "E0107" "the file holds no kernel";
    StrayText          "E0108" "text outside a kernel";
    // Names.
    UnknownName        "E0201" "unknown name";
    UnknownFunction    "E0202" "unknown function";
    UnknownType        "E0203" "unknown element type";
    DuplicateName      "E0204" "name defined twice";
    DuplicateKernel    "E0205" "kernel defined twice";
    UnknownKernel      "E0206" "unknown kernel";
    UnknownDimension   "E0207" "dimension that no parameter fixes";
    NameIsDimension    "E0208" "name is both a value and a dimension";
    TupleMismatch      "E0209" "tuple of the wrong length";
    // Types and shapes.
    WrongArity         "E0301" "wrong number of arguments";
    ShapeMismatch      "E0302" "shapes do not agree";
    RankTooLow         "E0303" "too few dimensions";
    WrongType          "E0304" "operand of the wrong type";
    NotDequantized     "E0305" "quantized tensor used without dequant";
    NothingToDequant   "E0306" "dequant of a tensor without a scale";
    AxisOutOfRange     "E0307" "axis out of range";
    BadSlice           "E0308" "slice out of range";
    ReshapeSize        "E0309" "reshape changes the number of elements";
    ResultMismatch     "E0310" "result does not have the declared type";
    BadArgument        "E0311" "argument of the wrong kind";
    DimensionTooComplex "E0312" "dimension expression too complex";
    // Quantized types.
    ScaleDimension     "E0401" "scale dimension matches no dimension of the tensor";
    ScaleAmbiguous     "E0402" "scale dimension matches several dimensions";
    ScaleType          "E0403" "scale or zero point of the wrong element type";
    ScaleUnexpected    "E0404" "type cannot carry this scale";
    // Attributes and plans.
    UnknownAttribute   "E0501" "unknown attribute";
    BadAttribute       "E0502" "attribute value out of range";
    UnknownScheme      "E0503" "unknown decomposition scheme";
    DuplicateAttribute "E0504" "attribute given twice";
    ToleranceUnmet     "E0505" "no scheme meets the tolerance";
    // Inputs of a run.
    MissingInput       "E0601" "missing input";
    UnknownInput       "E0602" "input for no parameter";
    InputType          "E0603" "input of the wrong element type";
    InputShape         "E0604" "input of the wrong shape";
    DimensionConflict  "E0605" "dimension has two sizes";
    DimensionUnset     "E0606" "dimension has no size";
    Indivisible        "E0607" "dimension does not divide";
    DimensionRange     "E0608" "dimension out of range";
    ScaleNotFinite     "E0609" "scale is not finite";
    CodeOutOfRange     "E0610" "code outside its type";
    TooLarge           "E0612" "tensor too large";
    OutputMismatch     "E0613" "output of the wrong type or shape";
    ValueNotFinite     "E0614" "value is not finite";
    // Files.
    FileUnreadable     "E0701" "file cannot be read";
    FileUnwritable     "E0702" "file cannot be written";
    FileMalformed      "E0703" "file is malformed";
    TensorNotFound     "E0704" "tensor not in the file";
    // Command line and machine.
    BadUsage           "E0801" "command line at fault";
    UnknownTarget      "E0802" "unknown target";
    IsaUnavailable     "E0803" "this machine lacks the instruction set";
    // Rust front end.
    NotASignature      "E1001" "a Rust function that is no kernel";
    NotInTheLanguage   "E1002" "Rust that is not in the language of kernels";
    // NPU: chips and streams.
    BadChip            "E1101" "chip at fault";
    UnknownInstruction "E1102" "unknown instruction";
    BadOperand         "E1103" "operand of the wrong kind or out of range";
    NotOnChip          "E1104" "the chip cannot do this";
    OutOfMemory        "E1105" "operand beyond its memory";
    Misaligned         "E1106" "operand not aligned";
    NoValue            "E1107" "expression without a value";
    StreamTooLong      "E1108" "stream too long";
    FlagSetTwice       "E1109" "flag set while it may be set";
    FlagLeft           "E1110" "flag never waited for";
    Deadlock           "E1111" "cores wait for ever";
    Race               "E1112" "access not ordered after another";
    Uninitialized      "E1113" "bytes that nothing wrote";
    AccumulatorRange   "E1114" "accumulator leaves its type";
    CounterShared      "E1115" "counter with two users";
    // Ours.
    Internal           "E0901" "fault of msd itself";
}

/// A second place that explains the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What stands there.
    pub text: String,
}

/// One fault: code, message, place and help. Always an error; msd has no warnings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The kind of fault.
    pub code: Code,
    /// The fault in this instance, naming what it is about.
    pub message: String,
    /// Place in the source text, if the fault has one.
    pub span: Option<Span>,
    /// Short text under the underline.
    pub here: Option<String>,
    /// Further places.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A fault without a place yet.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Diagnostic { code, message: message.into(), span: None, here: None, labels: Vec::new(), help: None }
    }

    /// Sets the place, unless a more precise one is set already.
    pub fn at(mut self, span: Span) -> Self {
        self.span.get_or_insert(span);
        self
    }

    /// Sets the place if it is known: what a program wrote itself has none.
    pub fn at_known(self, span: Option<Span>) -> Self {
        match span {
            Some(span) => self.at(span),
            None => self,
        }
    }

    /// Sets the text under the underline.
    pub fn here(mut self, text: impl Into<String>) -> Self {
        self.here = Some(text.into());
        self
    }

    /// Adds a second place.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Says what to do.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code.as_str(), self.message)?;
        if let Some(help) = &self.help {
            write!(f, " (help: {help})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}
