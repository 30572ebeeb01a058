"""What of SQL there is, for SQLAlchemy's own tests. Each `no` is something that Whimbrel refuses by name, or says of itself."""

from sqlalchemy.testing import exclusions
from sqlalchemy.testing.requirements import SuiteRequirements

yes, no = exclusions.open(), exclusions.closed()


def _are(answer, names: str) -> dict[str, property]:
    return {name: property(lambda self: answer) for name in names.split()}


THERE_IS = """
    array_type bound_limit_offset check_constraint_reflection comment_reflection comment_reflection_full_unicode
    computed_columns computed_columns_stored computed_columns_reflect_persisted create_or_replace_view create_table_as
    ctes ctes_with_values date date_historic datetime_historic datetime_implicit_bound datetime_literals
    datetime_microseconds datetime_timezone delete_from empty_strings_text empty_strings_varchar except_
    expressions_against_unbounded_text float_is_numeric group_by_complex_expression infinity_floats
    insert_from_select intersect like_escapes literal_float_coercion materialized_views
    mod_operator_as_percent_sign multivalues_inserts nullable_booleans nullsordering offset order_by_col_from_union
    precision_numerics_enotation_small precision_numerics_general
    precision_numerics_retains_significant_digits primary_key_constraint_reflection regexp_match regexp_replace
    sane_rowcount sane_multi_rowcount schemas sql_expression_limit_offset standalone_binds supports_is_distinct_from
    table_ddl_if_exists text_type unicode_data unicode_ddl update_from update_where_target_in_subquery uuid_data_type
    view_column_reflection view_reflection views window_functions
"""

# Keys and indexes: a primary key is declared and not enforced.
NO_KEYS = """
    duplicate_key_raises_integrity_error foreign_key_constraint_reflection foreign_key_ddl foreign_keys
    implicitly_named_constraints index_ddl_if_exists index_reflection index_reflects_included_columns
    indexes_with_ascdesc indexes_with_expressions named_constraints reflect_indexes_with_ascdesc reflects_pk_names
    self_referential_foreign_keys unique_constraint_reflection unique_constraints_reflect_as_index
"""
# Columns have neither defaults nor numbers of their own, and statements return no rows.
NO_NUMBERS = """
    autoincrement_insert autoincrement_without_sequence dbapi_lastrowid delete_returning emulated_lastrowid
    empty_inserts empty_inserts_executemany expression_server_defaults identity_columns implements_get_lastrowid
    insert_executemany_returning insert_returning sequences server_defaults update_returning
"""
# Each statement takes effect by itself.
NO_TRANSACTIONS = """
    get_isolation_levels isolation_level savepoints temp_table_names temp_table_reflection temporary_tables
    temporary_views two_phase_transactions has_temp_table create_temp_table_as
"""
# What a Delta table does not hold.
NO_SUCH_TYPES = """
    datetime_interval interval json_type reflect_table_options time time_microseconds timestamp_microseconds
    unusual_column_name_characters precision_numerics_enotation_large
"""

NOT_THERE = NO_KEYS + NO_NUMBERS + NO_TRANSACTIONS + NO_SUCH_TYPES
Requirements = type("Requirements", (SuiteRequirements,), _are(yes, THERE_IS) | _are(no, NOT_THERE))
