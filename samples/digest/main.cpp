// What sha256sum prints, for every file of a tree, with several files digested at a time
//
// The problem: a tree may hold millions of files, tiny ones and huge ones; some can not be read; disks and
// pipes make a thread wait. All cores shall be busy, the output sorted, the memory constant, the first error
// the end of it, and Ctrl-C too.
//
//                    to_do: as they find time
//                  ┌──────────────────▶ worker ─┐
//     walk ── file ┤                    worker ─┼─▶ sum ─┐
//                  │                    worker ─┘        ▼
//                  └────────────────────────────▶ restore order ──▶ print
//                    in_order: at most 1024 files
//
// One task walks the tree in the order of the paths. It puts each file into two channels: from one the
// workers take whatever comes next, from the other the file goes on in order, with an empty slot for its
// sum. A worker reads on blocking threads, so that no thread of the pool ever waits for a disk, and fills
// the slot. All run in one group: if one of them throws, the others end, and nothing outlives the call.
//
//     digest [--workers N] [--algorithm sha256|sha1|md5] [--keep-going] PATH...
//     digest [--workers N] [--algorithm sha256|sha1|md5] --check FILE
//
// Prints the same as
//
//     find -H PATH... -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
//
// So links are followed if they are named on the command line, and only then. Pipes and devices that are
// named there are read, as sha256sum does. Paths are bytes; newline, carriage return and backslash are
// escaped. With --check, does what `sha256sum --check FILE` does; a FILE of - is the standard input.
//
// On a terminal, shows files, bytes and rate on standard error. Status: 0 all is well; 1 something could not
// be read, or has another sum than the list says; 2 wrong use; 130 interrupted.

#include "../common/words.hpp"
#include "hash.hpp"
#include "pipeline.hpp"

#include <getopt.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string_view>
#include <thread>

namespace {

constexpr const char* usage =
    "usage: digest [--workers N] [--algorithm sha256|sha1|md5] [--keep-going] PATH...\n"
    "       digest [--workers N] [--algorithm sha256|sha1|md5] --check FILE\n";

std::size_t parse_workers(std::string_view text)
{
    std::size_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size() || number < 1 || number > 1000)
        throw std::invalid_argument{"--workers takes a number from 1 to 1000"};
    return number;
}

/// What is thrown when all that is wanted is the usage.
class help {};

/// Throws std::invalid_argument, and help.
digest::request parse(int argc, char** argv)
{
    static const option options[] = {
        {"workers", required_argument, nullptr, 'w'}, {"algorithm", required_argument, nullptr, 'a'},
        {"check", required_argument, nullptr, 'c'},   {"keep-going", no_argument, nullptr, 'k'},
        {"help", no_argument, nullptr, 'h'},          {nullptr, 0, nullptr, 0},
    };
    digest::request asked;
    asked.workers = 2 * std::max(1u, std::thread::hardware_concurrency());
    for (int letter; (letter = getopt_long(argc, argv, "w:a:c:kh", options, nullptr)) != -1;) {
        switch (letter) {
        case 'w': asked.workers = parse_workers(optarg); break;
        case 'a': asked.algorithm = optarg; break;
        case 'c': asked.list = optarg == std::string_view{"-"} ? "/dev/stdin" : optarg; break;
        case 'k': asked.keep_going = true; break;
        case 'h': throw help{};
        default: throw std::invalid_argument{""};  // getopt has said why
        }
    }
    asked.roots.assign(argv + optind, argv + argc);
    if (asked.roots.empty() == asked.list.empty())
        throw std::invalid_argument{"give paths, or a list to check"};
    [[maybe_unused]] const digest::hash known{asked.algorithm};
    return asked;
}

leat::task<int> digest_until_signal(const digest::request& asked)
{
    auto [ctx, cancel] = leat::with_signals(leat::this_task::context(), {SIGINT, SIGTERM});
    digest::tally done;
    try {
        co_await leat::with_context(ctx, digest::fulfil(asked, done));
        co_return done.unreadable + done.mismatched == 0 ? 0 : 1;
    } catch (const leat::cancelled_error&) {
        std::fprintf(stderr, "digest: interrupted after %s, %s\n",
                     common::counted(done.printed, "file", "files").c_str(),
                     common::byte_size(static_cast<double>(done.bytes)).c_str());
        co_return 130;
    }
}

}  // namespace

int main(int argc, char** argv)
{
    // In getopt's messages it stands before what was wrong.
    static char name[] = "digest";
    argv[0] = name;
    try {
        const digest::request asked = parse(argc, argv);
        return leat::run(digest_until_signal(asked));
    } catch (const help&) {
        std::fputs(usage, stdout);
        return 0;
    } catch (const std::invalid_argument& wrong) {
        if (*wrong.what() != '\0')
            std::fprintf(stderr, "digest: %s\n", wrong.what());
        std::fputs(usage, stderr);
        return 2;
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "digest: %s\n", problem.what());
        return 1;
    }
}
