//! Services over loopback, under the load_client, which lies beside this program.

use crate::repetition::{processor_time, Repetition};
use std::future::Future;
use std::process::{Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn under_load<F, S>(mut r: Repetition, what: &'static str, connections: u64, amount: u64, serve: F) -> Repetition
where
    F: Fn(TcpStream) -> S + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let client = std::env::current_exe().expect("a path").with_file_name("load_client");
    if !client.exists() {
        std::process::exit(77);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let serving = tokio::spawn(async move {
        while let Ok((peer, _)) = listener.accept().await {
            tokio::spawn(serve(peer));
        }
    });
    let amount = r.amount(amount).max(connections);
    let before = processor_time();
    let (done, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let numbers = [port as u64, connections, amount, 1].map(|each| each.to_string());
        let ended = Command::new(client).arg(what).args(numbers).stderr(Stdio::inherit()).output();
        let _ = done.send(ended);
    });
    let ended = told.await.expect("the thread ends").expect("load_client starts");
    let used = processor_time() - before;
    serving.abort();
    if ended.status.code() == Some(77) {
        std::process::exit(77); // it needs a tool that is not there
    }
    let told = String::from_utf8_lossy(&ended.stdout);
    let mut numbers = told.split_whitespace().map(|each| each.parse::<f64>().expect("load_client prints numbers"));
    let taken = numbers.next().expect("how long it took");
    let times = numbers.next().expect("how many it were");
    r.is(times / taken);
    r.also("server_us", used.as_nanos() as f64 / 1e3 / times);
    r
}

async fn echo_all(mut peer: TcpStream) {
    let mut data = [0; 4096];
    while let Ok(got @ 1..) = peer.read(&mut data).await {
        if peer.write_all(&data[..got]).await.is_err() {
            return;
        }
    }
}

async fn hang_up(_peer: TcpStream) {}

pub async fn echo(r: Repetition, connections: u64, amount: u64) -> Repetition {
    under_load(r, "echo", connections, amount, echo_all).await
}

pub async fn accept_rate(r: Repetition) -> Repetition {
    under_load(r, "accept", 16, 20_000, hang_up).await
}

/// Hyper is not among what this is built from. So: by hand, what is enough for requests without a body, one at a time.
async fn hello_all(mut peer: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";
    const ELSE: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let mut data = Vec::with_capacity(4096);
    while let Ok(1..) = peer.read_buf(&mut data).await {
        while let Some(end) = data.windows(4).position(|four| four == b"\r\n\r\n") {
            let answer = if data.starts_with(b"GET / HTTP/1.1\r\n") { ANSWER } else { ELSE };
            data.drain(..end + 4);
            if peer.write_all(answer).await.is_err() {
                return;
            }
        }
        if data.len() > 16384 {
            return;
        }
    }
}

pub async fn http_hello(r: Repetition) -> Repetition {
    under_load(r, "http", 64, 150_000, hello_all).await
}
