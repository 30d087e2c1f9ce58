#include "support/rounds.hpp"

#include <leat/flow/watch.hpp>
#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

TEST_CASE("watch: changed() waits for another value than the last one seen, and gives the latest")
{
    leat::sim::world world{1};
    world.run([&]() -> leat::task<> {
        leat::watch<std::string> setting{"first"};
        auto reader = setting.subscribe();
        CHECK(!reader.has_changed());
        CHECK(reader.get() == "first");
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            co_await group.spawn([&]() -> leat::task<> {
                co_await leat::sleep_for(3s);
                CHECK(setting.set("second"));
                co_await leat::sleep_for(1s);
                setting.set("third");
                setting.set("fourth");
            });
            auto got = co_await reader.changed();
            CHECK(world.now() == 3s);
            CHECK(got == "second");
            co_await leat::sleep_for(5s);
            CHECK(reader.has_changed());
            got = co_await reader.changed();
            CHECK(world.now() == 8s);
            CHECK(got == "fourth");
            CHECK(!reader.has_changed());
        });
        CHECK(setting.get() == "fourth");
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("watch: the value is had once by each watcher, even if the setter sets twice before it runs")
{
    leat::sim::world world{2};
    world.run([&]() -> leat::task<> {
        leat::watch<int> progress;
        std::vector<int> seen;
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            co_await group.spawn([&]() -> leat::task<> {
                auto reader = progress.subscribe();
                while (auto got = co_await reader.changed())
                    seen.push_back(*got);
            });
            co_await leat::sleep_for(1s);
            progress.set(1);
            progress.set(2);
            co_await leat::sleep_for(1s);
            progress.set(3);
            co_await leat::sleep_for(1s);
            progress.set(4);
            progress.close();
        });
        CHECK(seen == std::vector<int>{2, 3, 4});
        CHECK(!progress.set(5));
        CHECK(progress.get() == 4);
    });
}

TEST_CASE("watch: it ends when closed or when the last handle goes; what was not seen is seen before")
{
    leat::sim::world world{3};
    world.run([&]() -> leat::task<> {
        std::optional<leat::watch<int>> setting{7};
        auto reader = setting->subscribe();
        auto idle = setting->subscribe();
        setting->set(8);
        static_cast<void>(idle.get());
        setting.reset();
        CHECK(reader.closed());
        auto got = co_await reader.changed();
        CHECK(got == 8);
        got = co_await reader.changed();
        CHECK(!got.has_value());
        got = co_await idle.changed();
        CHECK(!got.has_value());
        CHECK(idle.get() == 8);
    });
}

TEST_CASE("watch: wait_for() returns when the value satisfies the predicate")
{
    leat::sim::world world{4};
    world.run([&]() -> leat::task<> {
        leat::watch<int> level{0};
        auto reader = level.subscribe();
        auto now = co_await reader.wait_for([](int v) { return v >= 0; });
        CHECK(now == 0);
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            co_await group.spawn([&]() -> leat::task<> {
                for (int i = 1; i <= 5; ++i) {
                    co_await leat::sleep_for(1s);
                    level.update([](int& v) { ++v; });
                }
                level.close();
            });
            auto three = co_await reader.wait_for([](int v) { return v >= 3; });
            CHECK(three == 3);
            CHECK(world.now() == 3s);
            auto never = co_await reader.wait_for([](int v) { return v > 9; });
            CHECK(!never.has_value());
            CHECK(world.now() == 5s);
        });
    });
}

TEST_CASE("watch: changed() is a case for select, and a cancelled one has seen nothing")
{
    leat::sim::world world{5};
    world.run([&]() -> leat::task<> {
        leat::watch<int> level{0};
        auto reader = level.subscribe();
        const auto none = co_await leat::select(reader.changed(), leat::after(1s));
        CHECK(none.index == 1);
        auto late = co_await leat::as_result(leat::timeout(1s, reader.changed()));
        CHECK(late.error() == leat::errc::deadline_exceeded);
        level.set(1);
        const auto some = co_await leat::select(reader.changed(), leat::after(1s));
        CHECK(some.index == 0);
        CHECK(std::get<0>(some.value) == 1);
    });
}

TEST_CASE("watch: update() loses no change, whoever changes at the same time; false leaves the value")
{
    leat::runtime pool{{.workers = 4}};
    leat::watch<long> sum{0};
    const int each = test::rounds(5000);
    pool.block_on([&]() -> leat::task<> {
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            for (int i = 0; i < 8; ++i)
                co_await group.spawn([&]() -> leat::task<> {
                    for (int n = 0; n < each; ++n)
                        sum.update([](long& v) { ++v; });
                    co_return;
                });
        });
    });
    CHECK(sum.get() == 8L * each);
    CHECK(!sum.update([](long&) { return false; }));
    sum.close();
    CHECK(!sum.update([](long& v) { ++v; }));
    CHECK(sum.get() == 8L * each);
}

TEST_CASE("watch: many watchers on the pool, none misses the last value, none is woken for nothing")
{
    for (int round = 0; round < test::rounds(50); ++round) {
        leat::runtime pool{{.workers = 4}};
        std::atomic<int> wrong{0};
        pool.block_on([&]() -> leat::task<> {
            leat::watch<int> level{0};
            co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
                for (int i = 0; i < 100; ++i)
                    co_await group.spawn([&]() -> leat::task<> {
                        auto reader = level.subscribe();
                        int last = reader.get();
                        while (auto got = co_await reader.changed()) {
                            wrong += *got <= last;
                            last = *got;
                        }
                        wrong += last != 100;
                    });
                for (int i = 1; i <= 100; ++i) {
                    level.set(i);
                    if (i % 7 == 0)
                        co_await leat::this_task::yield();
                }
                level.close();
            });
        });
        CHECK(wrong.load() == 0);
    }
}

class counting {
public:
    explicit counting(int& live) noexcept : live_{&live}
    {
        ++*live_;
    }
    counting(const counting& other) noexcept : counting{*other.live_}
    {
    }
    counting& operator=(const counting&) = delete;
    ~counting()
    {
        --*live_;
    }

private:
    int* live_;
};

TEST_CASE("watch: what is shared stays until its last owner goes, also if that is no watch")
{
    int live = 0;
    std::shared_ptr<const counting> kept;
    std::weak_ptr<const counting> weak;
    {
        leat::watch<counting> what{counting{live}};
        auto reader = what.subscribe();
        kept = what.share();
        weak = kept;
        CHECK(kept.get() == reader.share().get());
        CHECK(live == 1);
        CHECK(what.set(counting{live}));
        CHECK(live == 2);
        CHECK(reader.has_changed());
        CHECK(reader.share() != kept);
        CHECK(!reader.has_changed());
    }
    CHECK(live == 1);
    auto second = weak.lock();
    kept.reset();
    CHECK(live == 1);
    second.reset();
    // A weak pointer keeps none.
    CHECK(live == 0);
    CHECK(weak.expired());
}

class known_to_itself : public std::enable_shared_from_this<known_to_itself> {};

TEST_CASE("watch: several threads share a value that knows its owner")
{
    leat::watch<known_to_itself> what{known_to_itself()};
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int i = 0; i < 2; ++i)
        threads.emplace_back([&] {
            for (int n = 0; n < 1'000; ++n) {
                if (!what.share())
                    ++wrong;
                if (n % 64 == 0)
                    what.set(known_to_itself());
            }
        });
    for (std::thread& each : threads)
        each.join();
    CHECK(wrong.load() == 0);
}

TEST_CASE("watch: threads of no runtime wait by blocking")
{
    leat::watch<int> level{0};
    auto reader = level.subscribe();
    std::thread setter{[&] {
        level.set(1);
        level.close();
    }};
    std::optional<int> last;
    while (auto got = reader.blocking_changed())
        last = got;
    setter.join();
    CHECK(last == 1);
    CHECK(*reader.share() == 1);
}

}  // namespace
