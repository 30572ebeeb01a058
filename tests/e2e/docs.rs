//! The pages for people: every example in SQL runs, in the order of its page, against a server.
//!
//! A page may say more in comments that readers do not see: `<!-- docs-test: first SQL -->` is run
//! before the next block, `<!-- docs-test: at the end -->` lets the next block wait for all others of
//! the page, and `<!-- docs-test: fails: WORD, … -->` is about its statements that begin with a word.
//! A table behind a block is what its last statement prints.

use std::path::Path;

use whimbrel_tests::{
    eventually::eventually,
    process::{Options, Server},
};

use crate::users::{login, with_users};

/// Who types the examples: an admin.
const USER: (&str, &str) = ("ada", "secret");

/// A block of a page.
#[derive(Debug, Default)]
struct Block {
    /// Where its first line is.
    line: usize,
    text: String,
    /// What has to be run before.
    first: String,
    at_the_end: bool,
    /// Statements that begin so are refused.
    fails: Vec<String>,
    /// The table that the page shows behind it.
    shown: Option<String>,
}

/// Everything between two lines that are `fence` and `end`.
fn until(lines: &mut std::iter::Enumerate<std::str::Lines<'_>>, end: &str) -> String {
    let inside = lines.map(|(_, line)| line).take_while(|line| line.trim_end() != end);
    inside.map(|line| format!("{line}\n")).collect()
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut next = Block::default();
    let mut lines = page.lines().enumerate();
    // Whether nothing but empty lines came since the last block of SQL.
    let mut behind = false;
    while let Some((n, line)) = lines.next() {
        if let Some(said) = line.strip_prefix("<!-- docs-test: ") {
            let said = match said.strip_suffix(" -->") {
                Some(said) => said.to_owned(),
                None => format!("{said}\n{}", until(&mut lines, "-->")),
            };
            if let Some(sql) = said.strip_prefix("first") {
                next.first = sql.to_owned();
            } else if said == "at the end" {
                next.at_the_end = true;
            } else if let Some(words) = said.strip_prefix("fails: ") {
                next.fails = words.split(", ").map(str::to_owned).collect();
            } else {
                panic!("line {}: docs-test does not know '{said}'", n + 1);
            }
        } else if line == "```sql" {
            let text = until(&mut lines, "```");
            blocks.push(Block { line: n + 2, text, ..std::mem::take(&mut next) });
            behind = true;
        } else if line.starts_with("```") {
            let text = until(&mut lines, "```");
            if behind && text.starts_with('┌') {
                blocks.last_mut().unwrap().shown = Some(text);
            }
            behind = false;
        } else if !line.is_empty() {
            behind = false;
        }
    }
    assert_eq!(next.line + next.first.len(), 0, "a docs-test comment has no block behind it");
    let (mut blocks, last): (Vec<_>, Vec<_>) =
        blocks.into_iter().partition(|block| !block.at_the_end);
    blocks.extend(last);
    blocks
}

/// Statements with the number of their first line: each ends with a semicolon at the end of a line,
/// which a comment may follow.
fn statements(text: &str) -> Vec<(usize, String)> {
    let mut statements = Vec::new();
    let (mut statement, mut from) = (String::new(), 0);
    for (n, line) in text.lines().enumerate() {
        let code = line.split_once("--").map_or(line, |(code, _)| code).trim_end();
        if statement.is_empty() {
            from = n;
        }
        if !code.is_empty() {
            statement.push_str(code);
            statement.push('\n');
        }
        if code.ends_with(';') {
            statements.push((from, std::mem::take(&mut statement)));
        }
    }
    assert!(statement.is_empty(), "this does not end with a semicolon: {statement}");
    statements
}

/// What the client prints, or its error.
fn sql(server: &Server, statement: &str) -> Result<String, String> {
    let arguments = ["sql", "--url", &server.url(), "--user", USER.0, "-c", statement];
    let output = server.options().run(&arguments, "");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

/// Refreshes that a statement has queued run beside the next one; a page shows them done.
async fn nothing_is_running(server: &Server) {
    eventually("every job has ended", || async {
        let running = "SELECT count(*) AS n FROM system.jobs WHERE finished_at IS NULL";
        let left = login(server, USER.0, USER.1).await.query(running).await.only("n");
        (left == "0").then_some(())
    })
    .await;
}

async fn every_example_runs(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let server = with_users(&Options::new().env("WHIMBREL_PASSWORD", USER.1), &[USER]);
    let (mut wrong, mut count) = (Vec::new(), 0);
    for block in blocks(&text) {
        for (_, statement) in statements(&block.first) {
            if let Err(error) = sql(&server, &statement) {
                wrong.push(format!("{page}:{}: hidden: {statement}{error}", block.line));
            }
        }
        let mut printed = String::new();
        for (line, statement) in statements(&block.text) {
            count += 1;
            let place = format!("{page}:{}", block.line + line);
            let fails = block.fails.iter().any(|word| statement.starts_with(word.as_str()));
            match (sql(&server, &statement), fails) {
                (Ok(out), false) => printed = out,
                (Err(_), true) => {}
                (Ok(_), true) => wrong.push(format!("{place}: this does not fail: {statement}")),
                (Err(error), false) => wrong.push(format!("{place}: {statement}{error}")),
            }
            nothing_is_running(&server).await;
        }
        if let Some(shown) = &block.shown
            && !printed.contains(shown.as_str())
        {
            wrong.push(format!(
                "{page}:{}: the page shows\n{shown}and this is\n{printed}",
                block.line
            ));
        }
    }
    assert!(count > 0, "{page} has no examples");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_sql_page_runs() {
    every_example_runs("docs/sql.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_transforms_page_runs() {
    every_example_runs("docs/transforms.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_operating_page_runs() {
    every_example_runs("docs/operating.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_front_page_runs() {
    every_example_runs("README.md").await;
}

#[test]
fn a_page_says_what_is_tested_and_how() {
    let page = "<!-- docs-test: first\nCREATE SCHEMA s;\n-->\n```sql\nSELECT 1;  -- one\nSELECT\n  2;\n```\n\n\
                ```\n┌\n```\n<!-- docs-test: at the end -->\n```sql\nSELECT 3;\n```\n\
                <!-- docs-test: fails: DROP, WAIT -->\n```sql\nDROP x;\n```\nText\n```\n┌\n```\n";
    let blocks = blocks(page);
    let lines: Vec<usize> = blocks.iter().map(|block| block.line).collect();
    assert_eq!(lines, [5, 19, 15]);
    assert_eq!(statements(&blocks[0].first), [(1, "CREATE SCHEMA s;\n".to_owned())]);
    assert_eq!(
        statements(&blocks[0].text),
        [(0, "SELECT 1;\n".to_owned()), (1, "SELECT\n  2;\n".to_owned())]
    );
    assert_eq!(blocks[0].shown.as_deref(), Some("┌\n"));
    assert_eq!((blocks[1].shown.as_deref(), blocks[1].fails.len()), (None, 2));
}
