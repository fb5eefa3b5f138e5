//! Figures over HTTP, as Prometheus, probes and browsers ask for them.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use support::behaviour::{client, eventually, settings};
use support::howdah::{Howdah, Settings};
use support::messages;
use support::postgres::RIDER;
use support::wire::{Received, Wire};
use support::{PATIENCE, free_port};

const TOKEN: &str = "a token of many bytes";

fn start(database: &str, change: impl Fn(Settings) -> Settings) -> (Howdah, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let settings = settings(database, "transaction")
        .set("howdah.admin_users", vec![RIDER])
        .set("http.listen", address.to_string());
    (Howdah::start(&change(settings)), address)
}

/// Status and body of the answer to a whole request.
fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
}

/// One sample: its name, its labels, its value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Reads an exposition and holds it to the rules: every sample belongs to the family that was opened
/// last, no family comes twice, no series comes twice, and the buckets of a histogram grow up to its
/// count.
fn read(text: &str) -> Vec<Sample> {
    let (mut families, mut samples) = (BTreeMap::<String, String>::new(), Vec::<Sample>::new());
    let (mut family, mut helped) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            helped = rest.split_once(' ').expect("a name and a text").0.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert_eq!(name, helped, "HELP comes before TYPE");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(name.starts_with("howdah_"), "{line}");
            assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            family = name.to_owned();
        } else {
            let sample = read_sample(line);
            let suffixes: &[&str] = if families[&family] == "histogram" {
                &["_bucket", "_sum", "_count"]
            } else {
                &[""]
            };
            let is_of = |suffix: &&&str| sample.0 == format!("{family}{suffix}");
            assert!(suffixes.iter().any(|suffix| is_of(&suffix)), "{line} in {family}");
            let known = samples.iter().any(|one| one.0 == sample.0 && one.1 == sample.1);
            assert!(!known, "twice: {line}");
            samples.push(sample);
        }
    }
    for (name, _) in families.iter().filter(|(_, kind)| *kind == "histogram") {
        check_histogram(name, &samples);
    }
    samples
}

fn read_sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("a series and a value");
    let value = value.parse().expect("a number");
    let Some((name, rest)) = series.split_once('{') else {
        return (series.to_owned(), BTreeMap::new(), value);
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_suffix('}').expect("an end of the labels");
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").expect("a label");
        let (mut found, mut chars) = (String::new(), after.char_indices());
        let end = loop {
            match chars.next().expect("a closing quote") {
                (_, '\\') => match chars.next().expect("an escaped sign").1 {
                    'n' => found.push('\n'),
                    other => found.push(other),
                },
                (at, '"') => break at,
                (_, other) => found.push(other),
            }
        };
        labels.insert(label.to_owned(), found);
        rest = after[end + 1..].trim_start_matches(',');
    }
    (name.to_owned(), labels, value)
}

fn check_histogram(name: &str, samples: &[Sample]) {
    let mut series = BTreeMap::<BTreeMap<String, String>, Vec<(f64, f64)>>::new();
    for (_, labels, value) in samples.iter().filter(|one| one.0 == format!("{name}_bucket")) {
        let mut labels = labels.clone();
        let bound = labels.remove("le").expect("a bound").replace("+Inf", "inf");
        series.entry(labels).or_default().push((bound.parse().expect("a bound"), *value));
    }
    assert!(!series.is_empty(), "{name} has series");
    for (labels, buckets) in series {
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name} {labels:?}");
        let whole = buckets.last().expect("buckets");
        assert!(whole.0.is_infinite(), "{name} ends with +Inf");
        let of = |suffix: &str| {
            let name = format!("{name}{suffix}");
            let found = samples.iter().find(|one| one.0 == name && one.1 == labels);
            found.expect("a sum and a count").2
        };
        assert!((of("_count") - whole.1).abs() < f64::EPSILON, "{name} {labels:?}");
        // Whoever did not wait for a server has waited for no microsecond; all else takes time.
        let takes_time = name != "howdah_wait_duration_seconds" || whole.1.abs() < f64::EPSILON;
        assert!(!takes_time || (of("_sum") > 0.0) == (whole.1 > 0.0), "{name} {labels:?}");
    }
}

/// The value of the one series of this name that has these labels.
fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let has = |one: &Sample| labels.iter().all(|(name, value)| one.1[*name] == **value);
    let found: Vec<_> = samples.iter().filter(|one| one.0 == name && has(one)).collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
    found[0].2
}

fn metrics(address: SocketAddr) -> Vec<Sample> {
    let (status, text) = get(address, "/metrics");
    assert_eq!(status, 200, "{text}");
    read(&text)
}

#[test]
fn metrics_follow_what_clients_do() {
    let (howdah, http) = start("metrics", |s| s);
    let mut one = client(&howdah, "metrics");
    let pool = [("database", "metrics"), ("user", RIDER)];
    // Nobody's user has an entry: under trust without auth_file clients make their names up.
    let others = [("database", "(others)"), ("user", "(others)")];
    let before = metrics(http);
    one.run("SELECT 1");
    one.run("BEGIN");
    one.run("SELECT 2");
    let counts = |samples: &[Sample]| {
        ["transaction", "query", "wait"]
            .map(|what| value(samples, &format!("howdah_{what}_duration_seconds_count"), &others))
    };
    let during = metrics(http);
    let (then, now) = (counts(&before), counts(&during));
    assert_eq!([now[0] - then[0], now[1] - then[1]], [1.0, 3.0]);
    assert!(now[2] - then[2] >= 2.0, "one checkout for each transaction: {then:?} {now:?}");
    let active = [others[0], others[1], ("state", "active")];
    assert!((value(&during, "howdah_pool_servers", &active) - 1.0).abs() < 0.1);
    assert!((value(&during, "howdah_clients", &[]) - 1.0).abs() < 0.1);
    assert!(value(&during, "howdah_server_connect_duration_seconds_count", &others) >= 1.0);
    let sent = |samples: &[Sample]| value(samples, "howdah_sent_bytes_total", &others);
    assert!(sent(&during) > sent(&before));
    let has_own = |one: &Sample| {
        pool.iter().all(|(name, value)| one.1.get(*name).map(String::as_str) == Some(*value))
    };
    assert!(!during.iter().any(has_own), "names that clients made up are not labels");
}

#[test]
fn what_happens_seldom_is_counted_by_how_it_ended() {
    let (howdah, http) = start("seldom", |s| s);
    let mut one = client(&howdah, "seldom");
    one.run("SET work_mem = '5MB'");
    one.run("SELECT 1");
    let mut stranger = Wire::tcp(howdah.address());
    let frames = stranger.start(&[("user", RIDER), ("database", "nowhere")], "");
    assert!(frames.iter().any(|frame| frame.tag == b'E'));
    let key = one.key().expect("a key at login").to_vec();
    let nobodys: Vec<u8> = key.iter().map(|byte| byte ^ 0x55).collect();
    for key in [&key, &nobodys] {
        let mut request = Wire::tcp(howdah.address());
        request.send(&messages::cancel_request(key));
        assert_eq!(request.next(support::deadline()), Received::Closed);
    }
    let samples = metrics(http);
    for (name, labels, count) in [
        ("howdah_checks_total", &[][..], 1.0),
        ("howdah_faults_total", &[("sqlstate", "3D000")], 1.0),
        ("howdah_cancel_requests_total", &[("outcome", "late")], 1.0),
        ("howdah_cancel_requests_total", &[("outcome", "unknown")], 1.0),
        ("howdah_catalog_readings_total", &[("result", "read")], 1.0),
        ("howdah_catalog_reading_duration_seconds_count", &[], 1.0),
    ] {
        assert!((value(&samples, name, labels) - count).abs() < 0.1, "{name} {labels:?}");
    }
}

#[test]
fn pools_that_the_configuration_names_have_series_of_their_own() {
    let (howdah, http) = start("named", |s| s.set("databases.named.user", RIDER));
    let mut one = client(&howdah, "named");
    one.run("SELECT 1");
    let samples = metrics(http);
    let pool = [("database", "named"), ("user", RIDER)];
    assert!(value(&samples, "howdah_query_duration_seconds_count", &pool) >= 1.0);
    assert!((value(&samples, "howdah_client_logins_total", &pool) - 1.0).abs() < 0.1);
    assert!(value(&samples, "howdah_pool_size", &pool) >= 1.0);
}

#[test]
fn probes_tell_life_from_readiness() {
    let (howdah, http) = start("probes", |s| s);
    assert_eq!(get(http, "/live"), (200, "alive\n".to_owned()));
    assert_eq!(get(http, "/ready"), (200, "ready\n".to_owned()));
    let mut console = Wire::login(howdah.address(), RIDER, "pgbouncer");
    console.run("PAUSE");
    assert_eq!(get(http, "/ready"), (503, "paused\n".to_owned()));
    assert_eq!(get(http, "/live").0, 200);
    console.run("RESUME");
    assert_eq!(get(http, "/ready").0, 200);
    let mut busy = client(&howdah, "probes");
    busy.run("BEGIN");
    console.send(&messages::query("SHUTDOWN WAIT_FOR_SERVERS"));
    eventually("it drains", || get(http, "/ready") == (503, "shutting down\n".to_owned()));
    assert_eq!(get(http, "/live").0, 200);
}

#[test]
fn a_token_is_asked_for_where_there_is_one() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{TOKEN}\n")).expect("a writable file");
    let path = file.path().to_str().expect("a path").to_owned();
    let (howdah, http) = start("token", |s| s.set("http.token_file", path.as_str()));
    let with = |token: &str| {
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: anything\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        ask(http, &request).0
    };
    assert_eq!(get(http, "/metrics").0, 401);
    assert_eq!([with("wrong"), with(""), with(TOKEN)], [401, 401, 200]);
    assert_eq!([get(http, "/live").0, get(http, "/ready").0], [200, 200], "probes have no token");
    std::fs::write(file.path(), "another token of many bytes").expect("a writable file");
    Wire::login(howdah.address(), RIDER, "pgbouncer").run("RELOAD");
    assert_eq!([with(TOKEN), with("another token of many bytes")], [401, 200]);
    let log = howdah.log();
    assert!(log.contains("wrong token") && !log.contains(TOKEN), "{log}");
}

#[test]
fn what_is_not_asked_properly_is_refused() {
    let (howdah, http) = start("odd", |s| s);
    let status = |request: &str| ask(http, request).0;
    assert_eq!(
        status("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"),
        405
    );
    assert_eq!(status("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"), 404);
    // A name that a stranger's page has made point here.
    assert_eq!(status("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 403);
    let long =
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(99_999));
    let mut stream = TcpStream::connect(http).expect("a connection");
    // It may be closed before it has taken all of it.
    drop(stream.write_all(long.as_bytes()));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    client(&howdah, "odd").run("SELECT 1");
}

#[test]
fn connections_that_say_nothing_keep_nobody_out_of_a_database() {
    let (howdah, http) = start("crowd", |s| s);
    let crowd: Vec<_> = (0..100).filter_map(|_| TcpStream::connect(http).ok()).collect();
    assert!(crowd.len() > 32, "more than have a place");
    client(&howdah, "crowd").run("SELECT 1");
    eventually("those beyond the bound are turned away", || {
        howdah.log().contains("too many HTTP connections")
    });
    drop(crowd);
    eventually("their places are free again", || {
        TcpStream::connect(http).is_ok_and(|mut stream| {
            let request = format!("GET /live HTTP/1.1\r\nHost: {http}\r\n\r\n");
            let mut answer = String::new();
            stream.write_all(request.as_bytes()).is_ok()
                && stream.read_to_string(&mut answer).is_ok()
                && answer.starts_with("HTTP/1.1 200")
        })
    });
}

#[test]
fn the_page_loads_nothing_from_elsewhere_and_its_figures_are_those_of_the_console() {
    let (howdah, http) = start("page", |s| s);
    client(&howdah, "page").run("SELECT 'a<b' AS \"<script>alert(1)</script>\"");
    for (path, kind) in
        [("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")]
    {
        let mut stream = TcpStream::connect(http).expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {http}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(&format!("content-type: {kind}")), "{answer}");
        assert!(answer.contains("content-security-policy: default-src 'none'; script-src 'self'"));
        let body = answer.split_once("\r\n\r\n").expect("a body").1;
        let foreign = body.replace("http://www.w3.org/2000/svg", "");
        assert!(!foreign.contains("http:") && !foreign.contains("https:"), "{path}");
        assert!(!body.contains("innerHTML") && !body.contains("onclick"), "{path}");
    }
    let (status, data) = get(http, "/data.json");
    assert_eq!(status, 200);
    for part in ["\"pools\":[{\"database\":\"page\"", "\"ready\":null", "\"events\":[{\"time\""] {
        assert!(data.contains(part), "{part}: {data}");
    }
    assert!(data.contains("\\u003cscript\\u003e") && !data.contains("<script>"), "{data}");
    assert!(!data.contains("a<b") && !data.contains("a\\u003cb"), "values are nowhere: {data}");
}

#[test]
fn figures_of_the_page_need_the_token_too() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), TOKEN).expect("a writable file");
    let path = file.path().to_str().expect("a path").to_owned();
    let (_howdah, http) = start("pagetoken", |s| s.set("http.token_file", path.as_str()));
    assert_eq!([get(http, "/").0, get(http, "/data.json").0], [200, 401]);
}
