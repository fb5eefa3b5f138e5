//! The bytes of every message a client can send (manual: "Message Formats").

/// Protocol 3.0 as the startup packet spells it.
pub(crate) const PROTOCOL_3_0: u32 = 0x0003_0000;
const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

/// The parts of a Bind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bind {
    /// Portal to make; empty is the unnamed one.
    pub(crate) portal: String,
    /// Statement to bind; empty is the unnamed one.
    pub(crate) statement: String,
    /// Formats of the values: none (all text), one for all, or one each. 0 text, 1 binary.
    pub(crate) formats: Vec<i16>,
    /// The values; `None` is NULL.
    pub(crate) values: Vec<Option<Vec<u8>>>,
    /// Formats of the results, as `formats`.
    pub(crate) results: Vec<i16>,
}

/// A message with tag, length and body.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(size(body.len() + 4).to_be_bytes());
    out.extend(body);
    out
}

/// A packet without tag: length and body.
pub(crate) fn packet(body: &[u8]) -> Vec<u8> {
    let mut out = size(body.len() + 4).to_be_bytes().to_vec();
    out.extend(body);
    out
}

fn size(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a message below 2 GiB")
}

fn count(items: usize) -> [u8; 2] {
    u16::try_from(items).expect("at most 65535 items").to_be_bytes()
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.as_bytes());
    out.push(0);
}

fn formats(out: &mut Vec<u8>, formats: &[i16]) {
    out.extend(count(formats.len()));
    out.extend(formats.iter().flat_map(|format| format.to_be_bytes()));
}

fn values(out: &mut Vec<u8>, values: &[Option<Vec<u8>>]) {
    out.extend(count(values.len()));
    for value in values {
        match value {
            Some(bytes) => {
                out.extend(size(bytes.len()).to_be_bytes());
                out.extend(bytes);
            }
            None => out.extend((-1i32).to_be_bytes()),
        }
    }
}

/// StartupMessage for `protocol` with `parameters` in order.
pub(crate) fn startup(protocol: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = protocol.to_be_bytes().to_vec();
    for (name, value) in parameters {
        text(&mut body, name);
        text(&mut body, value);
    }
    body.push(0);
    packet(&body)
}

/// CancelRequest for the `key` (process id and secret) of a BackendKeyData.
pub(crate) fn cancel_request(key: &[u8]) -> Vec<u8> {
    let mut body = CANCEL_REQUEST.to_be_bytes().to_vec();
    body.extend(key);
    packet(&body)
}

/// SSLRequest.
pub(crate) fn ssl_request() -> Vec<u8> {
    packet(&SSL_REQUEST.to_be_bytes())
}

/// GSSENCRequest.
pub(crate) fn gssenc_request() -> Vec<u8> {
    packet(&GSSENC_REQUEST.to_be_bytes())
}

/// PasswordMessage, also for SASL answers.
pub(crate) fn password(body: &[u8]) -> Vec<u8> {
    message(b'p', body)
}

/// Query.
pub(crate) fn query(sql: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, sql);
    message(b'Q', &body)
}

/// Parse with the types of the first parameters; 0 leaves one open.
pub(crate) fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, name);
    text(&mut body, sql);
    body.extend(count(types.len()));
    body.extend(types.iter().flat_map(|oid| oid.to_be_bytes()));
    message(b'P', &body)
}

/// Bind.
pub(crate) fn bind(bind: &Bind) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, &bind.portal);
    text(&mut body, &bind.statement);
    formats(&mut body, &bind.formats);
    values(&mut body, &bind.values);
    formats(&mut body, &bind.results);
    message(b'B', &body)
}

/// Describe of a statement (`S`) or portal (`P`).
pub(crate) fn describe(kind: u8, name: &str) -> Vec<u8> {
    let mut body = vec![kind];
    text(&mut body, name);
    message(b'D', &body)
}

/// Close of a statement (`S`) or portal (`P`).
pub(crate) fn close(kind: u8, name: &str) -> Vec<u8> {
    let mut body = vec![kind];
    text(&mut body, name);
    message(b'C', &body)
}

/// Execute; 0 rows is no limit.
pub(crate) fn execute(portal: &str, rows: i32) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, portal);
    body.extend(rows.to_be_bytes());
    message(b'E', &body)
}

/// Flush.
pub(crate) fn flush() -> Vec<u8> {
    message(b'H', b"")
}

/// Sync.
pub(crate) fn sync() -> Vec<u8> {
    message(b'S', b"")
}

/// Terminate.
pub(crate) fn terminate() -> Vec<u8> {
    message(b'X', b"")
}

/// CopyData.
pub(crate) fn copy_data(data: &[u8]) -> Vec<u8> {
    message(b'd', data)
}

/// CopyDone.
pub(crate) fn copy_done() -> Vec<u8> {
    message(b'c', b"")
}

/// CopyFail.
pub(crate) fn copy_fail(reason: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, reason);
    message(b'f', &body)
}

/// FunctionCall with the arguments and the result in one format (0 text, 1 binary).
pub(crate) fn function_call(oid: u32, format: i16, arguments: &[Option<Vec<u8>>]) -> Vec<u8> {
    let mut body = oid.to_be_bytes().to_vec();
    formats(&mut body, &[format]);
    values(&mut body, arguments);
    body.extend(format.to_be_bytes());
    message(b'F', &body)
}
