#include "commands.hpp"

#include <algorithm>
#include <unordered_map>

namespace mini_redis {
namespace {

char to_lower(char c) noexcept
{
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

class command_table {
public:
    command_table()
    {
        for (const std::span<const command> some :
             {string_commands(), key_commands(), list_commands(), topic_commands(), server_commands()})
            for (const command& each : some) {
                by_name_.emplace(each.name, &each);
                all_.push_back(&each);
            }
    }
    const command* find(std::string_view name) const
    {
        const auto found = by_name_.find(lower_case(name));
        return found == by_name_.end() ? nullptr : found->second;
    }
    std::span<const command* const> all() const noexcept
    {
        return all_;
    }

private:
    std::unordered_map<std::string_view, const command*> by_name_;
    std::vector<const command*> all_;
};

const command_table& table()
{
    static const command_table of_all;
    return of_all;
}

std::string complain_of_unknown(arguments words)
{
    std::string text =
        "ERR unknown command '" + std::string{words[0].substr(0, 128)} + "', with args beginning with: ";
    for (const std::string_view word : words.subspan(1)) {
        if (text.size() > 200)
            break;
        text += "'" + std::string{word.substr(0, 128)} + "' ";
    }
    return text;
}

bool fits(const command& what, std::size_t words) noexcept
{
    const auto arity = static_cast<std::size_t>(what.arity < 0 ? -what.arity : what.arity);
    return what.arity < 0 ? words >= arity : words == arity;
}

}  // namespace

std::string lower_case(std::string_view text)
{
    std::string lower{text};
    std::transform(lower.begin(), lower.end(), lower.begin(), to_lower);
    return lower;
}

bool is_word(std::string_view text, std::string_view lower) noexcept
{
    return std::equal(text.begin(), text.end(), lower.begin(), lower.end(),
                      [](char a, char b) { return to_lower(a) == b; });
}

std::int64_t integer_of(std::string_view text)
{
    std::int64_t value = 0;
    if (!parse_integer(text, value))
        throw command_error{"ERR value is not an integer or out of range"};
    return value;
}

void throw_syntax_error()
{
    throw command_error{"ERR syntax error"};
}

const command* find_command(std::string_view name)
{
    return table().find(name);
}

std::span<const command* const> all_commands()
{
    return table().all();
}

void session::check_reply(std::size_t size) const
{
    if (size > of.options.max_reply)
        throw command_error{"ERR the reply would be larger than " + std::to_string(of.options.max_reply) +
                            " bytes"};
}

const command* session::run(arguments words)
{
    try {
        return run_checked(words);
    } catch (const command_error& refused) {
        out.error(refused.what());
        return nullptr;
    }
}

const command* session::run_checked(arguments words)
{
    const command* const what = find_command(words[0]);
    if (what == nullptr)
        throw command_error{complain_of_unknown(words)};
    if (!fits(*what, words.size()))
        throw command_error{"ERR wrong number of arguments for '" + std::string{what->name} + "' command"};
    if (subscribed && !what->when_subscribed)
        throw command_error{
            "ERR Can't execute '" + std::string{what->name} +
            "': only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT are allowed in this context"};
    if (what->does == command::writes && info != nullptr && of.log && of.log->failing())
        throw command_error{"MISCONF Errors writing to the AOF file"};
    if (what->wait != nullptr)
        return what;
    what->run(*this, words);
    return nullptr;
}

}  // namespace mini_redis
