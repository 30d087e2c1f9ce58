use crate::repetition::Repetition;
use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{Read, Write};

/// Cheaper than the standard library's, which withstands those who choose their keys badly on purpose.
#[derive(Default)]
struct QuickHasher(u64);

impl Hasher for QuickHasher {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

type Table<K> = HashMap<K, Sums, BuildHasherDefault<QuickHasher>>;

#[derive(Clone, Copy, Default)]
struct Sums {
    requests: u64,
    errors: u64,
    bytes: u64,
}

impl Sums {
    fn add(&mut self, one: &Sums) {
        self.requests += one.requests;
        self.errors += one.errors;
        self.bytes += one.bytes;
    }
}

/// Writes a log of so many lines in the combined format, two seconds apart; and says what is in it.
fn make_log(file: &std::path::Path, lines: u64) -> Sums {
    let mut out = std::io::BufWriter::new(File::create(file).unwrap());
    let mut wanted = Sums::default();
    let mut state = 1u64;
    for i in 0..lines {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let dice = state >> 33;
        let status = match dice % 100 {
            0..=1 => 500,
            2..=9 => 404,
            _ => 200,
        };
        let (day, at) = (i * 2 / 86_400 % 28 + 1, i * 2 % 86_400);
        writeln!(
            out,
            "10.1.2.{} - - [{:02}/May/2024:{:02}:{:02}:{:02} +0000] \"GET /item/{} HTTP/1.1\" {} {} \
             \"-\" \"Mozilla/5.0 (X11; Linux)\"",
            dice % 256,
            day,
            at / 3600,
            at / 60 % 60,
            at % 60,
            dice / 256 % 5000,
            status,
            dice % 100_000
        )
        .unwrap();
        wanted.add(&Sums { requests: 1, errors: u64::from(status >= 500), bytes: dice % 100_000 });
    }
    out.flush().unwrap();
    wanted
}

/// What one worker counts.
struct Counts {
    all: Sums,
    bad: u64,
    by_status: Vec<u64>,
    windows: Table<i64>,
    paths: Table<Vec<u8>>,
}

fn position(text: &[u8], what: u8) -> Option<usize> {
    memchr::memchr(what, text)
}

/// Takes what is before a byte off the text, and that too.
fn take_until<'a>(text: &mut &'a [u8], end: u8) -> Option<&'a [u8]> {
    let at = position(text, end)?;
    let taken = &text[..at];
    *text = &text[at + 1..];
    Some(taken)
}

fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
    })
}

/// Days since 1970 of a date in the Gregorian calendar, whose years are counted from March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// "10/Oct/2024:13:55:36 -0700".
fn stamp(text: &[u8]) -> Option<i64> {
    if text.len() != 26 || [2, 6].map(|i| text[i]) != [b'/'; 2] || [11, 14, 17].map(|i| text[i]) != [b':'; 3] {
        return None;
    }
    let month = b"JanFebMarAprMayJunJulAugSepOctNovDec".chunks(3).position(|name| *name == text[3..6])? as i64 + 1;
    let part = |from: usize, to: usize| number(&text[from..to]).map(|n| n as i64);
    let (day, year, hour) = (part(0, 2)?, part(7, 11)?, part(12, 14)?);
    let (minute, second) = (part(15, 17)?, part(18, 20)?);
    let zone = part(22, 24)? * 3600 + part(24, 26)? * 60;
    if hour > 23 || minute > 59 || second > 60 || day < 1 || day > 31 {
        return None;
    }
    let local = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(if text[21] == b'+' { local - zone } else { local + zone })
}

impl Counts {
    fn new() -> Self {
        Counts {
            all: Sums::default(),
            bad: 0,
            by_status: vec![0; 1000],
            windows: Table::default(),
            paths: Table::default(),
        }
    }

    fn path(&mut self, path: &[u8], one: &Sums) {
        match self.paths.get_mut(path) {
            Some(sums) => sums.add(one),
            None => {
                self.paths.insert(path.to_vec(), *one);
            }
        }
    }

    fn add(&mut self, other: &Counts) {
        self.all.add(&other.all);
        self.bad += other.bad;
        for (sum, n) in self.by_status.iter_mut().zip(&other.by_status) {
            *sum += n;
        }
        for (begin, sums) in &other.windows {
            self.windows.entry(*begin).or_default().add(sums);
        }
        for (path, sums) in &other.paths {
            self.path(path, sums);
        }
    }

    fn line(&mut self, mut line: &[u8]) -> Option<()> {
        take_until(&mut line, b'[')?;
        let at = stamp(take_until(&mut line, b']')?)?;
        line = line.strip_prefix(b" \"")?;
        let mut quote = 0;
        while *line.get(quote)? != b'"' {
            quote += if line[quote] == b'\\' { 2 } else { 1 };
        }
        let mut asked = &line[..quote];
        line = line[quote + 1..].strip_prefix(b" ")?;
        let path = match take_until(&mut asked, b' ') {
            Some(_) => &asked[..position(asked, b' ').unwrap_or(asked.len())],
            None => b"-",
        };
        let status = number(take_until(&mut line, b' ')?).filter(|status| *status <= 999)?;
        let bytes = match &line[..position(line, b' ').unwrap_or(line.len())] {
            b"-" => 0,
            digits => number(digits)?,
        };
        let one = Sums { requests: 1, errors: u64::from(status >= 500), bytes };
        self.all.add(&one);
        self.by_status[status as usize] += 1;
        self.windows.entry(at - at.rem_euclid(3600)).or_default().add(&one);
        self.path(path, &one);
        Some(())
    }

    fn block(&mut self, mut block: &[u8]) {
        while !block.is_empty() {
            let end = position(block, b'\n').unwrap_or(block.len());
            if end != 0 && self.line(&block[..end]).is_none() {
                self.bad += 1;
            }
            block = &block[(end + 1).min(block.len())..];
        }
    }
}

/// A blocking thread reads blocks of whole lines, as many tasks as there are workers parse them, each with counts of
/// its own.
pub async fn log_report(mut r: Repetition) -> Repetition {
    let lines = r.amount(2_000_000);
    let directory = std::env::temp_dir().join(format!("leat.perf.tokio.{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("access.log");
    let wanted = make_log(&file, lines);
    let workers = r.workers();
    let block_size = 256 * 1024;
    r.start();
    let (sender, receiver) = async_channel::bounded::<Vec<u8>>(workers);
    let reader = tokio::task::spawn_blocking(move || {
        let mut file = File::open(file).unwrap();
        let mut rest = Vec::new();
        loop {
            let mut block = std::mem::take(&mut rest);
            block.reserve(block_size);
            let got = Read::by_ref(&mut file).take(block_size as u64).read_to_end(&mut block).unwrap();
            if got == 0 {
                sender.send_blocking(block).unwrap();
                break;
            }
            let end = memchr::memrchr(b'\n', &block).map_or(0, |at| at + 1);
            rest.extend_from_slice(&block[end..]);
            block.truncate(end);
            sender.send_blocking(block).unwrap();
        }
    });
    let parsers: Vec<_> = (0..workers)
        .map(|_| {
            let receiver = receiver.clone();
            tokio::spawn(async move {
                let mut mine = Counts::new();
                while let Ok(block) = receiver.recv().await {
                    mine.block(&block);
                }
                mine
            })
        })
        .collect();
    let mut whole = Counts::new();
    for parser in parsers {
        whole.add(&parser.await.unwrap());
    }
    reader.await.unwrap();
    r.stop(lines);
    std::fs::remove_dir_all(&directory).unwrap();
    r.expect(whole.all.requests, wanted.requests);
    r.expect(whole.all.bytes, wanted.bytes);
    r.expect(whole.all.errors, wanted.errors);
    r
}
