// Commands: a table of functions.
//
// Nearly all of them never wait. They are plain functions on a session, and so can be run again from the journal, where
// there is no client. Those that wait are coroutines on a client.
#pragma once

#include "reply.hpp"
#include "resp.hpp"
#include "server.hpp"

#include <leat/task.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace mini_redis {

class client;
struct command;

/// What a command works on: the server, where to reply, and what has to be written before the reply is sent.
class session {
public:
    explicit session(server& to) noexcept : of{to}
    {
    }

    /// Runs a request. Result: a command that has to wait, and has not been run; else null, and the reply is in `out`.
    const command* run(arguments words);

    /// What is to be logged of a request, or nothing if there is no journal.
    std::string record(arguments words) const
    {
        return of.data.is_logged() ? encode_request(words) : std::string{};
    }
    /// To be called while the keys are locked.
    void log(access& keys, std::string record)
    {
        logged_bytes += record.size();
        logged = keys.log(std::move(record));
    }

    /// Throws command_error if a reply of so many bytes is more than is allowed.
    void check_reply(std::size_t size) const;

    server& of;
    reply_writer out;
    journal::ticket logged;
    std::size_t logged_bytes = 0;       ///< since the last reply was sent
    std::shared_ptr<client_info> info;  ///< null for the journal's
    bool subscribed = false;
    bool leaving = false;  ///< the last reply has been given

private:
    const command* run_checked(arguments words);
};

struct command {
    std::string_view name;
    int arity;  ///< how many words, the name included; negative: at least
    enum kind : unsigned char { reads, writes, either } does;
    int first_key, last_key, key_step;  ///< where the keys are; zero: there are none
    void (*run)(session&, arguments);
    leat::task<> (*wait)(client&, arguments) = nullptr;
    bool when_subscribed = false;
};

/// Null if there is none; in any mixture of cases.
const command* find_command(std::string_view name);
std::span<const command* const> all_commands();

// Each file of commands has a table.
std::span<const command> string_commands();
std::span<const command> key_commands();
std::span<const command> list_commands();
std::span<const command> topic_commands();
std::span<const command> server_commands();

// For those who write commands.
std::string lower_case(std::string_view text);
bool is_word(std::string_view text, std::string_view lower) noexcept;
std::int64_t integer_of(std::string_view text);
[[noreturn]] void throw_syntax_error();

}  // namespace mini_redis
