//! Line charts as SVG: several panels side by side, and one legend below.

use std::fmt::Write as _;

/// One picture.
#[derive(Debug)]
pub struct Picture {
    /// Above everything.
    pub title: String,
    /// The names of the lines, in the order in which each panel has them.
    pub names: Vec<&'static str>,
    /// Side by side.
    pub panels: Vec<Panel>,
}

/// One system of coordinates.
#[derive(Debug)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// What goes to the right.
    pub x: String,
    /// Where it begins and ends, and every how much there is a number.
    pub x_axis: [f64; 3],
    /// The same for what goes up.
    pub y_axis: [f64; 3],
    /// What is behind the numbers that go up.
    pub unit: &'static str,
    /// From where to where the background is marked, and with which words.
    pub band: Option<(f64, f64, &'static str)>,
    /// The points of each line; one that isn't a number interrupts it.
    pub lines: Vec<Vec<(f64, f64)>>,
}

/// Told apart by people who can't tell red from green, before white and before black; the dashes for those that coincide.
const LINES: [(&str, &str); 6] = [
    ("#d9622b", "none"),
    ("#b8860b", "7 4"),
    ("#2f81d8", "none"),
    ("#1d9e74", "10 3"),
    ("#b565c4", "3 3"),
    ("#7f8894", "12 3 3 3"),
];

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600;font-size:15px}.sub{font-weight:600}\
.paper{fill:#fff}.grid{stroke:#d8dee4}.axis{stroke:#57606a}.band{fill:#d9622b;opacity:.13}\
polyline{fill:none;stroke-width:2.2;stroke-linejoin:round}line{stroke-width:1}.key{stroke-width:2.6}\
@media(prefers-color-scheme:dark){text{fill:#d1d7de}.paper{fill:#0d1117}.grid{stroke:#2b323b}.axis{stroke:#8b949e}}";

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 230.0;
/// What is free to the left of a panel, to its right, and above all of them.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 72.0;
/// How many names there are in a line of the legend.
const NAMES: usize = 3;

impl Picture {
    /// Draws it. The paper comes with it, white or dark as the reader likes, so that it is legible anywhere.
    pub fn svg(&self) -> String {
        let mut out = String::new();
        let width = 2.0 * (LEFT + WIDTH + RIGHT);
        let wide = width / self.panels.len() as f64;
        let rows = self.names.len().div_ceil(NAMES) as f64;
        let height = TOP + HEIGHT + 58.0 + 22.0 * rows;
        writeln!(out, r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">"#).unwrap();
        writeln!(out, "<title>{}</title><style>{STYLE}</style>", self.title).unwrap();
        writeln!(out, r#"<rect class="paper" width="{width}" height="{height}" rx="6"/>"#).unwrap();
        writeln!(out, r#"<text class="title" x="{LEFT}" y="28">{}</text>"#, self.title).unwrap();
        for (index, panel) in self.panels.iter().enumerate() {
            panel.draw(LEFT + index as f64 * wide, wide - LEFT - RIGHT, &mut out);
        }
        for (index, name) in self.names.iter().enumerate() {
            let x = LEFT + (index % NAMES) as f64 * (width - LEFT) / NAMES as f64;
            let y = TOP + HEIGHT + 66.0 + 22.0 * (index / NAMES) as f64;
            let (color, dashes) = LINES[index % LINES.len()];
            let stroke = format!(r#"stroke="{color}" stroke-dasharray="{dashes}""#);
            writeln!(out, r#"<line class="key" x1="{x}" y1="{y}" x2="{}" y2="{y}" {stroke}/>"#, x + 34.0).unwrap();
            writeln!(out, r#"<text x="{}" y="{}">{name}</text>"#, x + 42.0, y + 4.5).unwrap();
        }
        out.push_str("</svg>\n");
        out
    }
}

impl Panel {
    fn draw(&self, left: f64, width: f64, out: &mut String) {
        let ([x_from, x_to, _], [y_from, y_to, _]) = (self.x_axis, self.y_axis);
        let across = |x: f64| left + (x - x_from) / (x_to - x_from) * width;
        let up = |y: f64| TOP + HEIGHT - (y.clamp(y_from, y_to) - y_from) / (y_to - y_from) * HEIGHT;
        let bottom = TOP + HEIGHT;
        writeln!(out, r#"<text class="sub" x="{left}" y="{}">{}</text>"#, TOP - 16.0, self.title).unwrap();
        if let Some((from, to, words)) = self.band {
            let (x, wide) = (across(from), across(to) - across(from));
            writeln!(out, r#"<rect class="band" x="{x:.1}" y="{TOP}" width="{wide:.1}" height="{HEIGHT}"/>"#).unwrap();
            writeln!(out, r#"<text x="{:.1}" y="{}">{words}</text>"#, x + wide + 6.0, TOP + 16.0).unwrap();
        }
        for y in ticks(self.y_axis) {
            let (at, class) = (up(y), if y == y_from { "axis" } else { "grid" });
            writeln!(out, r#"<line class="{class}" x1="{left}" y1="{at:.1}" x2="{}" y2="{at:.1}"/>"#, left + width)
                .unwrap();
            let unit = self.unit;
            writeln!(out, r#"<text x="{}" y="{:.1}" text-anchor="end">{y}{unit}</text>"#, left - 8.0, at + 4.5)
                .unwrap();
        }
        for x in ticks(self.x_axis) {
            let at = across(x);
            writeln!(out, r#"<line class="axis" x1="{at:.1}" y1="{bottom}" x2="{at:.1}" y2="{}"/>"#, bottom + 4.0)
                .unwrap();
            writeln!(out, r#"<text x="{at:.1}" y="{}" text-anchor="middle">{x}</text>"#, bottom + 19.0).unwrap();
        }
        let middle = left + width / 2.0;
        writeln!(out, r#"<text x="{middle}" y="{}" text-anchor="middle">{}</text>"#, bottom + 40.0, self.x).unwrap();
        for (line, (color, dashes)) in self.lines.iter().zip(LINES.iter().cycle()) {
            for part in line.split(|(_, y)| y.is_nan()).filter(|part| !part.is_empty()) {
                let points: Vec<_> = part.iter().map(|(x, y)| format!("{:.1},{:.1}", across(*x), up(*y))).collect();
                let stroke = format!(r#"stroke="{color}" stroke-dasharray="{dashes}""#);
                writeln!(out, r#"<polyline {stroke} points="{}"/>"#, points.join(" ")).unwrap();
            }
        }
    }
}

fn ticks([from, to, step]: [f64; 3]) -> impl Iterator<Item = f64> {
    (0..).map(move |n| ((from + f64::from(n) * step) * 1e6).round() / 1e6).take_while(move |at| *at <= to + 1e-9)
}
