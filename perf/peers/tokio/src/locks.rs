use crate::repetition::Repetition;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, OnceCell, RwLock, Semaphore};

/// Runs tasks work(0), work(1), ... and adds up what they return.
async fn in_tasks<F, W>(tasks: u64, work: F) -> u64
where
    F: Fn(u64) -> W,
    W: Future<Output = u64> + Send + 'static,
{
    let handles: Vec<_> = (0..tasks).map(|task| tokio::spawn(work(task))).collect();
    let mut sum = 0;
    for handle in handles {
        sum += handle.await.unwrap();
    }
    sum
}

pub async fn mutex_uncontended(mut r: Repetition) -> Repetition {
    let times = r.amount(10_000_000);
    let count = Mutex::new(0);
    r.start();
    for _ in 0..times {
        *count.lock().await += 1;
    }
    r.stop(times);
    r.expect(count.into_inner(), times);
    r
}

pub async fn mutex_contended(mut r: Repetition) -> Repetition {
    let times = r.amount(500_000);
    let count = Arc::new(Mutex::new(0));
    r.start();
    in_tasks(8, |_| {
        let count = count.clone();
        async move {
            for _ in 0..times {
                *count.lock().await += 1;
            }
            times
        }
    })
    .await;
    r.stop(8 * times);
    r.expect(*count.lock().await, 8 * times);
    r
}

pub async fn rw_read(mut r: Repetition) -> Repetition {
    let times = r.amount(500_000);
    let value = Arc::new(RwLock::new(1));
    r.start();
    let sum = in_tasks(8, |_| {
        let value = value.clone();
        async move {
            let mut sum = 0;
            for _ in 0..times {
                sum += *value.read().await;
            }
            sum
        }
    })
    .await;
    r.stop(8 * times);
    r.expect(sum, 8 * times);
    r
}

/// Of a hundred operations, one writes.
pub async fn rw_mixed(mut r: Repetition) -> Repetition {
    let times = r.amount(500_000);
    let writes = (times + 99) / 100;
    let value = Arc::new(RwLock::new(0i64));
    r.start();
    let read = in_tasks(8, |_| {
        let value = value.clone();
        async move {
            let mut sum = 0;
            for i in 0..times {
                if i % 100 == 0 {
                    *value.write().await += 1;
                } else if *value.read().await >= 0 {
                    sum += 1;
                }
            }
            sum
        }
    })
    .await;
    r.stop(8 * times);
    r.expect(*value.read().await as u64, 8 * writes);
    r.expect(read, 8 * (times - writes));
    r
}

pub async fn semaphore(mut r: Repetition) -> Repetition {
    let times = r.amount(20_000);
    let permits = Arc::new(Semaphore::new(4));
    r.start();
    let total = in_tasks(64, |_| {
        let permits = permits.clone();
        async move {
            for _ in 0..times {
                let _permit = permits.acquire().await.unwrap();
                tokio::task::yield_now().await;
            }
            times
        }
    })
    .await;
    r.stop(64 * times);
    r.expect(total, 64 * times);
    r.expect(permits.available_permits() as u64, 4);
    r
}

pub async fn once(mut r: Repetition) -> Repetition {
    let times = r.amount(10_000_000);
    let cell = &OnceCell::new();
    let mut sum = 0;
    r.start();
    for _ in 0..times {
        // Not known to the optimizer, or it would do it once for all. black_box() is too new for Debian's compiler.
        let cell = unsafe { std::ptr::read_volatile(&cell) };
        sum += cell.get_or_init(|| async { 1 }).await;
    }
    r.stop(times);
    r.expect(sum, times);
    r
}

/// A token bucket as one writes it: a lock that is never held over an await, and the time of the last visit.
struct Bucket {
    tokens: f64,
    last: Instant,
}

struct Limiter {
    per_second: f64,
    burst: f64,
    bucket: std::sync::Mutex<Bucket>,
}

impl Limiter {
    fn allow(&self) -> bool {
        let now = Instant::now();
        let mut bucket = self.bucket.lock().unwrap();
        let elapsed = now.saturating_duration_since(bucket.last).as_secs_f64();
        bucket.tokens = (bucket.tokens + elapsed * self.per_second).min(self.burst);
        bucket.last = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }

    async fn wait(&self) {
        while !self.allow() {
            tokio::time::sleep(Duration::from_secs_f64(1.0 / self.per_second)).await;
        }
    }
}

fn limiter() -> Limiter {
    Limiter {
        per_second: 1e9,
        burst: 1e6,
        bucket: std::sync::Mutex::new(Bucket { tokens: 1e6, last: Instant::now() }),
    }
}

/// There is always a token.
pub async fn ratelimit_allow(mut r: Repetition) -> Repetition {
    let times = r.amount(10_000_000);
    let limiter = limiter();
    let mut allowed = 0;
    r.start();
    for _ in 0..times {
        if limiter.allow() {
            allowed += 1;
        }
    }
    r.stop(times);
    r.expect(allowed, times);
    r
}

/// The same as a wait.
pub async fn ratelimit_wait(mut r: Repetition) -> Repetition {
    let times = r.amount(10_000_000);
    let limiter = limiter();
    let mut waited = 0;
    r.start();
    for _ in 0..times {
        limiter.wait().await;
        waited += 1;
    }
    r.stop(times);
    r.expect(waited, times);
    r
}
