//! What `-i` and `-D` say. Owns the forms alone: whether a kernel has such a parameter, and a file
//! such a tensor, is found out by [`super::resolve`].
//!
//! ```text
//! -i NAME=SOURCE   -i NAME.scale=SOURCE   -i NAME.zero=SOURCE   -i @file.safetensors
//! SOURCE: @file.npy  @file.safetensors#tensor  randn:SEED[:STD]  uniform:SEED[:LO:HI]  const:V
//! -D NAME=SIZE,NAME=SIZE   -D NAME=SIZE,SIZE,SIZE
//! ```

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use msd::grammar::nearest::nearest;
use msd::ir::dim::MAX_SIZE;

/// One `-i`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum InputFlag {
    /// One tensor.
    One {
        /// The parameter.
        name: String,
        /// Which of its tensors.
        part: Part,
        /// Where it comes from.
        source: Source,
    },
    /// Every tensor of a safetensors file that has the name of a parameter.
    All(PathBuf),
}

/// One of the tensors of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The tensor itself; the codes of a quantized one.
    Value,
    /// The scale of a quantized one.
    Scale,
    /// Its zero point.
    Zero,
}

/// Where a tensor comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    /// `@file.npy`
    Npy(PathBuf),
    /// `@file.safetensors#tensor`
    Safetensors {
        /// The file.
        path: PathBuf,
        /// The tensor's name in it.
        tensor: String,
    },
    /// Values drawn or given.
    Values(Values),
}

/// Values without a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Values {
    /// `randn:SEED[:STD]`: normal with mean 0.
    Normal {
        /// Which sequence.
        seed: u64,
        /// Standard deviation.
        std: f64,
    },
    /// `uniform:SEED[:LO:HI]`: uniform over `low..high`.
    Uniform {
        /// Which sequence.
        seed: u64,
        /// The bounds; 0 and 1 for float tensors where none are given.
        bounds: Option<(f64, f64)>,
    },
    /// `const:V`: the same everywhere.
    Constant(f64),
}

/// One `-D`: names and their sizes; only a flag of one name may list several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DimFlag {
    /// Names, each with at least one size.
    pub(crate) sizes: Vec<(String, Vec<u64>)>,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Value => "",
            Part::Scale => ".scale",
            Part::Zero => ".zero",
        })
    }
}

impl FromStr for InputFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix('@') {
            return match path.rsplit_once('#') {
                Some((_, tensor)) if is_safetensors(path) || path.contains(".safetensors#") => {
                    Err(format!("`{text}` names one tensor but no parameter: write `{tensor}={text}`"))
                }
                _ if is_safetensors(path) => Ok(InputFlag::All(path.into())),
                _ => Err(format!("`{text}` names no parameter: write `NAME={text}`")),
            };
        }
        let Some((target, source)) = text.split_once('=') else {
            return Err("expected NAME=SOURCE, such as `X=@x.npy` or `X=randn:1`".into());
        };
        let (name, part) = match target.split_once('.') {
            None => (target, Part::Value),
            Some((name, "scale")) => (name, Part::Scale),
            Some((name, "zero")) => (name, Part::Zero),
            Some((name, other)) => {
                return Err(format!("`{other}` is no part of `{name}`: write `{name}.scale` or `{name}.zero`"));
            }
        };
        if name.is_empty() {
            return Err("a parameter's name stands before `=`".into());
        }
        Ok(InputFlag::One { name: name.into(), part, source: source.parse()? })
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(file) = text.strip_prefix('@') {
            return file_source(file);
        }
        let fields: Vec<&str> = text.split(':').collect();
        let values = match fields.as_slice() {
            ["randn", seed] => Values::Normal { seed: whole(seed, "SEED")?, std: 1.0 },
            ["randn", seed, std] => match number(std, "STD")? {
                std if std >= 0.0 => Values::Normal { seed: whole(seed, "SEED")?, std },
                _ => return Err("STD is negative".into()),
            },
            ["uniform", seed] => Values::Uniform { seed: whole(seed, "SEED")?, bounds: None },
            ["uniform", seed, low, high] => match (number(low, "LO")?, number(high, "HI")?) {
                (low, high) if low <= high => Values::Uniform { seed: whole(seed, "SEED")?, bounds: Some((low, high)) },
                _ => return Err("LO is greater than HI".into()),
            },
            ["const", value] => Values::Constant(number(value, "V")?),
            ["randn", ..] => return Err("expected randn:SEED or randn:SEED:STD".into()),
            ["uniform", ..] => return Err("expected uniform:SEED or uniform:SEED:LO:HI".into()),
            ["const", ..] => return Err("expected const:V".into()),
            _ => return Err(unknown_source(text, fields.first().copied().unwrap_or_default())),
        };
        Ok(Source::Values(values))
    }
}

fn file_source(file: &str) -> Result<Source, String> {
    const MARK: &str = ".safetensors#";
    if let Some(at) = file.find(MARK) {
        let (path, tensor) = file.split_at(at + MARK.len() - 1);
        let tensor = tensor.trim_start_matches('#');
        return match tensor {
            "" => Err("a tensor's name stands after `#`".into()),
            _ => Ok(Source::Safetensors { path: path.into(), tensor: tensor.into() }),
        };
    }
    if is_safetensors(file) {
        return Err(format!("which tensor? Write `@{file}#NAME`"));
    }
    match Path::new(file).extension().and_then(|e| e.to_str()) {
        Some(e) if e.eq_ignore_ascii_case("npy") => Ok(Source::Npy(file.into())),
        _ => Err(format!("`{file}` is neither `FILE.npy` nor `FILE.safetensors#TENSOR`")),
    }
}

fn is_safetensors(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"))
}

fn unknown_source(text: &str, word: &str) -> String {
    if text.ends_with(".npy") || text.contains(".safetensors") {
        return format!("`@` stands before a file: write `@{text}`");
    }
    match nearest(word, ["randn", "uniform", "const"]) {
        Some(near) => format!("unknown source `{word}`; did you mean `{near}`?"),
        None => format!(
            "unknown source `{word}`; sources are @FILE.npy, @FILE.safetensors#TENSOR, randn:SEED[:STD], \
             uniform:SEED[:LO:HI] and const:V"
        ),
    }
}

fn number(text: &str, what: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|v| v.is_finite());
    value.ok_or_else(|| format!("{what} is a finite number, not `{text}`"))
}

fn whole(text: &str, what: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{what} is a whole number from 0 to 2^64 - 1, not `{text}`"))
}

impl FromStr for DimFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut sizes: Vec<(String, Vec<u64>)> = Vec::new();
        for item in text.split(',') {
            match (item.split_once('='), sizes.last_mut()) {
                (Some((name, size)), _) if is_name(name) => sizes.push((name.into(), vec![dim_size(size)?])),
                (Some((name, _)), _) => return Err(format!("`{name}` cannot be the name of a dimension")),
                (None, Some((_, list))) => list.push(dim_size(item)?),
                (None, None) => return Err("expected NAME=SIZE, such as `N=4096,K=4096`".into()),
            }
        }
        if let (Some((name, _)), true) = (sizes.iter().find(|(_, list)| list.len() > 1), sizes.len() > 1) {
            return Err(format!("a list of sizes stands in its own flag: give `{name}` with a `-D` of its own"));
        }
        Ok(DimFlag { sizes })
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn dim_size(text: &str) -> Result<u64, String> {
    let size = text.parse::<u64>().ok().filter(|s| *s <= MAX_SIZE);
    size.ok_or_else(|| format!("a size is a whole number from 0 to 2^48, not `{text}`"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn one(text: &str) -> (String, Part, Source) {
        match text.parse().unwrap() {
            InputFlag::One { name, part, source } => (name, part, source),
            InputFlag::All(path) => unreachable!("{path:?}"),
        }
    }

    #[test]
    fn every_form_of_an_input() {
        let values = |text: &str| one(text).2;
        assert_eq!(one("W=@dir/w.npy"), ("W".into(), Part::Value, Source::Npy("dir/w.npy".into())));
        assert_eq!(one("W.scale=const:0.5").1, Part::Scale);
        assert_eq!(one("W.zero=const:128").1, Part::Zero);
        let tensor = Source::Safetensors { path: "a.safetensors".into(), tensor: "layer.0#w".into() };
        assert_eq!(values("W=@a.safetensors#layer.0#w"), tensor);
        assert_eq!(values("X=randn:7"), Source::Values(Values::Normal { seed: 7, std: 1.0 }));
        assert_eq!(values("X=randn:7:0.5"), Source::Values(Values::Normal { seed: 7, std: 0.5 }));
        assert_eq!(values("X=uniform:7"), Source::Values(Values::Uniform { seed: 7, bounds: None }));
        let bounds = Some((-1.5, 2.0));
        assert_eq!(values("X=uniform:7:-1.5:2"), Source::Values(Values::Uniform { seed: 7, bounds }));
        assert_eq!(values("X=const:-3"), Source::Values(Values::Constant(-3.0)));
        assert_eq!("@a=b.safetensors".parse(), Ok(InputFlag::All("a=b.safetensors".into())));
    }

    #[test]
    fn what_is_no_input_says_why() {
        let error = |text: &str| text.parse::<InputFlag>().unwrap_err();
        assert!(error("X").contains("NAME=SOURCE"));
        assert!(error("=randn:1").contains("name"));
        assert!(error("W.scal=randn:1").contains("W.scale"));
        assert!(error("X=rand:1").contains("did you mean `randn`?"));
        assert!(error("X=x.npy").contains("@x.npy"));
        assert!(error("X=@x.bin").contains("neither"));
        assert!(error("X=@x.safetensors").contains("@x.safetensors#NAME"));
        assert!(error("X=@x.safetensors#").contains("after `#`"));
        assert!(error("@x.npy").contains("NAME=@x.npy"));
        assert!(error("@x.safetensors#w").contains("w=@x.safetensors#w"));
        assert!(error("X=randn:-1").contains("SEED"));
        assert!(error("X=randn:1:nan").contains("STD"));
        assert!(error("X=randn:1:-1").contains("STD"));
        assert!(error("X=uniform:1:2:1").contains("greater"));
        assert!(error("X=uniform:1:2").contains("uniform:SEED:LO:HI"));
        assert!(error("X=const:inf").contains("finite"));
    }

    #[test]
    fn dimensions() {
        let flag = |text: &str| text.parse::<DimFlag>().map(|f| f.sizes);
        assert_eq!(flag("N=4096,K=0"), Ok(vec![("N".into(), vec![4096]), ("K".into(), vec![0])]));
        assert_eq!(flag("M=1,16,64"), Ok(vec![("M".into(), vec![1, 16, 64])]));
        assert!(flag("M=1,16,N=4").unwrap_err().contains("own flag"));
        assert!(flag("N=4,M=1,16").unwrap_err().contains("own flag"));
        assert!(flag("M=-1").unwrap_err().contains("2^48"));
        assert!(flag("M=281474976710657").unwrap_err().contains("2^48"));
        assert!(flag("m=1").unwrap_err().contains("`m`"));
        assert!(flag("4").is_err() && flag("").is_err() && flag("M=1,").is_err());
    }
}
