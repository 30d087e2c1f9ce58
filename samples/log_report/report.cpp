#include "report.hpp"

#include "../common/words.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <stdexcept>
#include <utility>

namespace log_report {
namespace {

constexpr std::size_t most_paths = 1 << 17;
constexpr std::size_t longest_path = 1024;
constexpr std::size_t most_windows = 1 << 20;

template <class... Args>
std::string format(const char* how, Args... args)
{
    std::array<char, 256> text;
    const int size = std::snprintf(text.data(), text.size(), how, args...);
    return std::string(text.data(), std::min<std::size_t>(text.size() - 1, static_cast<std::size_t>(size)));
}

std::string utc(std::int64_t at)
{
    const std::time_t seconds = at;
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    std::array<char, 64> text;
    return std::string(text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts));
}

std::string quoted(std::string_view text)
{
    std::string json = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            json += '\\';
        // Logs are bytes, JSON is text: what may not be UTF-8 is shown as Latin-1.
        const auto code = static_cast<unsigned char>(c);
        if (code < 0x20 || code >= 0x7f)
            json += format("\\u%04x", static_cast<unsigned>(code));
        else
            json += c;
    }
    return json + '"';
}

std::string json_of(const sums& of)
{
    return format("\"requests\": %llu, \"errors\": %llu, \"bytes\": %llu",
                  static_cast<unsigned long long>(of.requests), static_cast<unsigned long long>(of.errors),
                  static_cast<unsigned long long>(of.bytes));
}

std::string columns(const sums& of)
{
    return format("%12llu %9llu %10s", static_cast<unsigned long long>(of.requests),
                  static_cast<unsigned long long>(of.errors),
                  common::byte_size(static_cast<double>(of.bytes)).c_str());
}

}  // namespace

void sums::add(const request& one) noexcept
{
    ++requests;
    errors += one.status >= 500;
    bytes += one.bytes;
}

void sums::add(const sums& more) noexcept
{
    requests += more.requests;
    errors += more.errors;
    bytes += more.bytes;
}

void report::add_line(std::string_view line)
{
    const std::optional<request> one = parse_line(line);
    if (!one) {
        ++unreadable_;
        return;
    }
    all_.add(*one);
    ++by_status_[static_cast<std::size_t>(one->status)];
    window_of(one->at).add(*one);
    path_of(one->target).add(*one);
}

void report::add(const report& other)
{
    all_.add(other.all_);
    unreadable_ += other.unreadable_;
    forgotten_ += other.forgotten_;
    for (std::size_t status = 0; status < by_status_.size(); ++status)
        by_status_[status] += other.by_status_[status];
    for (const auto& [begin, counted] : other.windows_)
        window_of(begin).add(counted);
    for (const auto& [path, counted] : other.paths_)
        path_of(path).add(counted);
}

sums& report::window_of(std::int64_t at)
{
    const std::int64_t into = (at % options_.window + options_.window) % options_.window;
    const std::int64_t begin = at - into;
    // Lines come nearly in order.
    if (last_window_ == windows_.end() || last_window_->first != begin) {
        last_window_ = windows_.try_emplace(begin).first;
        if (windows_.size() > most_windows)
            throw std::runtime_error{"there are too many windows: choose a larger --window"};
    }
    return last_window_->second;
}

sums& report::path_of(std::string_view target)
{
    target = target.substr(0, longest_path);
    const auto known = paths_.find(target);
    if (known != paths_.end())
        return known->second;
    if (paths_.size() >= most_paths)
        forget_rare_paths();
    return paths_.try_emplace(std::string{target}).first->second;
}

// Half of them. Whoever is forgotten, and comes again, has lost no more than the largest count that was forgotten.
void report::forget_rare_paths()
{
    std::vector<std::uint64_t> counts;
    counts.reserve(paths_.size());
    for (const auto& [path, counted] : paths_)
        counts.push_back(counted.requests);
    const auto middle = counts.begin() + static_cast<std::ptrdiff_t>(counts.size() / 2);
    std::nth_element(counts.begin(), middle, counts.end());
    forgotten_ += *middle;
    std::erase_if(paths_, [&](const auto& each) { return each.second.requests <= *middle; });
}

auto report::top_paths() const -> std::vector<path_table::const_pointer>
{
    std::vector<path_table::const_pointer> all;
    all.reserve(paths_.size());
    for (const auto& each : paths_)
        all.push_back(&each);
    const auto end = all.begin() + static_cast<std::ptrdiff_t>(std::min(options_.top, all.size()));
    std::partial_sort(all.begin(), end, all.end(), [](const auto* a, const auto* b) {
        return a->second.requests != b->second.requests ? a->second.requests > b->second.requests
                                                        : a->first < b->first;
    });
    all.erase(end, all.end());
    return all;
}

std::string report::text() const
{
    std::string page = common::counted(all_.requests, "request", "requests") + ", " +
                       common::byte_size(static_cast<double>(all_.bytes)) + ", " +
                       common::counted(all_.errors, "server error", "server errors") + ", " +
                       common::counted(unreadable_, "line", "lines") + " not understood\n";
    page += "\nstatus     requests\n";
    for (std::size_t status = 0; status < by_status_.size(); ++status)
        if (by_status_[status] != 0)
            page += format("%03zu    %12llu\n", status, static_cast<unsigned long long>(by_status_[status]));
    page += "\nfrom                     requests    errors      bytes\n";
    for (const auto& [begin, counted] : windows_)
        page += utc(begin) + columns(counted) + "\n";
    page += "\n    requests    errors      bytes  path\n";
    for (const auto* each : top_paths())
        page += columns(each->second) + "  " + common::escape(each->first) + "\n";
    if (forgotten_ != 0)
        page += "There were too many paths to count them all: these counts may be too low, by at most " +
                std::to_string(forgotten_) + ".\n";
    return page;
}

std::string report::json() const
{
    std::string page = "{\n  " + json_of(all_) + ",\n  \"not_understood\": " + std::to_string(unreadable_) +
                       ",\n  \"status\": {";
    const char* between = "";
    for (std::size_t status = 0; status < by_status_.size(); ++status)
        if (by_status_[status] != 0) {
            page += format("%s\"%03zu\": %llu", between, status,
                           static_cast<unsigned long long>(by_status_[status]));
            between = ", ";
        }
    page += "},\n  \"window_seconds\": " + std::to_string(options_.window) + ",\n  \"windows\": [";
    between = "";
    for (const auto& [begin, counted] : windows_) {
        page += std::string{between} + "\n    {\"from\": \"" + utc(begin) + "\", " + json_of(counted) + "}";
        between = ",";
    }
    page += "\n  ],\n  \"paths\": [";
    between = "";
    for (const auto* each : top_paths()) {
        page += std::string{between} + "\n    {\"path\": " + quoted(each->first) + ", " +
                json_of(each->second) + "}";
        between = ",";
    }
    return page + "\n  ],\n  \"paths_too_low_by\": " + std::to_string(forgotten_) + "\n}\n";
}

}  // namespace log_report
