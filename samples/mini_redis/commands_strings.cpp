// Strings: SET, GET, INCR and their like.
#include "commands.hpp"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace mini_redis {
namespace {

blob make_text(std::string_view value)
{
    return std::make_shared<const std::string>(value);
}

/// A time of expiry, from what was written: a span or a point, in seconds or milliseconds.
unix_time expiry_of(std::string_view written, bool seconds, bool is_span, std::string_view command_name)
{
    const std::int64_t number = integer_of(written);
    const auto refuse = [&] {
        throw command_error{"ERR invalid expire time in '" + std::string{command_name} + "' command"};
    };
    std::int64_t when = number;
    if (number <= 0 || (seconds && __builtin_mul_overflow(number, 1000, &when)) ||
        (is_span && __builtin_add_overflow(when, now_in_unix_time(), &when)) || when == never)
        refuse();
    return when;
}

struct set_options {
    std::optional<unix_time> expires{never};
    bool if_absent = false;
    bool if_present = false;
    bool get = false;
};

set_options parse_set_options(arguments words)
{
    set_options asked;
    bool timed = false;
    for (std::size_t i = 3; i < words.size(); ++i) {
        const std::string option = lower_case(words[i]);
        const bool takes_time = option == "ex" || option == "px" || option == "exat" || option == "pxat";
        if (option == "nx" && !asked.if_present)
            asked.if_absent = true;
        else if (option == "xx" && !asked.if_absent)
            asked.if_present = true;
        else if (option == "get")
            asked.get = true;
        else if (option == "keepttl" && !timed)
            timed = (asked.expires.reset(), true);
        else if (takes_time && !timed && i + 1 < words.size()) {
            asked.expires = expiry_of(words[++i], option[0] == 'e', option.size() == 2, "set");
            timed = true;
        } else
            throw_syntax_error();
    }
    return asked;
}

/// As the journal has it: what depends on the time of day or on what was there before is not in it.
std::string set_record(const session& s, arguments words, const set_options& asked)
{
    std::vector<std::string_view> plain{words.begin(), words.begin() + 3};
    const std::string when = asked.expires ? std::to_string(*asked.expires) : "";
    if (!asked.expires)
        plain.push_back("KEEPTTL");
    else if (*asked.expires != never)
        plain.insert(plain.end(), {"PXAT", when});
    return s.record(plain);
}

void set(session& s, arguments words)
{
    const set_options asked = parse_set_options(words);
    std::string record = set_record(s, words, asked);
    blob value = make_text(words[2]);
    blob before;
    bool done = false;
    {
        access keys{s.of.data, words[1]};
        if (asked.get)
            before = keys.find_text(words[1]);
        const bool present = (asked.if_absent || asked.if_present) && keys.find(words[1]) != nullptr;
        done = !(asked.if_absent && present) && !(asked.if_present && !present);
        if (done) {
            if (!asked.expires)
                static_cast<void>(keys.find(words[1]));  // whose time is up has no time to be kept
            keys.put(words[1], std::move(value), asked.expires);
            s.log(keys, std::move(record));
        }
    }
    if (asked.get && before)
        s.out.bulk(*before);
    else if (asked.get || !done)
        s.out.null();
    else
        s.out.simple("OK");
}

void get(session& s, arguments words)
{
    blob value;
    {
        access keys{s.of.data, words[1]};
        value = keys.find_text(words[1]);
    }
    if (value)
        s.out.bulk(*value);
    else
        s.out.null();
}

void mget(session& s, arguments words)
{
    const arguments names = words.subspan(1);
    std::vector<blob> values;
    values.reserve(names.size());
    std::size_t size = 0;
    {
        access keys{s.of.data, names};
        for (const std::string_view name : names) {
            entry* const found = keys.find(name);
            values.push_back(found != nullptr && !found->is_list() ? std::get<blob>(found->value) : nullptr);
            size += values.back() ? values.back()->size() + 16 : 16;
        }
    }
    s.check_reply(size);
    s.out.array(values.size());
    for (const blob& value : values) {
        if (value)
            s.out.bulk(*value);
        else
            s.out.null();
    }
}

void mset(session& s, arguments words)
{
    const arguments pairs = words.subspan(1);
    if (pairs.size() % 2 != 0)
        throw command_error{"ERR wrong number of arguments for 'mset' command"};
    std::string record = s.record(words);
    std::vector<blob> values;
    for (std::size_t i = 1; i < pairs.size(); i += 2)
        values.push_back(make_text(pairs[i]));
    {
        access keys{s.of.data, pairs, 2};
        for (std::size_t i = 0; i < values.size(); ++i)
            keys.put(pairs[2 * i], std::move(values[i]), never);
        s.log(keys, std::move(record));
    }
    s.out.simple("OK");
}

void add(session& s, arguments words, std::int64_t amount)
{
    std::string record = s.record(words);
    std::int64_t value = 0;
    {
        access keys{s.of.data, words[1]};
        if (const blob before = keys.find_text(words[1]))
            value = integer_of(*before);
        if (__builtin_add_overflow(value, amount, &value))
            throw command_error{"ERR increment or decrement would overflow"};
        keys.put(words[1], make_text(std::to_string(value)), std::nullopt);
        s.log(keys, std::move(record));
    }
    s.out.integer(value);
}

void incr(session& s, arguments words)
{
    add(s, words, 1);
}
void decr(session& s, arguments words)
{
    add(s, words, -1);
}
void incrby(session& s, arguments words)
{
    add(s, words, integer_of(words[2]));
}
void decrby(session& s, arguments words)
{
    const std::int64_t amount = integer_of(words[2]);
    if (amount == std::numeric_limits<std::int64_t>::min())
        throw command_error{"ERR decrement would overflow"};
    add(s, words, -amount);
}

}  // namespace

std::span<const command> string_commands()
{
    static constexpr command table[] = {
        {"get", 2, command::reads, 1, 1, 1, get},        {"set", -3, command::writes, 1, 1, 1, set},
        {"mget", -2, command::reads, 1, -1, 1, mget},    {"mset", -3, command::writes, 1, -1, 2, mset},
        {"incr", 2, command::writes, 1, 1, 1, incr},     {"decr", 2, command::writes, 1, 1, 1, decr},
        {"incrby", 3, command::writes, 1, 1, 1, incrby}, {"decrby", 3, command::writes, 1, 1, 1, decrby},
    };
    return table;
}

}  // namespace mini_redis
