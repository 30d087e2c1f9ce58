#include "links.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <utility>

namespace crawl {
namespace {

bool is_space(char c)
{
    return std::isspace(static_cast<unsigned char>(c)) != 0;
}

bool same_word(std::string_view a, std::string_view b)
{
    return std::ranges::equal(
        a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

std::string without_entities(std::string_view text)
{
    constexpr std::array<std::pair<std::string_view, char>, 4> known{
        {{"&amp;", '&'}, {"&quot;", '"'}, {"&#39;", '\''}, {"&lt;", '<'}}};
    std::string plain;
    while (!text.empty()) {
        const auto* const entity =
            std::ranges::find_if(known, [&](const auto& each) { return text.starts_with(each.first); });
        const bool found = entity != known.end();
        plain += found ? entity->second : text.front();
        text.remove_prefix(found ? entity->first.size() : 1);
    }
    return plain;
}

/// The inside of a tag, attribute by attribute.
class attributes {
public:
    explicit attributes(std::string_view tag) : rest_{tag}
    {
        take_while([](char c) { return !is_space(c); });
    }
    bool next(std::string_view& name, std::string_view& value)
    {
        take_while([](char c) { return is_space(c) || c == '/'; });
        name = take_while([](char c) { return !is_space(c) && c != '=' && c != '/'; });
        take_while(is_space);
        value = {};
        if (rest_.starts_with('=')) {
            rest_.remove_prefix(1);
            take_while(is_space);
            value = take_value();
        }
        return !name.empty();
    }

private:
    template <class Wanted>
    std::string_view take_while(Wanted wanted)
    {
        const auto end = std::ranges::find_if_not(rest_, wanted);
        const std::string_view taken = rest_.substr(0, static_cast<std::size_t>(end - rest_.begin()));
        rest_.remove_prefix(taken.size());
        return taken;
    }
    std::string_view take_value()
    {
        if (!rest_.starts_with('"') && !rest_.starts_with('\''))
            return take_while([](char c) { return !is_space(c); });
        const char quote = rest_.front();
        rest_.remove_prefix(1);
        const std::string_view taken = take_while([&](char c) { return c != quote; });
        rest_.remove_prefix(std::min<std::size_t>(1, rest_.size()));
        return taken;
    }

    std::string_view rest_;
};

/// The end of a tag, which is not inside of quotes.
std::size_t end_of_tag(std::string_view html)
{
    char quote = '\0';
    for (std::size_t i = 0; i < html.size(); ++i) {
        if (quote != '\0')
            quote = html[i] == quote ? '\0' : quote;
        else if (html[i] == '"' || html[i] == '\'')
            quote = html[i];
        else if (html[i] == '>')
            return i;
    }
    return html.size();
}

}  // namespace

std::vector<std::string> links_of(std::string_view html)
{
    constexpr std::string_view comment = "<!--";
    std::vector<std::string> links;
    for (;;) {
        html.remove_prefix(std::min(html.find('<'), html.size()));
        if (html.empty())
            return links;
        if (html.starts_with(comment)) {
            html.remove_prefix(std::min(html.find("-->", comment.size()), html.size()));
            continue;
        }
        html.remove_prefix(1);
        const std::size_t end = end_of_tag(html);
        attributes all{html.substr(0, end)};
        for (std::string_view name, value; all.next(name, value);)
            if (same_word(name, "href") || same_word(name, "src"))
                links.push_back(without_entities(value));
        html.remove_prefix(end);
    }
}

}  // namespace crawl
