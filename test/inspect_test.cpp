#include <leat/inspect.hpp>
#include <leat/leat.hpp>

#include "support/rounds.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::task;
using leat::inspect::task_info;

namespace {

task<> bottom(leat::channel<int> never)
{
    static_cast<void>(co_await never.recv());
}

task<> above(leat::channel<int> never)
{
    [[maybe_unused]] int local = 1;
    co_await bottom(never);
}

task<> top(leat::channel<int> never)
{
    [[maybe_unused]] int local = 2;
    co_await above(never);
}

task<> chain_of(int depth)
{
    if (depth == 0)
        co_await leat::sleep_for(1h);
    else
        co_await chain_of(depth - 1);
}

bool mentions(const std::string& text, const std::string& what)
{
    return text.find(what) != std::string::npos;
}

[[maybe_unused]] const task_info* find(const std::vector<task_info>& all, const std::string& name)
{
    const auto at =
        std::find_if(all.begin(), all.end(), [&](const task_info& each) { return each.name == name; });
    return at != all.end() ? &*at : nullptr;
}

}  // namespace

TEST_CASE("inspect: nothing lives in a new world, and what has ended is gone")
{
    leat::sim::world world;
    CHECK(leat::inspect::tasks(world.get_executor()).empty());
    CHECK(leat::inspect::report(world.get_executor()).empty());
    world.run([]() -> task<> { co_await leat::sleep_for(1ms); });
    CHECK(leat::inspect::tasks(world.get_executor()).empty());
}

TEST_CASE("inspect: a parked task with its name, what it waits for, and its chain, innermost first")
{
    leat::sim::world world;
    leat::channel<int> never;
    auto handle = world.spawn(top(never), {.name = "deep"});
    world.settle();
    const auto all = leat::inspect::tasks(world.get_executor());
    REQUIRE(all.size() == 1);
    const task_info& info = all.front();
    CHECK(info.id == handle.id());
    CHECK(info.name == "deep");
    CHECK(info.parked);
#if LEAT_REGISTRY
    CHECK(info.waits_for == "receive");
    REQUIRE(info.chain.size() == 3);
    CHECK(mentions(info.chain[0].function, "bottom"));
    CHECK(mentions(info.chain[1].function, "above"));
    CHECK(mentions(info.chain[2].function, "top"));
    for (const auto& frame : info.chain)
        CHECK(mentions(frame.file, "inspect_test.cpp"));
    CHECK(info.chain[0].line < info.chain[1].line);
    CHECK(info.chain[1].line < info.chain[2].line);
    CHECK(mentions(info.spawned_at.file, "inspect_test.cpp"));
    CHECK(info.spawned_at.line > info.chain[2].line);
#endif
}

TEST_CASE("inspect: says what each kind of wait is")
{
    leat::channel<int> values;
    leat::sim::world world;
    leat::timer timer{1h};
    const auto add = [&](const char* name, auto body) {
        world.spawn(std::move(body), {.name = name}).detach();
    };
    add("receiver", [&]() -> task<> { static_cast<void>(co_await leat::channel<int>{}.recv()); });
    add("sender", [&]() -> task<> { co_await values.send(1); });
    add("sleeper", []() -> task<> { co_await leat::sleep_for(1h); });
    add("timer", [&]() -> task<> { co_await timer.wait(); });
    add("done", []() -> task<> { co_await leat::background().done(); });
    add("selector", []() -> task<> {
        co_await leat::select(leat::on(leat::after(1h), [] {}), leat::on(leat::background().done(), [] {}));
    });
    add("joiner", []() -> task<> {
        auto other = leat::spawn([]() -> task<> { co_await leat::sleep_for(1h); });
        co_await other;
    });
    add("group", []() -> task<> {
        co_await leat::with_group([](leat::task_group& group) -> task<> {
            co_await group.spawn([]() -> task<> { co_await leat::sleep_for(1h); });
        });
    });
    world.settle();
    const auto all = leat::inspect::tasks(world.get_executor());
    CHECK(all.size() == 10);
    CHECK(std::is_sorted(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.id < b.id; }));
#if LEAT_REGISTRY
    const std::vector<std::pair<const char*, const char*>> expected{
        {"receiver", "receive"}, {"sender", "send"},     {"sleeper", "sleep"}, {"timer", "tick"},
        {"done", "done"},        {"selector", "select"}, {"joiner", "join"},   {"group", "group's end"}};
    for (const auto& [name, kind] : expected) {
        CAPTURE(name);
        const task_info* const info = find(all, name);
        REQUIRE(info != nullptr);
        CHECK(info->parked);
        CHECK(info->waits_for == kind);
    }
#endif
}

TEST_CASE("inspect: a chain through groups, contexts and time limits reads from the wait to the spawn")
{
    leat::sim::world world;
    leat::channel<int> never;
    world
        .spawn(
            [&]() -> task<> {
                auto limited = [&]() -> task<> { co_await leat::timeout(1h, top(never)); };
                co_await leat::with_context(leat::background(), limited());
            },
            {.name = "wrapped"})
        .detach();
    world.settle();
    const auto all = leat::inspect::tasks(world.get_executor());
    REQUIRE(all.size() == 1);
    CHECK(all.front().parked);
#if LEAT_REGISTRY
    const auto& chain = all.front().chain;
    REQUIRE(chain.size() >= 5);
    CHECK(mentions(chain[0].function, "bottom"));
    CHECK(mentions(chain[2].function, "top"));
    CHECK(mentions(chain.back().file, "inspect_test.cpp"));
#endif
}

TEST_CASE("inspect: a chain that is very deep is cut short, from the inside")
{
    leat::sim::world world;
    world.spawn(chain_of(1000)).detach();
    world.settle();
    const auto all = leat::inspect::tasks(world.get_executor());
    REQUIRE(all.size() == 1);
#if LEAT_REGISTRY
    CHECK(all.front().chain.size() >= 16);
    CHECK(all.front().chain.size() < 1000);
    CHECK(all.front().waits_for == "sleep");
#endif
}

TEST_CASE("inspect: a task that runs is listed without a chain, if it has waited before")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        co_await leat::sleep_for(1ms);
        const auto all = leat::inspect::tasks(leat::this_task::executor());
        REQUIRE(all.size() == 1);
        CHECK(all.front().name == "main");
        CHECK(!all.front().parked);
        CHECK(all.front().chain.empty());
        CHECK(mentions(leat::inspect::report(world.get_executor()), "running or ready to run"));
    });
}

TEST_CASE("inspect: each executor has its own tasks")
{
    leat::sim::world a;
    leat::sim::world b;
    a.spawn(chain_of(0), {.name = "in a"}).detach();
    b.spawn(chain_of(0), {.name = "in b"}).detach();
    a.settle();
    b.settle();
    const auto in_a = leat::inspect::tasks(a.get_executor());
    const auto in_b = leat::inspect::tasks(b.get_executor());
    REQUIRE(in_a.size() == 1);
    REQUIRE(in_b.size() == 1);
    CHECK(in_a.front().name == "in a");
    CHECK(in_b.front().name == "in b");
}

TEST_CASE("inspect: the dump is text with every task, its place and its chain")
{
    leat::sim::world world;
    leat::channel<int> never;
    world.spawn(top(never), {.name = "deep \"task\""}).detach();
    world.spawn(chain_of(0)).detach();
    world.settle();
    std::ostringstream text;
    leat::inspect::dump(text, world.get_executor());
    const std::string dumped = text.str();
    CHECK(dumped == leat::inspect::report(world.get_executor()));
    CHECK(dumped == world.report());
    CHECK(mentions(dumped, "deep \"task\""));
    CHECK(std::count(dumped.begin(), dumped.end(), '\n') >= 2);
#if LEAT_REGISTRY
    CHECK(mentions(dumped, "waits for: receive"));
    CHECK(mentions(dumped, "waits for: sleep"));
    CHECK(mentions(dumped, "bottom"));
#endif
}

TEST_CASE("inspect: tasks that can not be cancelled are found too")
{
    leat::sim::world world;
    world
        .spawn(
            []() -> task<> {
                co_await leat::with_context(leat::without_cancel(leat::this_task::context()),
                                            leat::sleep_for(1h));
            },
            {.name = "deaf"})
        .detach();
    world.settle();
    const auto all = leat::inspect::tasks(world.get_executor());
    REQUIRE(all.size() == 1);
    CHECK(all.front().name == "deaf");
    CHECK(all.front().parked);
}

TEST_CASE("inspect: a waiting pool shows every task with its whole chain")
{
    leat::runtime pool{{.workers = 2}};
    leat::channel<int> never;
    std::vector<leat::join_handle<>> all;
    for (int i = 0; i < 50; ++i)
        all.push_back(pool.spawn(top(never), {.name = "waiter " + std::to_string(i)}));
    std::vector<task_info> seen;
    std::size_t parked = 0;
    while (parked != 50) {
        std::this_thread::yield();
        seen = leat::inspect::tasks(pool.get_executor());
        parked = static_cast<std::size_t>(
            std::count_if(seen.begin(), seen.end(), [](const task_info& each) { return each.parked; }));
    }
    for (const task_info& each : seen) {
        CHECK(each.name.starts_with("waiter "));
#if LEAT_REGISTRY
        CHECK(each.chain.size() == 3);
        CHECK(each.waits_for == "receive");
#endif
    }
    never.close();
    pool.block_on([&]() -> task<> {
        for (auto& each : all)
            co_await each;
    });
}

TEST_CASE("inspect: looking while the pool works, wakes, cancels and ends tasks disturbs nobody")
{
    leat::runtime pool{{.workers = 3}};
    const int rounds = test::rounds(30'000);
    std::atomic<bool> stop{false};
    std::size_t looks = 0;
    std::size_t tasks_seen = 0;
    std::size_t deepest = 0;
    std::thread looker{[&] {
        while (!stop) {
            for (const task_info& each : leat::inspect::tasks(pool.get_executor())) {
                ++tasks_seen;
                deepest = std::max(deepest, each.chain.size());
                if (!each.parked && !each.chain.empty())
                    std::terminate();
            }
            static_cast<void>(leat::inspect::report(pool.get_executor()));
            ++looks;
            std::this_thread::yield();
        }
    }};
    long sum = 0;
    pool.block_on([&]() -> task<> {
        leat::channel<int> there;
        leat::channel<int> back{4};
        auto echo = leat::spawn(
            [&]() -> task<> {
                auto forward = [&](int value) -> task<> { co_await back.send(value); };
                while (auto got = co_await there.recv())
                    co_await forward(*got);
                back.close();
            },
            {.name = "echo"});
        auto reader = leat::spawn(
            [&]() -> task<long> {
                long total = 0;
                while (auto got = co_await back.recv())
                    total += *got;
                co_return total;
            },
            {.name = "reader"});
        for (int i = 0; i < rounds; ++i) {
            co_await there.send(i);
            if (i % 64 == 0) {
                auto brief = leat::spawn([]() -> task<> { co_await chain_of(3); }, {.name = "brief"});
                co_await leat::this_task::yield();
                brief.cancel();
                static_cast<void>(co_await leat::as_result(std::move(brief)));
                static_cast<void>(co_await leat::as_result(leat::timeout(10us, chain_of(2))));
            }
        }
        there.close();
        co_await echo;
        sum = co_await reader;
    });
    stop = true;
    looker.join();
    CHECK(sum == static_cast<long>(rounds) * (rounds - 1) / 2);
    MESSAGE(looks, " looks saw ", tasks_seen, " tasks, the deepest chain ", deepest);
}

TEST_CASE("inspect: looking while a runtime ends")
{
    for (std::size_t round = 0; round < test::scaled(100); ++round) {
        leat::runtime pool{{.workers = 2}};
        leat::channel<int> never;
        for (int i = 0; i < 20; ++i)
            pool.spawn(top(never)).detach();
        std::atomic<bool> stopped{false};
        std::thread looker{[&] {
            while (!stopped)
                static_cast<void>(leat::inspect::tasks(pool.get_executor()));
        }};
        pool.stop();
        stopped = true;
        looker.join();
        CHECK(leat::inspect::tasks(pool.get_executor()).empty());
    }
}

#if LEAT_REGISTRY
TEST_CASE("inspect: no task is without a place: children of when_all, spawn with arguments, after_func")
{
    leat::sim::world world;
    auto wait = [](int) -> task<> { co_await leat::sleep_for(1h); };
    auto [ctx, cancel] = leat::with_cancel(leat::background());
    static_cast<void>(leat::after_func(ctx, [&]() -> task<> { co_await wait(0); }));
    cancel();
    world
        .spawn([&]() -> task<> {
            leat::spawn(wait, 1).detach();
            co_await leat::when_all(wait(2), wait(3));
        })
        .detach();
    world.settle();
    const auto all = leat::inspect::tasks(world.get_executor());
    CHECK(all.size() >= 4);
    for (const task_info& each : all) {
        CAPTURE(each.id);
        CHECK(each.spawned_at.line != 0);
        CHECK(mentions(each.spawned_at.file, "inspect_test.cpp"));
    }
}
#endif
