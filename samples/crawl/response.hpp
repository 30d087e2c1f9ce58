#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace crawl {

/// What a server has said is no answer, or one that is too large.
class protocol_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// What a server has answered.
struct response {
    int status = 0;
    std::string type;      ///< the media type, in lower case, without parameters
    std::string location;  ///< where it sends its reader to
    std::string body;
};

/// Reads an answer of HTTP/1.x, as it comes in, in pieces of any size. Knows nothing of sockets. Throws
/// protocol_error.
class response_parser {
public:
    void feed(std::string_view piece);
    /// The server has closed the connection. An answer of unknown length then is complete; of others, throws
    /// std::runtime_error.
    void end();
    bool complete() const noexcept
    {
        return state_ == state::complete;
    }
    response take();

private:
    enum class state : unsigned char {
        head,
        counted,
        until_end,
        chunk_size,
        chunk,
        chunk_end,
        trailer,
        complete
    };

    bool step();
    std::optional<std::string_view> take_line();
    void read_head(std::string_view line);
    void read_header(std::string_view line);
    void begin_body();
    bool take_counted(state then);

    state state_ = state::head;
    std::string pending_;
    std::size_t used_ = 0;  ///< of what is pending
    bool first_line_ = true;
    bool chunked_ = false;
    std::optional<std::uint64_t> length_;
    std::uint64_t left_ = 0;
    std::size_t head_size_ = 0;
    response got_;
};

}  // namespace crawl
