//! Statements of a folder as they are sent: a file says what should be, whatever is there.

/// `CREATE …` as `CREATE OR REFRESH MATERIALIZED VIEW …`, `CREATE OR REFRESH STREAMING TABLE …` or
/// `CREATE OR REPLACE VIEW …`; the text after the head stays as it is, comments included.
pub(super) fn desired_state(text: &str, head: &str) -> String {
    let mut rest = text;
    // Everything up to the word VIEW or TABLE is the head.
    while let Some((word, after)) = next_word(rest) {
        rest = after;
        if ["view", "table"].iter().any(|end| word.eq_ignore_ascii_case(end)) {
            break;
        }
    }
    let mut name = rest;
    let if_not_exists = ["if", "not", "exists"].into_iter().all(|expected| match next_word(name) {
        Some((word, after)) if word.eq_ignore_ascii_case(expected) => {
            name = after;
            true
        }
        _ => false,
    });
    let rest = if if_not_exists { name } else { rest };
    format!("{head} {}", rest.trim_start())
}

/// The next word, with what follows it; comments and spaces before it are passed over.
fn next_word(text: &str) -> Option<(&str, &str)> {
    let mut rest = text.trim_start();
    loop {
        rest = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            after_block_comment(comment)
        } else {
            break;
        }
        .trim_start();
    }
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    (end > 0).then(|| rest.split_at(end))
}

/// Block comments nest.
fn after_block_comment(mut text: &str) -> &str {
    let mut depth = 1_usize;
    while depth > 0 {
        let Some(at) = text.find("*/") else { return "" };
        match text.find("/*") {
            Some(open) if open < at => {
                depth += 1;
                text = &text[open + 2..];
            }
            _ => {
                depth -= 1;
                text = &text[at + 2..];
            }
        }
    }
    text
}
