//! A report as a page of HTML: one file with its style, its program and its data.

use super::Report;
use crate::error::escape;

const PAGE: &str = include_str!("page.html");
const TITLE: &str = "{{title}}";
const DATA: &str = "{{data}}";

pub(super) fn render(report: &Report) -> String {
    let title = report.name.clone().unwrap_or_else(|| report.digest.to_string());
    let data = serde_json::to_string(report).expect("a report is data");
    // Names out of an image must not end the element that holds them. JSON has another way to write each of these.
    let data = data.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    // One after the other, so that what is put in is not looked at again.
    let (before, rest) = PAGE.split_once(TITLE).expect("the page has a title");
    let (between, after) = rest.split_once(DATA).expect("the page has a place for data");
    [before, &text(&title), between, &data, after].concat()
}

/// Escapes text for HTML.
fn text(text: &str) -> String {
    escape(text.as_bytes()).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
