#include "line.hpp"

#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>

namespace log_report {
namespace {

/// Takes what is before a character off the text, and that too. False if it is not there.
bool take_until(std::string_view& text, char end, std::string_view& taken) noexcept
{
    const std::size_t at = text.find(end);
    if (at == text.npos)
        return false;
    taken = text.substr(0, at);
    text.remove_prefix(at + 1);
    return true;
}

template <class N>
bool take_number(std::string_view text, N& number) noexcept
{
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc{} && end == text.data() + text.size();
}

/// "10/Oct/2024:13:55:36 -0700".
bool take_time(std::string_view text, std::int64_t& at) noexcept
{
    constexpr std::string_view months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    if (text.size() != 26 || text[2] != '/' || text[6] != '/' || text[11] != ':' || text[14] != ':' ||
        text[17] != ':' || text[20] != ' ' || (text[21] != '+' && text[21] != '-'))
        return false;
    unsigned day = 0, hour = 0, minute = 0, second = 0, zone_hours = 0, zone_minutes = 0;
    int year = 0;
    const std::size_t month = months.find(text.substr(3, 3));
    if (month == months.npos || month % 3 != 0 || !take_number(text.substr(0, 2), day) ||
        !take_number(text.substr(7, 4), year) || !take_number(text.substr(12, 2), hour) ||
        !take_number(text.substr(15, 2), minute) || !take_number(text.substr(18, 2), second) ||
        !take_number(text.substr(22, 2), zone_hours) || !take_number(text.substr(24, 2), zone_minutes))
        return false;
    using namespace std::chrono;
    const year_month_day date{std::chrono::year{year},
                              std::chrono::month{static_cast<unsigned>(month) / 3 + 1},
                              std::chrono::day{day}};
    if (!date.ok() || hour > 23 || minute > 59 || second > 60)
        return false;
    const auto local = sys_days{date}.time_since_epoch() + hours{hour} + minutes{minute} + seconds{second};
    const auto zone = hours{zone_hours} + minutes{zone_minutes};
    at = duration_cast<seconds>(text[21] == '+' ? local - zone : local + zone).count();
    return true;
}

/// The end of a quoted text, whose quotes are escaped by backslashes; npos if there is none.
std::size_t closing_quote(std::string_view text) noexcept
{
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\')
            ++i;
        else if (text[i] == '"')
            return i;
    }
    return text.npos;
}

}  // namespace

std::optional<request> parse_line(std::string_view line) noexcept
{
    request got;
    std::string_view word;
    if (!take_until(line, '[', word) || !take_until(line, ']', word) || !take_time(word, got.at) ||
        !line.starts_with(" \""))
        return std::nullopt;
    line.remove_prefix(2);
    const std::size_t end = closing_quote(line);
    if (end == line.npos)
        return std::nullopt;
    std::string_view asked = line.substr(0, end);
    line.remove_prefix(end + 1);
    // "GET /path HTTP/1.1"; of a request that could not be read there may be anything.
    if (take_until(asked, ' ', word))
        got.target = asked.substr(0, asked.find(' '));
    else
        got.target = "-";
    if (!line.starts_with(' '))
        return std::nullopt;
    line.remove_prefix(1);
    if (!take_until(line, ' ', word) || !take_number(word, got.status) || got.status < 0 || got.status > 999)
        return std::nullopt;
    const std::string_view bytes = line.substr(0, line.find(' '));
    if (bytes != "-" && !take_number(bytes, got.bytes))
        return std::nullopt;
    return got;
}

}  // namespace log_report
