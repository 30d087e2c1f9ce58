#include <leat/leat.hpp>

#include "support/counted.hpp"
#include "support/in_child.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::task;
using test::counted;

namespace {

/// Sets LEAT_WORKERS for as long as it lives.
class workers_in_environment {
public:
    explicit workers_in_environment(const char* value)
    {
        if (const char* const was = std::getenv("LEAT_WORKERS")) {
            had_ = true;
            before_ = was;
        }
        if (value != nullptr)
            ::setenv("LEAT_WORKERS", value, 1);
        else
            ::unsetenv("LEAT_WORKERS");
    }
    ~workers_in_environment()
    {
        if (had_)
            ::setenv("LEAT_WORKERS", before_.c_str(), 1);
        else
            ::unsetenv("LEAT_WORKERS");
    }

private:
    bool had_ = false;
    std::string before_;
};

/// Waits without hearing of cancellation.
task<> deaf_wait(leat::receiver<int> from)
{
    const counted local;
    static_cast<void>(co_await leat::with_context(leat::background(), from.recv()));
}

task<> sleep_long()
{
    const counted local;
    co_await leat::sleep_for(1h);
}

task<> deep_wait(int depth, leat::receiver<int> from)
{
    const counted local;
    if (depth == 0)
        static_cast<void>(co_await leat::with_context(leat::background(), from.recv()));
    else
        co_await deep_wait(depth - 1, from);
}

/// Counts those that outlive it although they use it.
struct parent_local {
    explicit parent_local(std::atomic<int>& n) noexcept : users{n}
    {
    }
    ~parent_local()
    {
        orphans += users;
    }
    std::atomic<int>& users;
    static inline std::atomic<int> orphans{0};
};
struct use {
    explicit use(parent_local& of) noexcept : of_{of}
    {
        ++of_.users;
    }
    ~use()
    {
        --of_.users;
    }
    parent_local& of_;
};

leat::runtime_options quick_end(std::ptrdiff_t workers, std::string* report = nullptr)
{
    leat::runtime_options options;
    options.workers = workers;
    options.grace = 5ms;
    options.on_stuck = [report](const std::string& text) {
        if (report != nullptr)
            *report += text;
    };
    return options;
}

}  // namespace

TEST_CASE("runtime: as many workers as the options say, or LEAT_WORKERS, or as there is to be had")
{
    {
        const workers_in_environment five{"5"};
        CHECK(leat::runtime{}.metrics().workers == 5);
        CHECK(leat::runtime{{.workers = 2}}.metrics().workers == 2);
    }
    const workers_in_environment none{nullptr};
    const std::size_t usual = leat::runtime{}.metrics().workers;
    CHECK(usual >= 1);
    CHECK(usual <= std::max(1U, std::thread::hardware_concurrency()));
    const workers_in_environment empty{""};
    CHECK(leat::runtime{}.metrics().workers == usual);
}

TEST_CASE("runtime: LEAT_WORKERS that is no number of workers is refused, naming it")
{
    for (const char* bad : {"0", "-1", "two", "3x", " 3", "1.5", "99999999999999999999999", "4097"}) {
        CAPTURE(bad);
        const workers_in_environment set{bad};
        std::string words;
        try {
            leat::runtime pool;
        } catch (const leat::usage_error& error) {
            words = error.what();
        }
        CHECK(words.find("LEAT_WORKERS") != std::string::npos);
        CHECK(words.find(bad) != std::string::npos);
    }
}

TEST_CASE("runtime: options that make no sense are refused")
{
    CHECK_THROWS_AS(leat::runtime({.workers = -1}), leat::usage_error);
    CHECK_THROWS_AS(leat::runtime({.workers = 5000}), leat::usage_error);
    CHECK_THROWS_AS(leat::runtime({.workers = 1, .grace = -1ns}), leat::usage_error);
    CHECK_THROWS_AS(leat::runtime({.workers = 1, .blocking_threads = 0}), leat::usage_error);
    CHECK_THROWS_AS(leat::runtime({.workers = 1, .long_turn = -1ns}), leat::usage_error);
}

TEST_CASE("runtime: run gives the result of its task or throws what it throws")
{
    CHECK(leat::run([]() -> task<int> { co_return 7; }()) == 7);
    CHECK(leat::run([]() -> task<int> { co_return 8; }) == 8);
    CHECK(leat::run([] { return 9; }) == 9);
    leat::run([]() -> task<> { co_return; });
    CHECK(*leat::run([]() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); }) == 3);
    CHECK_THROWS_WITH_AS(leat::run([]() -> task<> {
                             throw std::runtime_error{"out of run"};
                             co_return;
                         }),
                         "out of run", std::runtime_error);
}

TEST_CASE("runtime: block_on in a task is refused with what to do instead")
{
    leat::runtime pool{{.workers = 2}};
    leat::runtime other{{.workers = 1}};
    pool.block_on([&]() -> task<> {
        for (leat::runtime* each : {&pool, &other}) {
            std::string words;
            const test::no_more_than_before lives;
            try {
                auto never = [token = counted{}]() -> task<> { co_return; };
                each->block_on(std::move(never));
            } catch (const leat::usage_error& error) {
                words = error.what();
            }
            CHECK(words.find("co_await") != std::string::npos);
            CHECK(lives.excess() == 0);
        }
        co_return;
    });
}

TEST_CASE("runtime: run within a task is refused")
{
    leat::run([]() -> task<> {
        CHECK_THROWS_AS(leat::run([]() -> task<> { co_return; }), leat::usage_error);
        co_return;
    });
}

TEST_CASE("runtime: several at once, each with its own tasks")
{
    leat::runtime one{{.workers = 2}};
    leat::runtime two{{.workers = 2}};
    leat::channel<int> there;
    leat::channel<int> back;
    auto echo = two.spawn([&]() -> task<> {
        for (;;) {
            auto got = co_await there.recv();
            if (!got)
                break;
            CHECK((leat::this_task::executor() == two.get_executor()));
            co_await back.send(*got + 1);
        }
    });
    const long sum = one.block_on([&]() -> task<long> {
        long total = 0;
        for (int i = 0; i < 1000; ++i) {
            co_await there.send(i);
            auto got = co_await back.recv();
            CHECK((leat::this_task::executor() == one.get_executor()));
            total += *got;
        }
        there.close();
        co_return total;
    });
    CHECK(sum == 1000L * 1001 / 2);
    two.block_on([&]() -> task<> { co_await echo; });
}

TEST_CASE("runtime: threads that are none of its own spawn, all at once")
{
    leat::runtime pool{{.workers = 2}};
    std::atomic<std::size_t> ran{0};
    const std::size_t each = test::scaled(20'000);
    {
        std::vector<std::thread> threads;
        for (int t = 0; t < 4; ++t)
            threads.emplace_back([&] {
                for (std::size_t i = 0; i < each; ++i)
                    pool.spawn([&]() -> task<> {
                            co_await leat::this_task::yield();
                            ++ran;
                        })
                        .detach();
                pool.block_on([&]() -> task<> { co_await leat::this_task::yield(); });
            });
        for (std::thread& t : threads)
            t.join();
    }
    while (pool.metrics().live_tasks != 0)
        std::this_thread::yield();
    CHECK(ran == 4 * each);
    CHECK(pool.metrics().spawned == 4 * each + 4);
}

TEST_CASE("runtime: metrics count what was done")
{
    leat::runtime pool{{.workers = 2}};
    pool.block_on([]() -> task<> {
        for (int i = 0; i < 10; ++i)
            co_await leat::spawn([]() -> task<> { co_await leat::this_task::yield(); });
    });
    auto sleeping = pool.spawn(sleep_long());
    while (pool.metrics().armed_timers != 1)
        std::this_thread::yield();
    const leat::runtime_metrics m = pool.metrics();
    CHECK(m.workers == 2);
    CHECK(m.spawned == 12);
    CHECK(m.live_tasks == 1);
    CHECK(m.turns >= 22);
    CHECK(m.queued == 0);
    CHECK(m.blocking_threads == 0);
    CHECK(m.blocking_queued == 0);
}

TEST_CASE("runtime: the end of run cancels what the task has left behind")
{
    const test::no_more_than_before lives;
    std::atomic<int> told{0};
    leat::run([&]() -> task<> {
        leat::channel<void> started;
        for (int i = 0; i < 10; ++i)
            leat::spawn([&told, started]() -> task<> {
                co_await started.send();
                leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
                told += slept.error() == leat::errc::cancelled;
            }).detach();
        for (int i = 0; i < 10; ++i)
            static_cast<void>(co_await started.recv());
    });
    CHECK(told == 10);
    CHECK(lives.excess() == 0);
}

TEST_CASE("runtime: the end waits through the grace for tasks that clean up")
{
    std::atomic<bool> cleaned{false};
    bool stuck = false;
    {
        leat::runtime pool{{.workers = 2, .on_stuck = [&](const std::string&) { stuck = true; }}};
        auto body = [&]() -> task<> {
            leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
            CHECK(slept.error() == leat::errc::cancelled);
            co_await leat::with_context(leat::background(), leat::sleep_for(20ms));
            cleaned = true;
        };
        pool.spawn(body).detach();
        pool.block_on([]() -> task<> { co_await leat::this_task::yield(); });
    }
    CHECK(cleaned);
    CHECK(!stuck);
}

TEST_CASE("runtime: stuck tasks are reported by name and await chain, and destroyed")
{
    const test::no_more_than_before lives;
    leat::channel<int> never;
    std::string report;
    {
        leat::runtime pool{quick_end(2, &report)};
        pool.spawn(deaf_wait(never), {.name = "the deaf one"}).detach();
        auto outer = [&]() -> task<> {
            const counted local;
            co_await deaf_wait(never);
        };
        pool.spawn(outer, {.name = "the deeper one"}).detach();
        while (pool.metrics().turns < 2)
            std::this_thread::yield();
    }
    CHECK(lives.excess() == 0);
    CHECK(report.find("2 task(s)") != std::string::npos);
    CHECK(report.find("\"the deaf one\"") != std::string::npos);
    CHECK(report.find("\"the deeper one\"") != std::string::npos);
#if LEAT_REGISTRY
    CHECK(report.find("deaf_wait") != std::string::npos);
    CHECK(report.find("runtime_test.cpp") != std::string::npos);
    CHECK(report.find("waits for: receive") != std::string::npos);
#endif
    // Nothing of theirs is left in the channel.
    CHECK(!never.try_send(1).has_value());
}

TEST_CASE("runtime: tasks that are stuck in a turn or in a blocking call are reported, too")
{
    std::atomic<int> at_work{0};
    std::atomic<bool> over{false};
    std::string report;
    auto options = quick_end(2);
    options.on_stuck = [&](const std::string& text) {
        report = text;
        over = true;
    };
    {
        leat::runtime pool{options};
        auto spin = [&]() -> task<> {
            ++at_work;
            while (!over) {}
            co_return;
        };
        pool.spawn(spin, {.name = "the spinner"}).detach();
        auto call = [&]() -> task<> {
            co_await leat::blocking([&] {
                ++at_work;
                while (!over)
                    std::this_thread::yield();
            });
        };
        pool.spawn(call, {.name = "the caller"}).detach();
        while (at_work < 2)
            std::this_thread::yield();
    }
    CHECK(report.find("2 task(s)") != std::string::npos);
    CHECK(report.find("\"the spinner\" is running\n") != std::string::npos);
#if LEAT_REGISTRY
    CHECK(report.find("\"the caller\" waits for: blocking call\n") != std::string::npos);
#else
    CHECK(report.find("\"the caller\" is parked\n") != std::string::npos);
#endif
}

TEST_CASE("runtime: a turn that goes on for too long is reported once, by name and spawn place")
{
    std::atomic<int> reports{0};
    std::string text;
    leat::runtime_options options;
    options.workers = 2;
    options.long_turn = 5ms;
    options.on_long_turn = [&](const std::string& report) {
        // On a busy machine any turn may be a long one.
        if (report.find("\"the hog\"") == std::string::npos)
            return;
        text = report;
        ++reports;
    };
    leat::runtime pool{options};
    auto hog = [&]() -> task<> {
        const auto deadline = std::chrono::steady_clock::now() + 20s;
        while (reports == 0 && std::chrono::steady_clock::now() < deadline) {}
        const auto again = std::chrono::steady_clock::now() + 30ms;
        while (std::chrono::steady_clock::now() < again) {}
        co_return;
    };
    pool.block_on([&]() -> task<> { co_await leat::spawn(hog, {.name = "the hog"}); });
    CHECK(reports == 1);
    CHECK(text.find("\"the hog\" has been running for ") != std::string::npos);
#if LEAT_REGISTRY && defined(__cpp_lib_source_location)
    CHECK(text.find("runtime_test.cpp:") != std::string::npos);
#endif
}

TEST_CASE("runtime: the handle of a task that was destroyed gives errc::abandoned")
{
    leat::channel<int> never;
    leat::join_handle<> handle;
    {
        leat::runtime pool{quick_end(1)};
        handle = pool.spawn(deaf_wait(never));
        while (pool.metrics().turns < 1)
            std::this_thread::yield();
    }
    CHECK(handle.done());
    leat::sim::world world;
    world.run([&]() -> task<> {
        auto got = co_await leat::as_result(handle.join());
        CHECK(got.error() == leat::errc::abandoned);
    });
}

TEST_CASE("runtime: a stuck chain of a hundred thousand frames is destroyed leaf first, without recursion")
{
    const test::no_more_than_before lives;
    const int depth = static_cast<int>(test::scaled(100'000));
    leat::channel<int> never;
    {
        leat::runtime pool{quick_end(1)};
        pool.spawn(deep_wait(depth, never)).detach();
        while (lives.excess() != depth + 1)
            std::this_thread::yield();
    }
    CHECK(lives.excess() == 0);
}

TEST_CASE("runtime: stuck children are destroyed before the parents whose locals they use")
{
    struct tree {
        static task<> grow(int depth, leat::receiver<int> never)
        {
            std::atomic<int> users{0};
            parent_local mine{users};
            co_await leat::with_group([&](leat::task_group& group) -> task<> {
                for (int i = 0; i < 3; ++i)
                    co_await group.spawn([&]() -> task<> {
                        const use using_it{mine};
                        if (depth > 0)
                            co_await grow(depth - 1, never);
                        else
                            co_await deaf_wait(never);
                    });
                // From a thread that is no worker, too: its ids must not make it look older than its parent.
                co_await leat::blocking([&] {
                    group.try_spawn([&]() -> task<> {
                        const use using_it{mine};
                        co_await deaf_wait(never);
                    });
                });
            });
        }
    };
    const test::no_more_than_before lives;
    leat::channel<int> never;
    for (const int workers : {1, 4}) {
        leat::runtime pool{quick_end(workers)};
        pool.spawn(tree::grow(3, never)).detach();
        while (lives.excess() != 27 * 3 + 40)
            std::this_thread::yield();
    }
    CHECK(lives.excess() == 0);
    CHECK(parent_local::orphans == 0);
}

TEST_CASE("runtime: parents outlive children that a blocking call, or another thread, holds at the end")
{
    const test::no_more_than_before lives;
    const std::size_t rounds = test::scaled(200);
    for (std::size_t round = 0; round < rounds; ++round) {
        leat::channel<int> never;
        std::atomic<int> waiting{0};
        std::atomic<int> calling{0};
        std::atomic<bool> stuck{false};
        std::thread closer;
        {
            leat::runtime_options options = quick_end(2);
            options.grace = 0ms;
            options.on_stuck = [&](const std::string&) { stuck = true; };
            leat::runtime pool{options};
            auto parent = [&]() -> task<> {
                std::atomic<int> users{0};
                parent_local mine{users};
                co_await leat::with_group([&](leat::task_group& group) -> task<> {
                    for (int i = 0; i < 20; ++i)
                        co_await group.spawn([&]() -> task<> {
                            const use using_it{mine};
                            ++waiting;
                            co_await deaf_wait(never);
                            co_await deaf_wait(never);
                            for (;;)
                                co_await leat::with_context(leat::background(), leat::sleep_for(1h));
                        });
                    co_await group.spawn([&]() -> task<> {
                        const use using_it{mine};
                        auto calls = [&]() -> task<> {
                            for (;;)
                                co_await leat::blocking([&] { ++calling; });
                        };
                        co_await leat::with_context(leat::background(), calls());
                    });
                });
            };
            pool.spawn(parent).detach();
            while (waiting < 20 || calling == 0)
                std::this_thread::yield();
            closer = std::thread{[&, round] {
                while (!stuck) {}
                const auto until =
                    std::chrono::steady_clock::now() + std::chrono::nanoseconds{round * 997 % 40'000};
                while (std::chrono::steady_clock::now() < until) {}
                never.close();
            }};
            pool.stop();
        }
        closer.join();
    }
    CHECK(lives.excess() == 0);
    CHECK(parent_local::orphans == 0);
}

TEST_CASE("runtime: tasks that have not begun when it ends are destroyed, or end")
{
    const test::no_more_than_before lives;
    {
        leat::runtime pool{quick_end(1)};
        for (int i = 0; i < 1000; ++i)
            pool.spawn(sleep_long()).detach();
    }
    CHECK(lives.excess() == 0);
}

TEST_CASE("runtime: stop from outside ends everything, and may be repeated")
{
    const test::no_more_than_before lives;
    leat::runtime pool{{.workers = 2}};
    auto handle = pool.spawn(sleep_long());
    pool.stop();
    CHECK(handle.done());
    CHECK(pool.metrics().live_tasks == 0);
    CHECK(pool.context().cancelled());
    pool.stop();
    CHECK(lives.excess() == 0);
}

TEST_CASE("runtime: of several threads that stop it, none returns before it has stopped")
{
    leat::channel<void> go;
    std::atomic<bool> cancelled{false};
    leat::runtime pool{{.workers = 2, .grace = 60s}};
    pool.spawn([&]() -> task<> {
            static_cast<void>(co_await leat::as_result(leat::sleep_for(1h)));
            cancelled = true;
            static_cast<void>(co_await leat::with_context(leat::background(), go.recv()));
        })
        .detach();
    while (pool.metrics().armed_timers == 0)
        std::this_thread::yield();
    std::vector<std::size_t> left(3, 1);
    std::vector<std::thread> stoppers;
    for (std::size_t& mine : left)
        stoppers.emplace_back([&] {
            pool.stop();
            mine = pool.metrics().live_tasks;
        });
    while (!cancelled)
        std::this_thread::yield();
    go.close();
    for (std::thread& each : stoppers)
        each.join();
    CHECK(left == std::vector<std::size_t>{0, 0, 0});
}

TEST_CASE("runtime: stop in a task cancels, and the task goes on to its end")
{
    leat::runtime pool{{.workers = 2}};
    const int got = pool.block_on([&]() -> task<int> {
        pool.stop();
        leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
        CHECK(slept.error() == leat::errc::cancelled);
        co_return 4;
    });
    CHECK(got == 4);
}

TEST_CASE("runtime: stop in a blocking call cancels, and the call goes on to its end")
{
    leat::runtime pool{{.workers = 2}};
    const int got = pool.block_on([&]() -> task<int> {
        co_return co_await leat::blocking([&] {
            pool.stop();
            return 4;
        });
    });
    CHECK(got == 4);
}

TEST_CASE("runtime: what is spawned after the end is destroyed, and whoever waits for it hears so")
{
    const test::no_more_than_before lives;
    leat::runtime pool{{.workers = 2}};
    pool.stop();
    auto body = [token = counted{}]() -> task<> { co_return; };
    auto handle = pool.spawn(body);
    CHECK(handle.done());
    std::error_code why;
    try {
        pool.block_on(body);
    } catch (const std::system_error& error) {
        why = error.code();
    }
    CHECK(why == leat::errc::abandoned);
    CHECK(lives.excess() == 1);
}

TEST_CASE("runtime: threads that spawn while it ends leave nothing behind")
{
    const test::no_more_than_before lives;
    for (std::size_t round = 0; round < test::scaled(10); ++round) {
        leat::runtime pool{quick_end(2)};
        std::atomic<bool> over{false};
        std::vector<std::thread> threads;
        for (int t = 0; t < 2; ++t)
            threads.emplace_back([&] {
                while (!over)
                    pool.spawn(sleep_long()).detach();
            });
        std::this_thread::yield();
        pool.stop();
        over = true;
        for (std::thread& each : threads)
            each.join();
    }
    CHECK(lives.excess() == 0);
}

TEST_CASE("runtime: a detached failure that nobody handles prints its report and terminates")
{
    const auto end = test::in_child([] {
        leat::run([]() -> task<> {
            leat::spawn([]() -> task<> {
                throw std::runtime_error{"nobody looks"};
                co_return;
            }).detach();
            co_await leat::sleep_for(10s);
        });
        return 0;
    });
    CHECK(end.signal == SIGABRT);
}

TEST_CASE("runtime: a report handler that throws terminates instead of losing the failure")
{
    const auto end = test::in_child([] {
        leat::runtime pool{{.workers = 1, .on_unhandled = [](const leat::unhandled_failure&) { throw 1; }}};
        pool.spawn([]() -> task<> {
                throw std::runtime_error{"nobody looks"};
                co_return;
            })
            .detach();
        pool.block_on([]() -> task<> { co_await leat::sleep_for(10s); });
        return 0;
    });
    CHECK(end.signal == SIGABRT);
}

// ---- Deadlock ----------------------------------------------------------------------------------
// In a child: a deadlock can only be proved while the process has no other threads.

namespace {

/// 0 if `body` ends with a deadlock_error whose report has all of `words`; 1 if words are missing; 2 if it ends
/// in another way.
template <class F>
int deadlocks(F body, std::vector<std::string> words)
{
    try {
        leat::run(body, {.workers = 2});
    } catch (const leat::deadlock_error& error) {
        for (const std::string& each : words)
            if (std::string{error.what()}.find(each) == std::string::npos)
                return 1;
        return 0;
    } catch (...) {
    }
    return 2;
}

}  // namespace

TEST_CASE("runtime: run ends with deadlock_error when its task waits for ever")
{
    const auto end = test::in_child([] {
        return deadlocks(
            []() -> task<> {
                leat::channel<int> never;
                static_cast<void>(co_await never.recv());
            },
            {"\"main\"", "receive"});
    });
    CHECK(end.words() == "ends with status 0");
}

TEST_CASE("runtime: two tasks that wait for each other are a deadlock, and both are named")
{
    const auto end = test::in_child([] {
        return deadlocks(
            []() -> task<> {
                leat::channel<int> a;
                leat::channel<int> b;
                co_await leat::with_group([&](leat::task_group& group) -> task<> {
                    co_await group.spawn(
                        [&]() -> task<> {
                            static_cast<void>(co_await a.recv());
                            co_await b.send(1);
                        },
                        {.name = "left"});
                    co_await group.spawn(
                        [&]() -> task<> {
                            static_cast<void>(co_await b.recv());
                            co_await a.send(1);
                        },
                        {.name = "right"});
                });
            },
            {"\"left\"", "\"right\"", "\"main\"", "group's end"});
    });
    CHECK(end.words() == "ends with status 0");
}

TEST_CASE("runtime: a deadlock below a shield that no cancellation reaches is ended, too")
{
    const auto end = test::in_child([] {
        const test::no_more_than_before lives;
        const int status = deadlocks(
            []() -> task<> {
                leat::channel<int> never;
                co_await leat::with_group([&](leat::task_group& group) -> task<> {
                    co_await group.spawn(deaf_wait(never), {.name = "shielded"});
                });
            },
            {"\"shielded\""});
        return status + (lives.excess() == 0 ? 0 : 10);
    });
    CHECK(end.words() == "ends with status 0");
}

TEST_CASE("runtime: a task that catches the cancellation of a deadlock may clean up and end")
{
    const auto end = test::in_child([] {
        return deadlocks(
            []() -> task<> {
                leat::channel<int> never;
                auto got = co_await leat::as_result(never.recv());
                if (got.error() == leat::errc::cancelled)
                    co_await leat::with_context(leat::background(), leat::sleep_for(1ms));
            },
            {"\"main\""});
    });
    CHECK(end.words() == "ends with status 0");
}

TEST_CASE("runtime: a deadlock that comes late, after much work and many sleeps, is found")
{
    const auto end = test::in_child([] {
        return deadlocks(
            []() -> task<> {
                for (int i = 0; i < 20; ++i) {
                    co_await leat::sleep_for(100us);
                    co_await leat::with_group([&](leat::task_group& group) -> task<> {
                        for (int k = 0; k < 10; ++k)
                            co_await group.spawn([]() -> task<> { co_await leat::this_task::yield(); });
                    });
                }
                leat::channel<void> never;
                static_cast<void>(co_await never.recv());
            },
            {"\"main\""});
    });
    CHECK(end.words() == "ends with status 0");
}

TEST_CASE("runtime: no deadlock while a timer, a blocking call or a thread could still wake somebody")
{
    const auto end = test::in_child([] {
        // Each waits longer than the pool rests before it looks.
        const int timer = leat::run(
            []() -> task<int> {
                leat::channel<int> from;
                leat::spawn([from]() -> task<> {
                    co_await leat::sleep_for(60ms);
                    co_await from.send(1);
                }).detach();
                auto got = co_await from.recv();
                co_return *got;
            },
            {.workers = 2});
        const int call = leat::run(
            []() -> task<int> {
                leat::channel<int> from;
                leat::spawn([from]() -> task<> {
                    co_await leat::blocking([] { std::this_thread::sleep_for(60ms); });
                    co_await from.send(1);
                }).detach();
                auto got = co_await from.recv();
                co_return *got;
            },
            {.workers = 2});
        leat::channel<int> from;
        std::thread sender{[&] {
            std::this_thread::sleep_for(60ms);
            from.blocking_send(1);
        }};
        const int thread = leat::run(
            [&]() -> task<int> {
                auto got = co_await from.recv();
                co_return *got;
            },
            {.workers = 2});
        sender.join();
        return timer + call + thread == 3 ? 0 : 1;
    });
    CHECK(end.words() == "ends with status 0");
}

TEST_CASE("runtime: a deadlock is found, too, after a thread has gone that might have woken somebody")
{
    const auto end = test::in_child([] {
        // Sleeps through the first looks.
        std::thread passing{[] { std::this_thread::sleep_for(150ms); }};
        int found = 1;
        try {
            leat::channel<int> never;
            leat::run([&]() -> task<> { static_cast<void>(co_await never.recv()); }, {.workers = 2});
        } catch (const leat::deadlock_error&) {
            found = 0;
        }
        passing.join();
        return found;
    });
    CHECK(end.words() == "ends with status 0");
}

TEST_CASE("runtime: destroyed in a task or a blocking call of its own it says so and terminates")
{
    const auto in_task = test::in_child([] {
        auto pool = std::make_unique<leat::runtime>(leat::runtime_options{.workers = 1});
        pool->block_on([&]() -> task<> {
            pool.reset();
            co_return;
        });
        return 0;
    });
    CHECK(in_task.signal == SIGABRT);
    const auto in_call = test::in_child([] {
        auto pool = std::make_unique<leat::runtime>(leat::runtime_options{.workers = 1});
        pool->block_on([&]() -> task<> { co_await leat::blocking([&] { pool.reset(); }); });
        return 0;
    });
    CHECK(in_call.signal == SIGABRT);
}

TEST_CASE("runtime: one that nobody needs goes to sleep and stays asleep")
{
    for (const int workers : {1, 4}) {
        leat::runtime pool{{.workers = workers}};
        leat::channel<int> never;
        pool.spawn([&]() -> task<> { static_cast<void>(co_await never.recv()); }).detach();
        // Without a timer, and with one: then no deadlock is to be looked for.
        std::thread waiting{[&] { pool.block_on([]() -> task<> { co_await leat::sleep_for(200ms); }); }};
        const std::clock_t before = std::clock();
        std::this_thread::sleep_for(100ms);
        waiting.join();
        std::this_thread::sleep_for(200ms);
        // Workers that got up every millisecond, or to look for deadlocks, would have come to hundreds.
        CHECK(pool.metrics().sleeps < 60);
        CHECK(std::clock() - before < CLOCKS_PER_SEC / 10);
    }
}

TEST_CASE("runtime: detection can be turned off")
{
    const auto end = test::in_child(
        [] {
            leat::run(
                []() -> task<> {
                    leat::channel<int> never;
                    static_cast<void>(co_await never.recv());
                },
                {.workers = 1, .detect_deadlock = false});
            return 0;
        },
        1);
    CHECK(end.hung);
}

TEST_CASE("runtime: nothing is reported while nobody waits for the runtime")
{
    const auto end = test::in_child([] {
        leat::channel<int> from;
        leat::runtime pool{{.workers = 2}};
        auto waiting = pool.spawn([&]() -> task<int> {
            auto got = co_await from.recv();
            co_return *got;
        });
        std::this_thread::sleep_for(60ms);
        from.blocking_send(3);
        return pool.block_on([&]() -> task<int> { co_return co_await waiting; }) == 3 ? 0 : 1;
    });
    CHECK(end.words() == "ends with status 0");
}
