//! An HTTP server on loopback that answers as a test says, byte by byte, and remembers what it was asked.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// `GET /path HTTP/1.1`.
    pub(super) line: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
    /// Which connection it came on: 1, 2, 3 …
    pub(super) connection: usize,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a test does with a request: it returns whether the connection is kept.
type Answering<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
pub(super) type Answer = dyn for<'a> Fn(Seen, &'a mut dyn Stream) -> Answering<'a> + Send + Sync;

/// Makes what is done with a server's connections of a plain stream: TLS, or nothing.
type Secure = dyn Fn(tokio::net::TcpStream) -> Pin<Box<dyn Future<Output = Option<Box<dyn Stream>>> + Send>>
    + Send
    + Sync;

pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers each request with these bytes, and keeps the connection.
    pub(super) async fn saying(bytes: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::new(Arc::new(move |seen, stream| {
            let bytes = bytes(&seen);
            Box::pin(async move { stream.write_all(&bytes).await.is_ok() })
        }))
        .await
    }

    pub(super) async fn new(answer: Arc<Answer>) -> Self {
        Self::at([127, 0, 0, 1].into(), answer).await
    }

    pub(super) async fn at(address: IpAddr, answer: Arc<Answer>) -> Self {
        let plain: Arc<Secure> =
            Arc::new(|stream| Box::pin(async { Some(Box::new(stream) as Box<dyn Stream>) }));
        Self::secured(address, answer, plain).await
    }

    pub(super) async fn secured(address: IpAddr, answer: Arc<Answer>, secure: Arc<Secure>) -> Self {
        let listener = TcpListener::bind((address, 0)).await.expect("a port of loopback");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (all, mut connection) = (seen.clone(), 0);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connection += 1;
                let (answer, secure, all) = (answer.clone(), secure.clone(), all.clone());
                tokio::spawn(async move {
                    let Some(mut stream) = secure(stream).await else { return };
                    while let Some(mut request) = read(&mut *stream).await {
                        request.connection = connection;
                        all.lock().expect("no panic happens under this lock").push(request.clone());
                        if !answer(request, &mut *stream).await {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, seen, task }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic happens under this lock").clone()
    }
}

async fn read(stream: &mut dyn Stream) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("a head is ASCII");
    let mut lines = head.lines();
    let line = lines.next()?.to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let mut seen = Seen { line, headers, ..Seen::default() };
    let length = seen.header("content-length").map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    seen.body = String::from_utf8(body).expect("a text");
    Some(seen)
}

/// Returns an answer with that status line, those header lines and that body, its length told.
pub(super) fn answer(status: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let length = format!("Content-Length: {}", body.len());
    let status = format!("HTTP/1.1 {status}");
    let head = [&[status.as_str()], headers, &[length.as_str(), "", ""]].concat();
    (head.join("\r\n") + body).into_bytes()
}
