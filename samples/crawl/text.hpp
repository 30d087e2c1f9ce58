#pragma once

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>

namespace crawl {

inline std::string in_lower_case(std::string_view text)
{
    std::string lower{text};
    std::ranges::transform(lower, lower.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return lower;
}

/// Without white space around it.
inline std::string_view trimmed(std::string_view text)
{
    constexpr std::string_view space = " \t\r\n\f";
    text = text.substr(std::min(text.find_first_not_of(space), text.size()));
    return text.substr(0, text.find_last_not_of(space) + 1);
}

}  // namespace crawl
