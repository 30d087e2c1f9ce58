// What the measurements have in common. Each is a program with one or more rows:
//
//   PROGRAM --list                           the rows, one per line: NAME UNIT
//   PROGRAM ROW [--workers N] [--quick]      a short warm-up, then one repetition that is measured
//   PROGRAM ROW [--workers N] --amount N     so much work, once, and nothing to warm up: to count instructions
//   PROGRAM --covers ROW...                  exit 1 unless these are exactly its rows
//
// A repetition prints one line of JSON: the value is per operation, in the row's unit. Whoever wants medians runs
// the program again: ./dev bench does, in turn with other libraries, so that a machine that slows down does so
// for all. The result of the work is checked; a wrong one ends the program with 1, a row that it does not have with
// 77, and so does one that needs a tool which is not there, of which it tells on stderr.
//
// A program is one source file. Define PERF_COUNT_ALLOCATIONS before this is included to count what goes through
// operator new; sanitizers have an operator new of their own, so nothing is counted with them.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#undef PERF_COUNT_ALLOCATIONS
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#undef PERF_COUNT_ALLOCATIONS
#endif
#endif

#include "process.hpp"

#include <leat/leat.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cinttypes>
#include <concepts>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__unix__)
#include <unistd.h>
#endif

#ifdef PERF_COUNT_ALLOCATIONS
#include <array>
#include <atomic>
#include <new>
#endif

namespace perf {

// ---- Counting allocations ----------------------------------------------------------------------

#ifdef PERF_COUNT_ALLOCATIONS

// Each thread counts in a cell of its own, so that counting costs next to nothing. There are more cells than a
// measurement has threads; should they run out, the last is shared, and the count a little too low.
inline constexpr std::size_t allocation_cells = 256;

struct alignas(64) allocation_cell {
    std::atomic<std::int64_t> count{0};
};

inline constinit std::array<allocation_cell, allocation_cells> allocations_by_thread{};
inline constinit std::atomic<std::size_t> threads_that_allocate{0};
inline constinit thread_local std::atomic<std::int64_t>* allocations_here = nullptr;

// Not inlined: an address of a thread-local must not be kept while a coroutine moves to another thread.
[[gnu::noinline]] inline void count_allocation() noexcept
{
    if (allocations_here == nullptr) {
        const std::size_t cell = std::min(threads_that_allocate.fetch_add(1), allocation_cells - 1);
        allocations_here = &allocations_by_thread[cell].count;
    }
    allocations_here->store(allocations_here->load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

inline std::int64_t allocations() noexcept
{
    std::int64_t sum = 0;
    for (const allocation_cell& cell : allocations_by_thread)
        sum += cell.count.load(std::memory_order_relaxed);
    return sum;
}

inline constexpr bool counts_allocations = true;

#else

inline std::int64_t allocations() noexcept
{
    return 0;
}

inline constexpr bool counts_allocations = false;

#endif

// ---- Rows ----------------------------------------------------------------------------------------

/// The work was not done, or not rightly.
class wrong_result : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// One run of a row's work, to warm up or to be measured.
///
/// start() and stop() may be called by any task of the row, each once. What lies before and behind is preparation.
class repetition {
public:
    enum class kind : unsigned char { warm_up, measured };

    /// `exactly`: the amount of work, unless zero.
    repetition(leat::runtime& pool, std::ptrdiff_t workers, kind what, bool quick,
               std::int64_t exactly) noexcept
        : pool_{pool}, workers_{workers}, warms_up_{what == kind::warm_up}, quick_{quick}, exactly_{exactly}
    {
    }

    leat::runtime& pool() const noexcept
    {
        return pool_;
    }
    std::ptrdiff_t workers() const noexcept
    {
        return workers_;
    }
    bool warms_up() const noexcept
    {
        return warms_up_;
    }
    bool quick() const noexcept
    {
        return quick_;
    }

    /// How much is to be done: the row's full amount, a tenth to warm up, a thousandth of either if it has to be
    /// quick; but never less than `least`.
    std::int64_t amount(std::int64_t full, std::int64_t least = 1) const noexcept
    {
        if (exactly_ > 0)
            return exactly_;
        return std::max(least, full / (warms_up_ ? 10 : 1) / (quick_ ? 1000 : 1));
    }
    /// The same for what is not a number of operations: the depth of a tree, say.
    template <class T>
    T depth(T full, T to_warm_up, T quickly) const noexcept
    {
        return quick_ ? quickly : warms_up_ ? to_warm_up : full;
    }

    void start() noexcept
    {
        allocations_ = -allocations();
        begin_ = std::chrono::steady_clock::now();
    }
    void stop(std::int64_t operations) noexcept
    {
        taken_ = std::chrono::steady_clock::now() - begin_;
        allocations_ += allocations();
        operations_ = operations;
    }

    /// Takes `got` as the checksum. Throws wrong_result if it is not what was wanted.
    void expect(std::int64_t got, std::int64_t wanted)
    {
        if (got != wanted)
            throw wrong_result{"the result is " + std::to_string(got) + ", not " + std::to_string(wanted)};
        checksum_ = got;
    }

    /// The row's value if that is not the time that it took.
    void value(double measured) noexcept
    {
        value_ = measured;
    }
    /// A further figure, under a name of its own.
    void also(std::string name, double measured)
    {
        more_.emplace_back(std::move(name), measured);
    }

    void print(const std::string& row, std::string_view unit) const
    {
        std::printf(
            R"({"name":"%s","variant":"leat","workers":%td,"unit":"%.*s","value":%.10g,"allocs_per_op":)",
            row.c_str(), workers_, static_cast<int>(unit.size()), unit.data(),
            value_ ? *value_ : per_operation() / nanoseconds_in(unit));
        if (counts_allocations && operations_ > 0)
            std::printf("%.4g", static_cast<double>(allocations_) / static_cast<double>(operations_));
        else
            std::printf("null");
        std::printf(R"(,"peak_kb":%)" PRId64 R"(,"checksum":%)" PRId64, peak_kilobytes(), checksum_);
        for (const auto& [name, measured] : more_)
            std::printf(R"(,"%s":%.10g)", name.c_str(), measured);
        std::printf("}\n");
    }

private:
    double per_operation() const
    {
        if (operations_ <= 0)
            throw wrong_result{"nothing was measured"};
        return std::chrono::duration<double, std::nano>{taken_}.count() / static_cast<double>(operations_);
    }
    static double nanoseconds_in(std::string_view unit)
    {
        if (unit.starts_with("ms"))
            return 1e6;
        if (unit.starts_with("µs"))
            return 1e3;
        return 1;
    }

    leat::runtime& pool_;
    std::ptrdiff_t workers_;
    bool warms_up_;
    bool quick_;
    std::int64_t exactly_;
    std::chrono::steady_clock::time_point begin_{};
    std::chrono::steady_clock::duration taken_{};
    std::int64_t operations_ = 0;
    std::int64_t allocations_ = 0;
    std::int64_t checksum_ = 0;
    std::optional<double> value_;
    std::vector<std::pair<std::string, double>> more_;
};

/// Whether a row is warmed up. One that measures memory is not: what it is about would be there already.
enum class start : unsigned char { warm, cold };

/// A row: its name, its unit, its work.
class row {
public:
    /// The work is a task; or it is done by the main thread, which is none of the pool's.
    template <std::invocable<repetition&> Work>
    row(std::string name, std::string unit, Work work, start from = start::warm)
        : name_{std::move(name)}, unit_{std::move(unit)}, from_{from}, work_{[work](repetition& rep) {
              if constexpr (std::is_void_v<std::invoke_result_t<Work&, repetition&>>)
                  work(rep);
              else
                  rep.pool().block_on(work(rep));
          }}
    {
    }

    const std::string& name() const noexcept
    {
        return name_;
    }
    const std::string& unit() const noexcept
    {
        return unit_;
    }

    void measure(std::ptrdiff_t workers, bool quick, std::int64_t exactly) const
    {
        leat::runtime pool{{.workers = workers}};
        if (from_ == start::warm && exactly == 0) {
            repetition first{pool, workers, repetition::kind::warm_up, quick, exactly};
            work_(first);
        }
        repetition second{pool, workers, repetition::kind::measured, quick, exactly};
        work_(second);
        second.print(name_, unit_);
    }

private:
    std::string name_;
    std::string unit_;
    start from_;
    std::function<void(repetition&)> work_;
};

// ---- The program ---------------------------------------------------------------------------------

inline int covers(const std::vector<row>& rows, std::vector<std::string_view> names)
{
    std::vector<std::string_view> mine;
    for (const row& each : rows)
        mine.push_back(each.name());
    std::sort(mine.begin(), mine.end());
    std::sort(names.begin(), names.end());
    if (mine == names)
        return 0;
    std::fprintf(stderr,
                 "the rows of this program are not those named: perf/meson.build has to be amended\n");
    return 1;
}

/// A positive number; zero if it is none.
inline std::int64_t positive(std::string_view text)
{
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc{} && end == text.data() + text.size() && number > 0 ? number : 0;
}

inline int program(int argc, char** argv, const std::vector<row>& rows)
{
    const std::vector<std::string_view> arguments(argv + 1, argv + argc);
    std::string_view wanted;
    std::int64_t workers = 1;
    std::int64_t exactly = 0;
    bool quick = false;
    bool understood = true;
    for (std::size_t i = 0; i < arguments.size() && understood; ++i) {
        const std::string_view word = arguments[i];
        const std::string_view next = i + 1 < arguments.size() ? arguments[i + 1] : std::string_view{};
        if (word == "--list") {
            for (const row& each : rows)
                std::printf("%s %s\n", each.name().c_str(), each.unit().c_str());
            return 0;
        }
        if (word == "--covers")
            return covers(rows, {arguments.begin() + static_cast<std::ptrdiff_t>(i) + 1, arguments.end()});
        if (word == "--quick") {
            quick = true;
        } else if (word == "--workers") {
            workers = positive(next);
            understood = workers > 0;
            ++i;
        } else if (word == "--amount") {
            exactly = positive(next);
            understood = exactly > 0;
            ++i;
        } else {
            understood = wanted.empty() && !word.starts_with('-');
            wanted = word;
        }
    }
    if (!understood || wanted.empty()) {
        std::fprintf(stderr, "usage: %s --list | ROW [--workers N] [--quick]\n", argv[0]);
        return 2;
    }
#if defined(__unix__)
    // Under Valgrind leat does not recycle frames, from which errors could hide. Whoever counts instructions wants
    // those of everyday.
    if (exactly > 0)
        unsetenv("LD_PRELOAD");
#endif
    for (const row& each : rows) {
        if (each.name() != wanted)
            continue;
        try {
            each.measure(static_cast<std::ptrdiff_t>(workers), quick, exactly);
            return 0;
        } catch (const lacking&) {
            return exit_lacking;
        } catch (const std::exception& failure) {
            std::fprintf(stderr, "%s: %s\n", each.name().c_str(), failure.what());
            return 1;
        }
    }
    return exit_lacking;
}

}  // namespace perf

#ifdef PERF_COUNT_ALLOCATIONS

// Not inlined, as those of the standard library are not; g++ would see new and free(), and warn.
[[gnu::noinline]] void* operator new(std::size_t size)
{
    perf::count_allocation();
    if (void* const block = std::malloc(size))
        return block;
    throw std::bad_alloc{};
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment)
{
    perf::count_allocation();
    const std::size_t unit = static_cast<std::size_t>(alignment);
    if (void* const block = std::aligned_alloc(unit, (size + unit - 1) / unit * unit))
        return block;
    throw std::bad_alloc{};
}
[[gnu::noinline]] void operator delete(void* block) noexcept
{
    std::free(block);
}
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept
{
    std::free(block);
}
[[gnu::noinline]] void operator delete(void* block, std::align_val_t) noexcept
{
    std::free(block);
}
[[gnu::noinline]] void operator delete(void* block, std::size_t, std::align_val_t) noexcept
{
    std::free(block);
}

#endif
