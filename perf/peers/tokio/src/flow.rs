use crate::channels::produce;
use crate::repetition::Repetition;
use futures_util::stream::{self, StreamExt};
use std::hint::black_box;
use tokio::sync::{mpsc, oneshot};

// ---- Pipelines ---------------------------------------------------------------------------------------

/// A stream: what an asynchronous pipeline is in Rust.
pub async fn pipeline_fused(mut r: Repetition) -> Repetition {
    let items = r.amount(10_000_000);
    r.start();
    let sum = stream::iter(0..items)
        .map(|n| n + 1)
        .map(|n| n + 1)
        .map(|n| n + 1)
        .fold(0, |sum, n| async move { sum + black_box(n) })
        .await;
    r.stop(items);
    r.expect(sum, items * (items - 1) / 2 + 3 * items);
    r
}

/// Some 20 µs of work for each of 64 kinds of items.
fn work(n: u64) -> u64 {
    let mut state = n % 64 + 1;
    for _ in 0..10_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    state >> 63
}

fn work_on_all(items: u64) -> u64 {
    (0..64).map(|kind| work(kind) * (items / 64 + u64::from(kind < items % 64))).sum()
}

pub async fn pipeline_compute(mut r: Repetition, workers: usize) -> Repetition {
    let items = r.amount(50_000);
    r.start();
    let (out, mut made) = mpsc::channel(1);
    if workers == 1 {
        let (sender, mut receiver) = mpsc::channel(16);
        tokio::spawn(produce(0, items, sender));
        tokio::spawn(async move {
            while let Some(item) = receiver.recv().await {
                out.send(work(item)).await.unwrap();
            }
        });
    } else {
        let (sender, receiver) = async_channel::bounded::<u64>(16);
        tokio::spawn(async move {
            for item in 0..items {
                sender.send(item).await.unwrap();
            }
        });
        for _ in 0..workers {
            let (receiver, out) = (receiver.clone(), out.clone());
            tokio::spawn(async move {
                while let Ok(item) = receiver.recv().await {
                    out.send(work(item)).await.unwrap();
                }
            });
        }
        drop(out);
    }
    let mut sum = 0;
    while let Some(item) = made.recv().await {
        sum += item;
    }
    r.stop(items);
    r.expect(sum, work_on_all(items));
    r
}

// ---- A pool of workers -------------------------------------------------------------------------------

type Job = (Box<dyn FnOnce() -> u64 + Send>, oneshot::Sender<u64>);

/// Two workers and a queue of 64; as many jobs are handed in at a time as fit into it, then their results are read.
pub async fn pool_submit(mut r: Repetition) -> Repetition {
    let queue = 64;
    let rounds = (r.amount(1_000_000) + queue - 1) / queue;
    let (jobs, queued) = async_channel::bounded::<Job>(queue as usize);
    for _ in 0..2 {
        let queued = queued.clone();
        tokio::spawn(async move {
            while let Ok((function, result)) = queued.recv().await {
                result.send(function()).unwrap();
            }
        });
    }
    let mut sum = 0;
    let mut results = Vec::new();
    r.start();
    for round in 0..rounds {
        for i in 0..queue {
            let n = round * queue + i;
            let (sender, receiver) = oneshot::channel();
            assert!(jobs.send((Box::new(move || n + 1), sender)).await.is_ok());
            results.push(receiver);
        }
        for result in results.drain(..) {
            sum += result.await.unwrap();
        }
    }
    r.stop(rounds * queue);
    r.expect(sum, rounds * queue * (rounds * queue + 1) / 2);
    r
}
