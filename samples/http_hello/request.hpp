// HTTP requests as they arrive. The parsing is Boost.Beast's, which knows nothing of sockets; see request.cpp, the only
// file that includes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace http_hello {

struct request_limits {
    std::size_t max_header = 8 * 1024;   ///< request line and fields
    std::size_t max_body = 1024 * 1024;  ///< also of chunked ones, as far as they have come
};

struct request {
    std::string method;
    std::string target;
    std::string body;
    bool keep_alive = false;        ///< whether the client wants to go on
    bool expects_continue = false;  ///< it waits for a word before it sends the body
    bool may_be_chunked = false;    ///< whether the client understands a chunked response: HTTP/1.1
};

/// What is no request, or one that is too large: the status to answer with. What follows can not be read.
class bad_request : public std::runtime_error {
public:
    bad_request(unsigned answer, const std::string& why) : std::runtime_error{why}, status{answer}
    {
    }
    const unsigned status;
};

/// Understands one request after the other.
class request_parser {
public:
    explicit request_parser(const request_limits& limits);
    request_parser(request_parser&&) noexcept;
    ~request_parser();

    /// Takes as much as it can of what has arrived. Result: how many bytes, which are not to be given again.
    /// Throws bad_request.
    std::size_t put(std::string_view arrived);
    /// Whether any byte of the request has been understood, its header, all of it.
    bool begun() const noexcept;
    bool has_header() const noexcept;
    bool is_whole() const noexcept;
    /// What is known: all but the body, when it has its header.
    const request& current() const noexcept;
    /// The next one.
    void restart();

private:
    class state;
    request_limits limits_;
    std::unique_ptr<state> state_;
};

}  // namespace http_hello
