//! Charts as SVG text: bars over names, lines and steps over numbers, a legend. Owns size, colours
//! and letters; what is drawn is the caller's. The same chart gives the same bytes everywhere.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
/// Title and two lines of legend.
const TOP: f64 = 80.0;
const BOTTOM: f64 = 52.0;

const FONT: &str = r#"font-family="sans-serif" font-size="12""#;

/// Most points of a line that are marked.
const MARKED: usize = 20;

/// Okabe and Ito's colours, which most eyes can tell apart.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// A chart.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// Above it.
    pub(crate) title: String,
    /// From left to right.
    pub(crate) x: Across,
    /// From bottom to top.
    pub(crate) y: Axis,
    /// What is drawn, each in a colour of its own.
    pub(crate) series: Vec<Series>,
}

/// What a chart runs over.
#[derive(Clone, Debug)]
pub(crate) enum Across {
    /// Names; series are bars, a value each.
    Names(Vec<String>),
    /// Numbers; series are lines.
    Numbers(Axis),
}

/// An axis of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// What the numbers are, with their unit.
    pub(crate) label: String,
    /// Both ends; positive where `logarithmic`.
    pub(crate) range: (f64, f64),
    /// Whether equal factors have equal distances.
    pub(crate) logarithmic: bool,
}

/// One set of values.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// In the legend.
    pub(crate) name: String,
    /// Places and values; over names, a place is an index.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Axis {
    /// Where a value lies: 0 at the low end, 1 at the high one; values beyond are put there.
    fn place(&self, value: f64) -> f64 {
        let scale = |v: f64| if self.logarithmic { v.max(f64::MIN_POSITIVE).log10() } else { v };
        let (low, high) = (scale(self.range.0), scale(self.range.1));
        ((scale(value) - low) / (high - low)).clamp(0.0, 1.0)
    }

    /// Values to write at the axis: powers of ten, or about six round numbers.
    fn ticks(&self) -> Vec<f64> {
        let (low, high) = self.range;
        if self.logarithmic {
            let (first, last) = (low.log10().ceil() as i32, high.log10().floor() as i32);
            return (first..=last).map(|e| 10f64.powi(e)).collect();
        }
        let rough = (high - low) / 6.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = power * [1.0, 2.0, 5.0].into_iter().find(|s| s * power >= rough).unwrap_or(10.0);
        // An end that is a tick stays one, whatever the quotient rounds to.
        let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
        (first..=last).map(|i| i as f64 * step).collect()
    }
}

impl Chart {
    /// The chart as an SVG document.
    pub(crate) fn svg(&self) -> String {
        let mut out = Out(String::new());
        out.line(format_args!(r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>"#));
        out.line(format_args!("<title>{}</title>", escape(&self.title)));
        out.line(format_args!(r#"<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>"#));
        out.text(WIDTH / 2.0, 20.0, "middle", 15.0, &self.title);
        self.legend(&mut out);
        self.rules(&mut out);
        for (i, series) in self.series.iter().enumerate() {
            match &self.x {
                Across::Names(names) => self.bars(&mut out, names.len(), i, series),
                Across::Numbers(axis) => self.polyline(&mut out, axis, i, series),
            }
        }
        out.line(format_args!(
            r#"<path d="M{LEFT} {TOP}V{}H{}" fill="none" stroke="black"/>"#,
            HEIGHT - BOTTOM,
            WIDTH - RIGHT
        ));
        out.line(format_args!("</svg>"));
        out.0
    }

    /// In as many lines as it takes, each in the middle.
    fn legend(&self, out: &mut Out) {
        // Letters are about 6.6 wide at this size; a legend needs no more precision.
        let width = |s: &Series| 30.0 + 6.6 * s.name.chars().count() as f64;
        let mut lines: Vec<Vec<usize>> = vec![Vec::new()];
        let mut taken = 0.0;
        for (i, series) in self.series.iter().enumerate() {
            if taken + width(series) > WIDTH - LEFT && taken > 0.0 {
                lines.push(Vec::new());
                taken = 0.0;
            }
            taken += width(series);
            lines.last_mut().into_iter().for_each(|line| line.push(i));
        }
        for (y, line) in (0..).map(|i| 46.0 + 18.0 * f64::from(i)).zip(lines) {
            let mut x = (WIDTH - line.iter().map(|i| width(&self.series[*i])).sum::<f64>()) / 2.0;
            for i in line {
                let (top, colour) = (y - 10.0, colour(i));
                out.line(format_args!(r#"<rect x="{x:.1}" y="{top}" width="12" height="12" fill="{colour}"/>"#));
                out.text(x + 16.0, y, "start", 12.0, &self.series[i].name);
                x += width(&self.series[i]);
            }
        }
    }

    /// Ticks, their values, the lines across, and the labels.
    fn rules(&self, out: &mut Out) {
        for tick in self.y.ticks() {
            let y = height(self.y.place(tick));
            out.line(format_args!(r##"<path d="M{LEFT} {y:.1}H{}" stroke="#dddddd"/>"##, WIDTH - RIGHT));
            out.text(LEFT - 6.0, y + 4.0, "end", 12.0, &number(tick));
        }
        let below = HEIGHT - BOTTOM + 18.0;
        let label = match &self.x {
            Across::Names(names) => {
                let slot = (WIDTH - LEFT - RIGHT) / names.len() as f64;
                for (i, name) in names.iter().enumerate() {
                    out.text(LEFT + (i as f64 + 0.5) * slot, below, "middle", 12.0, name);
                }
                ""
            }
            Across::Numbers(axis) => {
                for tick in axis.ticks() {
                    out.text(across(axis.place(tick)), below, "middle", 12.0, &number(tick));
                }
                &axis.label
            }
        };
        out.text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12.0, "middle", 12.0, label);
        let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
        let text = escape(&self.y.label);
        out.line(format_args!(
            r#"<text transform="translate(16 {middle:.1}) rotate(-90)" text-anchor="middle">{text}</text>"#
        ));
    }

    fn bars(&self, out: &mut Out, names: usize, index: usize, series: &Series) {
        let slot = (WIDTH - LEFT - RIGHT) / names as f64;
        let width = 0.8 * slot / self.series.len() as f64;
        for (place, value) in &series.points {
            let x = LEFT + (place + 0.1) * slot + index as f64 * width;
            let y = height(self.y.place(*value));
            let (tall, colour) = (HEIGHT - BOTTOM - y, colour(index));
            out.line(format_args!(
                r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{tall:.1}" fill="{colour}"/>"#
            ));
        }
    }

    fn polyline(&self, out: &mut Out, axis: &Axis, index: usize, series: &Series) {
        let place = |(x, y): &(f64, f64)| (across(axis.place(*x)), height(self.y.place(*y)));
        let places: Vec<(f64, f64)> = series.points.iter().map(place).collect();
        let (points, colour) = (places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")), colour(index));
        let points = points.collect::<Vec<_>>().join(" ");
        out.line(format_args!(r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>"#));
        // Where there are few points, each is marked: what lies between them was not looked at.
        for (x, y) in places.iter().filter(|_| places.len() <= MARKED) {
            out.line(format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#));
        }
    }
}

/// Text that grows line by line. Writing to a string cannot fail.
struct Out(String);

impl Out {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.0, "{line}");
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, size: f64, text: &str) {
        let text = escape(text);
        self.line(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}">{text}</text>"#
        ));
    }
}

fn across(place: f64) -> f64 {
    LEFT + place * (WIDTH - LEFT - RIGHT)
}

fn height(place: f64) -> f64 {
    HEIGHT - BOTTOM - place * (HEIGHT - BOTTOM - TOP)
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// A tick's value: as short as it can be read.
fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-3..1e5).contains(&magnitude) {
        return format!("{value:e}");
    }
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text as XML has it.
fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            // XML 1.0 has no way to write other control characters.
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(low: f64, high: f64, logarithmic: bool) -> Axis {
        Axis { label: "y".into(), range: (low, high), logarithmic }
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a < b & \"c\" > d\n"), "a &lt; b &amp; &quot;c&quot; &gt; d ");
        let series = Series { name: "<&>".into(), points: vec![(0.0, 1.0)] };
        let names = Across::Names(vec!["<i>".into()]);
        let svg = Chart { title: "1 < 2".into(), x: names, y: axis(0.0, 2.0, false), series: vec![series] }.svg();
        assert!(svg.contains("1 &lt; 2") && svg.contains("&lt;&amp;&gt;") && svg.contains("&lt;i&gt;"));
        assert!(!svg.contains("<i>"));
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(axis(0.0, 8.0, false).ticks(), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(axis(0.5, 1.4, false).ticks().len(), 5);
        assert_eq!(axis(2e-3, 20.0, true).ticks(), [0.01, 0.1, 1.0, 10.0]);
        assert_eq!([0.0, 0.25, 12.0, 1e-5, 1e6].map(number), ["0", "0.25", "12", "1e-5", "1e6"]);
    }

    #[test]
    fn a_long_legend_takes_two_lines() {
        let series = |i: usize| Series { name: format!("a name of twenty-four {i:02}"), points: Vec::new() };
        let x = Across::Numbers(axis(0.0, 1.0, false));
        let svg =
            Chart { title: String::new(), x, y: axis(0.0, 1.0, false), series: (0..5).map(series).collect() }.svg();
        let keys: Vec<(f64, f64)> = svg
            .lines()
            .filter_map(|line| line.strip_prefix("<rect x=\"")?.split_once("\" y=\""))
            .filter_map(|(x, rest)| Some((x.parse().ok()?, rest.split('"').next()?.parse().ok()?)))
            .collect();
        assert_eq!(keys.iter().map(|k| k.1).collect::<Vec<_>>(), [36.0, 36.0, 36.0, 54.0, 54.0]);
        assert!(keys.iter().all(|k| k.0 > 0.0 && k.0 < WIDTH && k.1 + 12.0 < TOP), "{keys:?}");
    }

    #[test]
    fn values_keep_within_the_chart() {
        let y = axis(1e-3, 1.0, true);
        assert_eq!([y.place(1e-9), y.place(0.0), y.place(2.0)], [0.0, 0.0, 1.0]);
        assert!((y.place(1e-1) - 2.0 / 3.0).abs() < 1e-12);
    }
}
