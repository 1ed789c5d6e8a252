//! Labels in their colours, readable on every colour.
//!
//! The colour is a presentation attribute of a small inline SVG behind the text, so no style attribute is needed and
//! the content security policy stays strict.

use maud::{Markup, html};

/// A label as a link to the items that carry it, or as plain text without a link.
pub(crate) fn label(name: &str, color: &str, href: Option<&str>) -> Markup {
    let color = parse(color).unwrap_or(0x00dd_dddd);
    let class = if is_light(color) { "label on-light" } else { "label on-dark" };
    let inside = html! {
        svg aria-hidden="true" { rect width="100%" height="100%" rx="3" fill=(format_args!("#{color:06x}")) {} }
        bdi { (name) }
    };
    match href {
        Some(href) => html! { a class=(class) href=(href) { (inside) } },
        None => html! { span class=(class) { (inside) } },
    }
}

fn parse(color: &str) -> Option<u32> {
    let digits = color.trim_start_matches('#');
    (digits.len() == 6).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// Whether black text is easier to read on the colour than white text: WCAG's relative luminance.
fn is_light(color: u32) -> bool {
    let channel = |shift: u32| {
        let value = f64::from((color >> shift) & 0xff) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    let luminance = 0.2126 * channel(16) + 0.7152 * channel(8) + 0.0722 * channel(0);
    // The luminance at which both contrasts are equal: (1.05 / (L + 0.05)) = ((L + 0.05) / 0.05).
    luminance > 0.179
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_black_on_light_colours_and_white_on_dark_ones() {
        for (color, light) in
            [(0x00ff_ffff, true), (0x00a2_eeef, true), (0x00d7_3a4a, true), (0x0000_0000, false), (0x0052_19e7, false)]
        {
            assert_eq!(is_light(color), light, "{color:06x}");
        }
    }

    #[test]
    fn a_colour_that_is_none_cannot_enter_the_page() {
        let shown = label("x", "\"><script>", None).into_string();
        assert!(shown.contains("#dddddd") && !shown.contains("script"));
    }
}
