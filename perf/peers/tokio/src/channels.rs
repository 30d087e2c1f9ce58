use crate::repetition::Repetition;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

// Tokio has no unbuffered channel; capacity 1 stands in. Nor has it one with many receivers: async-channel's does.

pub async fn pingpong(mut r: Repetition) -> Repetition {
    let rounds = r.amount(1_000_000);
    let (there, mut arrived) = mpsc::channel::<u64>(1);
    let (back, mut returned) = mpsc::channel::<u64>(1);
    let other = tokio::spawn(async move {
        while let Some(ball) = arrived.recv().await {
            back.send(ball + 1).await.unwrap();
        }
    });
    let mut ball = 0;
    r.start();
    for _ in 0..rounds {
        there.send(ball).await.unwrap();
        ball = returned.recv().await.unwrap();
    }
    r.stop(rounds);
    drop(there);
    other.await.unwrap();
    r.expect(ball, rounds);
    r
}

/// The same under a token that could be cancelled, but is not, and has others to care for.
pub async fn pingpong_ctx(mut r: Repetition) -> Repetition {
    let rounds = r.amount(1_000_000);
    let token = CancellationToken::new();
    for _ in 0..1000 {
        let token = token.clone();
        tokio::spawn(async move { token.cancelled().await });
    }
    tokio::task::yield_now().await;
    let (there, mut arrived) = mpsc::channel::<u64>(1);
    let (back, mut returned) = mpsc::channel::<u64>(1);
    let others = token.clone();
    let other = tokio::spawn(async move {
        let cancelled = others.cancelled();
        tokio::pin!(cancelled);
        loop {
            let ball = tokio::select! {
                _ = &mut cancelled => break,
                received = arrived.recv() => match received {
                    Some(ball) => ball,
                    None => break,
                },
            };
            tokio::select! {
                _ = &mut cancelled => break,
                sent = back.send(ball + 1) => sent.unwrap(),
            }
        }
    });
    let mut ball = 0;
    {
        let cancelled = token.cancelled();
        tokio::pin!(cancelled);
        r.start();
        for _ in 0..rounds {
            tokio::select! {
                _ = &mut cancelled => break,
                sent = there.send(ball) => sent.unwrap(),
            }
            ball = tokio::select! {
                _ = &mut cancelled => break,
                received = returned.recv() => received.unwrap(),
            };
        }
        r.stop(rounds);
    }
    drop(there);
    other.await.unwrap();
    token.cancel();
    r.expect(ball, rounds);
    r
}

pub async fn spsc(mut r: Repetition, capacity: usize) -> Repetition {
    let items = r.amount(10_000_000);
    let (sender, mut receiver) = mpsc::channel::<u64>(capacity);
    r.start();
    let consumer = tokio::spawn(async move {
        let mut sum = 0;
        while let Some(item) = receiver.recv().await {
            sum += item;
        }
        sum
    });
    tokio::spawn(produce(0, items, sender));
    let sum = consumer.await.unwrap();
    r.stop(items);
    r.expect(sum, items * (items - 1) / 2);
    r
}

pub async fn produce(first: u64, beyond: u64, out: mpsc::Sender<u64>) {
    for item in first..beyond {
        if out.send(item).await.is_err() {
            break;
        }
    }
}

pub async fn mpmc(mut r: Repetition) -> Repetition {
    let share = r.amount(1_000_000);
    let items = 4 * share;
    let (sender, receiver) = async_channel::bounded::<u64>(64);
    r.start();
    let mut consumers = Vec::new();
    for _ in 0..4 {
        let receiver = receiver.clone();
        consumers.push(tokio::spawn(async move {
            let mut sum = 0;
            while let Ok(item) = receiver.recv().await {
                sum += item;
            }
            sum
        }));
    }
    for i in 0..4 {
        let sender = sender.clone();
        tokio::spawn(async move {
            for item in i * share..(i + 1) * share {
                sender.send(item).await.unwrap();
            }
        });
    }
    drop(sender);
    let mut sum = 0;
    for consumer in consumers {
        sum += consumer.await.unwrap();
    }
    r.stop(items);
    r.expect(sum, items * (items - 1) / 2);
    r
}

pub async fn select_recv2(mut r: Repetition) -> Repetition {
    let share = r.amount(2_000_000);
    let items = 2 * share;
    let done = CancellationToken::new();
    let (to_left, mut left) = mpsc::channel(128);
    let (to_right, mut right) = mpsc::channel(128);
    r.start();
    tokio::spawn(produce(0, share, to_left.clone()));
    tokio::spawn(produce(share, items, to_right.clone()));
    let consumer = tokio::spawn(async move {
        let cancelled = done.cancelled();
        tokio::pin!(cancelled);
        let mut sum = 0;
        for _ in 0..items {
            tokio::select! {
                item = left.recv() => sum += item.unwrap(),
                item = right.recv() => sum += item.unwrap(),
                _ = &mut cancelled => break,
            }
        }
        sum
    });
    let sum = consumer.await.unwrap();
    r.stop(items);
    drop((to_left, to_right));
    r.expect(sum, items * (items - 1) / 2);
    r
}

pub async fn select_fanin8(mut r: Repetition) -> Repetition {
    let share = r.amount(250_000);
    let items = 8 * share;
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..8).map(|_| mpsc::channel(1)).unzip();
    r.start();
    for (i, sender) in senders.iter().enumerate() {
        let first = i as u64 * share;
        tokio::spawn(produce(first, first + share, sender.clone()));
    }
    let consumer = tokio::spawn(async move {
        let mut receivers = receivers.into_iter();
        let mut next = || receivers.next().unwrap();
        let (mut a, mut b, mut c, mut d) = (next(), next(), next(), next());
        let (mut e, mut f, mut g, mut h) = (next(), next(), next(), next());
        let mut sum = 0;
        for _ in 0..items {
            let item = tokio::select! {
                item = a.recv() => item,
                item = b.recv() => item,
                item = c.recv() => item,
                item = d.recv() => item,
                item = e.recv() => item,
                item = f.recv() => item,
                item = g.recv() => item,
                item = h.recv() => item,
            };
            sum += item.unwrap();
        }
        sum
    });
    let sum = consumer.await.unwrap();
    r.stop(items);
    drop(senders);
    r.expect(sum, items * (items - 1) / 2);
    r
}

pub async fn select_default_1(mut r: Repetition) -> Repetition {
    let times = r.amount(10_000_000);
    let (_sender, mut empty) = mpsc::channel::<u64>(1);
    let mut otherwise = 0;
    r.start();
    for _ in 0..times {
        if empty.try_recv().is_err() {
            otherwise += 1;
        }
    }
    r.stop(times);
    r.expect(otherwise, times);
    r
}

pub async fn select_default_2(mut r: Repetition) -> Repetition {
    let times = r.amount(10_000_000);
    let (_to_left, mut left) = mpsc::channel::<u64>(1);
    let (_to_right, mut right) = mpsc::channel::<u64>(1);
    let mut otherwise = 0;
    r.start();
    for _ in 0..times {
        if left.try_recv().is_err() && right.try_recv().is_err() {
            otherwise += 1;
        }
    }
    r.stop(times);
    r.expect(otherwise, times);
    r
}

// ---- Patterns ------------------------------------------------------------------------------------

pub async fn pipeline_5(mut r: Repetition) -> Repetition {
    let items = r.amount(1_000_000);
    let (first, mut last) = mpsc::channel(1);
    r.start();
    tokio::spawn(produce(0, items, first));
    for _ in 0..3 {
        let (out, next) = mpsc::channel(1);
        let mut input = std::mem::replace(&mut last, next);
        tokio::spawn(async move {
            while let Some(item) = input.recv().await {
                out.send(item + 1).await.unwrap();
            }
        });
    }
    let consumer = tokio::spawn(async move {
        let mut sum = 0;
        while let Some(item) = last.recv().await {
            sum += item;
        }
        sum
    });
    let sum = consumer.await.unwrap();
    r.stop(items);
    r.expect(sum, items * (items - 1) / 2 + 3 * items);
    r
}

pub async fn fan_out_in_8(mut r: Repetition) -> Repetition {
    let items = r.amount(1_000_000);
    let (work, jobs) = async_channel::bounded::<u64>(1);
    let (out, mut results) = mpsc::channel::<u64>(1);
    r.start();
    tokio::spawn(async move {
        for item in 0..items {
            work.send(item).await.unwrap();
        }
    });
    for _ in 0..8 {
        let (jobs, out) = (jobs.clone(), out.clone());
        tokio::spawn(async move {
            while let Ok(item) = jobs.recv().await {
                out.send(item + 1).await.unwrap();
            }
        });
    }
    drop((jobs, out));
    let collector = tokio::spawn(async move {
        let mut sum = 0;
        while let Some(item) = results.recv().await {
            sum += item;
        }
        sum
    });
    let sum = collector.await.unwrap();
    r.stop(items);
    r.expect(sum, items * (items - 1) / 2 + items);
    r
}

pub async fn prime_sieve(mut r: Repetition) -> Repetition {
    let (primes, wanted) = r.depth((2000, 17389), (200, 1223), (40, 173));
    r.start();
    let (out, mut numbers) = mpsc::channel::<u64>(1);
    tokio::spawn(produce(2, u64::MAX, out));
    let mut prime = 0;
    for _ in 0..primes {
        prime = numbers.recv().await.unwrap();
        let (out, next) = mpsc::channel(1);
        let mut input = std::mem::replace(&mut numbers, next);
        tokio::spawn(async move {
            while let Some(number) = input.recv().await {
                if number % prime != 0 && out.send(number).await.is_err() {
                    break;
                }
            }
        });
    }
    r.stop(1);
    r.expect(prime, wanted);
    r
}

/// A broadcast channel drops what a subscriber is too slow for; so it has room for all.
pub async fn broker_fanout(mut r: Repetition) -> Repetition {
    let subscribers = 100;
    let messages = r.amount(100_000);
    let (topic, _) = broadcast::channel::<u64>(messages as usize);
    let tasks: Vec<_> = (0..subscribers)
        .map(|_| {
            let mut inbox = topic.subscribe();
            tokio::spawn(async move {
                let mut sum = 0;
                while let Ok(message) = inbox.recv().await {
                    sum += message;
                }
                sum
            })
        })
        .collect();
    r.start();
    tokio::spawn(async move {
        for i in 0..messages {
            topic.send(i).unwrap();
        }
    });
    let mut sum = 0;
    for task in tasks {
        sum += task.await.unwrap();
    }
    r.stop(messages * subscribers);
    r.expect(sum, subscribers * (messages * (messages - 1) / 2));
    r
}
