// A server that redis-cli and redis-benchmark can talk to
//
// The problem: thousands of clients, most of them idle, some that send a hundred requests at a time, some that never
// read what they are sent, some that wait for each other (BLPOP) or listen to each other (SUBSCRIBE). Data that several
// of them change at once. What has been acknowledged must be there after a kill -9, and a fsync for each request would be
// too slow. And it must stop when told to, without half an answer.
//
//     client ─┐  one task each:                       ┌─ shard ─┐ 32 of them, locked     ┌─ batch ─┐   one task
//     client ─┼─ read, parse, run, wait, reply ──────▶│ key ... │ for moments ──append──▶│ gathered│──▶ write, fsync
//     client ─┘      ▲                                └─────────┘                        └─────────┘      │
//                    └────────────────────── tickets are due: one write for all who wait ◀───────────────┘
//
// Where to read on, in this order:
//     client.hpp     the task that serves a client: the loop, and the waits (with a context that ends with the peer)
//     commands.hpp   the table; commands_*.cpp have the commands
//     store.hpp      the data: shards, and the queues of those who wait for a list
//     journal.hpp    the append-only file, group commit
//     pubsub.hpp     mailboxes, and what happens to who does not empty his
//     server.hpp     how it begins and ends
//     resp.hpp       the protocol: requests; reply.hpp: replies
//
// Run it with   ./dev run mini_redis [--port N] [--appendonly yes] ...   and talk to it with   redis-cli
// The options are those of redis-server; see `usage` below.

#include "server.hpp"

#include <leat/asio/serve.hpp>
#include <leat/leat.hpp>

#include <getopt.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

constexpr const char* usage =
    "usage: mini_redis [--bind ADDRESS] [--port N] [--maxclients N] [--proto-max-bulk-len BYTES]\n"
    "                  [--appendonly yes|no] [--appendfsync always|everysec|no]\n"
    "                  [--dir DIRECTORY] [--appendfilename NAME] [--shutdown-timeout SECONDS]\n";

std::size_t number(std::string_view text, std::size_t most)
{
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value > most)
        throw std::invalid_argument{"not a number from 0 to " + std::to_string(most) + ": " +
                                    std::string{text}};
    return value;
}

bool yes_or_no(std::string_view text)
{
    if (text != "yes" && text != "no")
        throw std::invalid_argument{"neither yes nor no: " + std::string{text}};
    return text == "yes";
}

mini_redis::fsync_policy policy(std::string_view text)
{
    if (text == "always")
        return mini_redis::fsync_policy::always;
    if (text == "everysec")
        return mini_redis::fsync_policy::everysec;
    if (text == "no")
        return mini_redis::fsync_policy::no;
    throw std::invalid_argument{"--appendfsync takes always, everysec or no"};
}

/// Throws std::invalid_argument.
mini_redis::settings parse(int argc, char** argv)
{
    static const option options[] = {
        {"bind", required_argument, nullptr, 'b'},
        {"port", required_argument, nullptr, 'p'},
        {"maxclients", required_argument, nullptr, 'm'},
        {"proto-max-bulk-len", required_argument, nullptr, 'l'},
        {"appendonly", required_argument, nullptr, 'a'},
        {"appendfsync", required_argument, nullptr, 's'},
        {"dir", required_argument, nullptr, 'd'},
        {"appendfilename", required_argument, nullptr, 'f'},
        {"shutdown-timeout", required_argument, nullptr, 't'},
        {nullptr, 0, nullptr, 0},
    };
    mini_redis::settings asked;
    for (int letter; (letter = getopt_long(argc, argv, "", options, nullptr)) != -1;) {
        switch (letter) {
        case 'b': asked.address = optarg; break;
        case 'p': asked.port = static_cast<unsigned short>(number(optarg, 65535)); break;
        case 'm': asked.max_clients = number(optarg, 1'000'000); break;
        case 'l':
            asked.limits.max_bulk = number(optarg, 512 * 1024 * 1024);
            asked.limits.max_request = 2 * asked.limits.max_bulk + 1024 * 1024;
            break;
        case 'a': asked.append_only = yes_or_no(optarg); break;
        case 's': asked.fsync = policy(optarg); break;
        case 'd': asked.directory = optarg; break;
        case 'f': asked.file = optarg; break;
        case 't': asked.grace = std::chrono::seconds{number(optarg, 86400)}; break;
        default: throw std::invalid_argument{""};  // getopt has said why
        }
    }
    if (optind != argc)
        throw std::invalid_argument{"what is " + std::string{argv[optind]} + "?"};
    return asked;
}

}  // namespace

int main(int argc, char** argv)
{
    try {
        mini_redis::server server{parse(argc, argv)};
        leat::serve([&] { return server.run(); }, {.grace = server.options.grace});
        std::fputs("bye\n", stderr);
        return 0;
    } catch (const std::invalid_argument& wrong) {
        if (*wrong.what() != '\0')
            std::fprintf(stderr, "mini_redis: %s\n", wrong.what());
        std::fputs(usage, stderr);
        return 2;
    } catch (const leat::cancelled_error&) {
        std::fputs("mini_redis: clients were cut off\n", stderr);
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "mini_redis: %s\n", problem.what());
    }
    return 1;
}
