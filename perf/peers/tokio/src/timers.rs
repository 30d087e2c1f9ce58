use crate::repetition::{processor_time, resident_bytes, Repetition};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, Notify};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const HOUR: Duration = Duration::from_secs(3600);

/// Lets a future start, and tells whether it goes on; a timer is armed when it is polled for the first time.
struct Begins<'a, F>(Pin<&'a mut F>);

impl<F: Future> Future for Begins<'_, F> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        Poll::Ready(self.0.as_mut().poll(context).is_pending())
    }
}

pub async fn churn_ctx(mut r: Repetition) -> Repetition {
    let times = r.amount(1_000_000);
    let mut ended = 0;
    r.start();
    for _ in 0..times {
        let token = CancellationToken::new();
        let limited = timeout(HOUR, token.cancelled());
        tokio::pin!(limited);
        if Begins(limited.as_mut()).await {
            token.cancel();
            if limited.await.is_ok() {
                ended += 1;
            }
        }
    }
    r.stop(times);
    r.expect(ended, times);
    r
}

pub async fn churn_timer(mut r: Repetition) -> Repetition {
    let times = r.amount(1_000_000);
    let mut stopped = 0;
    r.start();
    for _ in 0..times {
        let timer = sleep(HOUR);
        tokio::pin!(timer);
        if Begins(timer).await {
            stopped += 1;
        }
    }
    r.stop(times);
    r.expect(stopped, times);
    r
}

pub async fn sleep_many(mut r: Repetition) -> Repetition {
    let tasks = r.amount(100_000);
    let mut random = 1u64;
    let before = processor_time();
    let sleepers: Vec<_> = (0..tasks)
        .map(|_| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let span = Duration::from_micros(1000 + (random >> 33) % 999_001);
            tokio::spawn(async move {
                let begin = Instant::now();
                sleep(span).await;
                begin.elapsed().saturating_sub(span)
            })
        })
        .collect();
    let mut late = Vec::with_capacity(sleepers.len());
    for sleeper in sleepers {
        late.push(sleeper.await.unwrap());
    }
    let used = processor_time() - before;
    r.expect(late.len() as u64, tasks);
    r.is(used.as_secs_f64() * 1e3);
    late.sort();
    r.also("p99_late_us", late[late.len() * 99 / 100].as_secs_f64() * 1e6);
    r
}

/// Waits until that many tasks have said that they are about to park, and for a moment more.
async fn parked(arrived: &AtomicU64, tasks: u64) {
    while arrived.load(Ordering::Acquire) < tasks {
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_millis(50)).await;
}

/// From cancelling to the end of the last of those who wait.
pub async fn ctx_cancel(mut r: Repetition) -> Repetition {
    let tasks = r.amount(100_000);
    let token = CancellationToken::new();
    let never = Arc::new(Notify::new());
    let arrived = Arc::new(AtomicU64::new(0));
    let waiting: Vec<JoinHandle<u64>> = (0..tasks)
        .map(|_| {
            let (token, never, arrived) = (token.clone(), never.clone(), arrived.clone());
            tokio::spawn(async move {
                arrived.fetch_add(1, Ordering::AcqRel);
                tokio::select! {
                    _ = token.cancelled() => 1,
                    _ = never.notified() => 0,
                }
            })
        })
        .collect();
    parked(&arrived, tasks).await;
    r.start();
    token.cancel();
    let mut cancelled = 0;
    for task in waiting {
        cancelled += task.await.unwrap();
    }
    r.stop(tasks);
    r.expect(cancelled, tasks);
    r
}

/// Starts tasks that wait for a value, and returns when they do.
async fn park(tasks: u64) -> Vec<oneshot::Sender<()>> {
    let arrived = Arc::new(AtomicU64::new(0));
    let mut senders = Vec::with_capacity(tasks as usize);
    for _ in 0..tasks {
        let (sender, receiver) = oneshot::channel::<()>();
        let arrived = arrived.clone();
        senders.push(sender);
        tokio::spawn(async move {
            arrived.fetch_add(1, Ordering::AcqRel);
            drop(arrived);
            receiver.await.ok();
        });
    }
    parked(&arrived, tasks).await;
    senders
}

pub async fn mem_parked(mut r: Repetition) -> Repetition {
    let tasks = r.amount(1_000_000);
    let before = resident_bytes();
    let senders = park(tasks).await;
    r.is((resident_bytes() - before) as f64 / tasks as f64);
    r.expect(senders.len() as u64, tasks);
    r
}

pub async fn idle(mut r: Repetition) -> Repetition {
    let senders = park(r.amount(100_000)).await;
    let before = processor_time();
    sleep(Duration::from_millis(if r.quick { 10 } else { 10_000 })).await;
    r.is((processor_time() - before).as_secs_f64() * 1e3);
    drop(senders);
    r
}

/// 100 tasks, one fails, the rest wait for the token.
pub async fn errgroup(mut r: Repetition) -> Repetition {
    let rounds = r.amount(1000);
    let mut failures = 0;
    let mut cancelled = 0;
    r.start();
    for _ in 0..rounds {
        let token = CancellationToken::new();
        let mut group = JoinSet::new();
        for _ in 0..99 {
            let token = token.clone();
            group.spawn(async move {
                token.cancelled().await;
                Ok(())
            });
        }
        group.spawn(async { Err("failed") });
        while let Some(ended) = group.join_next().await {
            match ended.unwrap() {
                Ok(()) => cancelled += 1,
                Err(_) => {
                    failures += 1;
                    token.cancel();
                }
            }
        }
    }
    r.stop(rounds);
    r.expect(failures, rounds);
    r.expect(cancelled, 99 * rounds);
    r
}
