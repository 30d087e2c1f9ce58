// Fan out with a semaphore: everyone starts, few work at a time
//
// The problem: eight letters are to be printed, and there are two printers. Everybody may already be writing.
//
//     8 writers, all at once ──▶ 2 permits ──▶ printer
//                                          └─▶ printer
//
// The permit goes back by itself, whatever happens to its holder. Waiters are served in the order in which they came.
//
// Run it with   ./dev run patterns_fan_out_semaphore
// It prints
//
//     0.1 s  letters 1 and 2 are printed
//     ...
//     0.4 s  letters 7 and 8 are printed
//     never more than 2 at a time

#include <leat/leat.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>

namespace {

using namespace std::chrono_literals;

leat::task<> office()
{
    const auto begin = leat::clock::now();
    leat::semaphore printers{2};
    std::mutex counts;  // held for an addition
    int printing = 0, most = 0, printed = 0;
    const auto add = [&](int change) {
        const std::lock_guard hold{counts};
        most = std::max(most, printing += change);
        return change < 0 ? ++printed : 0;
    };
    co_await leat::with_group([&](leat::task_group& writers) -> leat::task<> {
        for (int letter = 1; letter <= 8; ++letter)
            co_await writers.spawn([&]() -> leat::task<> {
                const leat::semaphore_permit permit = co_await printers.acquire();
                add(+1);
                co_await leat::sleep_for(100ms);
                if (const int done = add(-1); done != 0 && done % 2 == 0)
                    std::printf("%.1f s  letters %d and %d are printed\n",
                                std::chrono::duration<double>(leat::clock::now() - begin).count(), done - 1,
                                done);
            });
    });
    std::printf("never more than %d at a time\n", most);
}

}  // namespace

int main()
{
    leat::run(office());
}
