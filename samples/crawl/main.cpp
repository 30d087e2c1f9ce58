// Every page of a web site on this machine: bounded, polite, and once each
//
// The problem: which pages are there, and which links are broken? The site shall be visited quickly, but no server be
// asked faster than it likes, nor again and again when it is down; nothing twice; and Ctrl-C ends it with what it has.
//
//                 ┌──────────────── links that are new ────────────────┐
//                 ▼                                                    │
//     start ──▶ frontier ──▶ worker: its server's rules ──▶ retry ─ circuit breaker ─ rate limiter ─ timeout ─ fetch
//                       └──▶ worker     (single_flight)
//                       └──▶ ...
//
// So many workers take pages from a channel, and put the links of each page into it that nobody has seen before; when no
// page is left, the last worker closes it. What several need to know of a server is asked once (single_flight). A request
// waits for its turn (keyed_rate_limiter), must end in time (timeout), is tried again when it fails (retry), but not when
// the server has failed several times in a row (circuit_breaker).
//
//     crawl [--workers N] [--pages N] [--rate PER_SECOND] [--timeout SECONDS] http://localhost:8000/
//
// Prints a line for each page, in the order of their addresses: status, size, address, and what there is to say:
//
//     200    1.2 kB  http://localhost:8000/
//     404      48 B  http://localhost:8000/gone  linked from http://localhost:8000/
//
// Visits localhost and 127.x.y.z only, whatever links there are. Status: 0 all is well; 1 some page could not be had; 2
// wrong use; 130 interrupted.

#include "../common/output.hpp"
#include "../common/words.hpp"
#include "crawler.hpp"

#include <getopt.h>

#include <array>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string_view>

namespace {

constexpr const char* usage =
    "usage: crawl [--workers N] [--pages N] [--rate PER_SECOND] [--timeout SECONDS] URL\n";

struct order {
    crawl::url start;
    crawl::limits within;
};

template <class N>
N parse_number(std::string_view option, std::string_view text, N least, N most)
{
    N number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size() || !(number >= least) || !(number <= most))
        throw std::invalid_argument{std::string{option} + " takes another number"};
    return number;
}

/// What is thrown when all that is wanted is the usage.
class help {};

/// Throws std::invalid_argument, and help.
order parse(int argc, char** argv)
{
    static const option options[] = {
        {"workers", required_argument, nullptr, 'w'}, {"pages", required_argument, nullptr, 'p'},
        {"rate", required_argument, nullptr, 'r'},    {"timeout", required_argument, nullptr, 't'},
        {"help", no_argument, nullptr, 'h'},          {nullptr, 0, nullptr, 0},
    };
    order asked;
    for (int letter; (letter = getopt_long(argc, argv, "w:p:r:t:h", options, nullptr)) != -1;) {
        switch (letter) {
        case 'w': asked.within.workers = parse_number<std::size_t>("--workers", optarg, 1, 1000); break;
        case 'p': asked.within.pages = parse_number<std::size_t>("--pages", optarg, 1, 1'000'000); break;
        case 'r': asked.within.rate = parse_number("--rate", optarg, 0.01, 1e6); break;
        case 't': {
            const std::chrono::duration<double> limit{parse_number("--timeout", optarg, 0.001, 3600.0)};
            asked.within.timeout = std::chrono::duration_cast<leat::clock::duration>(limit);
            break;
        }
        case 'h': throw help{};
        default: throw std::invalid_argument{""};  // getopt has said why
        }
    }
    if (argc - optind != 1)
        throw std::invalid_argument{"give one address"};
    const auto start = crawl::parse_url(argv[optind]);
    if (!start || !crawl::is_this_machine(*start))
        throw std::invalid_argument{"the address has to be like http://localhost:8000/"};
    asked.start = *start;
    return asked;
}

std::string line_of(const std::string& where, const crawl::visit& page)
{
    const std::string status = page.status != 0 ? std::to_string(page.status) : "---";
    std::array<char, 32> columns;
    std::snprintf(columns.data(), columns.size(), "%3s %9s  ", status.c_str(),
                  common::byte_size(static_cast<double>(page.bytes)).c_str());
    std::string line = columns.data() + where;
    if (!page.note.empty())
        line += "  " + common::escape(page.note);
    if (page.status / 100 != 2 && page.status / 100 != 3 && !page.linked_from.empty())
        line += "  linked from " + page.linked_from;
    return line + "\n";
}

/// Result: whether all pages could be had.
leat::task<bool> print(const crawl::crawler& site, common::output& out)
{
    std::size_t bytes = 0;
    std::size_t missing = 0;
    const auto visits = site.visits();
    for (const auto& [where, page] : visits) {
        bytes += page.bytes;
        missing += page.status == 0 || page.status >= 400;
        co_await out.line(line_of(where, page));
    }
    co_await out.line(common::counted(visits.size(), "page", "pages") + ", " +
                      common::byte_size(static_cast<double>(bytes)) + ", " +
                      common::counted(missing, "missing", "missing") + ", " +
                      common::counted(site.requests(), "request", "requests") + "\n");
    co_await out.flush();
    co_return missing == 0;
}

leat::task<> show(const crawl::crawler& site, common::output& out)
{
    leat::ticker clock{std::chrono::milliseconds{200}};
    for (;;) {
        co_await clock.tick();
        co_await out.show_progress(common::counted(site.visited(), "page", "pages") + ", " +
                                   std::to_string(site.to_go()) + " to go");
    }
}

leat::task<int> crawl_until_signal(const order& asked)
{
    std::uint64_t printed = 0;
    common::output out{"crawl", printed};
    crawl::crawler site{asked.within};
    bool interrupted = false;
    {
        auto [ctx, cancel] = leat::with_signals(leat::this_task::context(), {SIGINT, SIGTERM});
        auto visit_all = [&](leat::task_group& group) -> leat::task<> {
            auto shown = co_await group.spawn(show(site, out));
            co_await site.run(asked.start);
            shown.cancel();
        };
        try {
            co_await leat::with_context(ctx, leat::with_group(visit_all));
        } catch (const leat::cancelled_error&) {
            interrupted = true;
        }
    }
    const bool all = co_await print(site, out);
    co_return interrupted ? 130 : all ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv)
{
    // In getopt's messages it stands before what was wrong.
    static char name[] = "crawl";
    argv[0] = name;
    try {
        const order asked = parse(argc, argv);
        return leat::run(crawl_until_signal(asked));
    } catch (const help&) {
        std::fputs(usage, stdout);
        return 0;
    } catch (const std::invalid_argument& wrong) {
        if (*wrong.what() != '\0')
            std::fprintf(stderr, "crawl: %s\n", wrong.what());
        std::fputs(usage, stderr);
        return 2;
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "crawl: %s\n", problem.what());
        return 1;
    }
}
