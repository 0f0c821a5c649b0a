//! A web server on loopback for steps that make requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};

/// Answers every request with this text as JSON, as long as the process of the test lives.
pub(crate) fn serve(json: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            let mut line = String::from("first");
            while !line.trim().is_empty() {
                line.clear();
                stream.read_line(&mut line).unwrap();
                if let Some(told) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = told.trim().parse().unwrap();
                }
            }
            std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink()).unwrap();
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n";
            write!(stream.get_mut(), "{head}Content-Length: {}\r\n\r\n{json}", json.len()).unwrap();
        }
    });
    address
}
