//! The tables of `pg_catalog`, and those of `information_schema` that DataFusion does not have.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Builder, ListBuilder, new_empty_array, new_null_array},
    datatypes::{DataType, Field, Schema},
    record_batch::RecordBatch,
};
use datafusion::{catalog::TableProvider, datasource::MemTable};
use model::name::CATALOG;

use super::{
    known::{Known, Relation, namespace_oid, oid},
    type_rows,
    types::{ColumnType, modifier},
};
use crate::{answer::Answer, error::QueryError};

/// The one user that things belong to, as far as Postgres clients see.
const OWNER: i64 = 10;
/// The number of the catalog, which is the database.
const DATABASE: i64 = 16_384;
/// The number of the way in which tables are stored.
const ACCESS_METHOD: i64 = 2;
const COLLATION: i64 = 100;
/// Numbers of tables that descriptions are about.
const PG_CLASS: i64 = 1259;

/// Tables with rows.
const FILLED: [&str; 22] = [
    "pg_am",
    "pg_attribute",
    "pg_class",
    "pg_constraint",
    "pg_database",
    "pg_description",
    "pg_get_keywords",
    "pg_index",
    "pg_language",
    "pg_matviews",
    "pg_namespace",
    "pg_proc",
    "pg_roles",
    "pg_settings",
    "pg_tables",
    "pg_tablespace",
    "pg_timezone_names",
    "pg_type",
    "pg_user",
    "pg_views",
    "key_column_usage",
    "table_constraints",
];

/// Tables that are always empty, with their columns; `#` is before a number, `?` before a truth value,
/// `*` before a list.
const EMPTY: [(&str, &str); 47] = [
    ("pg_aggregate", "aggfnoid aggkind #aggnumdirectargs"),
    ("pg_attrdef", "#oid #adrelid #adnum adbin"),
    ("pg_auth_members", "#roleid #member #grantor ?admin_option"),
    ("pg_available_extensions", "name default_version installed_version comment"),
    ("pg_cast", "#oid #castsource #casttarget #castfunc castcontext castmethod"),
    // Texts are compared by their bytes, whatever a collation is called: no column has another one.
    (
        "pg_collation",
        "#oid collname #collnamespace #collowner collprovider ?collisdeterministic #collencoding \
         collcollate collctype colliculocale collversion",
    ),
    (
        "pg_conversion",
        "#oid conname #connamespace #conowner #conforencoding #contoencoding ?condefault",
    ),
    ("pg_cursors", "name statement ?is_holdable ?is_binary ?is_scrollable"),
    ("pg_default_acl", "#oid #defaclrole #defaclnamespace defaclobjtype defaclacl"),
    ("pg_depend", "#classid #objid #objsubid #refclassid #refobjid #refobjsubid deptype"),
    ("pg_db_role_setting", "#setdatabase #setrole *setconfig"),
    ("pg_enum", "#oid #enumtypid #enumsortorder enumlabel"),
    ("pg_event_trigger", "#oid evtname evtevent #evtowner #evtfoid evtenabled *evttags"),
    ("pg_extension", "#oid extname #extowner #extnamespace ?extrelocatable extversion"),
    ("pg_foreign_data_wrapper", "#oid fdwname #fdwowner #fdwhandler *fdwacl *fdwoptions"),
    ("pg_foreign_server", "#oid srvname #srvowner #srvfdw srvtype srvversion *srvacl *srvoptions"),
    ("pg_foreign_table", "#ftrelid #ftserver *ftoptions"),
    ("pg_indexes", "schemaname tablename indexname tablespace indexdef"),
    ("pg_inherits", "#inhrelid #inhparent #inhseqno ?inhdetachpending"),
    ("pg_largeobject_metadata", "#oid #lomowner lomacl"),
    ("pg_locks", "locktype #database #relation #pid mode ?granted"),
    ("pg_opclass", "#oid #opcmethod opcname #opcnamespace #opcintype ?opcdefault"),
    ("pg_operator", "#oid oprname #oprnamespace oprkind #oprleft #oprright #oprresult oprcode"),
    ("pg_opfamily", "#oid #opfmethod opfname #opfnamespace"),
    ("pg_partitioned_table", "#partrelid partstrat #partnatts #partdefid *partattrs partexprs"),
    ("pg_policies", "schemaname tablename policyname permissive roles cmd qual with_check"),
    ("pg_policy", "#oid polname #polrelid polcmd ?polpermissive *polroles polqual polwithcheck"),
    (
        "pg_publication",
        "#oid pubname #pubowner ?puballtables ?pubinsert ?pubupdate ?pubdelete \
         ?pubtruncate ?pubviaroot",
    ),
    ("pg_publication_namespace", "#oid #pnpubid #pnnspid"),
    ("pg_publication_rel", "#oid #prpubid #prrelid prqual *prattrs"),
    ("pg_publication_tables", "pubname schemaname tablename"),
    ("pg_range", "#rngtypid #rngsubtype #rngmultitypid"),
    ("pg_replication_slots", "slot_name plugin slot_type ?active"),
    ("pg_rewrite", "#oid rulename #ev_class ev_type ev_enabled ?is_instead ev_qual ev_action"),
    ("pg_rules", "schemaname tablename rulename definition"),
    ("pg_seclabel", "#objoid #classoid #objsubid provider label"),
    ("pg_sequence", "#seqrelid #seqtypid #seqstart #seqincrement #seqmax #seqmin"),
    ("pg_sequences", "schemaname sequencename sequenceowner data_type #start_value #last_value"),
    ("pg_shdescription", "#objoid #classoid description"),
    (
        "pg_stat_activity",
        "#datid datname #pid #usesysid usename application_name client_addr state query \
         backend_type wait_event_type wait_event",
    ),
    ("pg_stat_user_tables", "#relid schemaname relname #n_live_tup #n_dead_tup #seq_scan"),
    (
        "pg_statistic_ext",
        "#oid #stxrelid stxname #stxnamespace #stxowner *stxkeys *stxkind #stxstattarget",
    ),
    ("pg_subscription", "#oid #subdbid subname #subowner ?subenabled"),
    (
        "pg_trigger",
        "#oid #tgrelid #tgparentid tgname #tgfoid #tgtype tgenabled ?tgisinternal #tgconstrrelid \
         #tgconstraint ?tgdeferrable ?tginitdeferred #tgnargs *tgattr tgqual tgoldtable tgnewtable",
    ),
    ("pg_user_mapping", "#oid #umuser #umserver *umoptions"),
    (
        "referential_constraints",
        "constraint_catalog constraint_schema constraint_name unique_constraint_catalog \
         unique_constraint_schema unique_constraint_name match_option update_rule delete_rule",
    ),
    (
        "constraint_column_usage",
        "table_catalog table_schema table_name column_name constraint_catalog constraint_schema \
         constraint_name",
    ),
];

/// Tables that `information_schema` has in Postgres and not here otherwise.
const OF_INFORMATION_SCHEMA: [&str; 4] =
    ["key_column_usage", "table_constraints", "referential_constraints", "constraint_column_usage"];

/// The table of ours that a name in a query means; `None` for any other name.
pub(super) fn name_of(parts: &[String]) -> Option<&'static str> {
    let (schema, name) = match parts {
        [name] => ("pg_catalog", name),
        [schema, name] => (schema.as_str(), name),
        [catalog, schema, name] if catalog == CATALOG => (schema.as_str(), name),
        _ => return None,
    };
    let mut names = FILLED.into_iter().chain(EMPTY.into_iter().map(|(name, _)| name));
    let known = names.find(|known| known == name)?;
    let is_other = OF_INFORMATION_SCHEMA.contains(&known);
    let fits = match schema {
        "pg_catalog" => !is_other,
        "information_schema" => is_other,
        _ => false,
    };
    fits.then_some(known)
}

pub(super) fn is_always_empty(name: &str) -> bool {
    EMPTY.iter().any(|(empty, _)| *empty == name)
}

/// The table with the rows of now.
pub(super) fn table(
    known: &Known,
    name: &str,
) -> Result<Option<Arc<dyn TableProvider>>, QueryError> {
    let batch = match name {
        "pg_am" => access_methods(),
        "pg_attribute" => attributes(known),
        "pg_class" => classes(known),
        "pg_constraint" => constraints(known),
        "pg_database" => databases(known),
        "pg_description" => descriptions(known),
        "pg_get_keywords" => keywords(),
        "pg_index" => indexes(known),
        "pg_language" => languages(),
        "pg_matviews" => views(known, "m"),
        "pg_namespace" => namespaces(known),
        "pg_proc" => functions(),
        "pg_roles" | "pg_user" => roles(known),
        "pg_settings" => settings(known),
        "pg_tables" => relations(known),
        "pg_tablespace" => tablespaces(),
        "pg_timezone_names" => zones(),
        "pg_type" => types(),
        "pg_views" => views(known, "v"),
        "key_column_usage" => key_columns(known),
        "table_constraints" => table_constraints(known),
        other => match EMPTY.iter().find(|(empty, _)| *empty == other) {
            Some((_, columns)) => empty(columns),
            None => return Ok(None),
        },
    };
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    Ok(Some(Arc::new(table)))
}

fn texts() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

/// A column of lists that nobody has filled.
fn no_lists(rows: usize) -> ArrayRef {
    new_null_array(&texts(), rows)
}

fn empty(columns: &str) -> RecordBatch {
    let field = |name: &str| match name.as_bytes().first() {
        Some(b'#') => Field::new(&name[1..], DataType::Int64, true),
        Some(b'?') => Field::new(&name[1..], DataType::Boolean, true),
        Some(b'*') => Field::new(&name[1..], texts(), true),
        _ => Field::new(name, DataType::Utf8, true),
    };
    let schema = Arc::new(Schema::new(columns.split_whitespace().map(field).collect::<Vec<_>>()));
    let arrays = schema.fields().iter().map(|field| new_empty_array(field.data_type())).collect();
    RecordBatch::try_new(schema, arrays).expect("every column is empty")
}

fn namespaces(known: &Known) -> RecordBatch {
    let each = || known.namespaces.iter();
    Answer::new()
        .number("oid", each().map(|one| one.oid))
        .text("nspname", each().map(|one| &one.name))
        .number("nspowner", each().map(|_| OWNER))
        .column("nspacl", texts(), no_lists(known.namespaces.len()))
        .finish()
}

/// A row of `pg_class`: a relation, or its primary key as an index.
struct Class<'a> {
    relation: &'a Relation,
    is_key: bool,
}

impl Class<'_> {
    fn oid(&self) -> i64 {
        if self.is_key { self.relation.key_oid() } else { self.relation.oid }
    }

    fn columns(&self) -> i64 {
        let columns = match self.is_key {
            true => self.relation.primary_key.len(),
            false => self.relation.columns.as_ref().map_or(0, |columns| columns.fields().len()),
        };
        i64::try_from(columns).unwrap_or(0)
    }
}

fn with_keys(known: &Known) -> impl Iterator<Item = &Relation> {
    known.relations.iter().filter(|relation| !relation.primary_key.is_empty())
}

fn classes(known: &Known) -> RecordBatch {
    let tables = known.relations.iter().map(|relation| Class { relation, is_key: false });
    let keys = with_keys(known).map(|relation| Class { relation, is_key: true });
    let rows: Vec<Class<'_>> = tables.chain(keys).collect();
    let each = || rows.iter();
    let number = |value: i64| each().map(move |_| value);
    let no = || each().map(|_| false);
    let nothing = || each().map(|_| None::<&str>);
    Answer::new()
        .number("oid", each().map(Class::oid))
        .text(
            "relname",
            each().map(|class| match class.is_key {
                true => class.relation.key_name(),
                false => class.relation.name.clone(),
            }),
        )
        .number("relnamespace", each().map(|class| class.relation.namespace))
        .number("reltype", number(0))
        .number("reloftype", number(0))
        .number("relowner", number(OWNER))
        .number("relam", number(ACCESS_METHOD))
        .number("relfilenode", number(0))
        .number("reltablespace", number(0))
        .number("relpages", number(0))
        // Nobody has counted.
        .number("reltuples", number(-1))
        .number("relallvisible", number(0))
        .number("reltoastrelid", number(0))
        .flag(
            "relhasindex",
            each().map(|class| !class.is_key && !class.relation.primary_key.is_empty()),
        )
        .flag("relisshared", no())
        .text("relpersistence", each().map(|_| "p"))
        .text("relkind", each().map(|class| if class.is_key { "i" } else { class.relation.kind }))
        .number("relnatts", each().map(Class::columns))
        .number("relchecks", number(0))
        .flag("relhasrules", no())
        .flag("relhastriggers", no())
        .flag("relhassubclass", no())
        .flag("relrowsecurity", no())
        .flag("relforcerowsecurity", no())
        .flag("relispopulated", each().map(|_| true))
        .text("relreplident", each().map(|_| "n"))
        .flag("relispartition", no())
        .number("relrewrite", number(0))
        .number("relfrozenxid", number(0))
        .number("relminmxid", number(0))
        .column("relacl", texts(), no_lists(rows.len()))
        .column("reloptions", texts(), no_lists(rows.len()))
        .maybe_text("relpartbound", nothing())
        .flag("relhasoids", no())
        .finish()
}

/// A column of a relation.
struct Attribute<'a> {
    relation: i64,
    number: i64,
    field: &'a Field,
    column: ColumnType,
    is_key: bool,
}

fn attributes(known: &Known) -> RecordBatch {
    let mut rows: Vec<Attribute<'_>> = Vec::new();
    for relation in &known.relations {
        let Some(columns) = &relation.columns else { continue };
        let attribute = |oid, number: usize, at: usize| {
            let field = columns.field(at);
            let is_key = relation.primary_key.contains(field.name());
            let column = ColumnType::of(field.data_type());
            let number = i64::try_from(number).unwrap_or(0);
            Attribute { relation: oid, number, field, column, is_key }
        };
        rows.extend((0..columns.fields().len()).map(|at| attribute(relation.oid, at + 1, at)));
        let keys = relation.key_columns();
        rows.extend(
            keys.iter().enumerate().map(|(n, at)| attribute(relation.key_oid(), n + 1, at - 1)),
        );
    }
    let each = || rows.iter();
    let number = |value: i64| each().map(move |_| value);
    let no = || each().map(|_| false);
    let nothing = || each().map(|_| None::<&str>);
    let is_text = |row: &Attribute<'_>| matches!(row.column.oid(), 25 | 1009);
    Answer::new()
        .number("attrelid", each().map(|row| row.relation))
        .text("attname", each().map(|row| row.field.name()))
        .number("atttypid", each().map(|row| i64::from(row.column.oid())))
        .number("attstattarget", number(-1))
        .number("attlen", each().map(|row| i64::from(row.column.size())))
        .number("attnum", each().map(|row| row.number))
        .number("attndims", each().map(|row| i64::from(matches!(row.column, ColumnType::Array(_)))))
        .number("attcacheoff", number(-1))
        .number("atttypmod", each().map(|row| i64::from(modifier(row.field.data_type()))))
        .flag("attbyval", no())
        .text("attalign", each().map(|_| "i"))
        .text("attstorage", each().map(|_| "p"))
        .text("attcompression", each().map(|_| ""))
        .flag("attnotnull", each().map(|row| row.is_key))
        .flag("atthasdef", no())
        .flag("atthasmissing", no())
        .text("attidentity", each().map(|_| ""))
        .text("attgenerated", each().map(|_| ""))
        .flag("attisdropped", no())
        .flag("attislocal", each().map(|_| true))
        .number("attinhcount", number(0))
        .number("attcollation", each().map(move |row| if is_text(row) { COLLATION } else { 0 }))
        .column("attacl", texts(), no_lists(rows.len()))
        .column("attoptions", texts(), no_lists(rows.len()))
        .column("attfdwoptions", texts(), no_lists(rows.len()))
        .maybe_text("attmissingval", nothing())
        .finish()
}

fn types() -> RecordBatch {
    let rows = type_rows::all();
    let each = || rows.iter();
    let number = |value: i64| each().map(move |_| value);
    let function = |end: &'static str| each().map(move |row| row.function(end));
    Answer::new()
        .number("oid", each().map(|row| row.oid))
        .text("typname", each().map(type_rows::TypeRow::typname))
        .number("typnamespace", number(namespace_oid("pg_catalog")))
        .number("typowner", number(OWNER))
        .number("typlen", each().map(|row| row.size))
        .flag("typbyval", each().map(|row| (1..=8).contains(&row.size)))
        .text("typtype", each().map(|row| if row.oid == 705 { "p" } else { "b" }))
        .text("typcategory", each().map(|row| row.category))
        .flag("typispreferred", each().map(|row| matches!(row.oid, 16 | 25 | 701 | 1184 | 1186)))
        .flag("typisdefined", each().map(|_| true))
        .text("typdelim", each().map(|_| ","))
        .number("typrelid", number(0))
        .text(
            "typsubscript",
            each().map(|row| if row.item == 0 { "-" } else { "array_subscript_handler" }),
        )
        .number("typelem", each().map(|row| row.item))
        .number("typarray", each().map(|row| row.array))
        .text("typinput", function("in"))
        .text("typoutput", function("out"))
        .text("typreceive", function("recv"))
        .text("typsend", function("send"))
        .text("typmodin", each().map(|_| "-"))
        .text("typmodout", each().map(|_| "-"))
        .text("typanalyze", each().map(|_| "-"))
        .text("typalign", each().map(|_| "i"))
        .text("typstorage", each().map(|_| "p"))
        .flag("typnotnull", each().map(|_| false))
        .number("typbasetype", number(0))
        .number("typtypmod", number(-1))
        .number("typndims", number(0))
        .number("typcollation", each().map(|row| if row.category == "S" { COLLATION } else { 0 }))
        .maybe_text("typdefaultbin", each().map(|_| None::<&str>))
        .maybe_text("typdefault", each().map(|_| None::<&str>))
        .maybe_text("typacl", each().map(|_| None::<&str>))
        .finish()
}

fn databases(known: &Known) -> RecordBatch {
    Answer::new()
        .number("oid", [DATABASE])
        .text("datname", [CATALOG])
        .number("datdba", [OWNER])
        .number("encoding", [6])
        .text("datlocprovider", ["c"])
        .flag("datistemplate", [false])
        .flag("datallowconn", [true])
        .number("datconnlimit", [-1])
        .number("datfrozenxid", [0])
        .number("datminmxid", [0])
        .number("dattablespace", [1663])
        .text("datcollate", ["C"])
        .text("datctype", ["C"])
        .maybe_text("daticulocale", [None::<&str>])
        .maybe_text("datcollversion", [None::<&str>])
        .column("datacl", texts(), no_lists(1))
        .text("datowner", [&known.user])
        .finish()
}

fn roles(known: &Known) -> RecordBatch {
    let no = || [false];
    Answer::new()
        .number("oid", [OWNER])
        .text("rolname", [&known.user])
        .flag("rolsuper", no())
        .flag("rolinherit", [true])
        .flag("rolcreaterole", no())
        .flag("rolcreatedb", no())
        .flag("rolcanlogin", [true])
        .flag("rolreplication", no())
        .flag("rolbypassrls", no())
        .number("rolconnlimit", [-1])
        .maybe_text("rolpassword", [None::<&str>])
        .maybe_text("rolvaliduntil", [None::<&str>])
        .column("rolconfig", texts(), no_lists(1))
        .text("usename", [&known.user])
        .number("usesysid", [OWNER])
        .flag("usecreatedb", no())
        .flag("usesuper", no())
        .finish()
}

fn settings(known: &Known) -> RecordBatch {
    let each = || known.client.settings.iter();
    let nothing = || each().map(|_| None::<&str>);
    Answer::new()
        .text("name", each().map(|(name, _)| name))
        .text("setting", each().map(|(_, value)| value))
        .maybe_text("unit", nothing())
        .text("category", each().map(|_| "Session"))
        .text("short_desc", each().map(|_| ""))
        .maybe_text("extra_desc", nothing())
        .text("context", each().map(|_| "user"))
        .text("vartype", each().map(|_| "string"))
        .text("source", each().map(|_| "session"))
        .maybe_text("min_val", nothing())
        .maybe_text("max_val", nothing())
        .maybe_text("enumvals", nothing())
        .text("boot_val", each().map(|(_, value)| value))
        .text("reset_val", each().map(|(_, value)| value))
        .flag("pending_restart", each().map(|_| false))
        .finish()
}

fn descriptions(known: &Known) -> RecordBatch {
    let with_comment = || {
        known
            .relations
            .iter()
            .filter_map(|relation| Some((relation.oid, relation.comment.as_ref()?)))
    };
    Answer::new()
        .number("objoid", with_comment().map(|(oid, _)| oid))
        .number("classoid", with_comment().map(|_| PG_CLASS))
        .number("objsubid", with_comment().map(|_| 0))
        .text("description", with_comment().map(|(_, comment)| comment))
        .finish()
}

/// Whether a list has the columns themselves, or an option of each: none of ours has any.
#[derive(Debug, Clone, Copy)]
enum Lists {
    Columns,
    Options,
}

/// A list for each relation's primary key.
fn key_lists(known: &Known, lists: Lists) -> ArrayRef {
    let mut built = ListBuilder::new(Int64Builder::new());
    for relation in with_keys(known) {
        let numbers = relation.key_columns().into_iter().map(|number| match lists {
            Lists::Columns => i64::try_from(number).ok(),
            Lists::Options => Some(0),
        });
        built.append_value(numbers);
    }
    Arc::new(built.finish())
}

fn whole_numbers() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)))
}

/// The number of a function, by its name.
pub(super) fn function_oid(name: &str) -> i64 {
    oid(&format!("function {}", name.trim_start_matches("pg_catalog.")))
}

/// The functions of types: some clients tell arrays by them.
fn functions() -> RecordBatch {
    let mut names: Vec<String> = type_rows::all()
        .iter()
        .flat_map(|row| ["in", "out", "recv", "send"].map(|end| row.function(end)))
        .collect();
    names.sort();
    names.dedup();
    let each = || names.iter();
    let number = |value: i64| each().map(move |_| value);
    let no = || each().map(|_| false);
    let nothing = || each().map(|_| None::<&str>);
    let lists = || no_lists(names.len());
    Answer::new()
        .number("oid", each().map(|name| function_oid(name)))
        .text("proname", each())
        .number("pronamespace", number(namespace_oid("pg_catalog")))
        .number("proowner", number(OWNER))
        .number("prolang", number(12))
        .number("procost", number(1))
        .number("prorows", number(0))
        .number("provariadic", number(0))
        .text("prokind", each().map(|_| "f"))
        .flag("prosecdef", no())
        .flag("proleakproof", no())
        .flag("proisstrict", each().map(|_| true))
        .flag("proretset", no())
        .text("provolatile", each().map(|_| "i"))
        .text("proparallel", each().map(|_| "s"))
        .number("pronargs", number(1))
        .number("pronargdefaults", number(0))
        .number("prorettype", number(2275))
        .text("proargtypes", each().map(|_| ""))
        .column("proallargtypes", texts(), lists())
        .column("proargmodes", texts(), lists())
        .column("proargnames", texts(), lists())
        .maybe_text("proargdefaults", nothing())
        .text("prosrc", each())
        .maybe_text("probin", nothing())
        .column("proconfig", texts(), lists())
        .column("proacl", texts(), lists())
        .flag("proisagg", no())
        .finish()
}

fn indexes(known: &Known) -> RecordBatch {
    let each = || with_keys(known);
    let columns = || each().map(|one| i64::try_from(one.primary_key.len()).unwrap_or(0));
    let yes = || each().map(|_| true);
    let no = || each().map(|_| false);
    Answer::new()
        .number("indexrelid", each().map(Relation::key_oid))
        .number("indrelid", each().map(|one| one.oid))
        .number("indnatts", columns())
        .number("indnkeyatts", columns())
        .flag("indisunique", yes())
        .flag("indnullsnotdistinct", no())
        .flag("indisprimary", yes())
        .flag("indisexclusion", no())
        .flag("indimmediate", yes())
        .flag("indisclustered", no())
        .flag("indisvalid", yes())
        .flag("indcheckxmin", no())
        .flag("indisready", yes())
        .flag("indislive", yes())
        .flag("indisreplident", no())
        .column("indkey", whole_numbers(), key_lists(known, Lists::Columns))
        .column("indcollation", whole_numbers(), key_lists(known, Lists::Options))
        .column("indclass", whole_numbers(), key_lists(known, Lists::Options))
        .column("indoption", whole_numbers(), key_lists(known, Lists::Options))
        .maybe_text("indexprs", each().map(|_| None::<&str>))
        .maybe_text("indpred", each().map(|_| None::<&str>))
        .finish()
}

fn constraints(known: &Known) -> RecordBatch {
    let each = || with_keys(known);
    let rows = each().count();
    let unset = || new_null_array(&whole_numbers(), rows);
    let number = |value: i64| each().map(move |_| value);
    let no = || each().map(|_| false);
    let nothing = || each().map(|_| None::<&str>);
    Answer::new()
        .number("oid", each().map(Relation::key_oid))
        .text("conname", each().map(Relation::key_name))
        .number("connamespace", each().map(|one| one.namespace))
        .text("contype", each().map(|_| "p"))
        .flag("condeferrable", no())
        .flag("condeferred", no())
        .flag("convalidated", each().map(|_| true))
        .number("conrelid", each().map(|one| one.oid))
        .number("contypid", number(0))
        .number("conindid", each().map(Relation::key_oid))
        .number("conparentid", number(0))
        .number("confrelid", number(0))
        .text("confupdtype", each().map(|_| " "))
        .text("confdeltype", each().map(|_| " "))
        .text("confmatchtype", each().map(|_| " "))
        .flag("conislocal", each().map(|_| true))
        .number("coninhcount", number(0))
        .flag("connoinherit", each().map(|_| true))
        .column("conkey", whole_numbers(), key_lists(known, Lists::Columns))
        .column("confkey", whole_numbers(), unset())
        .column("conpfeqop", whole_numbers(), unset())
        .column("conppeqop", whole_numbers(), unset())
        .column("conffeqop", whole_numbers(), unset())
        .column("confdelsetcols", whole_numbers(), unset())
        .column("conexclop", whole_numbers(), unset())
        .maybe_text("conbin", nothing())
        .finish()
}

fn relations(known: &Known) -> RecordBatch {
    let each = || known.relations.iter().filter(|one| one.kind == "r");
    let no = || each().map(|_| false);
    Answer::new()
        .text("schemaname", each().map(|one| &one.schema))
        .text("tablename", each().map(|one| &one.name))
        .text("tableowner", each().map(|_| &known.user))
        .maybe_text("tablespace", each().map(|_| None::<&str>))
        .flag("hasindexes", each().map(|one| !one.primary_key.is_empty()))
        .flag("hasrules", no())
        .flag("hastriggers", no())
        .flag("rowsecurity", no())
        .finish()
}

fn views(known: &Known, kind: &'static str) -> RecordBatch {
    let each = || known.relations.iter().filter(move |one| one.kind == kind);
    let (name, owner) = match kind {
        "m" => ("matviewname", "matviewowner"),
        _ => ("viewname", "viewowner"),
    };
    Answer::new()
        .text("schemaname", each().map(|one| &one.schema))
        .text(name, each().map(|one| &one.name))
        .text(owner, each().map(|_| &known.user))
        .maybe_text("tablespace", each().map(|_| None::<&str>))
        .flag("hasindexes", each().map(|_| false))
        .flag("ispopulated", each().map(|_| true))
        .maybe_text("definition", each().map(|one| one.definition.as_deref()))
        .finish()
}

fn access_methods() -> RecordBatch {
    Answer::new()
        .number("oid", [ACCESS_METHOD])
        .text("amname", ["delta"])
        .text("amhandler", ["-"])
        .text("amtype", ["t"])
        .finish()
}

fn languages() -> RecordBatch {
    Answer::new()
        .number("oid", [14])
        .text("lanname", ["sql"])
        .number("lanowner", [OWNER])
        .flag("lanispl", [false])
        .flag("lanpltrusted", [true])
        .column("lanacl", texts(), no_lists(1))
        .finish()
}

fn tablespaces() -> RecordBatch {
    Answer::new()
        .number("oid", [1663])
        .text("spcname", ["pg_default"])
        .number("spcowner", [OWNER])
        .column("spcacl", texts(), no_lists(1))
        .column("spcoptions", texts(), no_lists(1))
        .finish()
}

fn zones() -> RecordBatch {
    Answer::new()
        .text("name", ["UTC"])
        .text("abbrev", ["UTC"])
        .text("utc_offset", ["00:00:00"])
        .flag("is_dst", [false])
        .finish()
}

fn keywords() -> RecordBatch {
    const WORDS: [&str; 8] =
        ["describe", "merge", "optimize", "refresh", "restore", "show", "vacuum", "validate"];
    Answer::new()
        .text("word", WORDS)
        .text("catcode", WORDS.map(|_| "U"))
        .text("catdesc", WORDS.map(|_| "unreserved"))
        .finish()
}

fn table_constraints(known: &Known) -> RecordBatch {
    let each = || with_keys(known);
    Answer::new()
        .text("constraint_catalog", each().map(|_| CATALOG))
        .text("constraint_schema", each().map(|one| &one.schema))
        .text("constraint_name", each().map(Relation::key_name))
        .text("table_catalog", each().map(|_| CATALOG))
        .text("table_schema", each().map(|one| &one.schema))
        .text("table_name", each().map(|one| &one.name))
        .text("constraint_type", each().map(|_| "PRIMARY KEY"))
        .text("is_deferrable", each().map(|_| "NO"))
        .text("initially_deferred", each().map(|_| "NO"))
        .text("enforced", each().map(|_| "NO"))
        .finish()
}

fn key_columns(known: &Known) -> RecordBatch {
    let rows: Vec<(&Relation, i64, &String)> = with_keys(known)
        .flat_map(|one| (1..).zip(&one.primary_key).map(move |(n, name)| (one, n, name)))
        .collect();
    let each = || rows.iter();
    Answer::new()
        .text("constraint_catalog", each().map(|_| CATALOG))
        .text("constraint_schema", each().map(|(one, ..)| &one.schema))
        .text("constraint_name", each().map(|(one, ..)| one.key_name()))
        .text("table_catalog", each().map(|_| CATALOG))
        .text("table_schema", each().map(|(one, ..)| &one.schema))
        .text("table_name", each().map(|(one, ..)| &one.name))
        .text("column_name", each().map(|(.., name)| name))
        .number("ordinal_position", each().map(|(_, n, _)| *n))
        .number("position_in_unique_constraint", each().map(|_| None::<i64>))
        .finish()
}
