-- Prints one of the lists beside it: what is PostgreSQL's own, and what it asks of its node.
--     psql -XAt -v list=reads -f names.sql > reads.txt
-- with list one of reads, primary, catalogs, settings. Run on PostgreSQL 15. The names in the VALUES come from the
-- manuals of 16 to 19.
--   reads     functions that answer on a hot standby as on the primary: immutable and stable ones, and of the volatile
--             ones those that only give another value each time; without those that hold for one node, one process or
--             one connection, and without those that run a text.
--   primary   all other functions.
--   catalogs  relations of pg_catalog that are the same everywhere.
--   settings  settings that a session may set: they are given to every server of the session.
WITH functions AS (
    SELECT proname AS name,
        bool_and(provolatile <> 'v' OR proname IN (
            'clock_timestamp', 'current_query', 'gen_random_uuid', 'lo_get', 'pg_sleep', 'pg_sleep_for',
            'pg_sleep_until', 'random', 'timeofday',
            'pg_column_compression', 'pg_partition_ancestors', 'pg_partition_tree', 'pg_database_size', 'pg_indexes_size', 'pg_relation_size', 'pg_table_size',
            'pg_tablespace_size', 'pg_total_relation_size')
        ) AS is_quiet,
        bool_and('internal'::regtype = ANY (proargtypes::oid[])
            OR 'cstring'::regtype = ANY (proargtypes::oid[])
            OR prorettype IN ('cstring'::regtype, 'trigger'::regtype, 'event_trigger'::regtype,
                'language_handler'::regtype, 'fdw_handler'::regtype, 'index_am_handler'::regtype,
                'table_am_handler'::regtype, 'internal'::regtype)) AS is_internal
    FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND length(proname) <= 63
    GROUP BY proname
), judged AS (
    SELECT name, is_internal, is_quiet
        -- They run a text, a cursor, or the input of a type that a text names.
        AND name !~ '(_to_xml|_to_xmlschema|to_xml_and_xmlschema)$' AND name !~ '^(database|schema|query|table|cursor)_to_xml'
        AND name NOT IN ('ts_stat', 'ts_rewrite', 'pg_input_is_valid', 'pg_input_error_info')
        -- Transactions, snapshots, sequences.
        AND name !~ '^(pg_current_|txid_current|txid_snapshot|txid_status|pg_snapshot|pg_xact|pg_last_|pg_sequence_last|pg_export|mxid_age|pg_get_multixact|pg_safe_snapshot)'
        -- WAL, recovery, replication, backup.
        AND (name !~ '^(pg_walfile|pg_wal_|pg_get_wal|pg_is_|pg_in_|pg_backup|pg_start_backup|pg_stop_backup|pg_create_|pg_copy_|pg_drop_|pg_logical|pg_replication|pg_get_replication|pg_show_replication|pg_split_walfile|pg_promote|pg_switch_wal|pg_get_publication_tables|pg_control_)' OR name = 'pg_wal_lsn_diff')
        -- One process, one connection, one node, its files.
        AND name !~ '^(pg_stat_|pg_show|pg_ls_|pg_read_|pg_hba|pg_ident_file|pg_listening|pg_notif|pg_my_temp|pg_backend|pg_blocking|pg_isolation|pg_cursor|pg_prepared|pg_lock_|pg_get_backend|pg_get_shmem|pg_config$|pg_conf_|pg_postmaster|pg_jit|pg_available|pg_extension_|pg_reload|pg_log|pg_rotate|pg_cancel|pg_terminate|inet_(client|server)_|binary_upgrade|pg_tablespace_databases|pg_timezone)'
        AND name !~ 'collation_actual_version$'
        AND name NOT IN ('set_config', 'current_setting', 'pg_event_trigger_ddl_commands', 'pg_nextoid', 'lo_open', 'amvalidate')
        OR name = 'txid_current_if_assigned' AS is_read
    FROM functions
), names (list, name) AS (
    SELECT 'reads', name FROM judged WHERE is_read AND NOT is_internal
    UNION
    SELECT 'reads', unnest(ARRAY[
        -- 16
        'any_value', 'array_sample', 'array_shuffle', 'date_add', 'date_subtract', 'erf', 'erfc', 'random_normal',
        'system_user',
        -- 17
        'pg_basetype', 'to_bin', 'to_oct', 'unicode_assigned', 'unicode_version', 'icu_unicode_version',
        'uuid_extract_timestamp', 'uuid_extract_version', 'xmltext', 'pg_column_toast_chunk_id',
        -- 18
        'array_reverse', 'array_sort', 'casefold', 'crc32', 'crc32c', 'gamma', 'lgamma', 'has_largeobject_privilege',
        'pg_get_acl', 'reverse', 'uuidv4', 'uuidv7'])
    UNION
    SELECT 'primary', name FROM judged WHERE NOT is_read AND NOT is_internal
    UNION
    SELECT 'catalogs', relname FROM pg_class
    WHERE relnamespace = 'pg_catalog'::regnamespace AND (relkind = 'r' OR relname IN ('pg_group', 'pg_indexes',
        'pg_matviews', 'pg_policies', 'pg_publication_tables', 'pg_roles', 'pg_rules', 'pg_seclabels', 'pg_shadow',
        'pg_stats', 'pg_stats_ext', 'pg_stats_ext_exprs', 'pg_tables', 'pg_user', 'pg_user_mappings', 'pg_views'))
    -- What a subscription does, the node does.
        AND relname !~ '^pg_(subscription|replication_origin)'
    UNION
    SELECT 'settings', lower(name) FROM pg_settings
    WHERE context = 'user' AND name !~ '^(transaction_|default_transaction_|seed$)' AND name !~ '^wal_'
    UNION VALUES ('settings', 'server_version'), ('settings', 'server_version_num'), ('settings', 'server_encoding'),
        ('settings', 'integer_datetimes'), ('settings', 'lc_collate'), ('settings', 'lc_ctype'),
        ('settings', 'lc_messages'), ('settings', 'block_size'), ('settings', 'max_identifier_length'),
        ('settings', 'max_index_keys'), ('settings', 'max_function_args'), ('settings', 'is_superuser'),
        ('settings', 'session_authorization'), ('settings', 'role'), ('settings', 'transaction_isolation'),
        ('settings', 'transaction_deferrable'), ('settings', 'default_transaction_isolation'),
        ('settings', 'default_transaction_deferrable'), ('settings', 'transaction_timeout'),
        ('settings', 'createrole_self_grant'), ('settings', 'scram_iterations')
)
SELECT DISTINCT name COLLATE "C" FROM names WHERE list = :'list' ORDER BY 1;
