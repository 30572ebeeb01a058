"""Those of dbt's own suites that need nothing besides. Left out is what compares the text of statements, and what needs defaults."""

import importlib

SUITES = {
    "aliases.test_aliases": "BaseAliases BaseAliasErrors BaseSameAliasDifferentSchemas",
    "basic.test_adapter_methods": "BaseAdapterMethod",
    "basic.test_base": "BaseSimpleMaterializations",
    "basic.test_empty": "BaseEmpty",
    "basic.test_ephemeral": "BaseEphemeral",
    "basic.test_generic_tests": "BaseGenericTests",
    "basic.test_incremental": "BaseIncremental BaseIncrementalNotSchemaChange BaseIncrementalBadStrategy",
    "basic.test_singular_tests": "BaseSingularTests",
    "basic.test_singular_tests_ephemeral": "BaseSingularTestsEphemeral",
    "basic.test_snapshot_check_cols": "BaseSnapshotCheckCols",
    "basic.test_snapshot_timestamp": "BaseSnapshotTimestamp",
    "basic.test_table_materialization": "BaseTableMaterialization",
    "basic.test_validate_connection": "BaseValidateConnection",
    "caching.test_caching": "BaseCachingLowercaseModel BaseCachingUppercaseModel BaseCachingSelectedSchemaOnly BaseNoPopulateCache",
    "concurrency.test_concurrency": "BaseConcurrency",
    "dbt_clone.test_dbt_clone": "BaseCloneNotPossible",
    "dbt_debug.test_dbt_debug": "BaseDebugProfileVariable",
    "dbt_show.test_dbt_show": "BaseShowLimit BaseShowSqlHeader",
    "empty.test_empty": "BaseTestEmpty BaseTestEmptyInlineSourceRef",
    "ephemeral.test_ephemeral": "BaseEphemeralErrorHandling",
    "hooks.test_model_hooks": "BasePrePostModelHooksOnSeeds BasePrePostModelHooksOnSnapshots BaseDuplicateHooksInConfigs",
    "incremental.test_incremental_merge_exclude_columns": "BaseMergeExcludeColumns",
    "incremental.test_incremental_unique_id": "BaseIncrementalUniqueKey",
    "persist_docs.test_persist_docs": "BasePersistDocsColumnMissing BasePersistDocsCommentOnQuotedColumn",
    "query_comment.test_query_comment": "BaseQueryComments BaseMacroQueryComments BaseMacroArgsQueryComments BaseNullQueryComments BaseEmptyQueryComments",
    "relations.test_changing_relation_type": "BaseChangeRelationTypeValidator",
    "relations.test_dropping_schema_named": "BaseDropSchemaNamed",
    "simple_copy.test_simple_copy": "SimpleCopyBase EmptyModelsArentRunBase",
    "simple_seed.test_seed": "BaseSeedConfigFullRefreshOff BaseSeedCustomSchema BaseSeedWithUniqueDelimiter BaseSimpleSeedEnabledViaConfig BaseSeedParsing BaseSeedSpecificFormats BaseTestEmptySeed",
    "simple_snapshot.test_snapshot": "BaseSnapshotCheck",
    "simple_snapshot.new_record_check_mode": "BaseSnapshotNewRecordCheckMode",
    "simple_snapshot.new_record_timestamp_mode": "BaseSnapshotNewRecordTimestampMode",
    "simple_snapshot.test_various_configs": "BaseSnapshotColumnNames BaseSnapshotColumnNamesFromDbtProject BaseSnapshotInvalidColumnNames BaseSnapshotMultiUniqueKey",
    "store_test_failures_tests.basic": "StoreTestFailuresAsInteractions StoreTestFailuresAsProjectLevelOff",
    "unit_testing.test_case_insensitivity": "BaseUnitTestCaseInsensivity",
    "unit_testing.test_invalid_input": "BaseUnitTestInvalidInput",
}
UTILS = """
    AnyValue ArrayAppend ArrayConcat ArrayConstruct BoolOr Cast CastBoolToText Concat Date DateAdd DateDiff DateSpine
    DateTrunc Equals EscapeSingleQuotesQuote Except GenerateSeries GetPowersOfTwo Hash Intersect
    LastDay Length Listagg MixedNullCompare NullCompare Position Replace Right SafeCast SplitPart StringLiteral
    ValidateSqlMethod CurrentTimestampAware
"""
FILES = {"EscapeSingleQuotesQuote": "escape_single_quotes", "MixedNullCompare": "null_compare", "StringLiteral": "string_literal",
         "ValidateSqlMethod": "validate_sql", "DateAdd": "dateadd", "DateDiff": "datediff", "CurrentTimestampAware": "current_timestamp"}


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


for name in UTILS.split():
    SUITES.setdefault(f"utils.test_{FILES.get(name, _snake(name))}", "")
    SUITES[f"utils.test_{FILES.get(name, _snake(name))}"] += f" Base{name}"

for module, names in SUITES.items():
    for name in names.split():
        base = getattr(importlib.import_module(f"dbt.tests.adapter.{module}"), name)
        test = "Test" + name.removeprefix("Base")
        while test in globals():
            test += "Too"
        globals()[test] = type(test, (base,), {"__module__": __name__})
