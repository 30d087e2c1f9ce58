// Wait for result: start work, do something else, collect its one answer
//
// The problem: an answer takes time, and there is something to do until it is needed.
//
//     you ──┬── make coffee ──┬── read the report
//           └── colleague ────┘
//                 writes it
//
// A handle is the wait for a task's result. What the task throws, awaiting the handle throws.
//
// Run it with   ./dev run patterns_wait_for_result
// It prints
//
//     0.2 s  the coffee is ready
//     0.5 s  the report says: all is well

#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <string>

namespace {

using namespace std::chrono_literals;

leat::task<std::string> write_report()
{
    co_await leat::sleep_for(500ms);
    co_return "all is well";
}

leat::task<> morning()
{
    const auto begin = leat::clock::now();
    const auto now = [&] { return std::chrono::duration<double>(leat::clock::now() - begin).count(); };

    leat::join_handle<std::string> report = leat::spawn(write_report());
    co_await leat::sleep_for(200ms);
    std::printf("%.1f s  the coffee is ready\n", now());
    const std::string text = co_await report;
    std::printf("%.1f s  the report says: %s\n", now(), text.c_str());
}

}  // namespace

int main()
{
    leat::run(morning());
}
