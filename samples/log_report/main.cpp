// What is in web-server logs, many gigabytes of them: parsed by all cores, in constant memory
//
// The problem: yesterday's logs are a few files of a few gigabytes, some compressed, some still being written. How many
// requests were there in each hour, how many failed, and what was asked for most? All cores shall be busy, the memory
// constant, and Ctrl-C the end of it.
//
//     file ──▶ read, decompress ─┐   blocks of whole lines    ┌─▶ parse, count ─┐
//     file ──▶ read, decompress ─┼────────────────────────────┼─▶ parse, count ─┼─▶ add up ──▶ text or JSON
//     stdin ─▶ read ─────────────┘   at most as many as       └─▶ parse, count ─┘
//                                    there are workers
//
// Files are read by blocking threads, so that no worker ever waits for a disk or a pipe. They hand on blocks that end
// with a line, through a bounded channel: if parsing is slower, reading waits. Each worker counts for itself, and in the
// end the counts are added up. All run in one group: if one of them throws, the others end.
//
//     log_report [--workers N] [--window 10m] [--top N] [--json] [FILE...]
//
// A FILE is a log in the common format, or in one that goes on behind it, such as the combined one; it may be compressed
// by gzip. It may be a pattern, such as '/var/log/nginx/access.log*', and - is the standard input, as is no FILE at all.
// A window is a number and s, m, h or d. Paths are what stands in the log, so these agree:
//
//     log_report --top 1000000 FILE
//     awk '{n[$7]++} END {for (path in n) print n[path], path}' FILE
//
// Beyond 131072 different paths the rare ones are forgotten now and then, and it says by how much the others may then
// be counted too low.
//
// On a terminal, shows how far it is on standard error. Status: 0 all is well; 1 something could not be read; 2 wrong
// use; 130 interrupted.

#include "summarize.hpp"

#include <getopt.h>
#include <glob.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string_view>
#include <thread>

namespace {

constexpr const char* usage = "usage: log_report [--workers N] [--window 10m] [--top N] [--json] [FILE...]\n";

template <class N>
N parse_number(std::string_view option, std::string_view text, N least, N most)
{
    N number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size() || number < least || number > most)
        throw std::invalid_argument{std::string{option} + " takes a number from " + std::to_string(least) +
                                    " to " + std::to_string(most)};
    return number;
}

std::int64_t parse_window(std::string_view text)
{
    constexpr std::string_view units = "smhd";
    constexpr std::int64_t seconds[] = {1, 60, 3600, 86400};
    const std::size_t unit = text.empty() ? units.npos : units.find(text.back());
    if (unit == units.npos)
        throw std::invalid_argument{"--window takes a number and s, m, h or d"};
    text.remove_suffix(1);
    return seconds[unit] * parse_number<std::int64_t>("--window", text, 1, 1'000'000);
}

/// The files that a pattern matches; a name that is none, or matches nothing, is itself.
void add_files(std::vector<std::string>& files, const char* name)
{
    glob_t found{};
    if (::glob(name, GLOB_NOCHECK, nullptr, &found) == 0)
        files.insert(files.end(), found.gl_pathv, found.gl_pathv + found.gl_pathc);
    else
        files.emplace_back(name);
    ::globfree(&found);
}

/// What is thrown when all that is wanted is the usage.
class help {};

/// Throws std::invalid_argument, and help.
log_report::order parse(int argc, char** argv)
{
    static const option options[] = {
        {"workers", required_argument, nullptr, 'w'}, {"window", required_argument, nullptr, 'i'},
        {"top", required_argument, nullptr, 't'},     {"json", no_argument, nullptr, 'j'},
        {"help", no_argument, nullptr, 'h'},          {nullptr, 0, nullptr, 0},
    };
    log_report::order asked;
    asked.workers = std::max(1u, std::thread::hardware_concurrency());
    for (int letter; (letter = getopt_long(argc, argv, "w:i:t:jh", options, nullptr)) != -1;) {
        switch (letter) {
        case 'w': asked.workers = parse_number<std::size_t>("--workers", optarg, 1, 1000); break;
        case 'i': asked.options.window = parse_window(optarg); break;
        case 't': asked.options.top = parse_number<std::size_t>("--top", optarg, 0, 1'000'000'000); break;
        case 'j': asked.json = true; break;
        case 'h': throw help{};
        default: throw std::invalid_argument{""};  // getopt has said why
        }
    }
    for (int i = optind; i < argc; ++i)
        add_files(asked.files, argv[i]);
    if (asked.files.empty())
        asked.files.emplace_back("-");
    return asked;
}

leat::task<int> report_until_signal(const log_report::order& asked)
{
    auto [ctx, cancel] = leat::with_signals(leat::this_task::context(), {SIGINT, SIGTERM});
    try {
        const bool all = co_await leat::with_context(ctx, log_report::fulfil(asked));
        co_return all ? 0 : 1;
    } catch (const leat::cancelled_error&) {
        std::fputs("log_report: interrupted\n", stderr);
        co_return 130;
    }
}

}  // namespace

int main(int argc, char** argv)
{
    // In getopt's messages it stands before what was wrong.
    static char name[] = "log_report";
    argv[0] = name;
    try {
        const log_report::order asked = parse(argc, argv);
        return leat::run(report_until_signal(asked));
    } catch (const help&) {
        std::fputs(usage, stdout);
        return 0;
    } catch (const std::invalid_argument& wrong) {
        if (*wrong.what() != '\0')
            std::fprintf(stderr, "log_report: %s\n", wrong.what());
        std::fputs(usage, stderr);
        return 2;
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "log_report: %s\n", problem.what());
        return 1;
    }
}
