#pragma once

#include "line.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace log_report {

struct report_options {
    std::int64_t window = 3600;  ///< seconds
    std::size_t top = 10;        ///< how many paths are shown
};

struct sums {
    std::uint64_t requests = 0;
    std::uint64_t errors = 0;  ///< those with a status of 500 and more
    std::uint64_t bytes = 0;

    void add(const request& one) noexcept;
    void add(const sums& more) noexcept;
};

/// What has been counted. Each worker has one; at the end they become one. Its size is bounded, whatever it is given.
class report {
public:
    explicit report(const report_options& options) : options_{options}
    {
    }
    report(const report&) = delete;
    report& operator=(const report&) = delete;

    void add_line(std::string_view line);
    /// Throws std::runtime_error: so many windows that they would not fit into memory.
    void add(const report& other);

    const sums& all() const noexcept
    {
        return all_;
    }
    std::string text() const;
    std::string json() const;

private:
    struct path_hash {
        using is_transparent = void;
        // Not noexcept: of such a one libstdc++ keeps what it gives, and computes it once for each path, not whenever it
        // goes past.
        std::size_t operator()(std::string_view path) const
        {
            return std::hash<std::string_view>{}(path);
        }
    };
    using path_table = std::unordered_map<std::string, sums, path_hash, std::equal_to<>>;
    using window_table = std::map<std::int64_t, sums>;

    sums& window_of(std::int64_t at);
    sums& path_of(std::string_view target);
    void forget_rare_paths();
    std::vector<path_table::const_pointer> top_paths() const;

    report_options options_;
    sums all_;
    std::uint64_t unreadable_ = 0;
    std::array<std::uint64_t, 1000> by_status_{};
    window_table windows_;
    window_table::iterator last_window_ = windows_.end();
    path_table paths_;
    std::uint64_t forgotten_ = 0;  ///< the count of a path may be too low by so much
};

}  // namespace log_report
