// Lists: LPUSH, LPOP, BLPOP and their like.
#include "client.hpp"
#include "commands.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mini_redis {
namespace {

void push(session& s, arguments words, list_end where)
{
    std::string record = s.record(words);
    std::size_t length = 0;
    {
        access keys{s.of.data, words[1]};
        length = keys.push(words[1], where, words.subspan(2));
        s.log(keys, std::move(record));
        keys.serve_waiting(words[1]);
    }
    s.out.integer(static_cast<std::int64_t>(length));
}

void lpush(session& s, arguments words)
{
    push(s, words, list_end::left);
}
void rpush(session& s, arguments words)
{
    push(s, words, list_end::right);
}

void pop_one(session& s, arguments words, list_end where)
{
    std::string record = s.record(words);
    std::optional<std::string> value;
    {
        access keys{s.of.data, words[1]};
        value = keys.pop(words[1], where);
        if (value)
            s.log(keys, std::move(record));
    }
    if (value)
        s.out.bulk(*value);
    else
        s.out.null();
}

void pop_many(session& s, arguments words, list_end where)
{
    const std::int64_t count = integer_of(words[2]);
    if (count < 0)
        throw command_error{"ERR value is out of range, must be positive"};
    std::string record = s.record(words);
    std::vector<std::string> values;
    {
        access keys{s.of.data, words[1]};
        const list* const from = keys.find_list(words[1]);
        if (from == nullptr)
            return s.out.null_array();
        const std::size_t most = std::min(from->size(), static_cast<std::size_t>(count));
        while (values.size() < most)
            values.push_back(std::move(*keys.pop(words[1], where)));
        if (most != 0)
            s.log(keys, std::move(record));
    }
    s.out.array(values.size());
    for (const std::string& value : values)
        s.out.bulk(value);
}

void pop(session& s, arguments words, list_end where)
{
    if (words.size() > 3)
        throw command_error{"ERR wrong number of arguments for '" + lower_case(words[0]) + "' command"};
    if (words.size() == 3)
        pop_many(s, words, where);
    else
        pop_one(s, words, where);
}

void lpop(session& s, arguments words)
{
    pop(s, words, list_end::left);
}
void rpop(session& s, arguments words)
{
    pop(s, words, list_end::right);
}

void llen(session& s, arguments words)
{
    access keys{s.of.data, words[1]};
    const list* const found = keys.find_list(words[1]);
    s.out.integer(found == nullptr ? 0 : static_cast<std::int64_t>(found->size()));
}

void lrange(session& s, arguments words)
{
    std::int64_t first = integer_of(words[2]);
    std::int64_t last = integer_of(words[3]);
    std::vector<std::string> values;
    std::size_t size = 0;
    {
        access keys{s.of.data, words[1]};
        const list* const found = keys.find_list(words[1]);
        const std::int64_t length = found == nullptr ? 0 : static_cast<std::int64_t>(found->size());
        first = std::max<std::int64_t>(first < 0 ? first + length : first, 0);
        last = std::min(last < 0 ? last + length : last, length - 1);
        for (; first <= last && size <= s.of.options.max_reply; ++first) {
            values.push_back((*found)[static_cast<std::size_t>(first)]);
            size += values.back().size() + 16;
        }
    }
    s.check_reply(size);
    s.out.array(values.size());
    for (const std::string& value : values)
        s.out.bulk(value);
}

// ---- Those that wait ---------------------------------------------------------------------------

std::chrono::nanoseconds seconds_of(std::string_view text)
{
    double seconds = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(seconds))
        throw command_error{"ERR timeout is not a float or out of range"};
    if (seconds < 0)
        throw command_error{"ERR timeout is negative"};
    constexpr double years = 100 * 365.25 * 24 * 3600;
    const std::chrono::duration<double> limit{std::min(seconds, years)};
    return std::chrono::ceil<std::chrono::nanoseconds>(limit);
}

leat::task<> wait_and_pop(client& c, arguments words, list_end where)
{
    std::string refused;
    try {
        const std::chrono::nanoseconds limit = seconds_of(words.back());
        co_await c.pop(words.subspan(1, words.size() - 2), where, limit);
    } catch (const command_error& problem) {
        refused = problem.what();
    }
    if (!refused.empty())
        c.out.error(refused);
}

leat::task<> blpop(client& c, arguments words)
{
    return wait_and_pop(c, words, list_end::left);
}
leat::task<> brpop(client& c, arguments words)
{
    return wait_and_pop(c, words, list_end::right);
}

}  // namespace

std::span<const command> list_commands()
{
    static constexpr command table[] = {
        {"lpush", -3, command::writes, 1, 1, 1, lpush},
        {"rpush", -3, command::writes, 1, 1, 1, rpush},
        {"lpop", -2, command::writes, 1, 1, 1, lpop},
        {"rpop", -2, command::writes, 1, 1, 1, rpop},
        {"llen", 2, command::reads, 1, 1, 1, llen},
        {"lrange", 4, command::reads, 1, 1, 1, lrange},
        {"blpop", -3, command::writes, 1, -2, 1, nullptr, blpop},
        {"brpop", -3, command::writes, 1, -2, 1, nullptr, brpop},
    };
    return table;
}

}  // namespace mini_redis
