// Keys of any kind: DEL, EXISTS, EXPIRE and their like.
#include "commands.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

namespace mini_redis {
namespace {

void del(session& s, arguments words)
{
    const arguments names = words.subspan(1);
    std::string record = s.record(words);
    std::int64_t count = 0;
    {
        access keys{s.of.data, names};
        for (const std::string_view name : names)
            count += keys.erase(name);
        if (count != 0)
            s.log(keys, std::move(record));
    }
    s.out.integer(count);
}

void exists(session& s, arguments words)
{
    const arguments names = words.subspan(1);
    std::int64_t count = 0;
    {
        access keys{s.of.data, names};
        for (const std::string_view name : names)
            count += keys.find(name) != nullptr;
    }
    s.out.integer(count);
}

void type(session& s, arguments words)
{
    access keys{s.of.data, words[1]};
    const entry* const found = keys.find(words[1]);
    s.out.simple(found == nullptr ? "none" : found->is_list() ? "list" : "string");
}

void expire_at(session& s, std::string_view name, unix_time when)
{
    const std::string at = std::to_string(when);
    std::string record = s.record(std::array<std::string_view, 3>{"PEXPIREAT", name, at});
    bool present = false;
    {
        access keys{s.of.data, name};
        present = keys.find(name) != nullptr;
        if (present) {
            keys.expire(name, when);
            s.log(keys, std::move(record));
        }
    }
    s.out.integer(present);
}

/// Unlike SET, with a time that has passed: that removes the key.
void expire_after(session& s, arguments words, std::int64_t unit)
{
    std::int64_t when = integer_of(words[2]);
    if (__builtin_mul_overflow(when, unit, &when) ||
        __builtin_add_overflow(when, now_in_unix_time(), &when) || when == never)
        throw command_error{"ERR invalid expire time in '" + lower_case(words[0]) + "' command"};
    expire_at(s, words[1], when);
}

void expire(session& s, arguments words)
{
    expire_after(s, words, 1000);
}
void pexpire(session& s, arguments words)
{
    expire_after(s, words, 1);
}
void pexpireat(session& s, arguments words)
{
    expire_at(s, words[1], std::min(integer_of(words[2]), never - 1));
}

void persist(session& s, arguments words)
{
    std::string record = s.record(words);
    bool changed = false;
    {
        access keys{s.of.data, words[1]};
        const entry* const found = keys.find(words[1]);
        changed = found != nullptr && found->expires != never;
        if (changed) {
            keys.expire(words[1], never);
            s.log(keys, std::move(record));
        }
    }
    s.out.integer(changed);
}

void time_to_live(session& s, arguments words, std::int64_t unit)
{
    access keys{s.of.data, words[1]};
    const entry* const found = keys.find(words[1]);
    if (found == nullptr)
        s.out.integer(-2);
    else if (found->expires == never)
        s.out.integer(-1);
    else
        s.out.integer((std::max<std::int64_t>(found->expires - now_in_unix_time(), 0) + unit / 2) / unit);
}

void ttl(session& s, arguments words)
{
    time_to_live(s, words, 1000);
}
void pttl(session& s, arguments words)
{
    time_to_live(s, words, 1);
}

}  // namespace

std::span<const command> key_commands()
{
    static constexpr command table[] = {
        {"del", -2, command::writes, 1, -1, 1, del},
        {"exists", -2, command::reads, 1, -1, 1, exists},
        {"type", 2, command::reads, 1, 1, 1, type},
        {"expire", 3, command::writes, 1, 1, 1, expire},
        {"pexpire", 3, command::writes, 1, 1, 1, pexpire},
        {"pexpireat", 3, command::writes, 1, 1, 1, pexpireat},
        {"persist", 2, command::writes, 1, 1, 1, persist},
        {"ttl", 2, command::reads, 1, 1, 1, ttl},
        {"pttl", 2, command::reads, 1, 1, 1, pttl},
    };
    return table;
}

}  // namespace mini_redis
