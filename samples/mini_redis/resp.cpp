#include "resp.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

namespace mini_redis {
namespace {

constexpr std::size_t usual_capacity = 16 * 1024;
constexpr std::size_t cost_of_argument = 16;

int hex_digit(char c) noexcept
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool is_space(char c) noexcept
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/// Reads an escape in a quoted word; `at` is behind the backslash.
char unescape(std::string_view line, std::size_t& at) noexcept
{
    if (line[at] == 'x' && at + 2 < line.size() && hex_digit(line[at + 1]) >= 0 &&
        hex_digit(line[at + 2]) >= 0) {
        at += 3;
        return static_cast<char>(hex_digit(line[at - 2]) * 16 + hex_digit(line[at - 1]));
    }
    switch (const char c = line[at++]) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    default: return c;
    }
}

}  // namespace

bool parse_integer(std::string_view text, std::int64_t& value) noexcept
{
    const std::size_t digits = text.starts_with('-') ? 1 : 0;
    if (text.size() > digits + 1 && text[digits] == '0')
        return false;
    if (text == "-0")
        return false;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size();
}

bool split_line(std::string_view line, std::string& text, std::vector<std::size_t>& ends)
{
    std::size_t at = 0;
    for (;;) {
        while (at < line.size() && is_space(line[at]))
            ++at;
        if (at == line.size())
            return true;
        while (at < line.size() && !is_space(line[at])) {
            const char quote = line[at] == '"' || line[at] == '\'' ? line[at] : '\0';
            if (quote == '\0') {
                text += line[at++];
                continue;
            }
            ++at;
            while (at < line.size() && line[at] != quote) {
                const bool escape =
                    line[at] == '\\' && at + 1 < line.size() && (quote == '"' || line[at + 1] == quote);
                if (!escape)
                    text += line[at++];
                else
                    text += unescape(line, ++at);
            }
            // The closing quote ends the word.
            if (at == line.size() || (at + 1 < line.size() && !is_space(line[at + 1])))
                return false;
            ++at;
        }
        ends.push_back(text.size());
    }
}

request_parser::request_parser(const request_limits& limits) : limits_{limits}
{
}

std::span<char> request_parser::room()
{
    const std::size_t kept = end_ - begin_;
    std::size_t wanted = capacity_;
    if (capacity_ - kept < usual_capacity / 4)
        wanted = std::max(usual_capacity, capacity_ * 2);
    else if (capacity_ > 4 * usual_capacity && kept < usual_capacity)
        wanted = usual_capacity;
    if (wanted != capacity_) {
        std::unique_ptr<char[]> other{new char[wanted]};
        if (kept != 0)
            std::memcpy(other.get(), buffer_.get() + begin_, kept);
        buffer_ = std::move(other);
        capacity_ = wanted;
    } else if (begin_ != 0 && kept != 0) {
        std::memmove(buffer_.get(), buffer_.get() + begin_, kept);
    }
    at_ -= begin_;
    begin_ = 0;
    end_ = kept;
    return {buffer_.get() + end_, capacity_ - end_};
}

void request_parser::filled(std::size_t count) noexcept
{
    end_ += count;
}

arguments request_parser::next()
{
    for (;;) {
        if (expected_ == 0) {
            if (at_ == end_)
                return {};
            const bool begun = begin_request();
            if (!begun)
                return {};
        }
        while (expected_ != 0) {
            const bool whole = parse_argument();
            if (!whole)
                return {};
        }
        const arguments words = finish();
        if (!words.empty())
            return words;
    }
}

/// False if there is no whole line yet.
bool request_parser::take_line(std::string_view& line, std::size_t limit, const char* complaint)
{
    const std::string_view have = rest().substr(0, limit);
    const std::size_t newline = have.find('\n');
    if (newline == std::string_view::npos) {
        if (have.size() == limit)
            throw protocol_error{complaint};
        return false;
    }
    line = have.substr(0, newline);
    if (line.ends_with('\r'))
        line.remove_suffix(1);
    at_ += newline + 1;
    return true;
}

bool request_parser::begin_request()
{
    places_.clear();
    total_ = 0;
    return buffer_[at_] == '*' ? parse_header() : parse_inline();
}

bool request_parser::parse_header()
{
    std::string_view line;
    if (!take_line(line, limits_.max_inline, "too big mbulk count string"))
        return false;
    std::int64_t count = 0;
    if (!parse_integer(line.substr(1), count) || count > static_cast<std::int64_t>(limits_.max_arguments))
        throw protocol_error{"invalid multibulk length"};
    expected_ = count > 0 ? static_cast<std::size_t>(count) : 0;
    return true;
}

bool request_parser::parse_inline()
{
    std::string_view line;
    if (!take_line(line, limits_.max_inline, "too big inline request"))
        return false;
    unquoted_.clear();
    std::vector<std::size_t> ends;
    if (!split_line(line, unquoted_, ends))
        throw protocol_error{"unbalanced quotes in request"};
    std::size_t begin = 0;
    for (const std::size_t end : ends) {
        places_.push_back({begin, end - begin});
        begin = end;
    }
    length_ = 0;  // marks a line
    return true;
}

bool request_parser::parse_argument()
{
    if (length_ == unknown) {
        if (at_ == end_)
            return false;
        if (buffer_[at_] != '$')
            throw protocol_error{std::string{"expected '$', got '"} + buffer_[at_] + "'"};
        std::string_view line;
        if (!take_line(line, limits_.max_inline, "too big bulk count string"))
            return false;
        std::int64_t length = 0;
        if (!parse_integer(line.substr(1), length) || length < 0 ||
            length > static_cast<std::int64_t>(limits_.max_bulk))
            throw protocol_error{"invalid bulk length"};
        length_ = static_cast<std::size_t>(length);
        total_ += length_ + cost_of_argument;
        if (total_ > limits_.max_request)
            throw protocol_error{"too big request"};
    }
    if (end_ - at_ < length_ + 2)
        return false;
    if (buffer_[at_ + length_] != '\r' || buffer_[at_ + length_ + 1] != '\n')
        throw protocol_error{"expected a line's end behind a bulk string"};
    places_.push_back({at_ - begin_, length_});
    at_ += length_ + 2;
    length_ = unknown;
    --expected_;
    return true;
}

arguments request_parser::finish()
{
    // Of a line, the words are in unquoted_, as they are no longer what has arrived.
    const char* const base = length_ == unknown ? buffer_.get() + begin_ : unquoted_.data();
    words_.clear();
    for (const place& word : places_)
        words_.emplace_back(base + word.offset, word.length);
    consumed_ += at_ - begin_;
    begin_ = at_;
    length_ = unknown;
    // What one large request needed is not kept.
    if (places_.capacity() > 4096 && places_.size() < 1024) {
        places_.shrink_to_fit();
        words_.shrink_to_fit();
    }
    return words_;
}

}  // namespace mini_redis
