#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

// The text that sha256sum and its relatives read and write. Names are bytes; those that would break a line
// are escaped.
namespace digest {

/// "SUM  NAME\n"; with a backslash in front, if the name had to be escaped.
std::string sum_line(std::string_view sum, std::string_view name);

/// "NAME: VERDICT\n", as sha256sum --check prints it.
std::string verdict_line(std::string_view name, std::string_view verdict);

struct listed_sum {
    std::string sum;  ///< in lower case
    std::string name;
};

/// Reads a line of sum_line()'s, without its newline; nullopt if it is none.
std::optional<listed_sum> parse_sum_line(std::string_view line, std::size_t digits);

}  // namespace digest
