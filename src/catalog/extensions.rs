//! Which functions in C are known to leave nothing behind in a session.
//!
//! Owns the list of extensions that were looked through, and the exceptions in each. A function of
//! any other extension, or of none, may do anything: nobody can read its source here. Functions of
//! these extensions in SQL or PL/pgSQL are not judged by this list but read.

/// Extensions whose functions in C touch nothing of the session, but for those of
/// [`is_exception`]. Those that PostgreSQL ships (manual, appendix F), and a few that are widespread.
const HARMLESS: &[&[u8]] = &[
    b"adminpack",
    b"amcheck",
    b"autoinc",
    b"bloom",
    b"btree_gin",
    b"btree_gist",
    b"citext",
    b"cube",
    b"dict_int",
    b"dict_xsyn",
    b"earthdistance",
    b"file_fdw",
    b"fuzzystrmatch",
    b"hstore",
    b"hstore_plperl",
    b"hstore_plpython3u",
    b"insert_username",
    b"intagg",
    b"intarray",
    b"isn",
    b"jsonb_plperl",
    b"jsonb_plpython3u",
    b"lo",
    b"ltree",
    b"ltree_plpython3u",
    b"moddatetime",
    b"old_snapshot",
    b"pageinspect",
    b"pg_buffercache",
    b"pg_freespacemap",
    b"pg_prewarm",
    b"pg_stat_statements",
    b"pg_surgery",
    b"pg_trgm",
    b"pg_visibility",
    b"pg_walinspect",
    b"pgcrypto",
    b"pgrowlocks",
    b"pgstattuple",
    b"plpgsql",
    b"refint",
    b"seg",
    b"sslinfo",
    b"tablefunc",
    b"tcn",
    b"timetravel",
    b"tsm_system_rows",
    b"tsm_system_time",
    b"unaccent",
    b"uuid-ossp",
    b"postgis",
    b"postgis_raster",
    b"postgis_sfcgal",
    b"vector",
];

/// Functions of these extensions that do touch it, by the name of their C symbol or their own.
fn is_exception(extension: &[u8], name: &[u8]) -> bool {
    match extension {
        // They run a text that they are given.
        b"tablefunc" => !matches!(name, b"normal_rand" | b"gauss_rand"),
        // It sets pg_trgm.similarity_threshold.
        b"pg_trgm" => name == b"set_limit",
        // It changes how numbers are read, for the whole session.
        b"isn" => matches!(name, b"isn_weak" | b"accept_weak_input" | b"weak_input_status"),
        // They keep a plan of a text that is built from names.
        b"refint" => true,
        _ => false,
    }
}

/// PostGIS keeps caches only; what does more has another prefix.
fn is_postgis(name: &[u8]) -> bool {
    const PREFIXES: &[&[u8]] = &[
        b"st_",
        b"_st_",
        b"postgis_",
        b"_postgis_",
        b"geometry",
        b"geography",
        b"geog_",
        b"geom",
        b"box2d",
        b"box3d",
        b"gidx_",
        b"gserialized_",
        b"spheroid_",
        b"path_",
        b"point_",
        b"polygon_",
        b"overlaps_",
        b"contains_",
        b"is_contained_",
        b"equals",
        b"pgis_",
        b"raster",
        b"bytea",
        b"text",
        b"json",
        b"jsonb",
        b"updategeometrysrid",
        b"addgeometrycolumn",
    ];
    // `ST_AsMVT` is stored in lower case, its C symbol is not.
    let lower = name.to_ascii_lowercase();
    PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
}

/// Whether a function in C leaves nothing behind in a session. `symbol`: its name in C.
pub(super) fn is_harmless(extension: &[u8], name: &[u8], symbol: &[u8]) -> bool {
    HARMLESS.contains(&extension)
        && !is_exception(extension, name)
        && !is_exception(extension, symbol)
        && (!extension.starts_with(b"postgis") || is_postgis(name))
}

/// Whether a volatile function in C only gives another value each time, so that it may run anywhere.
pub(super) fn only_varies(extension: &[u8], name: &[u8]) -> bool {
    match extension {
        // Keys, salts and random bytes.
        b"pgcrypto" | b"uuid-ossp" => true,
        b"tablefunc" => name == b"normal_rand",
        _ => false,
    }
}

/// Whether a function in C runs a text that it is given, whatever it is declared as.
pub(super) fn runs_text(extension: &[u8], name: &[u8]) -> bool {
    match extension {
        b"tablefunc" => name != b"normal_rand",
        b"xml2" => name == b"xpath_table",
        b"dblink" => true,
        _ => false,
    }
}

/// Whether a trigger function in C moves a sequence.
pub(super) fn moves_sequence(extension: &[u8]) -> bool {
    extension == b"autoinc"
}

#[cfg(test)]
mod tests {
    use super::is_harmless;

    #[test]
    fn what_is_not_listed_may_do_anything() {
        assert!(is_harmless(b"pgcrypto", b"digest", b"pg_digest"));
        assert!(is_harmless(b"postgis", b"st_asmvt", b"pgis_asmvt_finalfn"));
        assert!(is_harmless(b"tablefunc", b"normal_rand", b"normal_rand"));
        for (extension, name) in [
            ("", "digest"),
            ("dblink", "dblink"),
            ("tablefunc", "crosstab"),
            ("pg_trgm", "set_limit"),
            ("isn", "isn_weak"),
            ("postgis", "load_anything"),
            ("of_mine", "f"),
        ] {
            assert!(!is_harmless(extension.as_bytes(), name.as_bytes(), b""), "{extension}.{name}");
        }
    }
}
