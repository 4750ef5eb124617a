//! What the commands that run the system have in common.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

/// Prints lines, in which what is not printable is escaped. A reader that is gone, such as `head`, is no error.
pub fn print(lines: &str) {
    let _ = writeln!(io::stdout(), "{}", escape(lines, printable_or_layout));
}

#[expect(clippy::print_stderr, reason = "a command reports errors on stderr")]
pub fn print_error(error: &anyhow::Error) {
    eprintln!("error: {}", escape(&format!("{error:#}"), printable_or_layout));
}

/// Text of a stranger as one line that a terminal shows as it is.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, printable)
}

/// Whether a terminal shows the character and does nothing else: it is no control character, changes no direction of
/// writing, and is not invisible.
fn printable(c: char) -> bool {
    // The standard library knows what is not printable. After another character it leaves an accent as it is.
    matches!(c, ' '..='~') || !['a', c].iter().collect::<String>().escape_debug().any(|c| c == '\\')
}

fn printable_or_layout(c: char) -> bool {
    matches!(c, '\n' | '\t') || printable(c)
}

/// Escapes as JSON does, so that JSON stays JSON.
fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&keep) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().map(|c| match c {
        _ if keep(c) => c.to_string(),
        '\n' => "\\n".to_owned(),
        _ => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    });
    Cow::Owned(escaped.collect())
}

/// The exit code of a command, whose error is printed.
#[must_use]
pub fn exit_code(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        print_error(&error);
        ExitCode::FAILURE
    })
}

/// The folder of this program, which those of the services are in as well.
pub fn own_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().context("this program has no folder")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_printable_is_escaped() {
        for (text, line) in [
            ("plain, \"quoted\" and a \\ too", "plain, \"quoted\" and a \\ too"),
            ("Zürich, e\u{301}, 東京, 🦀", "Zürich, e\u{301}, 東京, 🦀"),
            ("\u{1b}[2J\u{9b}2J\u{7f}", "\\u001b[2J\\u009b2J\\u007f"),
            (
                "\u{202e}evil\u{2066}\u{200b}\u{feff}\u{e0041}",
                "\\u202eevil\\u2066\\u200b\\ufeff\\udb40\\udc41",
            ),
            ("two\nlines\r\t", "two\\nlines\\u000d\\u0009"),
        ] {
            assert_eq!(one_line(text), line);
        }
    }

    #[test]
    fn escaped_json_is_the_same_json() {
        let value = serde_json::json!({"reason": "\u{9b}2J \u{202e} \u{1b} \u{e0041}"});
        let printed = one_line(&value.to_string()).into_owned();
        assert!(printed.is_ascii(), "{printed}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).expect("JSON"), value);
    }
}
