//! What the server says of itself. Only what is true.

use std::{collections::HashMap, time::Duration};

use arrow::{array::AsArray, datatypes::UInt32Type};
use arrow_flight::{
    error::FlightError,
    sql::{
        SqlInfo, SqlNullOrdering, SqlOuterJoinsSupportLevel, SqlSupportedCaseSensitivity,
        SqlSupportedElementActions, SqlSupportedGroupBy, SqlSupportedResultSetConcurrency,
        SqlSupportedResultSetType, SqlSupportedSubqueries, SqlSupportedTransaction,
        SqlSupportedUnions, SqlSupportsConvert, SqlTransactionIsolationLevel, SupportedSqlGrammar,
        metadata::{SqlInfoData, SqlInfoDataBuilder},
    },
};
use query::substrait;

/// The Arrow release that the wire library implements.
const ARROW_VERSION: &str = "59.3.2";
/// Longest name of a schema, a table or a column.
const NAME_LENGTH_MAX: i64 = 255;

/// Where there is no limit, or none that is known.
const UNLIMITED: [SqlInfo; 15] = [
    SqlInfo::SqlMaxBinaryLiteralLength,
    SqlInfo::SqlMaxCharLiteralLength,
    SqlInfo::SqlMaxColumnsInGroupBy,
    SqlInfo::SqlMaxColumnsInIndex,
    SqlInfo::SqlMaxColumnsInOrderBy,
    SqlInfo::SqlMaxColumnsInSelect,
    SqlInfo::SqlMaxColumnsInTable,
    SqlInfo::SqlMaxConnections,
    SqlInfo::SqlMaxCursorNameLength,
    SqlInfo::SqlMaxIndexLength,
    SqlInfo::SqlMaxProcedureNameLength,
    SqlInfo::SqlMaxRowSize,
    SqlInfo::SqlMaxStatements,
    SqlInfo::SqlMaxTablesInSelect,
    SqlInfo::SqlMaxUsernameLength,
];

/// Words of the dialect that SQL:2003 does not have.
const KEYWORDS: [&str; 12] = [
    "CONVERT",
    "JOB",
    "MATERIALIZED",
    "OPTIMIZE",
    "QUERY",
    "REFRESH",
    "RESTORE",
    "RETRY",
    "SCHEDULE",
    "VACUUM",
    "VALIDATE",
    "WAIT",
];

const NUMERIC_FUNCTIONS: [&str; 14] = [
    "abs", "ceil", "exp", "floor", "ln", "log10", "log2", "nanvl", "power", "random", "round",
    "signum", "sqrt", "trunc",
];
const STRING_FUNCTIONS: [&str; 14] = [
    "ascii",
    "btrim",
    "concat",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "replace",
    "rpad",
    "rtrim",
    "split_part",
    "strpos",
    "substr",
    "upper",
];
const DATETIME_FUNCTIONS: [&str; 7] =
    ["current_date", "current_time", "date_bin", "date_part", "date_trunc", "now", "to_timestamp"];
const SYSTEM_FUNCTIONS: [&str; 2] = ["arrow_typeof", "version"];

/// What depends on how the server was started.
pub(super) struct Facts<'a> {
    pub(super) version: &'a str,
    pub(super) sql_length_max: usize,
    /// How long a prepared statement or a transaction waits.
    pub(super) handle_ttl: Duration,
}

/// Numbers that came with Arrow 18; JDBC drivers from before ask for all and fail on them.
const LATE: [SqlInfo; 2] =
    [SqlInfo::FlightSqlServerBulkIngestion, SqlInfo::FlightSqlServerIngestTransactionsSupported];

/// What is answered to who asks for no number: all but those that older drivers cannot read. Who asks
/// for these by their numbers gets them.
pub(super) fn unless_asked(info: &SqlInfoData) -> Result<Vec<u32>, FlightError> {
    let all = info.record_batch([])?;
    let numbers = all.column(0).as_primitive::<UInt32Type>().values();
    let is_late = |number: &u32| LATE.iter().any(|late| *late as u32 == *number);
    Ok(numbers.iter().copied().filter(|number| !is_late(number)).collect())
}

/// The answer to GetSqlInfo: every number that the specification has.
pub(super) fn sql_info(facts: &Facts<'_>) -> Result<SqlInfoData, FlightError> {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Whimbrel");
    info.append(SqlInfo::FlightSqlServerVersion, facts.version);
    info.append(SqlInfo::FlightSqlServerArrowVersion, ARROW_VERSION);
    info.append(SqlInfo::FlightSqlServerReadOnly, false);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, true);
    info.append(SqlInfo::FlightSqlServerSubstraitMinVersion, substrait::VERSION_MIN);
    info.append(SqlInfo::FlightSqlServerSubstraitMaxVersion, substrait::VERSION_MAX);
    info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::Transaction as i32);
    info.append(SqlInfo::FlightSqlServerCancel, true);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    info.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, true);
    // Both are about handles, not about how long something runs.
    info.append(SqlInfo::FlightSqlServerStatementTimeout, millis(facts.handle_ttl));
    info.append(SqlInfo::FlightSqlServerTransactionTimeout, millis(facts.handle_ttl));

    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, true);
    info.append(SqlInfo::SqlDdlTable, true);
    info.append(
        SqlInfo::SqlIdentifierCase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32,
    );
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    // The specification has no word for "kept as it is"; unknown is the nearest one.
    info.append(
        SqlInfo::SqlQuotedIdentifierCase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityUnknown as i32,
    );
    info.append(SqlInfo::SqlAllTablesAreSelectable, true);
    info.append(SqlInfo::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedHigh as i32);
    info.append(SqlInfo::SqlKeywords, strings(&KEYWORDS));
    info.append(SqlInfo::SqlNumericFunctions, strings(&NUMERIC_FUNCTIONS));
    info.append(SqlInfo::SqlStringFunctions, strings(&STRING_FUNCTIONS));
    info.append(SqlInfo::SqlSystemFunctions, strings(&SYSTEM_FUNCTIONS));
    info.append(SqlInfo::SqlDatetimeFunctions, strings(&DATETIME_FUNCTIONS));
    info.append(SqlInfo::SqlSearchStringEscape, "\\");
    info.append(SqlInfo::SqlExtraNameCharacters, "");
    info.append(SqlInfo::SqlSupportsColumnAliasing, true);
    info.append(SqlInfo::SqlNullPlusNullIsNull, true);
    info.append(SqlInfo::SqlSupportsTableCorrelationNames, true);
    info.append(SqlInfo::SqlSupportsDifferentTableCorrelationNames, false);
    info.append(SqlInfo::SqlSupportsExpressionsInOrderBy, true);
    info.append(SqlInfo::SqlSupportsOrderByUnrelated, true);
    info.append(
        SqlInfo::SqlSupportedGroupBy,
        bits(&[
            SqlSupportedGroupBy::SqlGroupByUnrelated as i32,
            SqlSupportedGroupBy::SqlGroupByBeyondSelect as i32,
        ]),
    );
    info.append(SqlInfo::SqlSupportsLikeEscapeClause, true);
    info.append(SqlInfo::SqlSupportsNonNullableColumns, true);
    info.append(
        SqlInfo::SqlSupportedGrammar,
        bits(&[
            SupportedSqlGrammar::SqlMinimumGrammar as i32,
            SupportedSqlGrammar::SqlCoreGrammar as i32,
        ]),
    );
    // No bit of SupportedAnsi92SqlGrammarLevel: entry level asks for more than there is.
    info.append(SqlInfo::SqlAnsi92SupportedLevel, 0);
    info.append(SqlInfo::SqlSupportsIntegrityEnhancementFacility, false);
    info.append(
        SqlInfo::SqlOuterJoinsSupportLevel,
        bits(&[SqlOuterJoinsSupportLevel::SqlFullOuterJoins as i32]),
    );
    info.append(SqlInfo::SqlSchemaTerm, "schema");
    info.append(SqlInfo::SqlCatalogTerm, "catalog");
    info.append(SqlInfo::SqlProcedureTerm, "procedure");
    info.append(SqlInfo::SqlCatalogAtStart, true);
    let privileges = bits(&[SqlSupportedElementActions::SqlElementInPrivilegeDefinitions as i32]);
    info.append(SqlInfo::SqlSchemasSupportedActions, privileges);
    info.append(SqlInfo::SqlCatalogsSupportedActions, privileges);
    info.append(SqlInfo::SqlSupportedPositionedCommands, 0);
    info.append(SqlInfo::SqlSelectForUpdateSupported, false);
    info.append(SqlInfo::SqlStoredProceduresSupported, false);
    info.append(
        SqlInfo::SqlSupportedSubqueries,
        bits(&[
            SqlSupportedSubqueries::SqlSubqueriesInComparisons as i32,
            SqlSupportedSubqueries::SqlSubqueriesInExists as i32,
            SqlSupportedSubqueries::SqlSubqueriesInIns as i32,
        ]),
    );
    info.append(SqlInfo::SqlCorrelatedSubqueriesSupported, true);
    info.append(
        SqlInfo::SqlSupportedUnions,
        bits(&[SqlSupportedUnions::SqlUnion as i32, SqlSupportedUnions::SqlUnionAll as i32]),
    );
    let length_max = i64::try_from(facts.sql_length_max).unwrap_or(i64::MAX);
    for unlimited in UNLIMITED {
        info.append(unlimited, 0_i64);
    }
    info.append(SqlInfo::SqlMaxRowSizeIncludesBlobs, true);
    info.append(SqlInfo::SqlMaxStatementLength, length_max);
    info.append(SqlInfo::SqlMaxColumnNameLength, NAME_LENGTH_MAX);
    info.append(SqlInfo::SqlDbSchemaNameLength, NAME_LENGTH_MAX);
    info.append(SqlInfo::SqlMaxCatalogNameLength, NAME_LENGTH_MAX);
    info.append(SqlInfo::SqlMaxTableNameLength, NAME_LENGTH_MAX);
    let isolation = SqlTransactionIsolationLevel::SqlTransactionRepeatableRead as i32;
    // FlightSql.proto says 32 bits, and the JDBC driver fails unless it gets 64.
    info.append(SqlInfo::SqlDefaultTransactionIsolation, i64::from(isolation));
    info.append(SqlInfo::SqlTransactionsSupported, true);
    info.append(SqlInfo::SqlSupportedTransactionsIsolationLevels, bits(&[isolation]));
    info.append(SqlInfo::SqlDataDefinitionCausesTransactionCommit, true);
    info.append(SqlInfo::SqlDataDefinitionsInTransactionsIgnored, false);
    // A result is read once, from its first row to its last, and changes nothing.
    let forward = SqlSupportedResultSetType::SqlResultSetTypeForwardOnly as i32;
    info.append(SqlInfo::SqlSupportedResultSetTypes, bits(&[forward]));
    let read_only = SqlSupportedResultSetConcurrency::SqlResultSetConcurrencyReadOnly as i32;
    info.append(SqlInfo::SqlSupportedConcurrenciesForResultSetForwardOnly, bits(&[read_only]));
    for none in [
        SqlInfo::SqlSupportedConcurrenciesForResultSetUnspecified,
        SqlInfo::SqlSupportedConcurrenciesForResultSetScrollSensitive,
        SqlInfo::SqlSupportedConcurrenciesForResultSetScrollInsensitive,
    ] {
        info.append(none, 0);
    }
    info.append(SqlInfo::SqlSupportsConvert, conversions());
    info.append(SqlInfo::SqlBatchUpdatesSupported, true);
    info.append(SqlInfo::SqlSavepointsSupported, false);
    info.append(SqlInfo::SqlNamedParametersSupported, false);
    info.append(SqlInfo::SqlLocatorsUpdateCopy, false);
    info.append(SqlInfo::SqlStoredFunctionsUsingCallSyntaxSupported, false);
    info.build()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// What CAST makes of what: numbers and texts of each other, times of texts.
fn conversions() -> HashMap<i32, Vec<i32>> {
    use SqlSupportsConvert as T;
    let numbers = [
        T::SqlConvertTinyint,
        T::SqlConvertSmallint,
        T::SqlConvertInteger,
        T::SqlConvertBigint,
        T::SqlConvertReal,
        T::SqlConvertFloat,
        T::SqlConvertDecimal,
        T::SqlConvertNumeric,
    ];
    let times = [T::SqlConvertDate, T::SqlConvertTimestamp];
    let texts = [T::SqlConvertVarchar, T::SqlConvertChar];
    let number_of = |kinds: &[T]| kinds.iter().map(|kind| *kind as i32).collect::<Vec<_>>();
    let mut all = HashMap::new();
    for number in numbers {
        all.insert(number as i32, number_of(&[&numbers[..], &texts[..]].concat()));
    }
    for time in times {
        all.insert(time as i32, number_of(&[&times[..], &texts[..]].concat()));
    }
    for text in texts {
        all.insert(text as i32, number_of(&[&numbers[..], &times[..], &texts[..]].concat()));
    }
    all
}

/// Sets the bit of each number.
fn bits(numbers: &[i32]) -> i32 {
    numbers.iter().fold(0, |mask, number| mask | 1 << number)
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Array, AsArray, UnionArray},
        datatypes::{Int32Type, UInt32Type},
    };

    use super::*;

    fn value(info: &SqlInfoData, id: SqlInfo) -> arrow::array::ArrayRef {
        let rows = info.record_batch([id as u32]).unwrap();
        assert_eq!(rows.num_rows(), 1, "{id:?}");
        assert_eq!(rows.column(0).as_primitive::<UInt32Type>().value(0), id as u32);
        rows.column(1).as_any().downcast_ref::<UnionArray>().unwrap().value(0)
    }

    fn facts() -> Facts<'static> {
        Facts { version: "1.2.3", sql_length_max: 1 << 20, handle_ttl: Duration::from_secs(60) }
    }

    #[test]
    fn every_number_of_the_specification_is_answered() {
        let info = sql_info(&facts()).unwrap();
        let all = info.record_batch([]).unwrap();
        let answered = all.column(0).as_primitive::<UInt32Type>().values().to_vec();
        assert!(answered.is_sorted(), "in the order of their numbers");
        let missing = (0..1_000_u32)
            .filter(|number| SqlInfo::try_from(*number as i32).is_ok())
            .filter(|number| !answered.contains(number))
            .collect::<Vec<_>>();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn the_first_facts_are_true() {
        let info = sql_info(&facts()).unwrap();
        let text = |id| value(&info, id).as_string::<i32>().value(0).to_owned();
        let flag = |id| value(&info, id).as_boolean().value(0);
        assert_eq!(text(SqlInfo::FlightSqlServerName), "Whimbrel");
        assert_eq!(text(SqlInfo::FlightSqlServerVersion), "1.2.3");
        assert_eq!(text(SqlInfo::SqlIdentifierQuoteChar), "\"");
        assert!(!flag(SqlInfo::FlightSqlServerReadOnly));
        assert!(flag(SqlInfo::FlightSqlServerSql));
        assert!(!flag(SqlInfo::FlightSqlServerSubstrait));
        assert!(flag(SqlInfo::FlightSqlServerBulkIngestion));
        assert!(flag(SqlInfo::FlightSqlServerIngestTransactionsSupported));
        assert!(flag(SqlInfo::FlightSqlServerCancel));
        assert!(!flag(SqlInfo::SqlSavepointsSupported));
        let number = |id| value(&info, id).as_primitive::<Int32Type>().value(0);
        // 1: transactions, and no savepoints.
        assert_eq!(number(SqlInfo::FlightSqlServerTransaction), 1);
        assert_eq!(number(SqlInfo::FlightSqlServerTransactionTimeout), 60_000);
        let unions = value(&info, SqlInfo::SqlSupportedUnions);
        assert_eq!(unions.as_primitive::<Int32Type>().value(0), 0b11);
    }

    #[test]
    fn the_arrow_version_is_that_of_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        let package = format!("name = \"arrow-flight\"\nversion = \"{ARROW_VERSION}\"");
        assert!(lock.contains(&package), "ARROW_VERSION is not the version in Cargo.lock");
    }

    #[test]
    fn nothing_asked_means_everything_that_older_drivers_can_read() {
        let info = sql_info(&facts()).unwrap();
        let answered = unless_asked(&info).unwrap();
        let all = info.record_batch([]).unwrap().num_rows();
        assert_eq!(answered.len(), all - LATE.len());
        assert!(!answered.contains(&10) && !answered.contains(&11));
        assert!(info.record_batch([]).unwrap().num_rows() > 50);
        assert_eq!(info.record_batch([999_999]).unwrap().num_rows(), 0);
    }
}
