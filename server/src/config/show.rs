//! The configuration in force, as TOML that says where each line comes from.

use toml::Value;

use super::{Effective, Origin, redact::redact};

/// One line per setting, grouped by section. Secrets are hidden.
pub(super) fn show(effective: &[Effective]) -> String {
    let mut text = String::new();
    let mut section = "";
    for setting in effective {
        let (in_section, name) = setting.path.rsplit_once('.').unwrap_or(("", &setting.path));
        if in_section != section {
            text.push_str(&format!("\n[{in_section}]\n"));
            section = in_section;
        }
        let line = format!("{} = {}", bare_or_quoted(name), shown(&setting.path, &setting.value));
        match &setting.origin {
            Origin::Default => text.push_str(&line),
            origin => text.push_str(&format!("{line}  # {origin}")),
        }
        text.push('\n');
    }
    text
}

fn shown(path: &str, value: &Value) -> String {
    match value {
        Value::String(text) => Value::from(redact(path, text)).to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(path, item)).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

fn bare_or_quoted(name: &str) -> String {
    let bare = !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare { name.to_owned() } else { Value::from(name).to_string() }
}
