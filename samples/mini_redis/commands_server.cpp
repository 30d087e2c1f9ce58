// What is asked of the server itself: PING, INFO, CLIENT, CONFIG, COMMAND, SHUTDOWN.
#include "commands.hpp"

#include <leat/this_task.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace mini_redis {
namespace {

[[noreturn]] void throw_unknown_subcommand(arguments words)
{
    throw command_error{"ERR unknown subcommand or wrong number of arguments for '" +
                        std::string{words[1].substr(0, 128)} + "'"};
}

void ping(session& s, arguments words)
{
    if (words.size() > 2)
        throw command_error{"ERR wrong number of arguments for 'ping' command"};
    if (s.subscribed) {
        s.out.array(2);
        s.out.bulk("pong");
        s.out.bulk(words.size() == 2 ? words[1] : "");
    } else if (words.size() == 2) {
        s.out.bulk(words[1]);
    } else {
        s.out.simple("PONG");
    }
}

void echo(session& s, arguments words)
{
    s.out.bulk(words[1]);
}

void quit(session& s, arguments)
{
    s.out.simple("OK");
    s.leaving = true;
}

void select_database(session& s, arguments words)
{
    if (integer_of(words[1]) != 0)
        throw command_error{"ERR DB index is out of range"};
    s.out.simple("OK");
}

void dbsize(session& s, arguments)
{
    s.out.integer(static_cast<std::int64_t>(s.of.data.count().keys));
}

void flushall(session& s, arguments words)
{
    std::string record = s.record(words);
    {
        access all{s.of.data};
        all.clear();
        s.log(all, std::move(record));
    }
    s.out.simple("OK");
}

// ---- INFO --------------------------------------------------------------------------------------

class report {
public:
    explicit report(arguments words) : wanted_{words.subspan(1)}
    {
    }
    /// Whether a section is wanted; then what follows belongs to it.
    bool section(std::string_view name)
    {
        const std::string lower = lower_case(name);
        const bool all = wanted_.empty();
        const bool wanted = all || std::any_of(wanted_.begin(), wanted_.end(), [&](std::string_view each) {
                                return is_word(each, lower) || is_word(each, "all") ||
                                       is_word(each, "default") || is_word(each, "everything");
                            });
        if (wanted)
            text_ += (text_.empty() ? "# " : "\r\n# ") + std::string{name} + "\r\n";
        return wanted;
    }
    void line(std::string_view name, std::string_view value)
    {
        text_ += std::string{name} + ":" + std::string{value} + "\r\n";
    }
    void line(std::string_view name, std::uint64_t value)
    {
        line(name, std::to_string(value));
    }
    const std::string& text() const noexcept
    {
        return text_;
    }

private:
    arguments wanted_;
    std::string text_;
};

void info(session& s, arguments words)
{
    report all{words};
    const store::totals data = s.of.data.count();
    const client_registry::totals clients = s.of.clients.count();
    if (all.section("Server")) {
        const auto uptime =
            std::chrono::duration_cast<std::chrono::seconds>(leat::clock::now() - s.of.started);
        all.line("redis_version", "7.0.0");  // whose replies these are
        all.line("redis_mode", "standalone");
        all.line("process_id", static_cast<std::uint64_t>(::getpid()));
        all.line("tcp_port", s.of.options.port);
        all.line("uptime_in_seconds", static_cast<std::uint64_t>(uptime.count()));
    }
    if (all.section("Clients")) {
        all.line("connected_clients", clients.connected);
        all.line("maxclients", s.of.options.max_clients);
        all.line("blocked_clients", clients.blocked);
    }
    if (all.section("Persistence")) {
        all.line("loading", 0);
        all.line("aof_enabled", s.of.log.has_value());
        if (s.of.log) {
            all.line("aof_last_write_status", s.of.log->failing() ? "err" : "ok");
            all.line("aof_current_size", s.of.log->size());
        }
    }
    if (all.section("Stats")) {
        const auto [channels, patterns] = s.of.topics.topics();
        all.line("total_connections_received", clients.connections);
        all.line("total_commands_processed", clients.commands);
        all.line("expired_keys", data.expired);
        all.line("pubsub_channels", channels);
        all.line("pubsub_patterns", patterns);
    }
    if (all.section("Keyspace") && data.keys != 0)
        all.line("db0", "keys=" + std::to_string(data.keys) + ",expires=" + std::to_string(data.with_expiry) +
                            ",avg_ttl=0");
    s.out.bulk(all.text());
}

// ---- CLIENT ------------------------------------------------------------------------------------

bool kill_client(session& s, arguments words)
{
    if (words.size() == 3)
        return s.of.clients.kill(0, words[2]);
    if (words.size() == 4 && is_word(words[2], "id"))
        return s.of.clients.kill(static_cast<std::uint64_t>(std::max<std::int64_t>(integer_of(words[3]), 1)),
                                 {});
    if (words.size() == 4 && is_word(words[2], "addr"))
        return s.of.clients.kill(0, words[3]);
    throw_syntax_error();
}

void client_command(session& s, arguments words)
{
    const std::string what = lower_case(words[1]);
    if (what == "id" && words.size() == 2) {
        s.out.integer(static_cast<std::int64_t>(s.info->id));
    } else if (what == "getname" && words.size() == 2) {
        const std::string name = s.of.clients.name_of(*s.info);
        if (name.empty())
            s.out.null();
        else
            s.out.bulk(name);
    } else if (what == "setname" && words.size() == 3) {
        if (std::any_of(words[2].begin(), words[2].end(), [](char c) { return c < '!' || c > '~'; }))
            throw command_error{"ERR Client names cannot contain spaces, newlines or special characters."};
        s.of.clients.rename(*s.info, std::string{words[2]});
        s.out.simple("OK");
    } else if (what == "setinfo" && words.size() == 4) {
        s.out.simple("OK");
    } else if (what == "list" && words.size() == 2) {
        s.out.bulk(s.of.clients.list());
    } else if (what == "info" && words.size() == 2) {
        s.out.bulk(s.of.clients.list(s.info.get()));
    } else if (what == "kill" && words.size() >= 3) {
        const bool killed = kill_client(s, words);
        if (words.size() == 4)
            s.out.integer(killed);
        else if (killed)
            s.out.simple("OK");
        else
            s.out.error("ERR No such client");
    } else {
        throw_unknown_subcommand(words);
    }
}

// ---- CONFIG, COMMAND ---------------------------------------------------------------------------

std::vector<std::pair<std::string, std::string>> parameters(const settings& of)
{
    constexpr const char* policies[] = {"always", "everysec", "no"};
    return {
        {"appendfilename", of.file},
        {"appendfsync", policies[static_cast<int>(of.fsync)]},
        {"appendonly", of.append_only ? "yes" : "no"},
        {"bind", of.address},
        {"databases", "1"},
        {"dir", of.directory},
        {"maxclients", std::to_string(of.max_clients)},
        {"port", std::to_string(of.port)},
        {"proto-max-bulk-len", std::to_string(of.limits.max_bulk)},
        {"save", ""},
    };
}

void config(session& s, arguments words)
{
    if (!is_word(words[1], "get") || words.size() < 3)
        throw_unknown_subcommand(words);
    std::vector<std::pair<std::string, std::string>> found;
    for (auto& each : parameters(s.of.options)) {
        const bool wanted = std::any_of(words.begin() + 2, words.end(), [&](std::string_view pattern) {
            return matches(lower_case(pattern), each.first);
        });
        if (wanted)
            found.push_back(std::move(each));
    }
    s.out.array(2 * found.size());
    for (const auto& [name, value] : found) {
        s.out.bulk(name);
        s.out.bulk(value);
    }
}

void describe(session& s, const command* what)
{
    if (what == nullptr)
        return s.out.null_array();
    s.out.array(6);
    s.out.bulk(what->name);
    s.out.integer(what->arity);
    s.out.array(what->does == command::either ? 0 : 1);
    if (what->does != command::either)
        s.out.simple(what->does == command::writes ? "write" : "readonly");
    s.out.integer(what->first_key);
    s.out.integer(what->last_key);
    s.out.integer(what->key_step);
}

void command_command(session& s, arguments words)
{
    const std::string what = words.size() == 1 ? "" : lower_case(words[1]);
    if (what == "count" && words.size() == 2) {
        s.out.integer(static_cast<std::int64_t>(all_commands().size()));
    } else if (what == "docs") {
        s.out.array(0);
    } else if (what == "info" && words.size() > 2) {
        s.out.array(words.size() - 2);
        for (const std::string_view name : words.subspan(2))
            describe(s, find_command(name));
    } else if (what.empty() || what == "info") {
        s.out.array(all_commands().size());
        for (const command* each : all_commands())
            describe(s, each);
    } else {
        throw_unknown_subcommand(words);
    }
}

void shutdown(session& s, arguments words)
{
    if (words.size() > 2 || (words.size() == 2 && !is_word(words[1], "save") && !is_word(words[1], "nosave")))
        throw_syntax_error();
    s.leaving = true;
    // As anybody would who wants the service to end: serve() does the rest.
    ::kill(::getpid(), SIGTERM);
}

}  // namespace

std::span<const command> server_commands()
{
    constexpr auto either = command::either;
    static constexpr command table[] = {
        {"ping", -1, either, 0, 0, 0, ping, nullptr, true},
        {"echo", 2, either, 0, 0, 0, echo},
        {"quit", -1, either, 0, 0, 0, quit, nullptr, true},
        {"select", 2, either, 0, 0, 0, select_database},
        {"dbsize", 1, command::reads, 0, 0, 0, dbsize},
        {"flushall", 1, command::writes, 0, 0, 0, flushall},
        {"info", -1, either, 0, 0, 0, info},
        {"client", -2, either, 0, 0, 0, client_command},
        {"config", -2, either, 0, 0, 0, config},
        {"command", -1, either, 0, 0, 0, command_command},
        {"shutdown", -1, either, 0, 0, 0, shutdown},
    };
    return table;
}

}  // namespace mini_redis
