// What the rivals in C++ have in common: the protocol.
//
//   PROGRAM --list                        the rows, one per line: NAME UNIT
//   PROGRAM ROW [--workers N] [--quick]   a short warm-up, then one repetition that is measured
//
// A repetition prints one line of JSON. A wrong result ends the program with 1, a row that it does not have with 77.
#pragma once

#include "../process.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <sched.h>
#include <unistd.h>

namespace peer {

using perf::peak_kilobytes;
using perf::processor_time;
using perf::resident_bytes;

/// Lets this thread, and those that it will start, run on so many processors only: for rivals whose tasks are threads.
inline void use_processors(int wanted)
{
    cpu_set_t there;
    cpu_set_t mine;
    CPU_ZERO(&mine);
    sched_getaffinity(0, sizeof there, &there);
    for (int cpu = 0; cpu < CPU_SETSIZE && wanted > 0; ++cpu)
        if (CPU_ISSET(cpu, &there)) {
            CPU_SET(cpu, &mine);
            --wanted;
        }
    sched_setaffinity(0, sizeof mine, &mine);
}

/// One run of a row's work, to warm up or to be measured.
class repetition {
public:
    repetition(int workers, bool warms_up, bool quick) noexcept
        : workers_{workers}, warms_up_{warms_up}, quick_{quick}
    {
    }

    int workers() const noexcept
    {
        return workers_;
    }
    bool quick() const noexcept
    {
        return quick_;
    }

    /// How much is to be done: the full amount, a tenth to warm up, a thousandth of either if it has to be quick.
    std::int64_t amount(std::int64_t full) const noexcept
    {
        return std::max<std::int64_t>(1, full / (warms_up_ ? 10 : 1) / (quick_ ? 1000 : 1));
    }
    /// The same for what is not a number of operations.
    std::int64_t depth(std::int64_t full, std::int64_t to_warm_up, std::int64_t quickly) const noexcept
    {
        return quick_ ? quickly : warms_up_ ? to_warm_up : full;
    }

    void start() noexcept
    {
        begin_ = std::chrono::steady_clock::now();
    }
    void stop(std::int64_t operations) noexcept
    {
        taken_ = std::chrono::steady_clock::now() - begin_;
        operations_ = operations;
    }
    /// The row's value if that is not the time that it took.
    void value(double measured) noexcept
    {
        value_ = measured;
    }
    void also(std::string_view name, double measured)
    {
        more_ += ",\"" + std::string{name} + "\":" + std::to_string(measured);
    }

    void expect(std::int64_t got, std::int64_t wanted) const
    {
        if (got != wanted)
            throw std::runtime_error{"the result is " + std::to_string(got) + ", not " +
                                     std::to_string(wanted)};
    }

    void print(const char* variant, const std::string& row, const std::string& unit) const
    {
        const double scale = unit == "ms" ? 1e6 : 1;
        const double taken = std::chrono::duration<double, std::nano>{taken_}.count();
        std::printf(R"({"name":"%s","variant":"%s","workers":%d,"unit":"%s","value":%.10g,)"
                    R"("allocs_per_op":null,"peak_kb":%)" PRId64 "%s}\n",
                    row.c_str(), variant, workers_, unit.c_str(),
                    value_ ? *value_ : taken / static_cast<double>(operations_) / scale, peak_kilobytes(),
                    more_.c_str());
    }

private:
    int workers_;
    bool warms_up_;
    bool quick_;
    std::chrono::steady_clock::time_point begin_{};
    std::chrono::steady_clock::duration taken_{};
    std::int64_t operations_ = 1;
    std::optional<double> value_;
    std::string more_;
};

/// What measures memory, or the time that nothing takes, is not warmed up.
enum class start : unsigned char { warm, cold };

struct row {
    std::string name;
    std::string unit;
    std::function<void(repetition&)> work;
    start how = start::warm;
};

inline int usage(const char* variant)
{
    std::fprintf(stderr, "usage: %s --list | ROW [--workers N] [--quick]\n", variant);
    return 2;
}

inline int program(int argc, char** argv, const char* variant, const std::vector<row>& rows)
{
    const std::vector<std::string_view> words(argv + 1, argv + argc);
    std::string_view wanted;
    int workers = 1;
    bool quick = false;
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (words[i] == "--list") {
            for (const row& each : rows)
                std::printf("%s %s\n", each.name.c_str(), each.unit.c_str());
            return 0;
        } else if (words[i] == "--quick") {
            quick = true;
        } else if (words[i] == "--workers" && i + 1 < words.size()) {
            const std::string_view number = words[++i];
            std::from_chars(number.data(), number.data() + number.size(), workers);
            if (workers < 1)
                return usage(variant);
        } else if (wanted.empty() && !words[i].starts_with('-')) {
            wanted = words[i];
        } else {
            return usage(variant);
        }
    }
    if (wanted.empty())
        return usage(variant);
    for (const row& each : rows) {
        if (each.name != wanted)
            continue;
        try {
            if (each.how == start::warm) {
                repetition first{workers, true, quick};
                each.work(first);
            }
            repetition second{workers, false, quick};
            each.work(second);
            second.print(variant, each.name, each.unit);
            return 0;
        } catch (const perf::lacking&) {
            return perf::exit_lacking;
        } catch (const std::exception& failure) {
            std::fprintf(stderr, "%s: %s\n", each.name.c_str(), failure.what());
            return 1;
        }
    }
    return perf::exit_lacking;
}

}  // namespace peer
