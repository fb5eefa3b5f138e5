//! The questions to the catalog of a database, from PostgreSQL 11 on.
//!
//! Owns the texts. Each result is one kind of row of [`rows`](super::rows). Objects below OID 16384
//! come with PostgreSQL and call nothing of a user's; what they do by themselves is asked for by
//! [`BUILTINS`]. PostgreSQL records no dependency on them, so expressions are searched for their OIDs.

/// Catalogs whose changes may change a verdict or the meaning of a prepared statement: `pg_type`,
/// `pg_attribute`, `pg_proc`, `pg_class`, `pg_attrdef`, `pg_cast`, `pg_constraint`, `pg_index`,
/// `pg_inherits`, `pg_operator`, `pg_opclass`, `pg_amop`, `pg_amproc`, `pg_rewrite`, `pg_trigger`,
/// `pg_aggregate`, `pg_db_role_setting`, `pg_extension`, `pg_policy`, `pg_event_trigger`.
const WATCHED: &str = "1247,1249,1255,1259,2604,2605,2606,2610,2611,2617,2616,2602,2603,2618,2620,2600,\
                       2964,3079,3256,3466";

/// The catalogs in which dependencies are followed: those of objects that run something.
const FOLLOWED: &str =
    "1247,1255,1259,2601,2602,2603,2604,2605,2606,2616,2617,2618,2620,2753,3256,3381,3576";

/// Begins a transaction that changes nothing and leaves nothing. As `SQL_ASCII` names come as they are
/// stored, and no conversion can fail.
pub(super) fn begin(limit_ms: u128) -> String {
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
         SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL client_encoding = 'SQL_ASCII'; \
         SET LOCAL statement_timeout = {limit_ms}; SET LOCAL lock_timeout = {limit_ms}; \
         SET LOCAL standard_conforming_strings = on; SET LOCAL client_min_messages = error"
    )
}

/// Ends it.
pub(super) const END: &str = "ROLLBACK";

/// Something that is another text when the catalog has changed. The counters come late: a session
/// reports them when it ends its next transaction a second later, or has been idle for ten seconds. The
/// largest OIDs, which an index knows, come at once, for what is created.
pub(super) fn fingerprint() -> String {
    let newest = [
        "pg_proc",
        "pg_rewrite",
        "pg_trigger",
        "pg_attrdef",
        "pg_constraint",
        "pg_policy",
        "pg_operator",
        "pg_cast",
        "pg_class",
        "pg_type",
    ];
    let newest: Vec<String> =
        newest.iter().map(|name| format!("(SELECT max(oid) FROM {name})")).collect();
    format!(
        "SELECT current_setting('server_version_num'), concat_ws(' ', {}, (SELECT string_agg(\
         concat_ws('+', pg_stat_get_tuples_inserted(c), pg_stat_get_tuples_updated(c), \
         pg_stat_get_tuples_deleted(c)), ' ') FROM unnest(ARRAY[{WATCHED}]::oid[]) AS c))",
        newest.join(", ")
    )
}

/// Functions of `pg_catalog` that a statement may call: OID, name, name in the server's program. Not what only the server calls:
/// operators, input and output, handlers, triggers.
pub(super) const BUILTINS: &str = "\
SELECT p.oid, p.proname, p.prosrc FROM pg_proc AS p WHERE p.pronamespace = 11 AND p.oid < 16384 \
AND NOT EXISTS (SELECT FROM pg_operator AS o WHERE o.oprcode = p.oid AND o.oid < 16384) \
AND 2281 <> ALL (p.proargtypes::oid[]) AND 2275 <> ALL (p.proargtypes::oid[]) \
AND p.prorettype NOT IN (2275, 2279, 3838, 2280, 3115, 325, 269, 3310) \
AND p.proname !~ '_(send|validator|handler|support|transfn|finalfn|serialize|deserialize)$'";

/// What texts can name: catalog, OID, name, whether it has an identity column, and what of it is the
/// primary's: `v` for a volatile function, `u` for an unlogged table, the kind of a sequence (`S`) or
/// of a foreign table (`f`). A temporary table is its session's, and says nothing of others. An operator that is
/// spelled like one of PostgreSQL's own and takes a user's type is left out: who uses it has a value of
/// that type, and the type counts.
pub(super) const NAMES: &str = "\
SELECT 1255, oid, proname, false, provolatile FROM pg_proc WHERE oid >= 16384 \
UNION ALL SELECT 1247, oid, typname, false, '' FROM pg_type WHERE oid >= 16384 \
UNION ALL SELECT 2617, oid, oprname, false, '' FROM pg_operator AS o WHERE oid >= 16384 AND NOT (\
(oprleft >= 16384 OR oprright >= 16384) AND EXISTS (\
SELECT FROM pg_operator AS b WHERE b.oprname = o.oprname AND b.oid < 16384)) \
UNION ALL SELECT 1259, c.oid, relname, i.attrelid IS NOT NULL, \
CASE WHEN relpersistence = 't' THEN '' WHEN relkind IN ('S', 'f') THEN relkind ELSE relpersistence END \
FROM pg_class AS c LEFT JOIN (\
SELECT DISTINCT attrelid FROM pg_attribute WHERE attrelid >= 16384 AND attidentity <> '') AS i \
ON i.attrelid = c.oid WHERE c.oid >= 16384 AND relkind NOT IN ('i', 'I', 't')";

/// Functions: OID, language, extension, name, source.
pub(super) const FUNCTIONS: &str = "\
SELECT p.oid, CASE WHEN p.prokind = 'a' THEN 'aggregate' \
WHEN p.prorettype IN (2280, 3115, 325, 269, 3310) THEN 'handler' ELSE l.lanname END, \
coalesce(e.extname, ''), p.proname, p.prosrc \
FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang \
LEFT JOIN pg_depend AS d ON d.classid = 1255 AND d.objid = p.oid AND d.objsubid = 0 \
AND d.deptype = 'e' AND d.refclassid = 3079 \
LEFT JOIN pg_extension AS e ON e.oid = d.refobjid WHERE p.oid >= 16384";

/// Parts: catalog and OID of the part, of its owner, whether it acts only on writes, and its text if
/// that calls one of `builtins`.
pub(super) fn parts(builtins: &[u32], version: u32) -> String {
    let oids: Vec<String> = builtins.iter().map(u32::to_string).collect();
    let calls = |tree: &str| format!("({tree})::text ~ '(funcid|fnoid) ({}) '", oids.join("|"));
    let text = |trees: &[&str], printed: &str| {
        let calls: Vec<String> = trees.iter().map(|tree| calls(tree)).collect();
        format!("CASE WHEN {} THEN {printed} ELSE '' END", calls.join(" OR "))
    };
    let mut parts = vec![
        format!(
            "SELECT 2618, oid, 1259, ev_class, ev_type <> '1', {} FROM pg_rewrite WHERE ev_class >= 16384",
            text(
                &["ev_action", "ev_qual"],
                "CASE rulename WHEN '_RETURN' THEN pg_get_viewdef(ev_class) \
                 ELSE pg_get_ruledef(oid) END"
            )
        ),
        format!(
            "SELECT 2604, oid, 1259, adrelid, true, {} FROM pg_attrdef WHERE adrelid >= 16384",
            text(&["adbin"], "pg_get_expr(adbin, adrelid)")
        ),
        format!(
            "SELECT 2606, oid, CASE contypid WHEN 0 THEN 1259 ELSE 1247 END, \
             CASE contypid WHEN 0 THEN conrelid ELSE contypid END, contypid = 0, {} \
             FROM pg_constraint WHERE oid >= 16384",
            text(&["conbin"], "pg_get_constraintdef(oid)")
        ),
        format!(
            "SELECT 2620, oid, 1259, tgrelid, true, {} FROM pg_trigger WHERE NOT tgisinternal",
            text(&["tgqual"], "pg_get_triggerdef(oid)")
        ),
        format!(
            "SELECT 3256, oid, 1259, polrelid, false, {} FROM pg_policy",
            text(
                &["polqual", "polwithcheck"],
                "concat_ws(' ', pg_get_expr(polqual, polrelid), \
                 pg_get_expr(polwithcheck, polrelid))"
            )
        ),
        format!(
            "SELECT 1259, indexrelid, 1259, indrelid, true, {} FROM pg_index WHERE indexrelid >= 16384",
            text(&["indexprs", "indpred"], "pg_get_indexdef(indexrelid)")
        ),
        format!(
            "SELECT 3350, partrelid, 1259, partrelid, true, {} FROM pg_partitioned_table",
            text(&["partexprs"], "pg_get_partkeydef(partrelid)")
        ),
        format!(
            "SELECT 1247, oid, 1247, oid, false, {} FROM pg_type WHERE oid >= 16384 \
             AND typdefaultbin IS NOT NULL",
            text(&["typdefaultbin"], "pg_get_expr(typdefaultbin, 0)")
        ),
        format!(
            "SELECT 1255, oid, 1255, oid, false, {} FROM pg_proc WHERE oid >= 16384 \
             AND proargdefaults IS NOT NULL",
            text(&["proargdefaults"], "pg_get_expr(proargdefaults, 0)")
        ),
    ];
    if version >= 140_000 {
        parts.push(format!(
            "SELECT 1255, oid, 1255, oid, false, {} FROM pg_proc WHERE oid >= 16384 \
             AND prosqlbody IS NOT NULL",
            text(&["prosqlbody"], "pg_get_function_sqlbody(oid)")
        ));
        parts.push(format!(
            "SELECT 3381, oid, 1259, stxrelid, false, {} FROM pg_statistic_ext",
            text(&["stxexprs"], "pg_get_statisticsobjdef_expressions(oid)::text")
        ));
    }
    parts.join(" UNION ALL ")
}

/// Who uses whom: catalog and OID of the used, of the user. Catalog 0 stands for every text (OID 0),
/// every definition (OID 1), a lock of rows (OID 2) and a relation of PostgreSQL's own (OID 3).
pub(super) fn edges() -> String {
    let set_config =
        "(SELECT min(oid) FROM pg_proc WHERE proname = 'set_config' AND pronamespace = 11)";
    let aggregate = [
        "aggtransfn",
        "aggfinalfn",
        "aggcombinefn",
        "aggserialfn",
        "aggdeserialfn",
        "aggmtransfn",
        "aggminvtransfn",
        "aggmfinalfn",
    ];
    let functions: Vec<String> = aggregate.iter().map(|column| format!("{column}::oid")).collect();
    [
        // What PostgreSQL records. Parts depend on their tables and tables on each other, which says
        // nothing of who runs what.
        format!(
            "SELECT refclassid, refobjid, classid, objid FROM pg_depend WHERE refobjid >= 16384 \
             AND classid IN ({FOLLOWED}) AND refclassid IN ({FOLLOWED}) \
             AND NOT (refclassid = 1259 AND classid IN (1259, 2604, 2606, 2620))"
        ),
        // An UPDATE of a view of pg_settings sets.
        format!(
            "SELECT 1255, {set_config}, classid, objid FROM pg_depend WHERE classid = 2618 \
             AND objid >= 16384 AND refclassid = 1259 AND refobjid = 'pg_catalog.pg_settings'::regclass"
        ),
        // What a view locks and reads. OIDs below 16384 are PostgreSQL's own, and no dependency on most of
        // them is recorded.
        "SELECT 0, 2, 2618, oid FROM pg_rewrite WHERE ev_class >= 16384 AND ev_type = '1' \
         AND ev_action::text LIKE '%{ROWMARKCLAUSE %'"
            .to_owned(),
        "SELECT 0, 3, 2618, oid FROM pg_rewrite WHERE ev_class >= 16384 AND ev_type = '1' \
         AND ev_action::text ~ ':relid ([1-9][0-9]{0,3}|1[0-5][0-9]{3}|16[0-2][0-9]{2}|163[0-7][0-9]|1638[0-3]) '"
            .to_owned(),
        "SELECT 1255, f, 2617, oid FROM pg_operator, unnest(ARRAY[oprcode::oid, oprrest::oid, oprjoin::oid]) \
         AS f WHERE oid >= 16384 AND f <> 0"
            .to_owned(),
        "SELECT 2617, f, 2617, oid FROM pg_operator, unnest(ARRAY[oprcom, oprnegate]) AS f \
         WHERE oid >= 16384 AND f >= 16384"
            .to_owned(),
        "SELECT 2617, oid, 1247, t FROM pg_operator, unnest(ARRAY[oprleft, oprright]) AS t \
         WHERE oid >= 16384 AND t >= 16384"
            .to_owned(),
        format!(
            "SELECT 1255, f, 1255, aggfnoid FROM pg_aggregate, unnest(ARRAY[{}]) AS f \
             WHERE aggfnoid >= 16384 AND f <> 0",
            functions.join(", ")
        ),
        "SELECT 2617, aggsortop, 1255, aggfnoid FROM pg_aggregate WHERE aggsortop >= 16384".to_owned(),
        "SELECT 1255, castfunc, 2605, oid FROM pg_cast WHERE oid >= 16384 AND castfunc <> 0".to_owned(),
        "SELECT 2605, oid, 1247, t FROM pg_cast, unnest(ARRAY[castsource, casttarget]) AS t \
         WHERE oid >= 16384 AND t >= 16384"
            .to_owned(),
        // Nothing shows where a cast between PostgreSQL's own types is used.
        "SELECT 2605, oid, 0, 0 FROM pg_cast WHERE oid >= 16384 AND castsource < 16384 \
         AND casttarget < 16384"
            .to_owned(),
        "SELECT 1255, amproc::oid, 2753, amprocfamily FROM pg_amproc WHERE oid >= 16384".to_owned(),
        "SELECT 2617, amopopr, 2753, amopfamily FROM pg_amop WHERE oid >= 16384".to_owned(),
        "SELECT 2617, amopopr, 0, 0 FROM pg_amop WHERE amopopr >= 16384 AND amopfamily < 16384 \
         AND amoplefttype < 16384 AND amoprighttype < 16384"
            .to_owned(),
        "SELECT 2753, opcfamily, 2616, oid FROM pg_opclass WHERE oid >= 16384".to_owned(),
        // ORDER BY and DISTINCT use the class that is the type's default.
        "SELECT 2616, oid, 1247, opcintype FROM pg_opclass WHERE oid >= 16384 AND opcintype >= 16384"
            .to_owned(),
        // A row of a table has the table's types, and the other way round.
        "SELECT 1247, oid, 1259, typrelid FROM pg_type WHERE oid >= 16384 AND typrelid >= 16384"
            .to_owned(),
        "SELECT 1259, typrelid, 1247, oid FROM pg_type WHERE oid >= 16384 AND typrelid >= 16384".to_owned(),
        // A statement on the parent reaches the children.
        "SELECT 1259, inhrelid, 1259, inhparent FROM pg_inherits".to_owned(),
        // What a foreign key does to the rows that refer.
        "SELECT 1259, conrelid, 1259, confrelid FROM pg_constraint WHERE contype = 'f' \
         AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))"
            .to_owned(),
        "SELECT 1255, evtfoid, 0, 1 FROM pg_event_trigger WHERE evtevent <> 'login'".to_owned(),
    ]
    .join(" UNION ALL ")
}

/// Settings that sessions of this database begin with: name.
pub(super) const SETTINGS: &str = "\
SELECT split_part(s, '=', 1) FROM pg_db_role_setting, unnest(setconfig) AS s WHERE setdatabase IN (0, \
(SELECT oid FROM pg_database WHERE datname = current_database()))";
