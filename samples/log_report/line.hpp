#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace log_report {

/// What counts of a request.
struct request {
    std::int64_t at = 0;      ///< seconds since 1970, UTC
    std::string_view target;  ///< what was asked for: the second word of the request line
    int status = 0;
    std::uint64_t bytes = 0;
};

/// Reads a line of the common log format, or of one that goes on behind it, such as the combined one:
///
///     host ident user [10/Oct/2024:13:55:36 -0700] "GET /index.html HTTP/1.1" 200 2326
///
/// nullopt if it is none. The result refers to the line.
std::optional<request> parse_line(std::string_view line) noexcept;

}  // namespace log_report
