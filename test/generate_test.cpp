#include <leat/flow.hpp>
#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::task;
using leat::task_group;

namespace {

template <class T>
task<std::vector<T>> all_of(leat::receiver<T> from)
{
    std::vector<T> got;
    while (auto item = co_await from.recv())
        got.push_back(std::move(*item));
    co_return got;
}

/// Runs a body in a group in a world, and checks that nothing is left.
template <class Body>
void in_group(Body body)
{
    leat::sim::world world;
    INFO("LEAT_SEED=", world.seed());
    world.run(leat::with_group(std::move(body)));
    CHECK(world.live_tasks() == 0);
}

}  // namespace

TEST_CASE("generate: the elements of a range, in order, then the end")
{
    in_group([](task_group& group) -> task<> {
        const std::vector<int> numbers{1, 2, 3};
        const std::vector<int> got = co_await all_of(leat::generate(group, numbers));
        CHECK(got == numbers);
        const std::vector<int> none = co_await all_of(leat::generate(group, std::vector<int>{}));
        CHECK(none.empty());
        const std::vector<char> letters = co_await all_of(leat::generate(group, std::string_view{"leat"}));
        CHECK(letters == std::vector<char>{'l', 'e', 'a', 't'});
    });
}

TEST_CASE("generate: elements that can only be moved are, out of a range that owns them")
{
    in_group([](task_group& group) -> task<> {
        std::vector<std::unique_ptr<int>> boxes;
        boxes.push_back(std::make_unique<int>(7));
        const auto got = co_await all_of(leat::generate(group, std::move(boxes)));
        CHECK(got.size() == 1);
        CHECK(*got.at(0) == 7);
    });
}

TEST_CASE("generate: what a function gives, until it gives nothing; plain or a coroutine")
{
    in_group([](task_group& group) -> task<> {
        const std::vector<int> plain =
            co_await all_of(leat::generate(group, [n = 0]() mutable -> std::optional<int> {
                if (n == 3)
                    return std::nullopt;
                return n++;
            }));
        CHECK(plain == std::vector<int>{0, 1, 2});
        int next = 0;
        auto slowly = [&next]() -> task<std::optional<int>> {
            co_await leat::sleep_for(1s);
            std::optional<int> made;
            if (next < 3)
                made = next++;
            co_return made;
        };
        const std::vector<int> slow = co_await all_of(leat::generate(group, slowly));
        CHECK(slow == std::vector<int>{0, 1, 2});
        CHECK(leat::clock::now().time_since_epoch() == 4s);
    });
}

TEST_CASE("generate: a coroutine that sends to an outlet or a sender")
{
    in_group([](task_group& group) -> task<> {
        auto to_outlet = [](leat::outlet<int>& out) -> task<> {
            for (int i = 0; i < 3; ++i)
                co_await out.send(i);
        };
        const std::vector<int> first = co_await all_of(leat::generate<int>(group, to_outlet));
        CHECK(first == std::vector<int>{0, 1, 2});
        auto to_sender = [](leat::sender<int> out) -> task<> {
            for (int i = 0; i < 3; ++i)
                co_await out.send(i);
            out.close();
        };
        const std::vector<int> second = co_await all_of(leat::generate<int>(group, to_sender));
        CHECK(second == std::vector<int>{0, 1, 2});
    });
}

namespace {

task<> three(leat::outlet<int>& out)
{
    for (int n = 0; n < 3; ++n)
        co_await out.send(n);
}

}  // namespace

TEST_CASE("generate: the coroutine's parameter says what it sends")
{
    in_group([](task_group& group) -> task<> {
        auto by_sender = leat::generate(group, [](leat::sender<int> out) -> task<> {
            for (int n = 0; n < 3; ++n)
                co_await out.send(n);
        });
        int next = 0;
        auto by_reference = leat::generate(group,
                                           [next](const leat::sender<int>& out) mutable -> task<> {
                                               while (next < 3)
                                                   co_await out.send(next++);
                                           },
                                           {.buffer = 2});
        auto by_outlet = leat::generate(group, three);
        const std::vector<int> expected{0, 1, 2};
        const auto a = co_await all_of(by_sender);
        CHECK(a == expected);
        const auto b = co_await all_of(by_reference);
        CHECK(b == expected);
        const auto c = co_await all_of(by_outlet);
        CHECK(c == expected);
    });
}

TEST_CASE("generate, from: an array is copied, as other ranges are")
{
    in_group([](task_group& group) -> task<> {
        const std::vector<int> expected{3, 4, 5};
        std::vector<leat::receiver<int>> in;
        std::vector<int> got;
        {
            int numbers[] = {3, 4, 5};
            in.push_back(leat::generate(group, numbers));
            const int constant[] = {3, 4, 5};
            auto line = leat::from(constant) | leat::collect;
            got = co_await line;
            numbers[0] = 7;
        }
        CHECK(got == expected);
        got = co_await all_of(in.at(0));
        CHECK(got == expected);
    });
}

TEST_CASE("generate: an endless one ends when its reader goes, wherever it waits")
{
    SUBCASE("sending")
    {
        in_group([](task_group& group) -> task<> {
            auto numbers = leat::generate(group, [n = 0]() mutable { return n++; });
            const auto first = co_await numbers.recv();
            const auto second = co_await numbers.recv();
            CHECK(first == 0);
            CHECK(second == 1);
        });
    }
    SUBCASE("sending to an outlet or a sender")
    {
        in_group([](task_group& group) -> task<> {
            auto a = leat::generate<int>(group, [](leat::outlet<int>& out) -> task<> {
                for (int i = 0;; ++i)
                    co_await out.send(i);
            });
            auto b = leat::generate<int>(group, [](leat::sender<int> out) -> task<> {
                for (int i = 0;; ++i)
                    co_await out.send(i);
            });
            const auto first = co_await a.recv();
            const auto second = co_await b.recv();
            CHECK(first == 0);
            CHECK(second == 0);
        });
    }
    SUBCASE("asleep")
    {
        leat::sim::world world;
        world.run(leat::with_group([](task_group& group) -> task<> {
            auto numbers = leat::generate(group, []() -> task<int> {
                co_await leat::sleep_for(1h);
                co_return 1;
            });
            const auto got = co_await leat::as_result(leat::timeout(1s, numbers.recv()));
            CHECK(got.error() == leat::errc::deadline_exceeded);
        }));
        CHECK(world.now() == 1s);
        CHECK(world.live_tasks() == 0);
    }
    SUBCASE("closed by its reader, who stays")
    {
        leat::sim::world world;
        std::optional<leat::receiver<int>> kept;
        world.run(leat::with_group([&](task_group& group) -> task<> {
            kept = leat::generate(group, [] { return 1; });
            const auto got = co_await kept->recv();
            CHECK(got == 1);
            kept->close();
        }));
        CHECK(world.live_tasks() == 0);
    }
    SUBCASE("never read")
    {
        in_group([](task_group& group) -> task<> {
            static_cast<void>(leat::generate(group, std::vector<int>{1, 2}));
            co_return;
        });
    }
}

TEST_CASE("generate: what it throws fails the group, its own end on a foreign channel too")
{
    leat::sim::world world;
    CHECK_THROWS_AS(world.run(leat::with_group([](task_group& group) -> task<> {
        auto numbers = leat::generate(group, []() -> int { throw std::domain_error{"no"}; });
        const auto got = co_await numbers.recv();
        CHECK(!got);
        co_await leat::sleep_for(1h);
    })),
                    std::domain_error);
    CHECK(world.now() == 0s);
    CHECK_THROWS_AS(world.run(leat::with_group([](task_group& group) -> task<> {
        auto numbers = leat::generate<int>(group, [](leat::outlet<int>&) -> task<> {
            leat::channel<int> closed;
            closed.close();
            co_await closed.send(1);
        });
        co_await leat::sleep_for(1h);
    })),
                    leat::channel_closed_error);
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("generate: a buffer lets it run ahead, and no further")
{
    leat::sim::world world;
    int made = 0;
    world.run(leat::with_group([&](task_group& group) -> task<> {
        auto numbers = leat::generate(group, [&] { return made++; }, {.buffer = 5});
        co_await leat::sleep_for(1s);
        CHECK(made == 6);
        const auto got = co_await numbers.recv();
        CHECK(got == 0);
    }));
}

TEST_CASE("generate: a group without a place for it says so")
{
    leat::sim::world world;
    CHECK_THROWS_AS(world.run(leat::with_group({.limit = 1},
                                               [](task_group& group) -> task<> {
                                                   auto first = leat::generate(group, [] { return 1; });
                                                   auto second = leat::generate(group, [] { return 1; });
                                                   co_return;
                                               })),
                    leat::usage_error);
}
