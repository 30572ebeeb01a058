//! The rows of `pg_type`: types that columns have, and those that clients look up when they connect.

/// One type.
#[derive(Debug, Clone, Copy)]
pub(super) struct TypeRow {
    pub(super) oid: i64,
    pub(super) name: &'static str,
    pub(super) size: i64,
    pub(super) category: &'static str,
    /// The type of its items, for an array.
    pub(super) item: i64,
    /// The type of its arrays.
    pub(super) array: i64,
    /// As SQL calls it.
    pub(super) sql: &'static str,
}

/// Number, name, bytes, category, number of its arrays, name in SQL.
const SCALARS: [(i64, &str, i64, &str, i64, &str); 32] = [
    (16, "bool", 1, "B", 1000, "boolean"),
    (17, "bytea", -1, "U", 1001, "bytea"),
    (18, "char", 1, "Z", 1002, "\"char\""),
    (19, "name", 64, "S", 1003, "name"),
    (20, "int8", 8, "N", 1016, "bigint"),
    (21, "int2", 2, "N", 1005, "smallint"),
    (22, "int2vector", -1, "A", 1006, "int2vector"),
    (23, "int4", 4, "N", 1007, "integer"),
    (24, "regproc", 4, "N", 1008, "regproc"),
    (25, "text", -1, "S", 1009, "text"),
    (26, "oid", 4, "N", 1028, "oid"),
    (30, "oidvector", -1, "A", 1013, "oidvector"),
    (114, "json", -1, "U", 199, "json"),
    (142, "xml", -1, "U", 143, "xml"),
    (700, "float4", 4, "N", 1021, "real"),
    (701, "float8", 8, "N", 1022, "double precision"),
    (705, "unknown", -2, "X", 0, "unknown"),
    (790, "money", 8, "N", 791, "money"),
    (869, "inet", -1, "I", 1041, "inet"),
    (1042, "bpchar", -1, "S", 1014, "character"),
    (1043, "varchar", -1, "S", 1015, "character varying"),
    (1082, "date", 4, "D", 1182, "date"),
    (1083, "time", 8, "D", 1183, "time without time zone"),
    (1114, "timestamp", 8, "D", 1115, "timestamp without time zone"),
    (1184, "timestamptz", 8, "D", 1185, "timestamp with time zone"),
    (1186, "interval", 16, "T", 1187, "interval"),
    (1266, "timetz", 12, "D", 1270, "time with time zone"),
    (1700, "numeric", -1, "N", 1231, "numeric"),
    (2205, "regclass", 4, "N", 2210, "regclass"),
    (2206, "regtype", 4, "N", 2211, "regtype"),
    (2950, "uuid", 16, "U", 2951, "uuid"),
    (3802, "jsonb", -1, "U", 3807, "jsonb"),
];

/// What kinds of types there are, as `typtype` has them: plain ones and pseudo ones.
pub(super) const KINDS: [&str; 2] = ["b", "p"];

/// Every type, with its array after all of the others.
pub(super) fn all() -> Vec<TypeRow> {
    let scalar = |(oid, name, size, category, array, sql)| TypeRow {
        oid,
        name,
        size,
        category,
        item: 0,
        array,
        sql,
    };
    let scalars: Vec<TypeRow> = SCALARS.into_iter().map(scalar).collect();
    let arrays = scalars.iter().filter(|row| row.array != 0).map(|row| TypeRow {
        oid: row.array,
        name: row.name,
        size: -1,
        category: "A",
        item: row.oid,
        array: 0,
        sql: row.sql,
    });
    scalars.iter().copied().chain(arrays).collect()
}

impl TypeRow {
    /// Its name in `pg_type`.
    pub(super) fn typname(&self) -> String {
        if self.item == 0 { self.name.to_owned() } else { format!("_{}", self.name) }
    }

    /// Its kind.
    pub(super) fn kind(&self) -> &'static str {
        let [plain, pseudo] = KINDS;
        if self.oid == 705 { pseudo } else { plain }
    }

    /// The function that reads or writes its values.
    pub(super) fn function(&self, end: &str) -> String {
        // Younger types have a line between the words.
        const WITH_LINE: [i64; 13] =
            [114, 142, 790, 869, 1082, 1083, 1114, 1184, 1186, 1266, 1700, 2950, 3802];
        match (self.item, WITH_LINE.contains(&self.oid)) {
            (0, false) => format!("{}{end}", self.name),
            (0, true) => format!("{}_{end}", self.name),
            _ => format!("array_{end}"),
        }
    }

    /// Its name in SQL, with the precision that `modifier` holds.
    pub(super) fn shown(&self, modifier: i64) -> String {
        let is_numeric = self.oid == 1700 || self.item == 1700;
        let precision = match modifier - 4 {
            packed if modifier >= 4 && is_numeric => {
                format!("({},{})", packed >> 16, packed & 0xffff)
            }
            length if modifier >= 4 && matches!(self.oid, 1042 | 1043) => format!("({length})"),
            _ => String::new(),
        };
        format!("{}{precision}{}", self.sql, if self.item == 0 { "" } else { "[]" })
    }
}

pub(super) fn by_oid(oid: i64) -> Option<TypeRow> {
    all().into_iter().find(|row| row.oid == oid)
}

/// By its name in `pg_type` or in SQL.
pub(super) fn by_name(name: &str) -> Option<TypeRow> {
    let name = name.trim().trim_start_matches("pg_catalog.").trim_matches('"').to_lowercase();
    all().into_iter().find(|row| {
        row.typname() == name
            || row.shown(-1) == name
            || match name.as_str() {
                "int" => row.oid == 23,
                "decimal" => row.oid == 1700,
                "float" => row.oid == 701,
                _ => false,
            }
    })
}
