//! A chart as HTML: shapes in an SVG that is stretched to the width there is, labels over it that
//! keep their size, and the values for the few lines of script that show them under the pointer.

use std::fmt::Write as _;

use super::scale::Axis;

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// A line.
    Solid,
    /// A broken line.
    Dashed,
    /// A thin broken line that is no measurement: what was asked for, or hoped.
    Guide,
    /// A line with a dot at each value: there are few.
    Dotted,
    /// Rings and no line, around dots of another line that do not count as good.
    Rings,
}

impl Style {
    const fn class(self) -> &'static str {
        match self {
            Self::Solid => "solid",
            Self::Dashed => "dashed",
            Self::Guide => "guide",
            Self::Dotted => "dotted",
            Self::Rings => "rings",
        }
    }
}

/// Values that belong together.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) label: String,
    /// Which colour of the page, from 1 to [`TINTS`].
    pub(super) tint: usize,
    pub(super) style: Style,
    /// In the units of the axes.
    pub(super) points: Vec<(f64, f64)>,
}

/// How many colours a page has.
pub(super) const TINTS: usize = 6;

/// A chart and what is said about it.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    /// How to read it, in a sentence or two.
    pub(super) note: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// A value of the horizontal axis worth a mark, and what it is.
    pub(super) mark: Option<(f64, String)>,
    /// Over the whole width of the page.
    pub(super) wide: bool,
}

/// The shapes live in a square of this many units, which the page stretches.
const SIDE: f64 = 1000.0;

/// Text as it may stand in HTML, in attributes too.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(c),
        }
    }
    safe
}

/// Appends to a text.
pub(super) fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes all that is written");
}

impl Chart {
    /// The chart as a `figure`.
    pub(super) fn render(&self) -> String {
        let mut html = String::new();
        let wide = if self.wide { " wide" } else { "" };
        put(
            &mut html,
            format_args!(
                "<figure class=\"chart{wide}\"><figcaption><h3>{}</h3><p>{}</p></figcaption>\n",
                escape(&self.title),
                escape(&self.note)
            ),
        );
        html.push_str(&self.key());
        let log = if self.y.is_log() { " (log scale)" } else { "" };
        put(
            &mut html,
            format_args!(
                "<div class=\"y-title\">{}{log}</div>\n<div class=\"plot\">{}",
                escape(&self.y.label),
                self.shapes()
            ),
        );
        for tick in self.y.ticks() {
            let top = (1.0 - tick.at) * 100.0;
            let label = escape(&tick.label);
            put(&mut html, format_args!("<i class=\"y\" style=\"top:{top:.2}%\">{label}</i>"));
        }
        for tick in self.x.ticks() {
            let left = tick.at * 100.0;
            let label = escape(&tick.label);
            put(&mut html, format_args!("<i class=\"x\" style=\"left:{left:.2}%\">{label}</i>"));
        }
        html.push_str(&self.mark_label());
        let log = if self.x.is_log() { " (log scale)" } else { "" };
        put(
            &mut html,
            format_args!(
                "</div>\n<div class=\"x-title\">{}{log}</div>\n\
                 <script type=\"application/json\">{}</script></figure>\n",
                escape(&self.x.label),
                self.values()
            ),
        );
        html
    }

    /// What the colours and strokes mean; nothing where there is one line that the title names.
    fn key(&self) -> String {
        let named: Vec<&Line> = self.lines.iter().filter(|line| !line.label.is_empty()).collect();
        if named.len() < 2 {
            return String::new();
        }
        let entry = |line: &&Line| {
            format!(
                "<li><svg class=\"swatch\" viewBox=\"0 0 24 10\" aria-hidden=\"true\">{}</svg>{}</li>",
                swatch(line),
                escape(&line.label)
            )
        };
        format!("<ul class=\"key\">{}</ul>\n", named.iter().map(entry).collect::<String>())
    }

    fn shapes(&self) -> String {
        let mut svg = format!(
            "<svg viewBox=\"0 0 {SIDE} {SIDE}\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{}\">",
            escape(&format!("{}. {}", self.title, self.note))
        );
        let across =
            self.y.ticks().iter().map(|t| format!("M0 {:.1}H{SIDE}", down(t.at))).collect();
        let upright: String =
            self.x.ticks().iter().map(|t| format!("M{:.1} 0V{SIDE}", t.at * SIDE)).collect();
        let (across, upright): (String, String) = (across, upright);
        put(&mut svg, format_args!("<path class=\"grid\" d=\"{across}{upright}\"/>"));
        put(&mut svg, format_args!("<path class=\"axis\" d=\"M0 0V{SIDE}H{SIDE}\"/>"));
        if let Some(at) = self.mark.as_ref().and_then(|(value, _)| self.x.place(*value)) {
            put(&mut svg, format_args!("<path class=\"mark\" d=\"M{:.1} 0V{SIDE}\"/>", at * SIDE));
        }
        for line in &self.lines {
            svg.push_str(&self.shape(line));
        }
        svg.push_str("</svg>");
        svg
    }

    fn shape(&self, line: &Line) -> String {
        let (tint, class) = (line.tint, line.style.class());
        let places: Vec<(f64, f64)> = line.points.iter().filter_map(|p| self.place(*p)).collect();
        let mut svg = String::new();
        if line.style != Style::Rings {
            let path: String = places
                .iter()
                .enumerate()
                .map(|(at, (x, y))| format!("{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' }))
                .collect();
            put(&mut svg, format_args!("<path class=\"line {class} t{tint}\" d=\"{path}\"/>"));
        }
        if matches!(line.style, Style::Dotted | Style::Rings) {
            for ((x, y), point) in places.iter().zip(self.shown(line)) {
                // A stroke of no length with round ends is a dot that no stretching distorts.
                let dot = format!("M{x:.1} {y:.1}h0");
                let title =
                    format!("{}: {}", self.x.unit.write(point.0), self.y.unit.write(point.1));
                put(
                    &mut svg,
                    format_args!(
                        "<path class=\"dot t{tint}\" d=\"{dot}\"><title>{}</title></path>",
                        escape(&title)
                    ),
                );
                if line.style == Style::Rings {
                    put(&mut svg, format_args!("<path class=\"hole\" d=\"{dot}\"/>"));
                }
            }
        }
        svg
    }

    /// The points that have a place.
    fn shown<'a>(&'a self, line: &'a Line) -> impl Iterator<Item = (f64, f64)> + 'a {
        line.points.iter().copied().filter(|point| self.place(*point).is_some())
    }

    fn place(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        Some((self.x.place(x)? * SIDE, down(self.y.place(y)?)))
    }

    fn mark_label(&self) -> String {
        let Some((value, label)) = &self.mark else { return String::new() };
        let Some(at) = self.x.place(*value) else { return String::new() };
        let side = if at > 0.65 { " left" } else { "" };
        let left = at * 100.0;
        format!("<i class=\"mark{side}\" style=\"left:{left:.2}%\">{}</i>", escape(label))
    }

    /// Places and texts of all measured values, as JSON that may stand in a `script`.
    fn values(&self) -> String {
        let lines: Vec<serde_json::Value> = self
            .lines
            .iter()
            .filter(|line| !matches!(line.style, Style::Guide | Style::Rings))
            .map(|line| {
                let points: Vec<serde_json::Value> = self
                    .shown(line)
                    .filter_map(|(x, y)| {
                        let (left, top) = self.place((x, y))?;
                        let texts = (self.x.unit.write(x), self.y.unit.write(y));
                        Some(serde_json::json!([left.round(), top.round(), texts.0, texts.1]))
                    })
                    .collect();
                serde_json::json!({ "label": line.label, "tint": line.tint, "points": points })
            })
            .collect();
        serde_json::Value::from(lines).to_string().replace('<', "\\u003c")
    }
}

/// SVG counts downwards.
fn down(at: f64) -> f64 {
    (1.0 - at) * SIDE
}

/// A short piece of a line, for the key.
fn swatch(line: &Line) -> String {
    let (tint, class) = (line.tint, line.style.class());
    let dot = format!("<path class=\"dot t{tint}\" d=\"M12 5h0\"/>");
    let stroke = format!("<path class=\"line {class} t{tint}\" d=\"M1 5H23\"/>");
    match line.style {
        Style::Rings => format!("{dot}<path class=\"hole\" d=\"M12 5h0\"/>"),
        Style::Dotted => format!("{stroke}{dot}"),
        _ => stroke,
    }
}

#[cfg(test)]
mod tests {
    use super::super::scale::{Kind, Unit};
    use super::*;

    fn chart() -> Chart {
        let line =
            |label: &str, style, points| Line { label: label.to_owned(), tint: 1, style, points };
        Chart {
            title: "Rate </script>".to_owned(),
            note: "A note & more.".to_owned(),
            x: Axis::fit("time", Unit::Seconds, Kind::Linear, &[10.0]),
            y: Axis::fit("rate", Unit::Quantity, Kind::Linear, &[100.0]),
            lines: vec![
                line("<got>", Style::Solid, vec![(0.0, 0.0), (5.0, 50.0), (20.0, 1.0)]),
                line("bad", Style::Rings, vec![(10.0, 100.0)]),
                line("asked", Style::Guide, vec![(0.0, 100.0), (10.0, 100.0)]),
            ],
            mark: Some((5.0, "here".to_owned())),
            wide: false,
        }
    }

    #[test]
    fn values_stand_where_they_belong_and_those_beyond_the_axes_nowhere() {
        let html = chart().render();
        assert!(html.contains("<path class=\"line solid t1\" d=\"M0.0 1000.0L500.0 500.0\"/>"));
        assert!(html.contains("<path class=\"dot t1\" d=\"M1000.0 0.0h0\">"));
        assert!(html.contains("<i class=\"x\" style=\"left:40.00%\">4 s</i>"));
        assert!(html.contains("<path class=\"mark\" d=\"M500.0 0V1000\"/>"));
    }

    #[test]
    fn text_from_outside_cannot_leave_its_place() {
        let html = chart().render();
        assert!(!html.contains("<got>"));
        assert_eq!(html.matches("</script>").count(), 1, "only the chart's own");
        assert!(html.contains("A note &amp; more."));
    }

    #[test]
    fn only_what_was_measured_is_a_value_under_the_pointer() {
        let values: serde_json::Value =
            serde_json::from_str(&chart().values()).expect("it is JSON");
        assert_eq!(values.as_array().map(Vec::len), Some(1));
        assert_eq!(values[0]["points"][1], serde_json::json!([500.0, 500.0, "5 s", "50"]));
    }
}
