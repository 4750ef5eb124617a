//! Text for people.

use unicode_width::UnicodeWidthChar;

/// Fillers that have a width and show nothing.
const FILLERS: [char; 2] = ['\u{115f}', '\u{2800}'];

/// Whether a text shows anything: a character that is not white space, and not without width such as U+200B.
pub fn is_visible(text: &str) -> bool {
    let shows = |character: char| {
        let has_width = character.width().is_some_and(|width| width > 0);
        has_width && !character.is_whitespace() && !FILLERS.contains(&character)
    };
    text.chars().any(shows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_characters_that_show_nothing_is_not_visible() {
        let invisible = "\u{a0}\u{ad}\u{301}\u{34f}\u{61c}\u{115f}\u{1160}\u{17b4}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\
                         \u{202e}\u{2028}\u{2060}\u{2064}\u{2066}\u{2800}\u{3000}\u{3164}\u{fe0f}\u{feff}\u{ffa0}\u{e0020}\u{e0100}";
        for character in invisible.chars() {
            assert!(!is_visible(&character.to_string()), "U+{:04X}", u32::from(character));
        }
        for text in ["", " ", "\n\0", invisible] {
            assert!(!is_visible(text), "{text:?}");
        }
        for text in ["a", ".", "\u{200b}x", "ü", "☕", "日本", "👨\u{200d}👩\u{200d}👧", "é"] {
            assert!(is_visible(text), "{text:?}");
        }
    }
}
