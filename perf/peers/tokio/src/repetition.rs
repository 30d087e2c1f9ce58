use std::fmt::Write;
use std::time::{Duration, Instant};

/// One run of a row's work, to warm up or to be measured.
pub struct Repetition {
    warms_up: bool,
    pub quick: bool,
    workers: usize,
    begin: Instant,
    taken: Duration,
    operations: u64,
    value: Option<f64>,
    more: String,
}

impl Repetition {
    pub fn new(warms_up: bool, quick: bool, workers: usize) -> Self {
        Repetition {
            warms_up,
            quick,
            workers,
            begin: Instant::now(),
            taken: Duration::ZERO,
            operations: 0,
            value: None,
            more: String::new(),
        }
    }

    pub fn workers(&self) -> usize {
        self.workers
    }

    /// How much is to be done: the full amount, a tenth to warm up, a thousandth of either if it has to be quick.
    pub fn amount(&self, full: u64) -> u64 {
        (full / if self.warms_up { 10 } else { 1 } / if self.quick { 1000 } else { 1 }).max(1)
    }

    /// The same for what is not a number of operations.
    pub fn depth<T>(&self, full: T, to_warm_up: T, quickly: T) -> T {
        if self.quick {
            quickly
        } else if self.warms_up {
            to_warm_up
        } else {
            full
        }
    }

    pub fn start(&mut self) {
        self.begin = Instant::now();
    }

    pub fn stop(&mut self, operations: u64) {
        self.taken = self.begin.elapsed();
        self.operations = operations;
    }

    /// The value of a row that is not the time that its work took.
    pub fn is(&mut self, value: f64) {
        self.value = Some(value);
    }

    pub fn also(&mut self, name: &str, value: f64) {
        write!(self.more, ",\"{name}\":{value:.3}").unwrap();
    }

    pub fn expect(&self, got: u64, wanted: u64) {
        if got != wanted {
            eprintln!("the result is {got}, not {wanted}");
            std::process::exit(1);
        }
    }

    pub fn print(&self, name: &str, unit: &str, workers: usize) {
        let scale = match unit {
            "ms" => 1e6,
            "µs/round" => 1e3,
            _ => 1.0,
        };
        let value = self
            .value
            .unwrap_or_else(|| self.taken.as_nanos() as f64 / self.operations as f64 / scale);
        println!(
            "{{\"name\":\"{name}\",\"variant\":\"tokio\",\"workers\":{workers},\"unit\":\"{unit}\",\
             \"value\":{value:.6},\"allocs_per_op\":null,\"peak_kb\":{}{}}}",
            peak_kilobytes(),
            self.more
        );
    }
}

/// Processor time that all threads of the process have used.
pub fn processor_time() -> Duration {
    // Fields 14 and 15 of stat are in hundredths of a second, which is too coarse; schedstat's are nanoseconds.
    let mut used = 0;
    for thread in std::fs::read_dir("/proc/self/task").expect("procfs") {
        let path = thread.expect("procfs").path().join("schedstat");
        if let Ok(line) = std::fs::read_to_string(path) {
            used += line.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Duration::from_nanos(used)
}

pub fn resident_bytes() -> u64 {
    status_kilobytes("VmRSS:") * 1024
}

fn peak_kilobytes() -> u64 {
    status_kilobytes("VmHWM:")
}

fn status_kilobytes(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}
