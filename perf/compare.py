#!/usr/bin/env python3
"""Measures leat beside its rivals; `./dev bench` builds both and calls this.

leat's programs are those of perf/, a rival's is what perf/peers/NAME/build.sh makes. All speak the same protocol:

    PROGRAM --list                          the rows that it has: NAME UNIT
    PROGRAM ROW --workers N [--quick]       warms up, measures once, prints one line of JSON

For each row leat and every rival that has it take turns, one process after the other, and the next round begins with
another one, so that a machine that slows down does so for all. What is compared is medians."""

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

NO_SUCH_ROW = 77  # exit codes of the protocol
NO_TOOLCHAIN = 69
LONGEST_RUN = 300  # seconds
PEERS = Path(__file__).parent / "peers"

# What every line of JSON has; other numbers are figures of their own, which are compared too.
COMMON_FIELDS = {"name", "variant", "workers", "unit", "value", "allocs_per_op", "peak_kb", "checksum"}
UNIT_OF_SUFFIX = {"ns": "ns", "us": "µs", "ms": "ms", "bytes": "B"}

# How the version of a rival is found out: by a command, or the Debian package that holds it.
VERSION_COMMANDS = {"go": ["go", "version"]}
VERSION_PACKAGES = {
    "asio": "libasio-dev",
    "beast": "libboost-dev",
    "boost_fiber": "libboost-fiber-dev",
    "redis": "redis-server",
    "tbb": "libtbb-dev",
    "tokio": "librust-tokio-dev",
}


def output_of(*command):
    """The first line of what a command prints, or nothing if there is no such command."""
    try:
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return text.strip().partition("\n")[0]


# ---- Who takes part ------------------------------------------------------------------------------


class Lacking(Exception):
    """A row can not be measured here; the message says what is not there."""


class Variant:
    """leat or a rival: its programs, and which row is whose."""

    def __init__(self, name, programs):
        self.name = name
        self.program_of = {}
        self.units = {}
        for program in programs:
            listing = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout
            for line in listing.splitlines():
                row, unit = line.split(None, 1)
                self.program_of[row] = program
                self.units[row] = unit.strip()

    def has(self, row):
        return row in self.program_of

    def measure(self, row, workers, quick):
        """What one run prints; None if it does not have the row after all. Raises RuntimeError, Lacking."""
        command = [self.program_of[row], row, "--workers", str(workers)] + (["--quick"] if quick else [])
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_RUN, check=False)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"has not ended within {LONGEST_RUN} s") from None
        if run.returncode == NO_SUCH_ROW:
            if run.stderr.strip():
                raise Lacking(run.stderr.strip().rpartition("\n")[2])
            return None
        if run.returncode != 0:
            trouble = run.stderr.strip() or "no word"
            raise RuntimeError(f"ended with status {run.returncode}: {trouble}")
        try:
            measured = json.loads(run.stdout)
            measured["value"] = float(measured["value"])
        except (ValueError, KeyError, TypeError):
            raise RuntimeError(f"printed {run.stdout.strip()!r}") from None
        return measured


def leat_of(build, name):
    """The programs of one build directory."""
    return Variant(name, sorted(str(program) for program in (build / "perf").glob("perf_*") if program.is_file()))


def build_peer(name, out, compiler):
    """The Variant and nothing, or nothing and what is lacking; raises RuntimeError if the build fails."""
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    program, stamp = out / name, out / "built-with"
    if not is_up_to_date(program, PEERS / name) or stamp.read_text() != compiler:
        program.unlink(missing_ok=True)
        stamp.write_text(compiler)
        build = subprocess.run(
            [PEERS / name / "build.sh", out], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if build.returncode == NO_TOOLCHAIN:
            return None, build.stdout.strip().rpartition("\n")[2].removeprefix(f"{name}: ")
        if build.returncode != 0:
            raise RuntimeError(build.stdout.strip())
    return Variant(name, [str(program)]), None


def is_up_to_date(program, sources):
    """Whether a program is younger than what it is made of, and what all rivals have in common."""
    if not program.exists():
        return False
    shared = [PEERS.parent / "process.hpp", *PEERS.parent.glob("load*"), *(file for file in PEERS.glob("*") if file.is_file())]
    files = [*sources.rglob("*"), *shared]
    return program.stat().st_mtime > max(file.stat().st_mtime for file in files)


def version_of(peer):
    if peer in VERSION_COMMANDS:
        return output_of(*VERSION_COMMANDS[peer])
    if peer in VERSION_PACKAGES:
        package = VERSION_PACKAGES[peer]
        return output_of("dpkg-query", "-W", "-f", "${Package} ${Version}", package)
    return "built by the compiler above"


# ---- Progress ------------------------------------------------------------------------------------


class Progress:
    """A line that changes, on a terminal; elsewhere a line for each thing that has been done."""

    def __init__(self):
        self.terminal = sys.stderr.isatty()
        self.drawn = 0.0

    def now(self, text):
        if self.terminal and time.monotonic() - self.drawn > 0.05:
            width = shutil.get_terminal_size().columns
            print(f"\r\033[K{text[:width - 1]}", end="", file=sys.stderr, flush=True)
            self.drawn = time.monotonic()

    def done(self, text):
        if not self.terminal:
            print(text, file=sys.stderr, flush=True)

    def say(self, text):
        self.clear()
        print(text, file=sys.stderr, flush=True)

    def clear(self):
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


# ---- Measuring -----------------------------------------------------------------------------------


class Samples:
    """All repetitions of one row by one variant."""

    def __init__(self, row, variant, workers, unit):
        self.row, self.variant, self.workers, self.unit = row, variant, workers, unit
        self.values = []
        self.allocations = []
        self.peaks = []

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def mad(self):
        return statistics.median(abs(value - self.median) for value in self.values)

    def as_json(self, ratio):
        return {
            "name": self.row,
            "variant": self.variant,
            "workers": self.workers,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "mad": self.mad,
            "allocs_per_op": statistics.median(self.allocations) if self.allocations else None,
            "ratio_to_best_peer": ratio,
            "peak_kb": statistics.median(self.peaks) if self.peaks else None,
            "runs": len(self.values),
        }


class Results:
    """What has been measured, by (row, workers), then by variant."""

    def __init__(self):
        self.cells = {}
        self.failures = []
        self.lacking = {}

    def add(self, row, workers, variant, unit, measured):
        samples = self._samples(row, workers, variant, unit)
        samples.values.append(measured["value"])
        if measured.get("allocs_per_op") is not None:
            samples.allocations.append(measured["allocs_per_op"])
        if measured.get("peak_kb"):
            samples.peaks.append(measured["peak_kb"])
        for field, value in measured.items():
            if field not in COMMON_FIELDS and isinstance(value, (int, float)):
                suffix = field.rpartition("_")[2]
                name = field.removesuffix("_" + suffix) if suffix in UNIT_OF_SUFFIX else field
                further = self._samples(f"{row}.{name}", workers, variant, UNIT_OF_SUFFIX.get(suffix, ""))
                further.values.append(value)

    def _samples(self, row, workers, variant, unit):
        cell = self.cells.setdefault((row, workers), {})
        return cell.setdefault(variant, Samples(row, variant, workers, unit))

    def best_peer(self, key):
        """The fastest rival's samples, or None."""
        peers = [samples for name, samples in self.cells[key].items() if not is_leat(name)]
        if not peers:
            return None
        choose = max if more_is_better(peers[0].unit) else min
        return choose(peers, key=lambda samples: samples.median)

    def ratio(self, key, variant="leat"):
        """How many times the best rival's time a variant takes: above 1 it is behind. None: nobody to compare with."""
        best = self.best_peer(key)
        mine = self.cells[key].get(variant)
        if best is None or mine is None:
            return None
        over, under = mine.median, best.median
        if more_is_better(mine.unit):
            over, under = under, over
        if over == under:
            return 1.0
        return over / under if under > 0 else None

    def worst_first(self):
        """The keys, those without a rival last."""
        order = {key: place for place, key in enumerate(self.cells)}

        def rank(key):
            ratio = self.ratio(key)
            return (ratio is None, -(ratio or 0), order[key])

        return sorted((key for key in self.cells if "leat" in self.cells[key]), key=rank)

    def as_json(self):
        return [
            samples.as_json(self.ratio(key, name)) for key, cell in self.cells.items() for name, samples in cell.items()
        ]


def is_leat(variant):
    """Built by one compiler or the other."""
    return variant.startswith("leat")


def more_is_better(unit):
    return unit.endswith("/s")


def run_all(rows, variants, workers_list, repeat, quick, progress, results):
    """Fills `results`. Ctrl-C ends it early, with what there is."""
    leat = variants[0]
    plan = [(row, workers) for row in rows for workers in workers_list]
    total = repeat * sum(variant.has(row) for row, _ in plan for variant in variants)
    begun, ended = time.monotonic(), 0
    for row, workers in plan:
        taking_part = [variant for variant in variants if variant.has(row)]
        for turn in range(repeat):
            first = turn % len(taking_part) if taking_part else 0
            for variant in taking_part[first:] + taking_part[:first]:
                left = (time.monotonic() - begun) / ended * (total - ended) if ended else 0
                progress.now(
                    f"[{ended}/{total}] {row}, {plural(workers, 'worker')}: {variant.name}"
                    + (f"   {left / 60:.0f} min left" if left > 60 else "")
                )
                ended += 1
                try:
                    measured = variant.measure(row, workers, quick)
                except Lacking as what:
                    results.lacking[f"{row} ({variant.name})"] = str(what)
                    taking_part = [other for other in taking_part if other is not variant]
                    total -= repeat - turn - 1
                    continue
                except RuntimeError as failure:
                    trouble = f"{row}, {plural(workers, 'worker')}: {variant.name} {failure}"
                    results.failures.append(trouble)
                    progress.say(trouble)
                    # Once is enough of a program that hangs or goes wrong.
                    taking_part = [other for other in taking_part if other is not variant]
                    total -= repeat - turn - 1
                    continue
                if measured is not None and measured.get("unit") != leat.units[row]:
                    trouble = f"{row}: {variant.name} measures {measured.get('unit')}, leat {leat.units[row]}"
                    if trouble not in results.failures:
                        results.failures.append(trouble)
                elif measured is not None:
                    results.add(row, workers, variant.name, leat.units[row], measured)
        if (row, workers) in results.cells:
            cell = results.cells[row, workers]
            figures = ", ".join(f"{name} {figure(samples.median)}" for name, samples in cell.items())
            progress.done(f"{row}, {plural(workers, 'worker')}, {leat.units[row]}: {figures}")


def plural(number, thing):
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


# ---- What comes of it ----------------------------------------------------------------------------


def machine():
    """The processor, as far as the system tells."""
    model = platform.processor() or platform.machine()
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        model = found[1] if found else model
    except OSError:
        pass
    return f"{model}, {plural(cores(), 'core')}, {platform.system()} {platform.release()}"


def cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def figure(value):
    """Three or four digits that mean something."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def header(options, peers, lacking):
    compiler = output_of(*shlex.split(options.compiler), "--version") if options.compiler else ""
    return {
        "machine": machine(),
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "compiler": compiler,
        "options": options.build_options,
        "beside": output_of(*shlex.split(options.beside), "--version") if options.beside else None,
        "leat": output_of("git", "describe", "--always", "--dirty", "--tags"),
        "peers": {peer: version_of(peer) for peer in peers},
        "lacking": lacking,
        "repetitions": options.repeat,
        "quick": options.quick,
        "command": "./dev bench" + "".join(" " + shlex.quote(word) for word in options.words),
    }


def print_header(about):
    print(f"machine    {about['machine']}; load before the start {about['load']}")
    print(f"compiler   {about['compiler']}; {about['options']}")
    if about["beside"]:
        print(f"beside     {about['beside']}")
    print(f"leat       {about['leat']}")
    for peer, version in about["peers"].items():
        print(f"{peer:<10} {version}".rstrip())
    for peer, why in about["lacking"].items():
        print(f"{peer:<10} lacking: {why}")
    quick = ", each a thousandth of the work: the figures mean nothing" if about["quick"] else ""
    print(f"medians of {plural(about['repetitions'], 'repetition')}{quick}")
    print(f"command    {about['command']}")
    print()


def print_table(results, peers):
    """A line per row and number of workers, worst ratio first. `peers`: whoever has a column besides leat."""
    titles = ["row", "workers", "unit", "leat", "mad", "allocs"] + peers + ["leat/best"]
    lines = []
    for key in results.worst_first():
        cell = results.cells[key]
        leat, ratio = cell["leat"], results.ratio(key)
        allocations = figure(statistics.median(leat.allocations)) if leat.allocations else ""
        lines.append(
            [key[0], str(key[1]), leat.unit, figure(leat.median), figure(leat.mad), allocations]
            + [figure(cell[peer].median) if peer in cell else "" for peer in peers]
            + ["" if ratio is None else f"{ratio:.2f}"]
        )
    widths = [max(map(len, column)) for column in zip(titles, *lines)]
    for line in [titles] + lines:
        texts = (word.ljust(width) if place in (0, 2) else word.rjust(width) for place, (word, width) in enumerate(zip(line, widths)))
        print("  ".join(texts).rstrip())
    ratios = [ratio for key in results.cells if (ratio := results.ratio(key)) is not None]
    if ratios:
        ahead = sum(ratio <= 1 for ratio in ratios)
        print(f"\nleat is level with or ahead of the best rival in {ahead} of {len(ratios)}.")


def print_growth(results):
    """How figures change from a thousand items to a million: of growth.WHAT.NUMBER."""
    series = {}
    for (row, workers), cell in results.cells.items():
        parts = re.fullmatch(r"growth\.(\w+)\.(\d+)(\.\w+)?", row)
        if parts and "leat" in cell:
            what = (parts[1] + (parts[3] or ""), workers, cell["leat"].unit)
            series.setdefault(what, []).append((int(parts[2]), cell["leat"].median))
    if not series:
        return
    print("\ngrowth: leat with a thousand items, and ten times as many each time; the largest to the smallest figure")
    for (what, workers, unit), points in series.items():
        values = [value for _, value in sorted(points)]
        spread = f"{max(values) / min(values):.2f}" if min(values) > 0 else ""
        print(f"{what:<22} {workers}  {unit:<11} {'  '.join(f'{figure(value):>7}' for value in values):<36} {spread:>6}")


# Both bars of a pair are drawn to the scale of the longer.
CHART_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #57606a }
.row { fill: #24292f }
.title { font-size: 14px; font-weight: 600; fill: #24292f }
.leat { fill: #2f81f7 }
.rival { fill: #b7bec6 }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1 } .row, .title { fill: #e6edf3 } .rival { fill: #59636e }
}
"""


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def chart(results, about):
    """An SVG: for each row, leat and the best rival, worst first."""
    pairs = [key for key in results.worst_first() if results.best_peer(key) is not None]
    top, pitch, name_width, bar_width, width = 66, 30, 250, 380, 820
    height = top + pitch * len(pairs) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-label="leat and the best rival, row by row">',
        f"<style>{CHART_STYLE}</style>",
        '<text class="title" x="10" y="20">leat and the best of its rivals, row by row</text>',
        f'<text x="10" y="36">{escape(about["machine"])}</text>',
        f'<text x="10" y="50">{escape(about["compiler"])}; medians; shorter is better, but for rates</text>',
    ]
    for place, key in enumerate(pairs):
        leat, best = results.cells[key]["leat"], results.best_peer(key)
        longest = max(leat.median, best.median) or 1
        y = top + pitch * place
        label = f"{key[0]}, {plural(key[1], 'worker')}"
        parts.append(f'<text class="row" x="{name_width - 10}" y="{y + 15}" text-anchor="end">{escape(label)}</text>')
        for samples, kind, offset in ((leat, "leat", 0), (best, "rival", 12)):
            length = max(1.0, bar_width * samples.median / longest)
            value = f"{samples.variant} {figure(samples.median)} {samples.unit}"
            parts.append(
                f'<rect class="{kind}" x="{name_width}" y="{y + offset}" width="{length:.1f}" height="10" rx="1"/>'
                f'<text x="{name_width + length + 6:.1f}" y="{y + offset + 9}">{escape(value)}</text>'
            )
    parts.append("</svg>\n")
    return "\n".join(parts)


# ---- The command ---------------------------------------------------------------------------------


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be positive")
    return number


def parse(words):
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measures leat beside its rivals.")
    parser.add_argument("--filter", metavar="RE", default="", help="only rows whose name this matches")
    parser.add_argument("--peers", metavar="LIST", default="all", help="rivals, with commas; all (default) or none")
    parser.add_argument("--workers", metavar="LIST", help="numbers of workers, with commas; default: 1 and the cores")
    parser.add_argument("--repeat", metavar="N", type=positive, help="default: 5; with --quick: 1")
    parser.add_argument("--quick", action="store_true", help="a thousandth of the work, to see that all is well")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures")
    parser.add_argument("--svg", metavar="FILE", type=Path, help="draw the chart")
    parser.add_argument("--beside", metavar="COMPILER", help="also leat as built by this one, which counts for nothing")
    # What ./dev tells. Without --build the options are looked at, and that is all.
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--beside-build", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, default=Path(), help=argparse.SUPPRESS)
    parser.add_argument("--compiler", default="", help=argparse.SUPPRESS)
    parser.add_argument("--build-options", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    try:
        options.filter = re.compile(options.filter)
    except re.error as fault:
        parser.error(f"--filter: {fault}")
    try:
        counts = options.workers.split(",") if options.workers else sorted({1, cores()})
        options.workers = [positive(count) for count in counts]
    except (ValueError, argparse.ArgumentTypeError):
        parser.error("--workers takes positive numbers, with commas between them")
    options.repeat = options.repeat or (1 if options.quick else 5)
    there = sorted(script.parent.name for script in PEERS.glob("*/build.sh"))
    wanted = {"all": there, "none": []}.get(options.peers, options.peers.split(","))
    for name in wanted:
        if name not in there:
            parser.error(f"--peers: there is no {name}; there are: {', '.join(there) or 'none'}")
    options.peers = wanted
    return options


def main(own_words, words):
    options = parse(own_words + words)
    options.words = words
    if options.build is None:
        return 0
    progress = Progress()
    leat = leat_of(options.build, "leat")
    others = [leat_of(options.beside_build, f"leat {options.beside}")] if options.beside_build else []
    rows = [row for row in leat.program_of if options.filter.search(row)]
    if not rows:
        progress.say("no row has such a name; there are: " + " ".join(leat.program_of))
        return 2

    results = Results()
    rivals, lacking = [], {}
    for name in options.peers:
        progress.now(f"building {name}")
        try:
            rival, why = build_peer(name, options.build / "peers" / name, options.compiler)
        except (RuntimeError, OSError, subprocess.CalledProcessError) as failure:
            progress.say(f"{name} can not be built: {failure}")
            results.failures.append(f"{name} can not be built")
            rival, why = None, "it could not be built"
        if rival is None:
            lacking[name] = why
        else:
            rivals.append(rival)
    about = header(options, [rival.name for rival in rivals], lacking)
    try:
        run_all(rows, [leat] + others + rivals, options.workers, options.repeat, options.quick, progress, results)
    except KeyboardInterrupt:
        progress.say("interrupted; this is what there is")
        results.failures.append("interrupted")
    progress.clear()
    about["lacking"].update(results.lacking)

    print_header(about)
    print_table(results, [other.name for other in others + rivals])
    print_growth(results)
    if options.json:
        path = options.directory / options.json
        path.write_text(json.dumps({"header": about, "rows": results.as_json()}, indent=1, ensure_ascii=False) + "\n")
    if options.svg:
        (options.directory / options.svg).write_text(chart(results, about))
    for failure in results.failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if results.failures else 0


if __name__ == "__main__":
    # ./dev puts its own words before "--", the user's behind.
    here = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    sys.exit(main(sys.argv[1:here], sys.argv[here + 1 :]))
