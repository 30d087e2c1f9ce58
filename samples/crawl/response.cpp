#include "response.hpp"

#include "text.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace crawl {
namespace {

constexpr std::size_t largest_head = 64 * 1024;
constexpr std::size_t largest_body = 4 * 1024 * 1024;

std::uint64_t number(std::string_view text, int base)
{
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc{} || end != text.data() + text.size())
        throw protocol_error{"the answer is not HTTP"};
    if (value > largest_body)
        throw protocol_error{"the answer is too large"};
    return value;
}

}  // namespace

void response_parser::feed(std::string_view piece)
{
    pending_.erase(0, std::exchange(used_, 0));
    pending_ += piece;
    while (step())
        ;
}

void response_parser::end()
{
    if (state_ == state::until_end)
        state_ = state::complete;
    if (!complete())
        throw std::runtime_error{"the connection has ended before the answer"};
}

response response_parser::take()
{
    return std::move(got_);
}

bool response_parser::step()
{
    switch (state_) {
    case state::head:
        if (const auto line = take_line()) {
            read_head(*line);
            return true;
        }
        return false;
    case state::counted: return take_counted(state::complete);
    case state::until_end:
        left_ = pending_.size() - used_;
        return left_ != 0 && take_counted(state::until_end);
    case state::chunk_size:
        if (const auto line = take_line()) {
            left_ = number(trimmed(line->substr(0, line->find(';'))), 16);
            state_ = left_ == 0 ? state::trailer : state::chunk;
            return true;
        }
        return false;
    case state::chunk: return take_counted(state::chunk_end);
    case state::chunk_end:
        if (const auto line = take_line()) {
            if (!line->empty())
                throw protocol_error{"the answer is not HTTP"};
            state_ = state::chunk_size;
            return true;
        }
        return false;
    case state::trailer:
        if (const auto line = take_line()) {
            if (line->empty())
                state_ = state::complete;
            return true;
        }
        return false;
    case state::complete: break;
    }
    return false;
}

std::optional<std::string_view> response_parser::take_line()
{
    const std::string_view rest = std::string_view{pending_}.substr(used_);
    const std::size_t end = rest.find('\n');
    head_size_ += end == rest.npos ? 0 : end + 1;
    if (head_size_ + (end == rest.npos ? rest.size() : 0) > largest_head)
        throw protocol_error{"the head of the answer is too large"};
    if (end == rest.npos)
        return std::nullopt;
    used_ += end + 1;
    std::string_view line = rest.substr(0, end);
    if (line.ends_with('\r'))
        line.remove_suffix(1);
    return line;
}

void response_parser::read_head(std::string_view line)
{
    if (std::exchange(first_line_, false)) {
        if (!line.starts_with("HTTP/1.") || line.size() < 12 || line[8] != ' ' ||
            (line.size() > 12 && line[12] != ' '))
            throw protocol_error{"the answer is not HTTP"};
        got_.status = static_cast<int>(number(line.substr(9, 3), 10));
    } else if (!line.empty()) {
        read_header(line);
    } else if (got_.status / 100 == 1) {
        // The real one follows.
        first_line_ = true;
    } else {
        begin_body();
    }
}

void response_parser::read_header(std::string_view line)
{
    const std::size_t colon = line.find(':');
    if (colon == line.npos)
        throw protocol_error{"the answer is not HTTP"};
    const std::string name = in_lower_case(trimmed(line.substr(0, colon)));
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (name == "content-length")
        length_ = number(value, 10);
    else if (name == "transfer-encoding")
        chunked_ = in_lower_case(value).ends_with("chunked");
    else if (name == "content-type")
        got_.type = in_lower_case(trimmed(value.substr(0, value.find(';'))));
    else if (name == "location")
        got_.location = value;
}

void response_parser::begin_body()
{
    if (got_.status == 204 || got_.status == 304) {
        state_ = state::complete;
    } else if (chunked_) {
        state_ = state::chunk_size;
    } else if (length_) {
        left_ = *length_;
        state_ = left_ == 0 ? state::complete : state::counted;
    } else {
        state_ = state::until_end;
    }
}

bool response_parser::take_counted(state then)
{
    const std::size_t now = std::min<std::size_t>(left_, pending_.size() - used_);
    if (got_.body.size() + now > largest_body)
        throw protocol_error{"the answer is too large"};
    got_.body.append(pending_, used_, now);
    used_ += now;
    left_ -= now;
    if (left_ != 0)
        return false;
    head_size_ = 0;
    state_ = then;
    return true;
}

}  // namespace crawl
