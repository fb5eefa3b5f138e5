-- Prints functions.txt: names of pg_catalog functions that leave nothing behind in a session.
--     psql -XAt -f functions.sql
-- Run on PostgreSQL 15. The names that follow the query's own come from the manuals of 16 to 18
-- (chapter 9), and from operators whose function people call directly.
SELECT name COLLATE "C" FROM (
    SELECT proname AS name
    FROM pg_proc AS p
    WHERE pronamespace = 'pg_catalog'::regnamespace
      -- Session effects that the code looks for by name (calls.rs).
      AND proname NOT IN ('set_config', 'setseed', 'nextval', 'setval', 'currval', 'lastval',
                          'pg_cancel_backend', 'pg_terminate_backend')
      AND proname !~ '^pg_(try_)?advisory_(un)?lock(_shared|_all)?$'
      -- Runs SQL text, a cursor, a view or a script that is not in the statement.
      AND proname !~ 'to_xml'
      AND proname NOT IN ('ts_stat', 'ts_rewrite')
      -- State of the session that outlives its transaction: base backup, replication origin,
      -- temporary replication slots, decoding plugins that are loaded into the process.
      AND proname !~ '^pg_backup_'
      AND proname !~ '^pg_replication_origin_session_'
      AND proname !~ '^pg_(create|copy)_(logical|physical)_replication_slot$'
      AND proname !~ '^pg_logical_slot_'
      -- Only for pg_upgrade, extension scripts and initdb.
      AND proname !~ '^binary_upgrade_'
      AND proname NOT IN ('pg_extension_config_dump', 'pg_import_system_collations',
                          'pg_stop_making_pinned_objects')
    GROUP BY proname
    -- Not what only the server itself calls: operators, input and output, handlers, triggers.
    HAVING NOT bool_and(
        coalesce(obj_description(p.oid, 'pg_proc') LIKE 'implementation of %operator', false)
        OR 'internal'::regtype = ANY (proargtypes::oid[])
        OR 'cstring'::regtype = ANY (proargtypes::oid[])
        OR prorettype IN ('cstring'::regtype, 'trigger'::regtype, 'event_trigger'::regtype,
                          'language_handler'::regtype, 'fdw_handler'::regtype,
                          'index_am_handler'::regtype, 'table_am_handler'::regtype)
        OR proname ~ '_(send|validator|handler|support|transfn|finalfn|serialize|deserialize)$')
    UNION
    SELECT unnest(ARRAY[
        -- Implement an operator, and yet are called by name: drivers that use '?' for parameters.
        'array_cat', 'jsonb_contained', 'jsonb_contains', 'jsonb_delete_path', 'jsonb_exists',
        'jsonb_exists_all', 'jsonb_exists_any', 'starts_with', 'ts_match_vq',
        -- 16
        'any_value', 'array_sample', 'array_shuffle', 'date_add', 'date_subtract', 'erf', 'erfc',
        'pg_input_error_info', 'pg_input_is_valid', 'random_normal', 'system_user',
        -- 17
        'pg_basetype', 'pg_column_toast_chunk_id', 'pg_get_wal_summarizer_state', 'to_bin',
        'to_oct', 'unicode_assigned', 'unicode_version', 'icu_unicode_version',
        'uuid_extract_timestamp', 'uuid_extract_version', 'xmltext',
        -- 18
        'array_reverse', 'array_sort', 'casefold', 'crc32', 'crc32c', 'gamma', 'lgamma',
        'has_largeobject_privilege', 'pg_get_acl', 'reverse', 'uuidv4', 'uuidv7'])
) AS names
WHERE length(name) <= 63
ORDER BY 1;
