#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace crawl {

/// Where a page is: http://host:port/target, without a fragment.
struct url {
    std::string host;
    std::string port = "80";
    std::string target = "/";  ///< path and query

    /// "host:port", as one server is called.
    std::string server() const
    {
        return host + ":" + port;
    }
    std::string text() const
    {
        return "http://" + (port == "80" ? host : server()) + target;
    }
};

/// Nothing if it is no absolute http URL.
std::optional<url> parse_url(std::string_view text);

/// What a link on a page means. Nothing if that can not be fetched by HTTP: mailto, https, javascript...
std::optional<url> resolve(const url& page, std::string_view link);

/// Whether it is this machine: localhost, 127.x.y.z.
bool is_this_machine(const url& where);

}  // namespace crawl
