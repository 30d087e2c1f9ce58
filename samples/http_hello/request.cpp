#include "request.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/field.hpp>

#include <optional>
#include <utility>

namespace http_hello {

namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {

/// Takes from what Beast has understood what this server needs, and so does not collect the fields.
class collector final : public http::basic_parser<true> {
public:
    collector(const request_limits& limits, request& into) : into_{into}
    {
        eager(true);
        header_limit(static_cast<std::uint32_t>(limits.max_header));
        body_limit(limits.max_body);
    }

private:
    using error_code = beast::error_code;
    using text = beast::string_view;

    void on_request_impl(http::verb, text method, text target, int version, error_code&) override
    {
        into_.method.assign(method.data(), method.size());
        into_.target.assign(target.data(), target.size());
        into_.may_be_chunked = version >= 11;
    }
    void on_response_impl(int, text, int, error_code&) override
    {
    }
    void on_field_impl(http::field name, text, text value, error_code&) override
    {
        if (name == http::field::expect && beast::iequals(value, "100-continue"))
            into_.expects_continue = true;
    }
    void on_header_impl(error_code&) override
    {
        into_.keep_alive = keep_alive();
    }
    void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override
    {
    }
    std::size_t on_body_impl(text piece, error_code&) override
    {
        into_.body.append(piece.data(), piece.size());
        return piece.size();
    }
    void on_chunk_header_impl(std::uint64_t, text, error_code&) override
    {
    }
    std::size_t on_chunk_body_impl(std::uint64_t, text piece, error_code&) override
    {
        into_.body.append(piece.data(), piece.size());
        return piece.size();
    }
    void on_finish_impl(error_code&) override
    {
    }

    request& into_;
};

unsigned status_of(const beast::error_code& problem)
{
    if (problem == http::error::header_limit)
        return 431;
    if (problem == http::error::body_limit)
        return 413;
    if (problem == http::error::bad_version)
        return 505;
    return 400;
}

}  // namespace

class request_parser::state {
public:
    explicit state(const request_limits& limits)
    {
        restart(limits);
    }
    void restart(const request_limits& limits)
    {
        what = {};
        parser.emplace(limits, what);
    }
    request what;
    std::optional<collector> parser;
};

request_parser::request_parser(const request_limits& limits)
    : limits_{limits}, state_{std::make_unique<state>(limits)}
{
}

request_parser::request_parser(request_parser&&) noexcept = default;
request_parser::~request_parser() = default;

std::size_t request_parser::put(std::string_view arrived)
{
    // A chunked body ends with five bytes. Who gives Beast fewer of what is left, behind a last chunk that has come as the
    // first, meets an assertion in it; and nothing is lost by waiting.
    constexpr std::size_t shortest_end = 5;
    if (state_->parser->is_header_done() && state_->parser->chunked() && arrived.size() < shortest_end)
        return 0;
    beast::error_code problem;
    const std::size_t used =
        state_->parser->put(boost::asio::const_buffer{arrived.data(), arrived.size()}, problem);
    if (problem && problem != http::error::need_more)
        throw bad_request{status_of(problem), problem.message()};
    return used;
}

bool request_parser::begun() const noexcept
{
    return state_->parser->got_some();
}

bool request_parser::has_header() const noexcept
{
    return state_->parser->is_header_done();
}

bool request_parser::is_whole() const noexcept
{
    return state_->parser->is_done();
}

const request& request_parser::current() const noexcept
{
    return state_->what;
}

void request_parser::restart()
{
    state_->restart(limits_);
}

}  // namespace http_hello
