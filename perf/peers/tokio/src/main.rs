//! The rows of ../../ in Tokio.
//!
//!     tokio --list                        the rows, one per line: NAME UNIT
//!     tokio ROW [--workers N] [--quick]   a short warm-up, then one repetition that is measured
//!
//! A repetition prints one line of JSON. A wrong result ends the program with 1, a row that it does not have with 77.

mod channels;
mod flow;
mod locks;
mod log_report;
mod net;
mod repetition;
mod tasks;
mod timers;

use repetition::Repetition;
use std::future::Future;
use std::pin::Pin;

type Work = fn(Repetition) -> Pin<Box<dyn Future<Output = Repetition> + Send>>;

struct Row {
    name: &'static str,
    unit: &'static str,
    work: Work,
    /// A row that measures memory, or the time that nothing takes, is not warmed up.
    cold: bool,
    /// Without timers, yielding is cheaper.
    timers: bool,
}

macro_rules! row {
    ($name:expr, $unit:expr, $work:path $(, $argument:expr)*) => {
        Row { name: $name, unit: $unit, work: |r| Box::pin($work(r $(, $argument)*)), cold: false, timers: false }
    };
}

fn cold(row: Row) -> Row {
    Row { cold: true, ..row }
}

fn with_timers(row: Row) -> Row {
    Row { timers: true, ..row }
}

fn rows() -> Vec<Row> {
    vec![
        row!("spawn_join", "ns/task", tasks::spawn_join),
        row!("spawn_handles", "ns/task", tasks::spawn_handles),
        row!("yield", "ns", tasks::yield_often),
        row!("chan_pingpong", "ns/round trip", channels::pingpong),
        row!("chan_pingpong_ctx", "ns/round trip", channels::pingpong_ctx),
        row!("chan_spsc.cap128", "ns/item", channels::spsc, 128),
        row!("chan_spsc.cap1", "ns/item", channels::spsc, 1),
        row!("chan_mpmc", "ns/item", channels::mpmc),
        row!("select_recv2", "ns/item", channels::select_recv2),
        row!("select_fanin8", "ns/item", channels::select_fanin8),
        row!("select_default.1ch", "ns", channels::select_default_1),
        row!("select_default.2ch", "ns", channels::select_default_2),
        row!("mutex_uncontended", "ns", locks::mutex_uncontended),
        row!("mutex_contended", "ns/op", locks::mutex_contended),
        row!("rw_read", "ns/op", locks::rw_read),
        row!("rw_mixed", "ns/op", locks::rw_mixed),
        row!("semaphore", "ns/op", locks::semaphore),
        row!("once", "ns/op", locks::once),
        with_timers(row!("timer_churn.ctx", "ns", timers::churn_ctx)),
        with_timers(row!("timer_churn.timer", "ns", timers::churn_timer)),
        with_timers(cold(row!("sleep_many", "CPU ms", timers::sleep_many))),
        with_timers(row!("ctx_cancel", "ns/task", timers::ctx_cancel)),
        row!("skynet_chan", "ms", tasks::skynet_chan),
        row!("skynet_join", "ms", tasks::skynet_join),
        row!("fib", "ms", tasks::fib),
        row!("nqueens", "ms", tasks::nqueens),
        with_timers(cold(row!("mem_parked", "B/task", timers::mem_parked))),
        row!("pipeline_5", "ns/item", channels::pipeline_5),
        row!("fan_out_in_8", "ns/item", channels::fan_out_in_8),
        row!("prime_sieve", "ms", channels::prime_sieve),
        row!("pipeline_fused", "ns/item", flow::pipeline_fused),
        // What the library does in leat is here written by hand, and so these are the same.
        row!("pipeline_segments", "ns/item", channels::pipeline_5),
        row!("pipeline_compute.w1", "ns/item", flow::pipeline_compute, 1),
        row!("pipeline_compute.w2", "ns/item", flow::pipeline_compute, 2),
        row!("fan_out_8", "ns/item", channels::fan_out_in_8),
        row!("pool_submit", "ns/job", flow::pool_submit),
        row!("log_report", "ns/line", log_report::log_report),
        row!("errgroup", "µs/round", timers::errgroup),
        row!("ratelimit_allow", "ns", locks::ratelimit_allow),
        with_timers(row!("ratelimit_wait", "ns", locks::ratelimit_wait)),
        row!("broker_fanout", "ns/delivery", channels::broker_fanout),
        with_timers(cold(row!("idle", "CPU ms", timers::idle))),
        row!("echo_c1", "msgs/s", net::echo, 1, 20_000),
        row!("echo_c64", "msgs/s", net::echo, 64, 400_000),
        row!("echo_c1000", "msgs/s", net::echo, 1000, 400_000),
        row!("accept_rate", "connections/s", net::accept_rate),
        row!("http_hello", "requests/s", net::http_hello),
    ]
}

fn usage() -> ! {
    eprintln!("usage: tokio --list | ROW [--workers N] [--quick]");
    std::process::exit(2)
}

fn main() {
    let (mut wanted, mut workers, mut quick) = (None, 1, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--list" => {
                for row in rows() {
                    println!("{} {}", row.name, row.unit);
                }
                return;
            }
            "--quick" => quick = true,
            "--workers" => match arguments.next().and_then(|number| number.parse::<usize>().ok()) {
                Some(number) if number > 0 => workers = number,
                _ => usage(),
            },
            name if wanted.is_none() && !name.starts_with('-') => wanted = Some(name.to_owned()),
            _ => usage(),
        }
    }
    let wanted = wanted.unwrap_or_else(|| usage());
    let row = match rows().into_iter().find(|row| row.name == wanted) {
        Some(row) => row,
        None => std::process::exit(77),
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(workers).enable_io();
    if row.timers {
        builder.enable_time();
    }
    let runtime = builder.build().expect("a runtime");
    // What block_on() runs itself is none of the workers' tasks; so the work is spawned.
    let run = |repetition| {
        runtime
            .block_on(runtime.spawn((row.work)(repetition)))
            .expect("the work ends")
    };
    if !row.cold {
        run(Repetition::new(true, quick, workers));
    }
    run(Repetition::new(false, quick, workers)).print(row.name, row.unit, workers);
    // 1,000,000 parked tasks are not worth being taken down one by one.
    std::process::exit(0);
}
