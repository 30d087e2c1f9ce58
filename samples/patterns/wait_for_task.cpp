// Wait for task: somebody is there before there is anything to do, and is told what later
//
// The problem: what to do is not known yet when the worker starts.
//
//     you ── think ── assignment ──▶ worker ── result ──▶ you
//
// An unbuffered channel is a rendezvous: when the send has returned, the worker has the assignment in hand.
//
// Run it with   ./dev run patterns_wait_for_task
// It prints
//
//     0.3 s  the worker has got: count the chairs
//     0.4 s  done: 12 chairs

#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

namespace {

using namespace std::chrono_literals;

leat::task<> worker(leat::receiver<std::string> assignments, leat::sender<std::string> results)
{
    while (auto assignment = co_await assignments.recv()) {
        co_await leat::sleep_for(100ms);
        std::string result = "12 " + assignment->substr(assignment->rfind(' ') + 1);
        co_await results.send(std::move(result));
    }
}

leat::task<> office()
{
    const auto begin = leat::clock::now();
    const auto now = [&] { return std::chrono::duration<double>(leat::clock::now() - begin).count(); };
    leat::channel<std::string> assignments, results;
    co_await leat::with_group([&](leat::task_group& staff) -> leat::task<> {
        co_await staff.spawn(worker(assignments, results));
        co_await leat::sleep_for(300ms);
        const std::string what = "count the chairs";
        co_await assignments.send(what);
        std::printf("%.1f s  the worker has got: %s\n", now(), what.c_str());
        const auto result = co_await results.recv();
        std::printf("%.1f s  done: %s\n", now(), result->c_str());
        assignments.close();  // the worker goes home
    });
}

}  // namespace

int main()
{
    leat::run(office());
}
