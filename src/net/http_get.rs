//! One question over HTTP: who the primary is, by those who manage it.
//!
//! Owns the URL and the request: one GET over a connection of its own, which is closed behind the answer.
//! The answer is bounded, and so is the time, by the caller. Only `http`: what answers stands on the node or
//! beside it. Follows no redirection.

use super::{NodeHost, Resolver};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header;
use hyper_util::rt::TokioIo;
use std::fmt;
use std::io;
use std::net::IpAddr;
use thiserror::Error;
use tokio::net::TcpStream;

/// Longest answer.
const BODY_MAX: usize = 256 * 1024;
/// Bytes of an answer's head.
const HEAD_MAX: usize = 16 * 1024;

/// Where to ask: `http://host:port/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    host: NodeHost,
    port: u16,
    path: String,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum GetError {
    /// The network.
    #[error("cannot connect: {0}")]
    Io(#[from] io::Error),
    /// What came is no answer.
    #[error("no HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// The answer is too long.
    #[error("the answer has more than 256 KiB")]
    Long,
    /// The name or the path cannot be asked for.
    #[error("not a URL that can be asked for")]
    Url,
}

impl HttpUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix("http://").ok_or("it does not begin with http://")?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).ok_or("it has no host")?;
        if authority.contains('@') {
            return Err("it holds a user; only open addresses are asked");
        }
        let bracket = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (host, port) = match bracket {
            Some((ip, port)) => (ip, port.strip_prefix(':')),
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = port.map_or(Ok(80), str::parse).map_err(|_| "its port is no number")?;
        let is_name = |name: &str| {
            let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !name.is_empty() && name.bytes().all(is_of_name)
        };
        let host = match host.parse::<IpAddr>() {
            Ok(ip) => NodeHost::Ip(ip),
            Err(_) if is_name(host) && bracket.is_none() => NodeHost::Name(host.to_owned()),
            Err(_) => return Err("its host is neither a name nor an address"),
        };
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("its path has characters that have to be escaped");
        }
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { host, port, path: path.to_owned() })
    }

    /// Status and body of the answer. Cancel safe. The caller sets the deadline.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(&self, resolver: &Resolver) -> Result<(u16, Bytes), GetError> {
        let stream = TokioIo::new(self.connect(resolver).await?);
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(HEAD_MAX).handshake(stream).await?;
        let request = Request::get(&self.path)
            .header(header::HOST, self.authority())
            .header(header::CONNECTION, "close")
            .header(header::USER_AGENT, "howdah")
            .body(Empty::<Bytes>::new())
            .map_err(|_| GetError::Url)?;
        let exchange = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), BODY_MAX).collect().await;
            let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(error) => GetError::Http(*error),
                Err(_) => GetError::Long,
            })?;
            Ok((status, body.to_bytes()))
        };
        tokio::pin!(exchange, connection);
        let mut is_open = true;
        loop {
            tokio::select! {
                answer = &mut exchange => return answer,
                // Its end, and its error, are in the answer too.
                _ = &mut connection, if is_open => is_open = false,
            }
        }
    }

    async fn connect(&self, resolver: &Resolver) -> Result<TcpStream, GetError> {
        let addresses = match &self.host {
            NodeHost::Ip(ip) => vec![*ip],
            NodeHost::Name(name) => resolver.addresses(name).await?,
            NodeHost::SocketDir(_) => return Err(GetError::Url),
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for ip in addresses {
            match TcpStream::connect((ip, self.port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    fn authority(&self) -> String {
        match &self.host {
            NodeHost::Ip(IpAddr::V6(ip)) => format!("[{ip}]:{}", self.port),
            host @ (NodeHost::Ip(IpAddr::V4(_)) | NodeHost::Name(_) | NodeHost::SocketDir(_)) => {
                format!("{host}:{}", self.port)
            }
        }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn urls() {
        for (text, shown) in [
            ("http://10.0.0.1:8008/primary", "http://10.0.0.1:8008/primary"),
            ("http://db-1.example.com", "http://db-1.example.com:80/"),
            ("http://[::1]:8008/cluster?x=1", "http://[::1]:8008/cluster?x=1"),
        ] {
            assert_eq!(HttpUrl::parse(text).expect(text).to_string(), shown);
        }
        for (text, why) in [
            ("https://a/", "http://"),
            ("http:///primary", "host"),
            ("http://a:b/", "port"),
            ("http://u:p@a/", "user"),
            ("http://a b/", "host"),
            ("http://a/x y", "path"),
            ("http://[a]/", "host"),
        ] {
            assert!(HttpUrl::parse(text).expect_err(text).contains(why), "{text}");
        }
    }

    /// What comes of an answer of these bytes.
    async fn answered(bytes: Vec<u8>) -> Result<(u16, Bytes), GetError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let url = HttpUrl::parse(&format!("http://127.0.0.1:{port}/primary")).expect("a URL");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = vec![0; 1024];
            let read = stream.read(&mut request).await.expect("a request");
            assert!(request[..read].starts_with(b"GET /primary HTTP/1.1\r\n"));
            // Who does not want to read on is gone.
            stream.write_all(&bytes).await.ok();
        };
        let resolver = Resolver::new(Duration::ZERO);
        tokio::join!(url.get(&resolver), serve).0
    }

    #[tokio::test]
    async fn answers_of_all_kinds() {
        let told = |text: &str| answered(text.as_bytes().to_vec());
        // As Python's own server answers for Patroni.
        let (status, body) =
            told("HTTP/1.0 200 OK\r\nServer: x\r\n\r\n{}").await.expect("an answer");
        assert_eq!((status, &body[..]), (200, &b"{}"[..]));
        let chunked = "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
        let (status, body) = told(chunked).await.expect("an answer");
        assert_eq!((status, &body[..]), (503, &b"ab"[..]));
        assert!(matches!(told("SSH-2.0-x\r\n").await, Err(GetError::Http(_))));
        assert!(matches!(told("").await, Err(GetError::Http(_))));
        let mut long = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
        long.resize(BODY_MAX + 100, b'x');
        assert!(matches!(answered(long).await, Err(GetError::Long)));
    }
}
