use crate::repetition::Repetition;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use tokio::sync::{mpsc, Notify};
use tokio::task::JoinHandle;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct WaitGroup {
    running: AtomicU64,
    done: Notify,
}

/// One task starts many and waits for all of them.
pub async fn spawn_join(mut r: Repetition) -> Repetition {
    let tasks = r.amount(1_000_000);
    let group = Arc::new(WaitGroup { running: AtomicU64::new(tasks), done: Notify::new() });
    r.start();
    for _ in 0..tasks {
        let group = group.clone();
        tokio::spawn(async move {
            if group.running.fetch_sub(1, Ordering::AcqRel) == 1 {
                group.done.notify_one();
            }
        });
    }
    group.done.notified().await;
    r.stop(tasks);
    r.expect(group.running.load(Ordering::Acquire), 0);
    r
}

pub async fn spawn_handles(mut r: Repetition) -> Repetition {
    let tasks = r.amount(1_000_000);
    r.start();
    let mut handles = Vec::with_capacity(tasks as usize);
    for i in 0..tasks {
        handles.push(tokio::spawn(async move { i }));
    }
    let mut sum = 0;
    for handle in handles {
        sum += handle.await.unwrap();
    }
    r.stop(tasks);
    r.expect(sum, tasks * (tasks - 1) / 2);
    r
}

pub async fn yield_often(mut r: Repetition) -> Repetition {
    let each = r.amount(2_000_000);
    let work = move || async move {
        let mut done = 0;
        while done < each {
            tokio::task::yield_now().await;
            done += 1;
        }
        done
    };
    r.start();
    let first = tokio::spawn(work());
    let second = tokio::spawn(work());
    let done = first.await.unwrap() + second.await.unwrap();
    r.stop(2 * each);
    r.expect(done, 2 * each);
    r
}

// ---- Trees ---------------------------------------------------------------------------------------

fn skynet_channels(number: u64, size: u64, result: mpsc::Sender<u64>) -> Boxed<()> {
    Box::pin(async move {
        let mut sum = number;
        if size > 1 {
            let size = size / 10;
            let (sender, mut results) = mpsc::channel(10);
            for i in 0..10 {
                tokio::spawn(skynet_channels(number + i * size, size, sender.clone()));
            }
            sum = 0;
            for _ in 0..10 {
                sum += results.recv().await.unwrap();
            }
        }
        result.send(sum).await.unwrap();
    })
}

pub async fn skynet_chan(mut r: Repetition) -> Repetition {
    let leaves = r.depth(1_000_000, 100_000, 1000);
    let (sender, mut result) = mpsc::channel(1);
    r.start();
    tokio::spawn(skynet_channels(0, leaves, sender));
    let sum = result.recv().await.unwrap();
    r.stop(1);
    r.expect(sum, leaves * (leaves - 1) / 2);
    r
}

fn skynet_tree(number: u64, size: u64) -> Boxed<u64> {
    Box::pin(async move {
        if size == 1 {
            return number;
        }
        let size = size / 10;
        let children: [JoinHandle<u64>; 10] =
            std::array::from_fn(|i| tokio::spawn(skynet_tree(number + i as u64 * size, size)));
        let mut sum = 0;
        for child in children {
            sum += child.await.unwrap();
        }
        sum
    })
}

pub async fn skynet_join(mut r: Repetition) -> Repetition {
    let leaves = r.depth(1_000_000, 100_000, 1000);
    r.start();
    let sum = skynet_tree(0, leaves).await;
    r.stop(1);
    r.expect(sum, leaves * (leaves - 1) / 2);
    r
}

/// One child is spawned, the other awaited: the parent would do nothing but wait for it.
fn fibonacci(n: u64) -> Boxed<u64> {
    Box::pin(async move {
        if n < 2 {
            return n;
        }
        let first = tokio::spawn(fibonacci(n - 1));
        let second = fibonacci(n - 2).await;
        first.await.unwrap() + second
    })
}

pub async fn fib(mut r: Repetition) -> Repetition {
    let (n, wanted) = r.depth((30, 832_040), (20, 6765), (16, 987));
    r.start();
    let got = fibonacci(n).await;
    r.stop(1);
    r.expect(got, wanted);
    r
}

/// The rows of the queens on the columns so far.
type Board = [i8; 14];

fn allows(placed: &Board, column: usize, row: i8) -> bool {
    placed[..column].iter().enumerate().all(|(i, &there)| {
        let distance = (there - row).unsigned_abs() as usize;
        distance != 0 && distance != column - i
    })
}

fn queens(size: usize, column: usize, placed: Board) -> Boxed<u64> {
    Box::pin(async move {
        if column == size {
            return 1;
        }
        let mut children: [Option<JoinHandle<u64>>; 14] = Default::default();
        for row in 0..size {
            if allows(&placed, column, row as i8) {
                let mut next = placed;
                next[column] = row as i8;
                children[row] = Some(tokio::spawn(queens(size, column + 1, next)));
            }
        }
        let mut sum = 0;
        for child in children.iter_mut().flatten() {
            sum += child.await.unwrap();
        }
        sum
    })
}

pub async fn nqueens(mut r: Repetition) -> Repetition {
    let (size, wanted) = r.depth((14, 365_596), (10, 724), (8, 92));
    r.start();
    let got = queens(size, 0, Board::default()).await;
    r.stop(1);
    r.expect(got, wanted);
    r
}
