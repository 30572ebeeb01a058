//! The SQL parser's generic dialect with a bound on how much it may try.
//!
//! It exists because the parser reads a failed `CAST(…)` or `CASE …` a second time as a name, at
//! each level of nesting: without a bound, a mistake inside twenty levels costs a million readings.
//! It never changes what a readable text means.

use std::{any::TypeId, cell::Cell};

use sqlparser::{
    ast::Expr,
    dialect::{Dialect, GenericDialect},
    parser::{Parser, ParserError},
};

/// Readings of expressions per token; a readable statement takes a handful.
const TRIES_PER_TOKEN: usize = 64;

/// Counts down with each expression that the parser begins to read.
#[derive(Debug)]
pub(crate) struct Bounded {
    generic: GenericDialect,
    tries_left: Cell<usize>,
    furthest: Cell<usize>,
}

impl Bounded {
    pub(crate) fn new(tokens: usize) -> Self {
        let tries = tokens.saturating_mul(TRIES_PER_TOKEN).saturating_add(1_000);
        Self { generic: GenericDialect {}, tries_left: Cell::new(tries), furthest: Cell::new(0) }
    }

    /// The token that the parser got to, for errors that do not say where they are.
    pub(crate) fn furthest(&self) -> usize {
        self.furthest.get()
    }

    /// Whether the parser was stopped.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.tries_left.get() == 0
    }

    /// The parser begins again with other tokens.
    pub(crate) fn rewind(&self) {
        self.furthest.set(0);
    }
}

/// Answers as the generic dialect does.
macro_rules! as_generic {
    ($($method:ident)*) => {
        $(fn $method(&self) -> bool {
            self.generic.$method()
        })*
    };
}

impl Dialect for Bounded {
    fn dialect(&self) -> TypeId {
        self.generic.dialect()
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        self.furthest.set(self.furthest.get().max(parser.index()));
        let left = self.tries_left.get().saturating_sub(1);
        self.tries_left.set(left);
        // This error is the one that the parser hands up without trying anything else.
        (left == 0).then_some(Err(ParserError::RecursionLimitExceeded))
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        self.generic.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        self.generic.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        self.generic.is_identifier_part(ch)
    }

    // Whatever GenericDialect of sqlparser 0.62 overrides.
    as_generic! {
        supports_unicode_string_literal
        supports_partition_by_after_order_by
        supports_array_join_syntax
        supports_group_by_expr
        supports_group_by_with_modifier
        supports_left_associative_joins_without_parens
        supports_connect_by
        supports_match_recognize
        supports_pipe_operator
        supports_start_transaction_modifier
        supports_window_function_null_treatment_arg
        supports_dictionary_syntax
        supports_window_clause_named_window_reference
        supports_parenthesized_set_variables
        supports_select_wildcard_except
        support_map_literal_syntax
        allow_extract_custom
        allow_extract_single_quotes
        supports_extract_comma_syntax
        supports_create_view_comment_syntax
        supports_parens_around_table_factor
        supports_values_as_table_factor
        supports_create_index_with_clause
        supports_explain_with_utility_options
        supports_limit_comma
        supports_update_order_by
        supports_from_first_select
        supports_projection_trailing_commas
        supports_asc_desc_in_column_definition
        supports_try_convert
        supports_bitwise_shift_operators
        supports_comment_on
        supports_load_extension
        supports_named_fn_args_with_assignment_operator
        supports_struct_literal
        supports_empty_projections
        supports_nested_comments
        supports_multiline_comment_hints
        supports_user_host_grantee
        supports_string_escape_constant
        supports_array_typedef_with_brackets
        supports_match_against
        supports_set_names
        supports_comma_separated_set_assignments
        supports_filter_during_aggregation
        supports_select_wildcard_exclude
        supports_data_type_signed_suffix
        supports_interval_options
        supports_quote_delimited_string
        supports_select_wildcard_replace
        supports_select_wildcard_ilike
        supports_select_wildcard_rename
        supports_optimize_table
        supports_install
        supports_detach
        supports_prewhere
        supports_with_fill
        supports_limit_by
        supports_interpolate
        supports_settings
        supports_select_format
        supports_comment_optimizer_hint
        supports_constraint_keyword_without_name
        supports_key_column_option
        supports_comma_separated_trim
        supports_cte_without_as
        supports_select_item_multi_column_alias
        supports_xml_expressions
    }
}
