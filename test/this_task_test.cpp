#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <ostream>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::task;

TEST_CASE("this_task: everything is refused outside of every task")
{
    CHECK(!leat::this_task::running());
    CHECK_THROWS_AS(static_cast<void>(leat::this_task::id()), leat::usage_error);
    CHECK_THROWS_AS(static_cast<void>(leat::this_task::name()), leat::usage_error);
    CHECK_THROWS_AS(static_cast<void>(leat::this_task::context()), leat::usage_error);
    CHECK_THROWS_AS(static_cast<void>(leat::this_task::executor()), leat::usage_error);
}

TEST_CASE("this_task: the answers may be awaited, as with Asio")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        CHECK(leat::this_task::running());
        const std::uint64_t id = co_await leat::this_task::id();
        CHECK(id == leat::this_task::id());
        const leat::context here = co_await leat::this_task::context();
        CHECK(!here.cancelled());
        const leat::executor executor = co_await leat::this_task::executor();
        CHECK((executor == world.get_executor()));
        const std::string_view name = co_await leat::this_task::name();
        CHECK(std::string{name} == "main");
    });
}

TEST_CASE("this_task: ids are unique, and awaiting a task does not change them")
{
    leat::runtime pool{{.workers = 3}};
    std::set<std::uint64_t> seen;
    pool.block_on([&]() -> task<> {
        auto ask = []() -> task<std::uint64_t> {
            co_await leat::this_task::yield();
            co_return leat::this_task::id();
        };
        const std::uint64_t mine = co_await ask();
        CHECK(mine == leat::this_task::id());
        seen.insert(mine);
        std::vector<leat::join_handle<std::uint64_t>> asked;
        for (int i = 0; i < 500; ++i)
            asked.push_back(leat::spawn(ask()));
        for (auto& each : asked)
            seen.insert(co_await each);
    });
    for (int i = 0; i < 100; ++i)
        seen.insert(pool.spawn([] {}).id());
    CHECK(seen.size() == 601);
    CHECK(seen.count(0) == 0);
}

TEST_CASE("this_task: yield lets the others go first")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        bool ran = false;
        auto other = leat::spawn([&] { ran = true; });
        int yields = 0;
        while (!ran) {
            co_await leat::this_task::yield();
            ++yields;
        }
        CHECK(yields >= 1);
        co_await other;
    });
}

TEST_CASE("this_task: yield and resume_on throw when the task's context has ended")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        auto [ctx, cancel] = leat::with_cancel();
        cancel();
        auto yielding = []() -> task<> { co_await leat::this_task::yield(); };
        auto yielded = co_await leat::as_result(leat::with_context(ctx, yielding()));
        CHECK(yielded.error() == leat::errc::cancelled);
        auto hopping = [&]() -> task<> { co_await leat::this_task::resume_on(world.get_executor()); };
        auto hopped = co_await leat::as_result(leat::with_context(ctx, hopping()));
        CHECK(hopped.error() == leat::errc::cancelled);
    });
}

TEST_CASE("this_task: resume_on carries a task to another runtime, where it stays, and back")
{
    leat::runtime here{{.workers = 2}};
    leat::runtime there{{.workers = 2}};
    const leat::executor home = here.get_executor();
    const leat::executor abroad = there.get_executor();
    const int got = here.block_on([&]() -> task<int> {
        const std::uint64_t id = leat::this_task::id();
        CHECK((leat::this_task::executor() == home));
        for (int i = 0; i < 200; ++i) {
            co_await leat::this_task::resume_on(abroad);
            CHECK((leat::this_task::executor() == abroad));
            co_await leat::sleep_for(1us);
            CHECK((leat::this_task::executor() == abroad));
            // What it spawns is of where it is.
            const bool same = co_await leat::spawn([&] { return leat::this_task::executor() == abroad; });
            CHECK(same);
            co_await leat::this_task::resume_on(home);
            CHECK((leat::this_task::executor() == home));
            CHECK(leat::this_task::id() == id);
        }
        co_return 7;
    });
    CHECK(got == 7);
    CHECK(here.metrics().live_tasks == 0);
    CHECK(there.metrics().live_tasks == 0);
}

TEST_CASE("this_task: resume_on to where the task is does not let others go first")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        bool ran = false;
        auto other = leat::spawn([&] { ran = true; });
        co_await leat::this_task::resume_on(world.get_executor());
        CHECK(!ran);
        co_await other;
    });
}

TEST_CASE("this_task: a task that went abroad ends there, and its joiner at home resumes at home")
{
    leat::runtime here{{.workers = 2}};
    leat::runtime there{{.workers = 1}};
    here.block_on([&]() -> task<> {
        for (int i = 0; i < 200; ++i) {
            auto traveller = leat::spawn([&]() -> task<int> {
                co_await leat::this_task::resume_on(there.get_executor());
                co_return 3;
            });
            const int got = co_await traveller;
            CHECK(got == 3);
            CHECK((leat::this_task::executor() == here.get_executor()));
        }
    });
}

TEST_CASE("this_task: a task abroad is cancelled by the end of the context it has from home")
{
    leat::runtime there{{.workers = 1}};
    leat::join_handle<> traveller;
    {
        leat::runtime here{{.workers = 1}};
        leat::channel<void> arrived{1};
        traveller = here.spawn([&]() -> task<> {
            co_await leat::this_task::resume_on(there.get_executor());
            co_await arrived.send();
            co_await leat::sleep_for(1h);
        });
        here.block_on([&]() -> task<> { static_cast<void>(co_await arrived.recv()); });
    }
    auto end = there.block_on([&]() -> task<std::error_code> {
        auto got = co_await leat::as_result(traveller.join());
        co_return got.error();
    });
    CHECK(end == leat::errc::cancelled);
}
