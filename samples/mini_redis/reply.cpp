#include "reply.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace mini_redis {
namespace {

/// How much memory a writer keeps for the next replies.
constexpr std::size_t kept_capacity = 128 * 1024;

}  // namespace

void reply_writer::number(char kind, std::int64_t value)
{
    std::array<char, 24> digits;
    digits[0] = kind;
    char* end = std::to_chars(digits.data() + 1, digits.data() + 22, value).ptr;
    *end++ = '\r';
    *end++ = '\n';
    text_.append(digits.data(), static_cast<std::size_t>(end - digits.data()));
}

void reply_writer::simple(std::string_view status)
{
    text_ += '+';
    text_ += status;
    text_ += "\r\n";
}

void reply_writer::error(std::string_view message)
{
    text_ += '-';
    const std::size_t begin = text_.size();
    text_ += message;
    std::replace_if(
        text_.begin() + static_cast<std::ptrdiff_t>(begin), text_.end(),
        [](char c) { return c == '\r' || c == '\n'; }, ' ');
    text_ += "\r\n";
}

void reply_writer::integer(std::int64_t value)
{
    number(':', value);
}

void reply_writer::bulk(std::string_view text)
{
    number('$', static_cast<std::int64_t>(text.size()));
    text_ += text;
    text_ += "\r\n";
}

void reply_writer::null()
{
    text_ += "$-1\r\n";
}

void reply_writer::null_array()
{
    text_ += "*-1\r\n";
}

void reply_writer::array(std::size_t count)
{
    number('*', static_cast<std::int64_t>(count));
}

void reply_writer::confirm(std::string_view verb, bool of_pattern, const std::string_view* name,
                           std::size_t count)
{
    array(3);
    bulk((of_pattern ? "p" : "") + std::string{verb});
    if (name != nullptr)
        bulk(*name);
    else
        null();
    integer(static_cast<std::int64_t>(count));
}

std::string reply_writer::take() noexcept
{
    return std::exchange(text_, {});
}

void reply_writer::clear() noexcept
{
    if (text_.capacity() > kept_capacity)
        text_ = {};
    text_.clear();
}

std::string encode_request(arguments words)
{
    std::size_t size = 16;
    for (const std::string_view word : words)
        size += word.size() + 16;
    std::string text;
    text.reserve(size);
    const auto number = [&](char kind, std::size_t value) {
        std::array<char, 24> digits;
        const char* end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
        text += kind;
        text.append(digits.data(), static_cast<std::size_t>(end - digits.data()));
        text += "\r\n";
    };
    number('*', words.size());
    for (const std::string_view word : words) {
        number('$', word.size());
        text += word;
        text += "\r\n";
    }
    return text;
}

}  // namespace mini_redis
