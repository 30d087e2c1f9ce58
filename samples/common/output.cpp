#include "output.hpp"

#include "file.hpp"

#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <ranges>
#include <utility>

namespace common {
namespace {

// To the start of the line, and delete to its end.
constexpr std::string_view erase_line = "\r\033[K";

leat::task<> write_all(int descriptor, std::string text)
{
    std::string_view rest = text;
    while (!rest.empty()) {
        const std::size_t put = co_await leat::blocking([&] { return write_some(descriptor, rest); });
        rest.remove_prefix(put);
    }
}

}  // namespace

output::output(std::string program, std::uint64_t& printed)
    : program_{std::move(program)}, printed_{printed}, terminal_{::isatty(STDERR_FILENO) != 0}
{
}

output::~output()
{
    if (!progress_shown_)
        return;
    [[maybe_unused]] const auto ignored = ::write(STDERR_FILENO, erase_line.data(), erase_line.size());
}

leat::task<> output::line(std::string text)
{
    // What fits into PIPE_BUF reaches a pipe as a whole: an interrupted run leaves no half line behind.
    if (page_.size() + text.size() > PIPE_BUF)
        co_await flush();
    page_ += text;
}

leat::task<> output::flush()
{
    if (page_.empty())
        co_return;
    co_await erase_progress();
    const auto lines = std::ranges::count(page_, '\n');
    co_await write_all(STDOUT_FILENO, std::exchange(page_, {}));
    printed_ += static_cast<std::uint64_t>(lines);
}

leat::task<> output::complain(std::string text)
{
    co_await flush();
    co_await erase_progress();
    co_await write_all(STDERR_FILENO, program_ + ": " + text + "\n");
}

leat::task<> output::show_progress(std::string text)
{
    if (!terminal_)
        co_return;
    progress_shown_ = true;
    co_await write_all(STDERR_FILENO, std::string{erase_line} + text);
}

leat::task<> output::end_progress(std::string text)
{
    co_await flush();
    co_await show_progress(std::move(text));
    if (std::exchange(progress_shown_, false))
        co_await write_all(STDERR_FILENO, "\n");
}

leat::task<> output::erase_progress()
{
    if (std::exchange(progress_shown_, false))
        co_await write_all(STDERR_FILENO, std::string{erase_line});
}

}  // namespace common
