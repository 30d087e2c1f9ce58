#include "url.hpp"

#include "text.hpp"

#include <algorithm>
#include <cctype>
#include <vector>

namespace crawl {
namespace {

constexpr std::string_view scheme = "http://";

std::string_view without_fragment(std::string_view text)
{
    text = trimmed(text);
    return text.substr(0, text.find('#'));
}

bool is_fit_to_be_sent(std::string_view text)
{
    return std::ranges::none_of(text, [](unsigned char c) { return c <= ' ' || c == 0x7f; });
}

/// "/a/./b/../c" is "/a/c".
std::string without_dots(std::string_view path)
{
    std::vector<std::string_view> parts;
    bool ends_with_slash = true;
    while (!path.empty()) {
        path.remove_prefix(1);
        const std::string_view part = path.substr(0, path.find('/'));
        path.remove_prefix(part.size());
        ends_with_slash = part.empty() || part == "." || part == "..";
        if (part == ".." && !parts.empty())
            parts.pop_back();
        else if (!ends_with_slash || (part.empty() && !path.empty()))
            parts.push_back(part);
    }
    std::string clean;
    for (const std::string_view part : parts)
        clean.append("/").append(part);
    if (ends_with_slash)
        clean += '/';
    return clean;
}

std::string clean_target(std::string_view target)
{
    const std::size_t query = std::min(target.find('?'), target.size());
    return without_dots(target.substr(0, query)) + std::string{target.substr(query)};
}

}  // namespace

std::optional<url> parse_url(std::string_view text)
{
    text = without_fragment(text);
    if (in_lower_case(text.substr(0, scheme.size())) != scheme || !is_fit_to_be_sent(text))
        return std::nullopt;
    text.remove_prefix(scheme.size());
    const std::size_t end = std::min(text.find_first_of("/?"), text.size());
    std::string_view server = text.substr(0, end);
    std::string_view target = text.substr(end);
    url got;
    const std::size_t colon = server.rfind(':');
    if (colon != server.npos) {
        got.port = server.substr(colon + 1);
        server = server.substr(0, colon);
        if (got.port.empty() || got.port.size() > 5 ||
            !std::ranges::all_of(got.port, [](unsigned char c) { return std::isdigit(c) != 0; }))
            return std::nullopt;
    }
    if (server.empty() || server.find_first_of("@[]") != server.npos)
        return std::nullopt;
    got.host = in_lower_case(server);
    got.target = clean_target(target.starts_with('/') ? std::string{target} : "/" + std::string{target});
    return got;
}

std::optional<url> resolve(const url& page, std::string_view link)
{
    link = without_fragment(link);
    if (!is_fit_to_be_sent(link))
        return std::nullopt;
    if (link.starts_with("//"))
        return parse_url("http:" + std::string{link});
    const std::size_t colon = link.find(':');
    if (colon < link.find_first_of("/?"))
        return parse_url(link);
    url to = page;
    const std::string_view path = std::string_view{page.target}.substr(0, page.target.find('?'));
    if (link.starts_with('/'))
        to.target = clean_target(link);
    else if (link.starts_with('?'))
        to.target = std::string{path}.append(link);
    else if (!link.empty())
        to.target = clean_target(std::string{path.substr(0, path.rfind('/') + 1)}.append(link));
    return to;
}

bool is_this_machine(const url& where)
{
    return where.host == "localhost" || where.host.starts_with("127.");
}

}  // namespace crawl
