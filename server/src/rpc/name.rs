//! Names as SQL writes them, read so that nothing else can be smuggled into a statement.

use model::name::quote;

/// Reads `part[.part[.part]]`, each plain or in double quotes, and writes it back with quotes where
/// they are needed. Plain parts become lower case, as in SQL.
pub(super) fn normalized(text: &str) -> Result<String, String> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_part(quoted),
            None => plain_part(rest),
        }
        .ok_or_else(|| format!("'{text}' is not a name as SQL writes it"))?;
        parts.push(quote(&part));
        if after.is_empty() {
            break;
        }
        rest = after
            .strip_prefix('.')
            .ok_or_else(|| format!("'{text}' is not a name: something follows it"))?;
    }
    if parts.len() > 3 {
        return Err(format!("'{text}' has more than three parts"));
    }
    Ok(parts.join("."))
}

fn quoted_part(text: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '"' {
            part.push(c);
        } else if chars.next_if(|(_, next)| *next == '"').is_some() {
            part.push('"');
        } else {
            return (!part.is_empty()).then(|| (part, &text[at + 1..]));
        }
    }
    None
}

fn plain_part(text: &str) -> Option<(String, &str)> {
    let end =
        text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$'))).unwrap_or(text.len());
    let begins_well = text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
    (end > 0 && begins_well).then(|| (text[..end].to_lowercase(), &text[end..]))
}

#[cfg(test)]
mod tests {
    use model::name::ObjectName;
    use proptest::prelude::*;

    use super::normalized;

    #[test]
    fn names_are_read_as_in_sql() {
        for (text, expected) in [
            ("daily", "daily"),
            ("Main.Daily", "main.daily"),
            ("whimbrel.main.daily", "whimbrel.main.daily"),
            ("\"My View\"", "\"My View\""),
            (" main.\"a.b\" ", "main.\"a.b\""),
            ("\"say \"\"x\"\"\"", "\"say \"\"x\"\"\""),
        ] {
            assert_eq!(normalized(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in
            ["", ".", "a.", "a..b", "a.b.c.d", "a b", "a; DROP TABLE t", "\"a", "\"\"", "1a"]
        {
            assert!(normalized(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_stands_outside_quotes_but_plain_names(text in "\\PC{0,40}") {
            if let Ok(name) = normalized(&text) {
                let mut quoted = false;
                for c in name.chars() {
                    if c == '"' {
                        quoted = !quoted;
                    } else if !quoted {
                        prop_assert!(matches!(c, 'a'..='z' | '0'..='9' | '_' | '.'), "{}", name);
                    }
                }
                prop_assert!(!quoted);
            }
        }

        #[test]
        fn the_sql_form_of_every_object_name_comes_back(
            schema in "[^/\\\\@\\pC]{1,20}", name in "[^/\\\\@\\pC]{1,20}",
        ) {
            if let Ok(object) = ObjectName::new(schema, name) {
                prop_assert_eq!(normalized(&object.to_sql()).unwrap(), object.to_sql());
            }
        }
    }
}
