// RESP2, the protocol of redis: requests as they arrive. Replies are in reply.hpp.
//
// A request is an array of strings, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", or a line, "GET k\r\n", for people with nc. What
// a client sends is in request_parser's buffer until it has been executed; arguments point into it. Nothing here
// waits or knows where the bytes come from: a socket, the append-only file, or a test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace mini_redis {

/// The words of a request, the command's name first. They refer to the parser's buffer.
using arguments = std::span<const std::string_view>;

/// What a client may ask of the server's memory. A request that exceeds it ends the connection.
struct request_limits {
    std::size_t max_arguments = 1024 * 1024;
    std::size_t max_bulk = 64 * 1024 * 1024;      ///< the longest string
    std::size_t max_request = 128 * 1024 * 1024;  ///< all strings of a request, with 16 bytes for each
    std::size_t max_inline = 64 * 1024;           ///< the longest line
};

/// What a client has sent is no request, or is too large. The stream can not be read any further.
class protocol_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Cuts a stream of bytes into requests.
///
///     while (arguments words = parser.next(); !words.empty()) ...   // then
///     parser.filled(read_into(parser.room()));
///
/// The buffer grows with what has arrived, not with what has been announced, and shrinks again after a large request.
class request_parser {
public:
    explicit request_parser(const request_limits& limits = {});

    /// Where to put what is read next: at least a byte. Invalidates the arguments.
    std::span<char> room();
    /// So many bytes have been put there.
    void filled(std::size_t count) noexcept;

    /// The next request; empty if it has not arrived as a whole. The arguments are good until the next call of next() or
    /// room(). Throws protocol_error; what follows has no meaning then.
    arguments next();

    /// Whether there is a part of a request.
    bool in_the_middle() const noexcept
    {
        return begin_ != end_;
    }
    /// How many bytes the requests had that next() has given so far.
    std::uint64_t consumed() const noexcept
    {
        return consumed_;
    }

private:
    // buffer_[begin_, end_) begins with the current request, of which [begin_, at_) has been understood. All places are
    // counted from begin_, so that the buffer may move.
    struct place {
        std::size_t offset;
        std::size_t length;
    };
    static constexpr std::size_t unknown = std::numeric_limits<std::size_t>::max();

    std::string_view rest() const noexcept
    {
        return {buffer_.get() + at_, end_ - at_};
    }
    bool take_line(std::string_view& line, std::size_t limit, const char* complaint);
    bool begin_request();
    bool parse_header();
    bool parse_inline();
    bool parse_argument();
    arguments finish();

    request_limits limits_;
    std::unique_ptr<char[]> buffer_;
    std::size_t capacity_ = 0;
    std::size_t begin_ = 0;
    std::size_t at_ = 0;
    std::size_t end_ = 0;
    std::uint64_t consumed_ = 0;

    std::size_t expected_ = 0;      ///< arguments that are still to come
    std::size_t length_ = unknown;  ///< of the argument that is being read
    std::size_t total_ = 0;         ///< what the request has cost so far
    std::vector<place> places_;
    std::vector<std::string_view> words_;
    std::string unquoted_;  ///< the words of a line
};

/// Splits a line into words as redis does: "..." with \n, \r, \t, \b, \a, \xHH, and '...'. Appends the words to `text`
/// and their ends to `ends`. False if a quote is not closed.
bool split_line(std::string_view line, std::string& text, std::vector<std::size_t>& ends);

/// A number as redis takes it: decimal, nothing before or after, no '+', no leading zero.
bool parse_integer(std::string_view text, std::int64_t& value) noexcept;

}  // namespace mini_redis
