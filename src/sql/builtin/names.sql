-- Prints one of the lists beside it: names of PostgreSQL's own things.
--     psql -XAt -v list=relations -f names.sql > relations.txt
-- with list one of keywords, operators, relations, schema, types. Run on PostgreSQL 15. The names
-- in the VALUES come from the manuals of 16 to 18, and from 11 to 14 where they are gone since.
SELECT name COLLATE "C" FROM (
    -- Keywords of SQL (manual, appendix "SQL Key Words").
    SELECT 'keywords', word FROM pg_get_keywords()
    UNION VALUES ('keywords', 'absent'), ('keywords', 'conditional'), ('keywords', 'empty'),
        ('keywords', 'enforced'), ('keywords', 'error'), ('keywords', 'format'), ('keywords', 'json'),
        ('keywords', 'json_array'), ('keywords', 'json_arrayagg'), ('keywords', 'json_exists'),
        ('keywords', 'json_object'), ('keywords', 'json_objectagg'), ('keywords', 'json_query'),
        ('keywords', 'json_scalar'), ('keywords', 'json_serialize'), ('keywords', 'json_table'),
        ('keywords', 'json_value'), ('keywords', 'keep'), ('keywords', 'keys'),
        ('keywords', 'merge_action'), ('keywords', 'nested'), ('keywords', 'objects'),
        ('keywords', 'omit'), ('keywords', 'path'), ('keywords', 'period'), ('keywords', 'quotes'),
        ('keywords', 'scalar'), ('keywords', 'source'), ('keywords', 'string'),
        ('keywords', 'system_user'), ('keywords', 'target'), ('keywords', 'unconditional'),
        ('keywords', 'virtual')
    UNION SELECT 'operators', oprname FROM pg_operator WHERE oid < 16384
    -- Two ways to write one of them.
    UNION VALUES ('operators', '!='), ('operators', '=>')
    UNION SELECT 'relations', relname FROM pg_class
        WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')
    UNION VALUES ('relations', 'pg_aios'), ('relations', 'pg_pltemplate'),
        ('relations', 'pg_shmem_allocations_numa'), ('relations', 'pg_stat_checkpointer'),
        ('relations', 'pg_stat_io'), ('relations', 'pg_wait_events')
    UNION SELECT 'schema', relname FROM pg_class
        WHERE relnamespace = 'information_schema'::regnamespace AND relkind IN ('r', 'v')
    UNION SELECT 'schema', typname FROM pg_type
        WHERE typnamespace = 'information_schema'::regnamespace AND typtype = 'd'
    -- The rows of its own tables are named by the tables.
    UNION SELECT 'types', typname FROM pg_type AS t
        WHERE typnamespace = 'pg_catalog'::regnamespace AND typrelid = 0
        AND NOT EXISTS (SELECT FROM pg_type AS e WHERE e.oid = t.typelem AND e.typrelid <> 0)
) AS names (list, name)
WHERE list = :'list'
ORDER BY 1;
