#include "format.hpp"

#include "../common/words.hpp"

#include <algorithm>
#include <cctype>
#include <ranges>

namespace digest {
namespace {

std::optional<std::string> unescape(std::string_view text)
{
    std::string name;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\') {
            name += text[i];
            continue;
        }
        switch (++i < text.size() ? text[i] : '\0') {
        case 'n': name += '\n'; break;
        case 'r': name += '\r'; break;
        case '\\': name += '\\'; break;
        default: return std::nullopt;
        }
    }
    return name;
}

bool is_hexadecimal(std::string_view text)
{
    return std::ranges::all_of(text, [](unsigned char c) { return std::isxdigit(c) != 0; });
}

}  // namespace

std::string sum_line(std::string_view sum, std::string_view name)
{
    const std::string escaped = common::escape(name);
    std::string line = escaped == name ? "" : "\\";
    line.append(sum).append("  ").append(escaped).append("\n");
    return line;
}

std::string verdict_line(std::string_view name, std::string_view verdict)
{
    // sha256sum escapes here only what would break the line.
    const bool breaks = name.find('\n') != name.npos;
    std::string line = breaks ? "\\" + common::escape(name) : std::string{name};
    line.append(": ").append(verdict).append("\n");
    return line;
}

std::optional<listed_sum> parse_sum_line(std::string_view line, std::size_t digits)
{
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    const bool escaped = line.starts_with('\\');
    if (escaped)
        line.remove_prefix(1);

    // The sum, a space, a space or (of a binary file) an asterisk, and at least one byte of a name.
    if (line.size() < digits + 3 || line[digits] != ' ' ||
        (line[digits + 1] != ' ' && line[digits + 1] != '*') || !is_hexadecimal(line.substr(0, digits)))
        return std::nullopt;

    const std::string_view text = line.substr(digits + 2);
    std::optional<std::string> name = escaped ? unescape(text) : std::string{text};
    if (!name || name->find('\0') != name->npos)
        return std::nullopt;

    std::string sum{line.substr(0, digits)};
    std::ranges::transform(sum, sum.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return listed_sum{std::move(sum), std::move(*name)};
}

}  // namespace digest
