//! Tables of `pg_catalog` that are always empty: what Postgres has and we have not.

use std::sync::Arc;

use arrow::{
    array::new_empty_array,
    datatypes::{DataType, Field, Schema},
    record_batch::RecordBatch,
};

use super::{information_schema, tables::texts};

/// Tables that are always empty, with their columns; `#` is before a number, `?` before a truth value,
/// `*` before a list.
pub(super) const TABLES: [(&str, &str); 53] = [
    ("pg_aggregate", "aggfnoid aggkind #aggnumdirectargs"),
    (
        "pg_amop",
        "#oid #amopfamily #amoplefttype #amoprighttype #amopstrategy amoppurpose #amopopr \
         #amopmethod #amopsortfamily",
    ),
    ("pg_amproc", "#oid #amprocfamily #amproclefttype #amprocrighttype #amprocnum #amproc"),
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
    ("pg_default_acl", "#oid #defaclrole #defaclnamespace defaclobjtype *defaclacl"),
    ("pg_depend", "#classid #objid #objsubid #refclassid #refobjid #refobjsubid deptype"),
    ("pg_db_role_setting", "#setdatabase #setrole *setconfig"),
    ("pg_enum", "#oid #enumtypid #enumsortorder enumlabel"),
    ("pg_event_trigger", "#oid evtname evtevent #evtowner #evtfoid evtenabled *evttags"),
    ("pg_extension", "#oid extname #extowner #extnamespace ?extrelocatable extversion"),
    (
        "pg_foreign_data_wrapper",
        "#oid fdwname #fdwowner #fdwhandler #fdwvalidator *fdwacl *fdwoptions",
    ),
    ("pg_foreign_server", "#oid srvname #srvowner #srvfdw srvtype srvversion *srvacl *srvoptions"),
    ("pg_foreign_table", "#ftrelid #ftserver *ftoptions"),
    ("pg_indexes", "schemaname tablename indexname tablespace indexdef"),
    ("pg_inherits", "#inhrelid #inhparent #inhseqno ?inhdetachpending"),
    ("pg_largeobject_metadata", "#oid #lomowner lomacl"),
    ("pg_locks", "locktype #database #relation #pid mode ?granted"),
    (
        "pg_opclass",
        "#oid #opcmethod opcname #opcnamespace #opcowner #opcfamily #opcintype ?opcdefault \
         #opckeytype",
    ),
    ("pg_operator", "#oid oprname #oprnamespace oprkind #oprleft #oprright #oprresult oprcode"),
    ("pg_opfamily", "#oid #opfmethod opfname #opfnamespace #opfowner"),
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
    ("pg_stat_gssapi", "#pid ?gss_authenticated principal ?encrypted ?credentials_delegated"),
    ("pg_stat_user_tables", "#relid schemaname relname #n_live_tup #n_dead_tup #seq_scan"),
    (
        "pg_statistic_ext",
        "#oid #stxrelid stxname #stxnamespace #stxowner *stxkeys *stxkind #stxstattarget",
    ),
    ("pg_subscription", "#oid #subdbid subname #subowner ?subenabled *subpublications"),
    (
        "pg_trigger",
        "#oid #tgrelid #tgparentid tgname #tgfoid #tgtype tgenabled ?tgisinternal #tgconstrrelid \
         #tgconstraint ?tgdeferrable ?tginitdeferred #tgnargs *tgattr tgqual tgoldtable tgnewtable",
    ),
    ("pg_ts_config", "#oid cfgname #cfgnamespace #cfgowner #cfgparser"),
    ("pg_ts_dict", "#oid dictname #dictnamespace #dictowner #dicttemplate dictinitoption"),
    (
        "pg_ts_parser",
        "#oid prsname #prsnamespace #prsstart #prstoken #prsend #prsheadline #prslextype",
    ),
    ("pg_ts_template", "#oid tmplname #tmplnamespace #tmplinit #tmpllexize"),
    ("pg_user_mapping", "#oid #umuser #umserver *umoptions"),
    ("pg_user_mappings", "#umid #srvid srvname #umuser usename *umoptions"),
];

/// Those of both schemas.
fn all() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    TABLES.iter().chain(&information_schema::EMPTY)
}

pub(super) fn is_always_empty(name: &str) -> bool {
    all().any(|(empty, _)| *empty == name)
}

/// The table of that name, if it is one that is always empty.
pub(super) fn table(name: &str) -> Option<RecordBatch> {
    all().find(|(empty, _)| *empty == name).map(|(_, columns)| empty(columns))
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
