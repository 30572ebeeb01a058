//! What the server says of itself. Only what is true.

use arrow_flight::{
    error::FlightError,
    sql::{
        SqlInfo, SqlNullOrdering, SqlOuterJoinsSupportLevel, SqlSupportedCaseSensitivity,
        SqlSupportedGroupBy, SqlSupportedSubqueries, SqlSupportedTransaction, SqlSupportedUnions,
        SupportedSqlGrammar,
        metadata::{SqlInfoData, SqlInfoDataBuilder},
    },
};

/// The Arrow release that the wire library implements.
const ARROW_VERSION: &str = "59.3.2";
/// Longest name of a schema, a table or a column.
const NAME_LENGTH_MAX: i64 = 255;

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

/// The answer to GetSqlInfo.
pub(super) fn sql_info(version: &str) -> Result<SqlInfoData, FlightError> {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Whimbrel");
    info.append(SqlInfo::FlightSqlServerVersion, version);
    info.append(SqlInfo::FlightSqlServerArrowVersion, ARROW_VERSION);
    info.append(SqlInfo::FlightSqlServerReadOnly, false);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    info.append(SqlInfo::FlightSqlServerCancel, false);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    info.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    info.append(SqlInfo::FlightSqlServerStatementTimeout, 0);
    info.append(SqlInfo::FlightSqlServerTransactionTimeout, 0);

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
    info.append(SqlInfo::SqlKeywords, strings(&["REFRESH", "MATERIALIZED", "SCHEDULE", "JOB"]));
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
    info.append(SqlInfo::SqlSchemasSupportedActions, 0);
    info.append(SqlInfo::SqlCatalogsSupportedActions, 0);
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
    info.append(SqlInfo::SqlMaxColumnNameLength, NAME_LENGTH_MAX);
    info.append(SqlInfo::SqlDbSchemaNameLength, NAME_LENGTH_MAX);
    info.append(SqlInfo::SqlMaxCatalogNameLength, NAME_LENGTH_MAX);
    info.append(SqlInfo::SqlMaxTableNameLength, NAME_LENGTH_MAX);
    info.append(SqlInfo::SqlDefaultTransactionIsolation, 0);
    info.append(SqlInfo::SqlTransactionsSupported, false);
    info.append(SqlInfo::SqlSupportedTransactionsIsolationLevels, 0);
    info.append(SqlInfo::SqlDataDefinitionCausesTransactionCommit, false);
    info.append(SqlInfo::SqlDataDefinitionsInTransactionsIgnored, false);
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

    #[test]
    fn the_first_facts_are_true() {
        let info = sql_info("1.2.3").unwrap();
        let text = |id| value(&info, id).as_string::<i32>().value(0).to_owned();
        let flag = |id| value(&info, id).as_boolean().value(0);
        assert_eq!(text(SqlInfo::FlightSqlServerName), "Whimbrel");
        assert_eq!(text(SqlInfo::FlightSqlServerVersion), "1.2.3");
        assert_eq!(text(SqlInfo::SqlIdentifierQuoteChar), "\"");
        assert!(!flag(SqlInfo::FlightSqlServerReadOnly));
        assert!(flag(SqlInfo::FlightSqlServerSql));
        assert!(!flag(SqlInfo::FlightSqlServerSubstrait));
        assert!(flag(SqlInfo::FlightSqlServerBulkIngestion));
        assert!(!flag(SqlInfo::FlightSqlServerIngestTransactionsSupported));
        let transactions = value(&info, SqlInfo::FlightSqlServerTransaction);
        assert_eq!(transactions.as_primitive::<Int32Type>().value(0), 0);
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
    fn nothing_asked_means_everything() {
        let info = sql_info("1").unwrap();
        assert!(info.record_batch([]).unwrap().num_rows() > 50);
        assert_eq!(info.record_batch([999_999]).unwrap().num_rows(), 0);
    }
}
