#include "connection.hpp"

#include <leat/context.hpp>
#include <leat/this_task.hpp>

#include <asio/buffer.hpp>
#include <asio/ip/tcp.hpp>

#include <array>
#include <charconv>
#include <cstring>
#include <ctime>
#include <optional>
#include <utility>

namespace http_hello {

using namespace std::chrono_literals;
namespace net = leat::net;

namespace {

std::string_view reason(unsigned status) noexcept
{
    switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Payload Too Large";
    case 431: return "Request Header Fields Too Large";
    case 505: return "HTTP Version Not Supported";
    default: return "Unknown";
    }
}

/// The time of day as HTTP writes it; made once a second. Not to be inlined into a coroutine, which may go on on another
/// thread, and there are compilers that then still use the first one's variables.
[[gnu::noinline]] std::string_view date()
{
    struct cache {
        std::time_t of = 0;
        std::array<char, 64> text{};
        std::size_t size = 0;
    };
    thread_local cache last;
    const std::time_t now = std::time(nullptr);
    if (now != last.of) {
        std::tm parts{};
        ::gmtime_r(&now, &parts);
        last.size = std::strftime(last.text.data(), last.text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
        last.of = now;
    }
    return {last.text.data(), last.size};
}

void append_number(std::string& to, std::size_t value, int base)
{
    std::array<char, 24> digits;
    const char* const end = std::to_chars(digits.data(), digits.data() + digits.size(), value, base).ptr;
    to.append(digits.data(), static_cast<std::size_t>(end - digits.data()));
}

class connection {
public:
    connection(net::socket accepted, const settings& how, handler answer)
        : peer_{std::move(accepted), stream_options(how)}, how_{how}, answer_{answer}, parser_{how.limits}
    {
    }

    leat::task<> serve()
    {
        bool goes_on = true;
        while (goes_on)
            goes_on = co_await serve_one();
        co_await peer_.close();
    }

private:
    static net::stream_options stream_options(const settings& how)
    {
        net::stream_options options;
        options.write_timeout = how.request;
        return options;
    }

    /// Result: whether there may be another.
    leat::task<bool> serve_one()
    {
        bool came = begin_ != end_;
        if (!came)
            came = co_await wait_for_request();
        if (!came)
            co_return false;
        const unsigned refused = co_await receive();
        const request& asked = parser_.current();
        response answer{peer_, asked, refused == 0 && !leat::draining()};
        if (refused != 0)
            co_await answer.send(refused, "text/plain", std::string{reason(refused)} + "\n");
        else
            co_await answer_(asked, answer);
        parser_.restart();
        co_return answer.keeps_alive();
    }

    /// Result: whether there is one, before the client closes, its time is up, or the server drains.
    leat::task<bool> wait_for_request()
    {
        auto came = co_await leat::as_result(leat::timeout(how_.idle, leat::unless_draining(read())));
        if (!came && came.error() == leat::errc::deadline_exceeded && !leat::this_task::context().cancelled())
            co_return false;
        const std::optional<std::size_t> count = came.value();
        co_return count && *count != 0;
    }

    /// The rest of a request that has begun. Result: zero, or the status to refuse it with.
    leat::task<unsigned> receive()
    {
        try {
            parse();
            if (!parser_.is_whole())
                co_await leat::timeout(how_.request, receive_rest());
        } catch (const bad_request& problem) {
            co_return problem.status;
        } catch (const leat::timed_out_error&) {
            if (leat::this_task::context().cancelled())
                throw;
            co_return 408;
        }
        co_return 0;
    }

    leat::task<> receive_rest()
    {
        bool encouraged = false;
        while (!parser_.is_whole()) {
            if (parser_.has_header() && parser_.current().expects_continue && !encouraged) {
                encouraged = true;
                co_await peer_.write("HTTP/1.1 100 Continue\r\n\r\n");
            }
            const std::size_t count = co_await read();
            if (count == 0)
                throw std::system_error{net::errc::truncated};
            parse();
        }
    }

    void parse()
    {
        begin_ += parser_.put({buffer_.data() + begin_, end_ - begin_});
        // What can not be understood although the buffer is full.
        if (!parser_.is_whole() && end_ - begin_ == buffer_.size())
            throw bad_request{400, "a chunk's header is too long"};
    }

    leat::task<std::size_t> read()
    {
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= std::exchange(begin_, 0);
        const std::size_t count =
            co_await peer_.read_some(asio::buffer(buffer_.data() + end_, buffer_.size() - end_));
        end_ += count;
        co_return count;
    }

    net::stream<net::socket> peer_;
    const settings& how_;
    handler answer_;
    request_parser parser_;
    std::array<char, 16 * 1024> buffer_;
    std::size_t begin_ = 0;  ///< what has arrived and has not been understood is buffer_[begin_, end_)
    std::size_t end_ = 0;
};

}  // namespace

// ---- response ----------------------------------------------------------------------------------

std::string response::head(unsigned status, std::string_view type) const
{
    std::string text;
    text.reserve(256);
    text += "HTTP/1.1 ";
    append_number(text, status, 10);
    text += ' ';
    text += reason(status);
    text += "\r\nDate: ";
    text += date();
    text += "\r\nContent-Type: ";
    text += type;
    if (!keep_alive_)
        text += "\r\nConnection: close";
    else if (!chunked_)
        text += "\r\nConnection: keep-alive";  // HTTP/1.0 has to be told
    text += "\r\n";
    return text;
}

leat::task<> response::send(unsigned status, std::string_view type, std::string_view content,
                            std::string_view fields)
{
    std::string text = head(status, type);
    text += fields;
    text += "Content-Length: ";
    append_number(text, content.size(), 10);
    text += "\r\n\r\n";
    if (without_content_)
        content = {};
    co_await to_.write(text, content);
}

leat::task<> response::begin_pieces(std::string_view type)
{
    keep_alive_ = keep_alive_ && chunked_;
    std::string text = head(200, type);
    text += chunked_ ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n";
    co_await to_.write(text);
}

leat::task<> response::send_piece(std::string_view piece)
{
    // An empty chunk would be the end.
    if (without_content_ || piece.empty())
        co_return;
    std::string text;
    if (chunked_) {
        append_number(text, piece.size(), 16);
        text += "\r\n";
    }
    text += piece;
    if (chunked_)
        text += "\r\n";
    co_await to_.write(text);
}

leat::task<> response::send_end()
{
    if (chunked_ && !without_content_)
        co_await to_.write("0\r\n\r\n");
}

leat::task<> serve(net::socket accepted, const settings& how, handler answer)
{
    std::error_code ignored;
    accepted.set_option(net::tcp::no_delay{true}, ignored);
    connection one{std::move(accepted), how, answer};
    co_await one.serve();
}

}  // namespace http_hello
