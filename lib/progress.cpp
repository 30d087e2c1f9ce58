#include <leat/error.hpp>
#include <leat/flow/progress.hpp>

#include <algorithm>

#include <unistd.h>

namespace leat::detail {

namespace {

constexpr std::size_t bar_width = 24;

/// With one digit after the point.
std::string tenths(double number)
{
    char text[32];
    std::snprintf(text, sizeof text, "%.1f", number);
    return text;
}

}  // namespace

progress_line::progress_line(std::string label, std::uint64_t total, std::FILE* to)
    : label_{std::move(label)}, total_{total}, to_{to}, began_{clock::now()}
{
}

bool progress_line::can_show_on(std::FILE* to) noexcept
{
    const int descriptor = fileno(to);
    return descriptor >= 0 && isatty(descriptor) == 1;
}

std::string progress_line::text() const
{
    const std::uint64_t items = items_.load(std::memory_order_relaxed);
    const double seconds = static_cast<double>((clock::now() - began_).count()) / 1e9;
    std::string line = label_.empty() ? "" : label_ + " ";
    if (total_ != 0) {
        const auto part_of = [&](double whole) {
            return static_cast<std::size_t>(
                std::min(whole, whole * static_cast<double>(items) / static_cast<double>(total_)));
        };
        const std::size_t filled = part_of(bar_width);
        line += std::to_string(part_of(100)) + " % [" + std::string(filled, '#') +
                std::string(bar_width - filled, ' ') + "] " + std::to_string(items) + "/" +
                std::to_string(total_);
    } else {
        line += std::to_string(items) + " items";
    }
    if (seconds > 0) {
        const double rate = static_cast<double>(items) / seconds;
        line += "  " + (rate < 10 ? tenths(rate) : std::to_string(static_cast<std::uint64_t>(rate))) + "/s";
    }
    return line + "  " + tenths(seconds) + " s";
}

void progress_line::draw(bool last) noexcept
{
    try {
        // Back to the beginning; what is left of a longer line is erased.
        const std::string line = "\r" + text() + "\033[K" + (last ? "\n" : "");
        std::fwrite(line.data(), 1, line.size(), to_);
        std::fflush(to_);
    } catch (const std::bad_alloc&) {
        return;  // the next one may succeed
    }
}

progress_stage::progress_stage(const progress_options& options)
    : label_{options.label != nullptr ? options.label : ""}, total_{options.total.get()},
      every_{options.every}, to_{options.to != nullptr ? options.to : stderr}
{
    if (every_ <= clock::duration::zero())
        throw usage_error{"leat: progress is shown at a positive pace"};
}

std::string progress_stage::describe() const
{
    return "progress";
}

}  // namespace leat::detail
