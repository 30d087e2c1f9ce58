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
        let numbers = [port as u64, connections, amount].map(|each| each.to_string());
        let ended = Command::new(client).arg(what).args(numbers).stderr(Stdio::inherit()).output();
        let _ = done.send(ended);
    });
    let ended = told.await.expect("the thread ends").expect("load_client starts");
    let used = processor_time() - before;
    serving.abort();
    let taken: f64 = String::from_utf8_lossy(&ended.stdout).trim().parse().expect("load_client prints a number");
    r.is(amount as f64 / taken);
    r.also("server_us", used.as_nanos() as f64 / 1e3 / amount as f64);
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
