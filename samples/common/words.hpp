#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// What programs say about files and amounts.
namespace common {

/// Newline, carriage return and backslash as \n, \r and two backslashes.
std::string escape(std::string_view name);

/// "1 file", "2 files".
std::string counted(std::uint64_t number, std::string_view singular, std::string_view plural);

/// "12.3 MB".
std::string byte_size(double bytes);

}  // namespace common
