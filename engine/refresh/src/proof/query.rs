//! Queries that nobody wrote, of the shapes that a refresh knows how to bring up to date, and of
//! some that it does not.

use crate::sim::random::Random;

/// Tables that there are.
pub(super) const TABLES: [&str; 4] = ["t0", "t1", "t2", "t3"];

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Text,
    Float,
    Decimal,
    Bool,
    Date,
}

/// Every table has these columns.
pub(super) const COLUMNS: [(&str, Kind); 7] = [
    ("k", Kind::Int),
    ("g", Kind::Text),
    ("v", Kind::Int),
    ("f", Kind::Float),
    ("d", Kind::Decimal),
    ("b", Kind::Bool),
    ("a", Kind::Date),
];

#[derive(Debug, Clone)]
struct Column {
    name: String,
    kind: Kind,
}

/// A SELECT and its columns, each with a name that no other one has.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub(super) sql: String,
    columns: Vec<Column>,
}

impl Relation {
    /// A column that a table can be partitioned by: something has to be left for its files.
    pub(super) fn partition(&self) -> Option<&str> {
        (self.columns.len() > 1).then(|| self.columns[0].name.as_str())
    }

    /// Conditions that choose partitions, where there are some by that column.
    pub(super) fn parts(&self) -> Vec<String> {
        let of = match self.columns[0].kind {
            Kind::Int => ["IN (0, 3, 5)", "> 2", "= 1"],
            Kind::Text => ["IN ('a', 'c')", "> 'a'", "= 'b'"],
            Kind::Float => ["IN (0.25, 1.5)", "> 0.5", "= 'NaN'::double"],
            Kind::Decimal => ["IN (0.10, 7.77)", "> 0", "= 2.50"],
            Kind::Bool => ["IN (true)", "= false", "IS NOT TRUE"],
            Kind::Date => ["IN (DATE '2026-01-01')", "> '2026-01-01'", "= '2026-01-02'"],
        };
        let always = ["IS NULL", "IS NOT NULL"];
        let name = &self.columns[0].name;
        of.iter().chain(&always).map(|is| format!("{name} {is}")).collect()
    }
}

pub(super) struct Author<'a> {
    random: &'a mut Random,
    names: u32,
    /// Tables that may still be read.
    tables: u32,
}

impl<'a> Author<'a> {
    pub(super) fn new(random: &'a mut Random) -> Self {
        Self { random, names: 0, tables: 4 }
    }

    /// A query with one to four operators above each of its tables.
    pub(super) fn query(&mut self) -> Relation {
        let depth = self.random.below(1..5);
        let relation = self.relation(depth);
        if self.random.one_in(12) {
            let columns = relation.columns.iter().map(|c| c.name.clone());
            let by = columns.collect::<Vec<_>>().join(", ");
            let limit = if self.random.one_in(2) { " LIMIT 3" } else { "" };
            let sql = format!("SELECT * FROM ({}) AS o ORDER BY {by}{limit}", relation.sql);
            return Relation { sql, ..relation };
        }
        relation
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random.below(0..n)
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        let n = self.below(of.len() as u64);
        of[usize::try_from(n).unwrap()].clone()
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("x{}", self.names)
    }

    fn alias(&mut self) -> String {
        self.names += 1;
        format!("r{}", self.names)
    }

    fn relation(&mut self, depth: u64) -> Relation {
        if depth == 0 {
            return self.table();
        }
        match self.below(14) {
            0 | 1 => self.filtered(depth),
            2 => self.projected(depth),
            3..=5 if self.tables > 0 => self.joined(depth),
            6 if self.tables > 0 => self.semi(depth),
            7..=9 => self.aggregated(depth),
            10 => self.distinct(depth),
            11 if self.tables > 0 => self.united(depth),
            12 => self.windowed(depth),
            13 if self.tables > 0 => self.scalar(depth),
            _ => self.filtered(depth),
        }
    }

    fn table(&mut self) -> Relation {
        self.tables = self.tables.saturating_sub(1);
        let table = self.pick(&TABLES);
        let mut columns = Vec::new();
        let mut items = Vec::new();
        for (n, (stored, kind)) in COLUMNS.into_iter().enumerate() {
            // The key is always there.
            if n > 0 && self.random.one_in(4) {
                continue;
            }
            let name = self.name();
            items.push(format!("{stored} AS {name}"));
            columns.push(Column { name, kind });
        }
        Relation { sql: format!("SELECT {} FROM {table}", items.join(", ")), columns }
    }

    fn of_kind(&mut self, columns: &[Column], kind: Kind) -> Option<Column> {
        let fitting: Vec<_> = columns.iter().filter(|c| c.kind == kind).cloned().collect();
        (!fitting.is_empty()).then(|| self.pick(&fitting))
    }

    fn literal(&mut self, kind: Kind) -> String {
        match kind {
            Kind::Int => self.below(8).to_string(),
            Kind::Text => format!("'{}'", self.pick(&["a", "b", "c", ""])),
            Kind::Float => self.pick(&["0.25", "1.5", "'NaN'::double", "-2.0"]).to_owned(),
            Kind::Decimal => self.pick(&["0.10", "2.50", "-1.00"]).to_owned(),
            Kind::Bool => self.pick(&["true", "false"]).to_owned(),
            Kind::Date => format!("DATE '2026-01-0{}'", 1 + self.below(4)),
        }
    }

    fn condition(&mut self, columns: &[Column]) -> String {
        let column = self.pick(columns);
        let name = &column.name;
        match self.below(8) {
            0 => format!("{name} IS NULL"),
            1 => format!("{name} IS NOT NULL"),
            2 => {
                let (a, b) = (self.condition(columns), self.condition(columns));
                let word = self.pick(&["AND", "OR"]);
                format!("({a} {word} {b})")
            }
            3 => format!("NOT ({})", self.condition(columns)),
            4 => {
                let same: Vec<_> =
                    columns.iter().filter(|c| c.kind == column.kind).cloned().collect();
                let other = self.pick(&same).name;
                let word = self.pick(&["=", "<", "IS DISTINCT FROM", ">="]);
                format!("{name} {word} {other}")
            }
            5 if column.kind == Kind::Int => {
                format!("{name} IN (1, 3, {})", self.literal(Kind::Int))
            }
            _ => {
                let word = self.pick(&["=", "<>", "<", ">="]);
                let literal = self.literal(column.kind);
                format!("{name} {word} {literal}")
            }
        }
    }

    fn filtered(&mut self, depth: u64) -> Relation {
        let input = self.relation(depth - 1);
        let (alias, condition) = (self.alias(), self.condition(&input.columns));
        let sql = format!("SELECT * FROM ({}) AS {alias} WHERE {condition}", input.sql);
        Relation { sql, columns: input.columns }
    }

    fn expression(&mut self, columns: &[Column]) -> (String, Kind) {
        let column = self.pick(columns);
        let name = column.name;
        match (column.kind, self.below(4)) {
            (Kind::Int, 0) => (format!("{name} % 3"), Kind::Int),
            (Kind::Int, 1) => (format!("{name} + 1"), Kind::Int),
            (Kind::Text, 0) => (format!("upper({name})"), Kind::Text),
            (Kind::Text, 1) => (format!("coalesce({name}, 'none')"), Kind::Text),
            (Kind::Float, 0) => (format!("{name} * 2"), Kind::Float),
            (Kind::Bool, 0) => (format!("NOT {name}"), Kind::Bool),
            (Kind::Int, 2) => (
                format!(
                    "CASE WHEN {name} > 2 THEN 'big' WHEN {name} IS NULL THEN NULL ELSE 'small' END"
                ),
                Kind::Text,
            ),
            (kind, _) => (name, kind),
        }
    }

    fn projected(&mut self, depth: u64) -> Relation {
        let input = self.relation(depth - 1);
        let count = 1 + self.below(5);
        let (mut items, mut columns) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (expression, kind) = self.expression(&input.columns);
            let name = self.name();
            items.push(format!("{expression} AS {name}"));
            columns.push(Column { name, kind });
        }
        let alias = self.alias();
        let sql = format!("SELECT {} FROM ({}) AS {alias}", items.join(", "), input.sql);
        Relation { sql, columns }
    }

    /// Columns of one kind, one of each side.
    fn pair(&mut self, left: &[Column], right: &[Column]) -> Option<(String, String)> {
        for _ in 0..6 {
            let column = self.pick(left);
            if let Some(other) = self.of_kind(right, column.kind) {
                return Some((column.name, other.name));
            }
        }
        None
    }

    fn joined(&mut self, depth: u64) -> Relation {
        let left = self.relation(depth - 1);
        let below = self.below(depth);
        let right = self.relation(below);
        let Some((a, b)) = self.pair(&left.columns, &right.columns) else { return left };
        let mut on = vec![format!("{a} = {b}")];
        if self.random.one_in(4)
            && let Some((a, b)) = self.pair(&left.columns, &right.columns)
        {
            let word = self.pick(&["=", "<=", "IS NOT DISTINCT FROM"]);
            on.push(format!("{a} {word} {b}"));
        }
        if self.random.one_in(6) {
            on.push(self.condition(&right.columns));
        }
        let kind = self.pick(&[
            "JOIN",
            "JOIN",
            "JOIN",
            "LEFT JOIN",
            "LEFT JOIN",
            "RIGHT JOIN",
            "FULL JOIN",
        ]);
        let (l, r) = (self.alias(), self.alias());
        let on = on.join(" AND ");
        let sql =
            format!("SELECT * FROM ({}) AS {l} {kind} ({}) AS {r} ON {on}", left.sql, right.sql);
        Relation { sql, columns: [left.columns, right.columns].concat() }
    }

    fn semi(&mut self, depth: u64) -> Relation {
        let left = self.relation(depth - 1);
        let below = self.below(depth);
        let right = self.relation(below);
        let Some((a, b)) = self.pair(&left.columns, &right.columns) else { return left };
        let (l, r) = (self.alias(), self.alias());
        let not = self.pick(&["", "", "NOT "]);
        let condition = match self.below(3) {
            0 => format!("{l}.{a} {not}IN (SELECT {b} FROM ({}) AS {r})", right.sql),
            _ => format!(
                "{not}EXISTS (SELECT 1 FROM ({}) AS {r} WHERE {r}.{b} = {l}.{a})",
                right.sql
            ),
        };
        let sql = format!("SELECT * FROM ({}) AS {l} WHERE {condition}", left.sql);
        Relation { sql, columns: left.columns }
    }

    fn aggregate(&mut self, columns: &[Column]) -> (String, Kind) {
        let column = self.pick(columns);
        let name = column.name;
        match (column.kind, self.below(9)) {
            (_, 0) => ("count(*)".to_owned(), Kind::Int),
            (_, 1) => (format!("count({name})"), Kind::Int),
            (_, 2) => (format!("count(DISTINCT {name})"), Kind::Int),
            (kind, 3) if kind != Kind::Bool => (format!("min({name})"), kind),
            (kind, 4) if kind != Kind::Bool => (format!("max({name})"), kind),
            (Kind::Int, 5) => (format!("avg({name})"), Kind::Float),
            (Kind::Int, 6) => (format!("sum({name}) FILTER (WHERE {name} > 1)"), Kind::Int),
            (Kind::Int, _) => (format!("sum({name})"), Kind::Int),
            (Kind::Float, 5) => (format!("avg({name})"), Kind::Float),
            (Kind::Float, _) => (format!("sum({name})"), Kind::Float),
            (Kind::Decimal, 5) => (format!("CAST(avg({name}) AS DECIMAL(12, 4))"), Kind::Decimal),
            (Kind::Decimal, _) => (format!("CAST(sum({name}) AS DECIMAL(14, 2))"), Kind::Decimal),
            (Kind::Bool, 5) => (format!("bool_or({name})"), Kind::Bool),
            (Kind::Bool, _) => (format!("bool_and({name})"), Kind::Bool),
            (kind, _) => (format!("max({name})"), kind),
        }
    }

    fn aggregated(&mut self, depth: u64) -> Relation {
        let input = self.relation(depth - 1);
        let groups = self.pick(&[0, 1, 1, 1, 1, 2, 2]);
        let (mut by, mut items, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..groups {
            let (expression, kind) = if self.random.one_in(4) {
                self.expression(&input.columns)
            } else {
                let column = self.pick(&input.columns);
                (column.name, column.kind)
            };
            if by.contains(&expression) {
                continue;
            }
            // A group that is not shown cannot be found again by its key.
            if !self.random.one_in(8) {
                let name = self.name();
                items.push(format!("{expression} AS {name}"));
                columns.push(Column { name, kind });
            }
            by.push(expression);
        }
        for _ in 0..1 + self.below(3) {
            let (expression, kind) = self.aggregate(&input.columns);
            let name = self.name();
            items.push(format!("{expression} AS {name}"));
            columns.push(Column { name, kind });
        }
        let alias = self.alias();
        let mut sql = format!("SELECT {} FROM ({}) AS {alias}", items.join(", "), input.sql);
        if !by.is_empty() {
            let roll = self.random.one_in(20);
            let by = by.join(", ");
            sql +=
                &if roll { format!(" GROUP BY ROLLUP ({by})") } else { format!(" GROUP BY {by}") };
            if self.random.one_in(4) {
                let word = self.pick(&["count(*) > 1", "min(1) = 1", "count(*) < 4"]);
                sql += &format!(" HAVING {word}");
            }
        }
        Relation { sql, columns }
    }

    fn distinct(&mut self, depth: u64) -> Relation {
        let input = self.relation(depth - 1);
        let count = usize::try_from(1 + self.below(3)).unwrap();
        let columns: Vec<_> = input.columns.iter().take(count).cloned().collect();
        let names: Vec<_> = columns.iter().map(|c| c.name.clone()).collect();
        let alias = self.alias();
        let sql = format!("SELECT DISTINCT {} FROM ({}) AS {alias}", names.join(", "), input.sql);
        Relation { sql, columns }
    }

    fn united(&mut self, depth: u64) -> Relation {
        let left = self.relation(depth - 1);
        let below = self.below(depth);
        let right = self.relation(below);
        let mut pairs = Vec::new();
        for _ in 0..3 {
            pairs.extend(self.pair(&left.columns, &right.columns));
        }
        if pairs.is_empty() {
            return left;
        }
        let (mut lefts, mut rights, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        for (a, b) in pairs {
            let name = self.name();
            let kind = left.columns.iter().find(|c| c.name == a).unwrap().kind;
            lefts.push(format!("{a} AS {name}"));
            rights.push(format!("{b} AS {name}"));
            columns.push(Column { name, kind });
        }
        let word = self.pick(&["UNION ALL", "UNION ALL", "UNION ALL", "UNION"]);
        let (l, r) = (self.alias(), self.alias());
        let sql = format!(
            "SELECT {} FROM ({}) AS {l} {word} SELECT {} FROM ({}) AS {r}",
            lefts.join(", "),
            left.sql,
            rights.join(", "),
            right.sql
        );
        Relation { sql, columns }
    }

    fn windowed(&mut self, depth: u64) -> Relation {
        let input = self.relation(depth - 1);
        let by = self.pick(&input.columns).name;
        let over = self.pick(&input.columns).name;
        // Ties are equal rows, so that only equal rows can change places.
        let all: Vec<_> = input.columns.iter().map(|c| c.name.clone()).collect();
        let all = all.join(", ");
        let partition =
            if self.random.one_in(8) { String::new() } else { format!("PARTITION BY {by} ") };
        let int = self.of_kind(&input.columns, Kind::Int);
        let (call, kind) = match (self.below(5), int) {
            (0, Some(int)) => (format!("sum({}) OVER ({partition})", int.name), Kind::Int),
            (1, Some(int)) => {
                (format!("sum({}) OVER ({partition}ORDER BY {all})", int.name), Kind::Int)
            }
            (2, Some(int)) => {
                (format!("lag({}) OVER ({partition}ORDER BY {all})", int.name), Kind::Int)
            }
            (3, _) => (format!("rank() OVER ({partition}ORDER BY {over})"), Kind::Int),
            (4, _) => (format!("count(*) OVER ({partition})"), Kind::Int),
            _ => (format!("row_number() OVER ({partition}ORDER BY {all})"), Kind::Int),
        };
        let (name, alias) = (self.name(), self.alias());
        let call = match kind {
            // Ranks and numbers are unsigned, which no Delta table is.
            Kind::Int => format!("CAST({call} AS BIGINT)"),
            _ => call,
        };
        let sql = format!("SELECT *, {call} AS {name} FROM ({}) AS {alias}", input.sql);
        let mut columns = input.columns;
        columns.push(Column { name, kind });
        if self.random.one_in(3) {
            let last = &columns[columns.len() - 1].name;
            let alias = self.alias();
            let sql = format!("SELECT * FROM ({sql}) AS {alias} WHERE {last} <= 2");
            return Relation { sql, columns };
        }
        Relation { sql, columns }
    }

    fn scalar(&mut self, depth: u64) -> Relation {
        let left = self.relation(depth - 1);
        let right = self.table();
        let Some((a, b)) = self.pair(&left.columns, &right.columns) else { return left };
        let (call, kind) = match self.of_kind(&right.columns, Kind::Int) {
            Some(int) => (format!("max({})", int.name), Kind::Int),
            None => ("count(*)".to_owned(), Kind::Int),
        };
        let (l, r, name) = (self.alias(), self.alias(), self.name());
        let correlated =
            if self.random.one_in(3) { String::new() } else { format!(" WHERE {r}.{b} = {l}.{a}") };
        let sql = format!(
            "SELECT {l}.*, (SELECT {call} FROM ({}) AS {r}{correlated}) AS {name} FROM ({}) AS {l}",
            right.sql, left.sql
        );
        let mut columns = left.columns;
        columns.push(Column { name, kind });
        Relation { sql, columns }
    }
}
