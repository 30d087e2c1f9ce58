#pragma once

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <thread>

namespace leat::detail {

/// The owner of a scope has been destroyed, and so can neither park nor be woken; this is the thread that ends the
/// runtime. Returns when `live()`, the number of children that have moved elsewhere and have not ended, is zero.
template <class Live>
void wait_for_absent_children(Live live) noexcept
{
    constexpr std::chrono::seconds between_reports{5};
    auto next_report = std::chrono::steady_clock::now() + between_reports;
    while (const std::size_t absent = live()) {
        std::this_thread::sleep_for(std::chrono::microseconds{50});
        if (std::chrono::steady_clock::now() >= next_report) {
            next_report += between_reports;
            std::fprintf(stderr,
                         "leat: the end of a runtime waits for %zu task(s) of a group that have moved to "
                         "another executor\n",
                         absent);
        }
    }
}

}  // namespace leat::detail
