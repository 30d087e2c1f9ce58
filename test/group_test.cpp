#include <leat/leat.hpp>

#include "support/counted.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

using namespace std::chrono_literals;
using leat::group_policy;
using leat::task;
using leat::task_group;
using test::counted;

namespace {

task<> fail_after(std::chrono::milliseconds when, const char* why)
{
    co_await leat::sleep_for(when);
    throw std::runtime_error{why};
}

template <class T>
task<T> give_after(std::chrono::milliseconds when, T value)
{
    co_await leat::sleep_for(when);
    co_return value;
}

std::string what_of(const std::exception_ptr& thrown)
{
    try {
        std::rethrow_exception(thrown);
    } catch (const std::exception& error) {
        return error.what();
    }
}

}  // namespace

// ---- with_group ---------------------------------------------------------------------------------

TEST_CASE("group: with_group returns the body's result once every child has ended")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        int ended = 0;
        const std::string got = co_await leat::with_group([&](task_group& group) -> task<std::string> {
            for (int i = 1; i <= 3; ++i)
                co_await group.spawn([&ended, i]() -> task<> {
                    co_await leat::sleep_for(std::chrono::seconds{i});
                    ++ended;
                });
            CHECK(group.size() == 3);
            co_return "done";
        });
        CHECK(got == "done");
        CHECK(ended == 3);
        int original = 0;
        int& same = co_await leat::with_group([&](task_group&) -> task<int&> { co_return original; });
        CHECK(&same == &original);
        const std::unique_ptr<int> owner = co_await leat::with_group(
            [](task_group&) -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(5); });
        CHECK(*owner == 5);
    });
    CHECK(world.now() == 3s);
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("group: children own their lambdas, whose scope ends before they do")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    world.run([&]() -> task<> {
        int sum = 0;
        co_await leat::with_group([&](task_group& group) -> task<> {
            for (int i = 0; i < 5; ++i) {
                auto child = [&sum, owner = std::make_unique<int>(i), token = counted{}]() -> task<> {
                    co_await leat::sleep_for(1s);
                    sum += *owner;
                };
                co_await group.spawn(std::move(child));
            }
        });
        CHECK(sum == 10);
        CHECK(lives.excess() == 0);
    });
}

TEST_CASE("group: the first failure cancels the rest and is thrown once all have ended")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        int told = 0;
        std::string why;
        try {
            co_await leat::with_group([&](task_group& group) -> task<> {
                for (int i = 0; i < 3; ++i)
                    co_await group.spawn([&]() -> task<> {
                        leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
                        told += slept.error() == leat::errc::cancelled;
                        // Slow to end: the group waits.
                        co_await leat::with_context(leat::background(), leat::sleep_for(10s));
                    });
                co_await group.spawn(fail_after(1s, "first"));
                co_await group.spawn(fail_after(2s, "second"));
            });
        } catch (const std::runtime_error& error) {
            why = error.what();
        }
        CHECK(why == "first");
        CHECK(told == 3);
        CHECK(leat::clock::now().time_since_epoch() == 11s);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("group: a failing child cancels the body, whose own complaint does not count")
{
    leat::sim::world world;
    CHECK_THROWS_WITH_AS(world.run([]() -> task<> {
        co_await leat::with_group([&](task_group& group) -> task<> {
            co_await group.spawn(fail_after(1s, "child"));
            co_await leat::sleep_for(1h);
        });
    }),
                         "child", std::runtime_error);
    CHECK(world.now() == 1s);
}

TEST_CASE("group: a failing body cancels the children and is what is thrown")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        bool told = false;
        std::string why;
        try {
            co_await leat::with_group([&](task_group& group) -> task<> {
                co_await group.spawn([&]() -> task<> {
                    leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
                    told = slept.error() == leat::errc::cancelled;
                    throw std::runtime_error{"too late"};
                });
                co_await leat::sleep_for(1s);
                throw std::runtime_error{"body"};
            });
        } catch (const std::runtime_error& error) {
            why = error.what();
        }
        CHECK(why == "body");
        CHECK(told);
    });
    CHECK(world.now() == 1s);
}

TEST_CASE("group: a body that throws before its first wait still waits for its children")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    CHECK_THROWS_WITH_AS(world.run([]() -> task<> {
        co_await leat::with_group([&](task_group& group) -> task<> {
            auto child = [token = counted{}]() -> task<> { co_await leat::sleep_for(1h); };
            co_await group.spawn(std::move(child));
            throw std::runtime_error{"body"};
        });
    }),
                         "body", std::runtime_error);
    CHECK(lives.excess() == 0);
    CHECK(world.live_tasks() == 0);
    CHECK(world.now() == 0s);
}

TEST_CASE("group: a body that is no coroutine may throw, too")
{
    leat::sim::world world;
    auto body = [](task_group&) -> task<> { throw std::runtime_error{"at once"}; };
    CHECK_THROWS_WITH_AS(world.run([&]() -> task<> { co_await leat::with_group(body); }), "at once",
                         std::runtime_error);
}

TEST_CASE("group: cancelling the caller cancels body and children, and all have ended before it goes on")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        int told = 0;
        auto caller = leat::spawn([&]() -> task<> {
            co_await leat::with_group([&](task_group& group) -> task<> {
                for (int i = 0; i < 3; ++i)
                    co_await group.spawn([&]() -> task<> {
                        leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
                        told += slept.error() == leat::errc::cancelled;
                        co_await leat::with_context(leat::background(), leat::sleep_for(5s));
                    });
            });
        });
        co_await leat::sleep_for(1s);
        caller.cancel();
        auto got = co_await leat::as_result(caller.join());
        CHECK(told == 3);
        // The children took no harm: they ended by themselves, and so did the group.
        CHECK(got.has_value());
        CHECK(leat::clock::now().time_since_epoch() == 6s);
    });
}

TEST_CASE("group: a cancelled caller whose children end by throwing that hears of it")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto caller = leat::spawn([]() -> task<> {
            co_await leat::with_group(
                [](task_group& group) -> task<> { co_await group.spawn(give_after(1h, 1)); });
        });
        co_await leat::sleep_for(1s);
        caller.cancel();
        auto got = co_await leat::as_result(caller.join());
        CHECK(got.error() == leat::errc::cancelled);
        auto timed =
            co_await leat::as_result(leat::timeout(1s, leat::with_group([](task_group& group) -> task<> {
                                                       co_await group.spawn(give_after(1h, 1));
                                                   })));
        CHECK(timed.error() == leat::errc::deadline_exceeded);
    });
    CHECK(world.now() == 2s);
}

TEST_CASE("group: cancel() ends the children without being a failure")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        const int got = co_await leat::with_group([](task_group& group) -> task<int> {
            co_await group.spawn(give_after(1h, 1));
            co_await group.spawn(give_after(2h, 2));
            co_await leat::sleep_for(1s);
            group.cancel();
            group.cancel();
            co_return 3;
        });
        CHECK(got == 3);
    });
    CHECK(world.now() == 1s);
}

TEST_CASE("group: cancel() with a cause gives it to the children")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        std::string why;
        co_await leat::with_group([&](task_group& group) -> task<> {
            co_await group.spawn([&]() -> task<> {
                try {
                    co_await leat::sleep_for(1h);
                } catch (const leat::cancelled_error& error) {
                    why = what_of(error.cause());
                }
            });
            co_await leat::this_task::yield();
            group.cancel(std::make_exception_ptr(std::runtime_error{"the kitchen closes"}));
            co_return;
        });
        CHECK(why == "the kitchen closes");
    });
}

TEST_CASE("group: a child that was cancelled through its handle is no failure of the group")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        const int got = co_await leat::with_group([](task_group& group) -> task<int> {
            auto one = co_await group.spawn(give_after(1h, 1));
            auto two = co_await group.spawn(give_after(2s, 2));
            one.cancel();
            auto first = co_await leat::as_result(one.join());
            CHECK(first.error() == leat::errc::cancelled);
            const int second = co_await two;
            co_return second;
        });
        CHECK(got == 2);
    });
    CHECK(world.now() == 2s);
}

TEST_CASE("group: a child's own time limit is a failure, not an order")
{
    leat::sim::world world;
    CHECK_THROWS_AS(world.run([]() -> task<> {
        co_await leat::with_group([](task_group& group) -> task<> {
            co_await group.spawn(leat::timeout(1s, leat::sleep_for(1h)));
            co_await group.spawn(give_after(1h, 1));
        });
    }),
                    leat::timed_out_error);
    CHECK(world.now() == 1s);
}

TEST_CASE("group: a failure that the body has seen through a handle still fails the group")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        std::string seen;
        auto got = co_await leat::as_result(leat::with_group([&](task_group& group) -> task<> {
            auto handle = co_await group.spawn(fail_after(1s, "child"));
            auto joined = co_await leat::as_result(leat::with_context(leat::background(), std::move(handle)));
            seen = what_of(joined.exception());
        }));
        CHECK(seen == "child");
        REQUIRE(!got.has_value());
        CHECK(what_of(got.exception()) == "child");
    });
}

TEST_CASE("group: collect_all lets the others go on and throws every failure in the order of spawning")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        int ended = 0;
        std::vector<std::string> whys;
        try {
            co_await leat::with_group({.policy = group_policy::collect_all},
                                      [&](task_group& group) -> task<> {
                                          co_await group.spawn(fail_after(3s, "slow"));
                                          co_await group.spawn([&]() -> task<> {
                                              co_await leat::sleep_for(5s);
                                              ++ended;
                                          });
                                          co_await group.spawn(fail_after(1s, "quick"));
                                          co_await group.spawn(fail_after(2s, "middling"));
                                          throw std::runtime_error{"body"};
                                      });
        } catch (const leat::group_error& error) {
            for (const std::exception_ptr& each : error.errors())
                whys.push_back(what_of(each));
        }
        CHECK(ended == 1);
        CHECK(whys == std::vector<std::string>{"body", "slow", "quick", "middling"});
    });
    CHECK(world.now() == 5s);
}

TEST_CASE("group: collect_all without failures throws nothing; cancelled, it throws that")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        co_await leat::with_group({.policy = group_policy::collect_all}, [](task_group& group) -> task<> {
            co_await group.spawn(give_after(1s, 1));
        });
        auto timed = co_await leat::as_result(leat::timeout(
            1s, leat::with_group({.policy = group_policy::collect_all}, [](task_group& group) -> task<> {
                co_await group.spawn(give_after(1h, 1));
                co_await group.spawn(give_after(1h, 1));
            })));
        CHECK(timed.error() == leat::errc::deadline_exceeded);
    });
}

TEST_CASE("group: exactly `limit` children run at a time, and spawn waits for a place")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        int running = 0;
        int most = 0;
        int ended = 0;
        std::vector<leat::clock::duration> started;
        co_await leat::with_group({.limit = 3}, [&](task_group& group) -> task<> {
            for (int i = 0; i < 10; ++i) {
                co_await group.spawn([&]() -> task<> {
                    most = std::max(most, ++running);
                    co_await leat::sleep_for(1s);
                    --running;
                    ++ended;
                });
                started.push_back(leat::clock::now().time_since_epoch());
            }
        });
        CHECK(most == 3);
        CHECK(ended == 10);
        CHECK(started == std::vector<leat::clock::duration>{0s, 0s, 0s, 1s, 1s, 1s, 2s, 2s, 2s, 3s});
    });
    CHECK(world.now() == 4s);
}

TEST_CASE("group: the limit holds on the pool, whoever spawns")
{
    leat::runtime pool{{.workers = 4}};
    std::atomic<int> running{0};
    std::atomic<int> most{0};
    std::atomic<std::size_t> ended{0};
    const std::size_t count = test::scaled(20'000);
    pool.block_on([&]() -> task<> {
        co_await leat::with_group([&](task_group& spawners) -> task<> {
            co_await leat::with_group({.limit = 5}, [&](task_group& group) -> task<> {
                co_await leat::with_group([&](task_group& inner) -> task<> {
                    for (int s = 0; s < 3; ++s)
                        co_await inner.spawn([&]() -> task<> {
                            for (std::size_t i = 0; i < count / 3; ++i)
                                co_await group.spawn([&]() -> task<> {
                                    const int now = ++running;
                                    int before = most.load();
                                    while (before < now && !most.compare_exchange_weak(before, now)) {}
                                    co_await leat::this_task::yield();
                                    --running;
                                    ++ended;
                                });
                        });
                });
            });
            CHECK(spawners.size() == 0);
        });
    });
    CHECK(most <= 5);
    CHECK(ended == count / 3 * 3);
}

TEST_CASE("group: a spawn whose wait for a place is cancelled has started nothing and leaks nothing")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    world.run([&]() -> task<> {
        bool started = false;
        co_await leat::with_group({.limit = 1}, [&](task_group& group) -> task<> {
            co_await group.spawn(give_after(10s, 1));
            auto spawning = [&]() -> task<> {
                auto child = [&started, token = counted{}]() -> task<> {
                    started = true;
                    co_return;
                };
                co_await group.spawn(std::move(child));
            };
            auto lambda = co_await leat::as_result(leat::timeout(1s, spawning()));
            CHECK(lambda.error() == leat::errc::deadline_exceeded);
            CHECK(lives.excess() == 0);
            auto spawning_task = [&]() -> task<> {
                auto child = [](bool& ran, counted) -> task<> {
                    ran = true;
                    co_return;
                };
                co_await group.spawn(child(started, counted{}));
            };
            auto plain = co_await leat::as_result(leat::timeout(1s, spawning_task()));
            CHECK(plain.error() == leat::errc::deadline_exceeded);
            CHECK(lives.excess() == 0);
            CHECK(group.size() == 1);
        });
        CHECK(!started);
    });
    CHECK(world.now() == 10s);
}

TEST_CASE("group: try_spawn starts a child or says no at once")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    world.run([&]() -> task<> {
        co_await leat::with_group({.limit = 2}, [&](task_group& group) -> task<> {
            CHECK(group.try_spawn(give_after(1s, 1)));
            CHECK(group.try_spawn([]() -> task<> { co_await leat::sleep_for(1s); }));
            auto refused = [](counted) -> task<> { co_return; };
            CHECK(!group.try_spawn(refused(counted{})));
            CHECK(lives.excess() == 0);
            CHECK(!group.try_spawn([] {}));
            co_await leat::sleep_for(2s);
            CHECK(group.size() == 0);
            CHECK(group.try_spawn([] {}));
        });
    });
}

TEST_CASE("group: a child starts where the task runs that spawns it, wherever the group's owner is")
{
    leat::runtime here{{.workers = 1}};
    leat::runtime there{{.workers = 1}};
    const leat::executor home = here.get_executor();
    const leat::executor away = there.get_executor();
    std::atomic<int> wrong{0};
    std::atomic<int> seen{0};
    const auto runs_on = [&](leat::executor expected) {
        return [&wrong, &seen, expected] {
            wrong += leat::this_task::executor() != expected;
            ++seen;
        };
    };
    here.block_on([&]() -> task<> {
        co_await leat::with_group([&](task_group& group) -> task<> {
            auto moved = [&]() -> task<> {
                co_await leat::this_task::resume_on(away);
                co_await group.spawn(runs_on(away));
                CHECK(group.try_spawn(runs_on(away)));
            };
            co_await co_await group.spawn(moved);
            co_await co_await group.spawn(runs_on(home));
            co_await leat::this_task::resume_on(away);
            co_await co_await group.spawn(runs_on(away));
            // No task spawns here, nor is the thread a worker.
            std::thread stranger{[&] { CHECK(group.try_spawn(runs_on(home))); }};
            stranger.join();
        });
    });
    CHECK(seen == 5);
    CHECK(wrong == 0);
}

TEST_CASE("group: children spawn siblings while the owner moves to and fro")
{
    leat::runtime here{{.workers = 1}};
    leat::runtime there{{.workers = 1}};
    const std::size_t moves = test::scaled(2'000);
    std::atomic<std::size_t> ended{0};
    here.block_on([&]() -> task<> {
        co_await leat::with_group([&](task_group& group) -> task<> {
            auto child = [&]() -> task<> {
                for (std::size_t i = 0; i < moves; ++i) {
                    CHECK(group.try_spawn([&] { ++ended; }));
                    co_await leat::this_task::yield();
                }
            };
            co_await group.spawn(child);
            for (std::size_t i = 0; i < moves; ++i) {
                co_await leat::this_task::resume_on(there.get_executor());
                co_await leat::this_task::resume_on(here.get_executor());
            }
        });
    });
    CHECK(ended == moves);
}

TEST_CASE("group: the end of a runtime waits for children that have moved to another one")
{
    leat::runtime there{{.workers = 1}};
    std::atomic<bool> parked{false};
    std::atomic<bool> ended{false};
    leat::channel<int> go{1};
    class tells_when_destroyed {
    public:
        explicit tells_when_destroyed(leat::channel<int> whom) noexcept : whom_{std::move(whom)}
        {
        }
        tells_when_destroyed(tells_when_destroyed&&) = delete;
        ~tells_when_destroyed()
        {
            static_cast<void>(whom_.try_send(1));
        }

    private:
        leat::channel<int> whom_;
    };
    {
        leat::runtime here{{.workers = 1, .grace = 1ms, .on_stuck = [](const std::string&) {}}};
        auto stubborn = [&]() -> task<> {
            co_await leat::this_task::resume_on(there.get_executor());
            parked = true;
            static_cast<void>(co_await go.recv());
            // The owner's frames are being destroyed by now.
            co_await leat::sleep_for(20ms);
            ended = true;
        };
        here.spawn([&]() -> task<> {
                co_await leat::with_group([&](task_group& group) -> task<> {
                    const tells_when_destroyed notice{go};
                    const leat::context deaf = leat::without_cancel(group.context());
                    co_await group.spawn(stubborn, {.context = deaf});
                    leat::channel<int> never;
                    static_cast<void>(co_await leat::with_context(deaf, never.recv()));
                });
            })
            .detach();
        while (!parked)
            std::this_thread::yield();
    }
    CHECK(ended);
}

TEST_CASE("group: children may spawn siblings, which the group waits for")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        int ended = 0;
        struct tree {
            static task<> grow(task_group& group, int depth, int& ended)
            {
                co_await leat::sleep_for(1s);
                if (depth > 0) {
                    co_await group.spawn(grow(group, depth - 1, ended));
                    co_await group.spawn(grow(group, depth - 1, ended));
                }
                ++ended;
            }
        };
        co_await leat::with_group(
            [&](task_group& group) -> task<> { co_await group.spawn(tree::grow(group, 5, ended)); });
        CHECK(ended == 63);
    });
    CHECK(world.now() == 6s);
}

TEST_CASE("group: a negative limit is a misuse, and the body does not run")
{
    leat::sim::world world;
    bool ran = false;
    CHECK_THROWS_AS(world.run([&]() -> task<> {
        co_await leat::with_group({.limit = -1}, [&](task_group&) -> task<> {
            ran = true;
            co_return;
        });
    }),
                    leat::usage_error);
    CHECK(!ran);
}

TEST_CASE("group: it may be given another parent context, which may go before the children do")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        int told = 0;
        auto under = leat::spawn([&]() -> task<> {
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            co_await leat::with_group(
                {.context = ctx}, [&, &the_cancel = cancel](task_group& group) -> task<> {
                    co_await group.spawn([&]() -> task<> {
                        leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
                        told += slept.error() == leat::errc::cancelled;
                    });
                    co_await leat::sleep_for(1s);
                    the_cancel();
                    co_return;
                });
        });
        co_await under;
        CHECK(told == 1);
        co_await leat::with_group([&](task_group& group) -> task<> {
            {
                const leat::context own = leat::without_cancel(group.context());
                co_await group.spawn(give_after(1s, 1), {.name = "apart", .context = own});
            }
            co_await leat::this_task::yield();
            group.cancel();
            co_return;
        });
        CHECK(leat::clock::now().time_since_epoch() == 2s);
    });
}

TEST_CASE("group: groups nest, and a failure climbs through each")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    CHECK_THROWS_WITH_AS(world.run([]() -> task<> {
        struct nest {
            static task<> build(int depth)
            {
                const counted local;
                co_await leat::with_group([&](task_group& group) -> task<> {
                    if (depth == 0)
                        co_await group.spawn(fail_after(1s, "innermost"));
                    else
                        co_await group.spawn(build(depth - 1));
                    co_await group.spawn(give_after(1h, 1));
                });
            }
        };
        co_await nest::build(10);
    }),
                         "innermost", std::runtime_error);
    CHECK(world.now() == 1s);
    CHECK(world.live_tasks() == 0);
    CHECK(lives.excess() == 0);
}

TEST_CASE("group: a hundred thousand children")
{
    leat::runtime pool{{.workers = 4}};
    std::atomic<std::size_t> ended{0};
    const std::size_t count = test::scaled(100'000);
    pool.block_on(leat::with_group([&](task_group& group) -> task<> {
        for (std::size_t i = 0; i < count; ++i)
            co_await group.spawn([&] { ++ended; });
    }));
    CHECK(ended == count);
    CHECK(pool.metrics().live_tasks == 0);
}

TEST_CASE("group: every schedule of two failures and a cancellation ends with one of them")
{
    int firsts = 0;
    int seconds = 0;
    int orders = 0;
    const auto explored = leat::sim::explore({.schedules = 50'000}, [&](leat::sim::world& world) {
        const test::no_more_than_before lives;
        world.run([&]() -> task<> {
            auto caller = leat::spawn([&]() -> task<> {
                const counted local;
                co_await leat::with_group([&](task_group& group) -> task<> {
                    co_await group.spawn([]() -> task<> {
                        co_await leat::this_task::yield();
                        throw std::runtime_error{"1"};
                    });
                    co_await group.spawn([]() -> task<> {
                        co_await leat::this_task::yield();
                        throw std::runtime_error{"2"};
                    });
                });
            });
            auto canceller = leat::spawn([&] { caller.cancel(); });
            auto got = co_await leat::as_result(caller.join());
            CHECK(!got.has_value());
            if (got.error() == leat::errc::cancelled)
                ++orders;
            else
                ++(what_of(got.exception()) == "1" ? firsts : seconds);
            co_await canceller;
        });
        CHECK(world.live_tasks() == 0);
        CHECK(lives.excess() == 0);
    });
    MESSAGE("schedules: " << explored.schedules << ", all of them: " << explored.exhausted);
    CHECK(firsts > 0);
    CHECK(seconds > 0);
    CHECK(orders > 0);
}

// ---- with_results -------------------------------------------------------------------------------

TEST_CASE("group: with_results gives the results in the order of spawning, whatever order they came in")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        const std::vector<int> got =
            co_await leat::with_results<int>([](leat::result_group<int>& group) -> task<> {
                for (int i = 0; i < 5; ++i)
                    co_await group.spawn(give_after(std::chrono::milliseconds{100 - 10 * i}, i));
                co_await group.spawn([] { return 5; });
                co_await group.spawn([]() -> task<int> { co_return 6; });
            });
        CHECK(got == std::vector<int>{0, 1, 2, 3, 4, 5, 6});
        const std::vector<int> none =
            co_await leat::with_results<int>([](leat::result_group<int>&) -> task<> { co_return; });
        CHECK(none.empty());
    });
    CHECK(world.now() == 100ms);
}

TEST_CASE("group: with_results keeps to a limit and throws the first failure")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        const std::vector<std::string> got = co_await leat::with_results<std::string>(
            {.limit = 1}, [](leat::result_group<std::string>& group) -> task<> {
                for (const char* each : {"a", "b", "c"})
                    co_await group.spawn(give_after(1s, std::string{each}));
            });
        CHECK(got == std::vector<std::string>{"a", "b", "c"});
        CHECK(leat::clock::now().time_since_epoch() == 3s);
        auto failed =
            co_await leat::as_result(leat::with_results<int>([](leat::result_group<int>& group) -> task<> {
                co_await group.spawn(give_after(1h, 1));
                co_await group.spawn([]() -> task<int> {
                    throw std::runtime_error{"no result"};
                    co_return 1;
                });
            }));
        REQUIRE(!failed.has_value());
        CHECK(what_of(failed.exception()) == "no result");
    });
    CHECK(world.now() == 3s);
}

TEST_CASE("group: a cancelled with_results throws that it was cancelled")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto got =
            co_await leat::as_result(leat::with_results<int>([](leat::result_group<int>& group) -> task<> {
                co_await group.spawn(give_after(1h, 1));
                group.cancel();
            }));
        CHECK(got.error() == leat::errc::cancelled);
    });
}

// ---- when_all -----------------------------------------------------------------------------------

TEST_CASE("group: when_all gives every result as a tuple, having run side by side")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        int original = 0;
        auto refer = [&]() -> task<int&> { co_return original; };
        auto [a, b, nothing, same, owner] =
            co_await leat::when_all(give_after(2s, 1), give_after(1s, std::string{"two"}),
                                    leat::sleep_for(3s), refer(), give_after(0ms, std::make_shared<int>(4)));
        CHECK(a == 1);
        CHECK(b == "two");
        CHECK((nothing == std::monostate{}));
        CHECK(&same == &original);
        CHECK(*owner == 4);
    });
    CHECK(world.now() == 3s);
}

TEST_CASE("group: when_all of move-only results, of handles, of receives")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto owner = []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); };
        auto handle = leat::spawn(give_after(1s, 5));
        leat::channel<int> from{1};
        co_await from.send(7);
        auto got = co_await leat::when_all(owner(), std::move(handle), from.recv());
        CHECK(*std::get<0>(got) == 3);
        CHECK(std::get<1>(got) == 5);
        CHECK(std::get<2>(got) == 7);
    });
}

TEST_CASE("group: when_all throws the first failure once all have ended; it has cancelled the others")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    world.run([&]() -> task<> {
        bool told = false;
        auto patient = [](bool& heard) -> task<int> {
            const counted local;
            leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
            heard = slept.error() == leat::errc::cancelled;
            co_return 1;
        };
        auto got = co_await leat::as_result(
            leat::when_all(patient(told), fail_after(1s, "one"), fail_after(2s, "two")));
        CHECK(lives.excess() == 0);
        CHECK(told);
        REQUIRE(!got.has_value());
        CHECK(what_of(got.exception()) == "one");
    });
    CHECK(world.now() == 1s);
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("group: when_all of a range gives a vector in its order; of nothing, an empty one")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        std::vector<task<int>> many;
        for (int i = 0; i < 10; ++i)
            many.push_back(give_after(std::chrono::milliseconds{100 - i}, i));
        const std::vector<int> got = co_await leat::when_all(std::move(many));
        CHECK(got == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
        const std::vector<int> none = co_await leat::when_all(std::vector<task<int>>{});
        CHECK(none.empty());
        co_await leat::when_all(std::vector<task<>>{});
        std::vector<task<>> plain;
        plain.push_back(fail_after(1s, "in a range"));
        plain.push_back(fail_after(2s, "later"));
        auto failed = co_await leat::as_result(leat::when_all(std::move(plain)));
        REQUIRE(!failed.has_value());
        CHECK(what_of(failed.exception()) == "in a range");
        std::vector<leat::join_handle<int>> handles;
        for (int i = 0; i < 3; ++i)
            handles.push_back(leat::spawn(give_after(1s, i)));
        const std::vector<int> joined = co_await leat::when_all(std::move(handles));
        CHECK(joined == std::vector<int>{0, 1, 2});
        const std::tuple<> nothing = co_await leat::when_all();
        static_cast<void>(nothing);
    });
}

TEST_CASE("group: when_all with a cancelled caller throws that, after all have ended")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    world.run([&]() -> task<> {
        auto patient = []() -> task<int> {
            const counted local;
            co_await leat::sleep_for(1h);
            co_return 1;
        };
        auto got = co_await leat::as_result(leat::timeout(1s, leat::when_all(patient(), patient())));
        CHECK(got.error() == leat::errc::deadline_exceeded);
        CHECK(lives.excess() == 0);
    });
}

// ---- when_any -----------------------------------------------------------------------------------

TEST_CASE("group: when_any gives the first result, and the losers have ended before it returns")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    world.run([&]() -> task<> {
        bool told = false;
        auto loser = [](bool& heard) -> task<std::string> {
            const counted local;
            leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
            heard = slept.error() == leat::errc::cancelled;
            co_await leat::with_context(leat::background(), leat::sleep_for(4s));
            co_return "lost";
        };
        auto first = co_await leat::when_any(loser(told), give_after(1s, 7));
        CHECK(first.index == 1);
        CHECK(std::get<1>(first.value) == 7);
        CHECK(told);
        CHECK(lives.excess() == 0);
        CHECK(leat::clock::now().time_since_epoch() == 5s);
    });
}

TEST_CASE("group: when_any throws what the first to end throws")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto got = co_await leat::as_result(leat::when_any(fail_after(1s, "first"), give_after(2s, 7)));
        REQUIRE(!got.has_value());
        CHECK(what_of(got.exception()) == "first");
        auto value = co_await leat::when_any(fail_after(2s, "second"), give_after(1s, 7));
        CHECK(value.index == 1);
    });
    CHECK(world.now() == 2s);
}

TEST_CASE("group: when_any of operations is a select: nothing of the losers is taken")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::channel<int> one{1};
        leat::channel<int> two{1};
        co_await one.send(1);
        co_await two.send(2);
        auto first = co_await leat::when_any(one.recv(), two.recv());
        CHECK(one.size() + two.size() == 1);
        CHECK(first.index < 2);
    });
}

TEST_CASE("group: when_any of a range gives index and value; of nothing it is a misuse")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        std::vector<task<int>> many;
        for (int i = 0; i < 5; ++i)
            many.push_back(give_after(std::chrono::milliseconds{100 - 10 * i}, i));
        auto first = co_await leat::when_any(std::move(many));
        CHECK(first.index == 4);
        CHECK(first.value == 4);
        std::vector<task<>> plain;
        plain.push_back(fail_after(1s, "range"));
        plain.push_back(fail_after(1h, "never"));
        auto failed = co_await leat::as_result(leat::when_any(std::move(plain)));
        REQUIRE(!failed.has_value());
        CHECK(what_of(failed.exception()) == "range");
        bool refused = false;
        try {
            static_cast<void>(co_await leat::when_any(std::vector<task<int>>{}));
        } catch (const leat::usage_error&) {
            refused = true;
        }
        CHECK(refused);
    });
}

TEST_CASE("group: when_any with a cancelled caller throws that")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto got = co_await leat::as_result(
            leat::timeout(1s, leat::when_any(give_after(1h, 1), give_after(2h, std::string{}))));
        CHECK(got.error() == leat::errc::deadline_exceeded);
    });
    CHECK(world.now() == 1s);
}

TEST_CASE("group: when_any whose first to end throws a cancellation of its own")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto gives_up = []() -> task<int> {
            co_await leat::sleep_for(1s);
            throw leat::cancelled_error{};
        };
        auto got = co_await leat::as_result(leat::when_any(gives_up(), give_after(2s, 1)));
        CHECK(got.error() == leat::errc::cancelled);
    });
    CHECK(world.now() == 1s);
}

// ---- when_all_settled ---------------------------------------------------------------------------

TEST_CASE("group: when_all_settled gives what became of each, and cancels nobody")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto [good, bad, late, nothing] =
            co_await leat::when_all_settled(give_after(3s, 1), fail_after(1s, "bad"),
                                            leat::timeout(2s, give_after(1h, 2)), leat::sleep_for(1s));
        REQUIRE(good.has_value());
        CHECK(*good == 1);
        CHECK(what_of(bad.exception()) == "bad");
        CHECK(late.error() == leat::errc::deadline_exceeded);
        CHECK(nothing.has_value());
    });
    CHECK(world.now() == 3s);
}

TEST_CASE("group: when_all_settled of a range, references included")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        int original = 0;
        std::vector<task<int&>> many;
        auto refer = [&]() -> task<int&> { co_return original; };
        auto failing = [&]() -> task<int&> {
            throw std::runtime_error{"none"};
            co_return original;
        };
        many.push_back(refer());
        many.push_back(failing());
        auto got = co_await leat::when_all_settled(std::move(many));
        REQUIRE(got.size() == 2);
        CHECK(&got[0].value() == &original);
        CHECK(what_of(got[1].exception()) == "none");
        auto none = co_await leat::when_all_settled(std::vector<task<>>{});
        CHECK(none.empty());
    });
}

TEST_CASE("group: when_all_settled with a cancelled caller says so in each result")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto caller = leat::spawn([]() -> task<int> {
            auto [a, b] = co_await leat::when_all_settled(give_after(1h, 1), give_after(1h, 2));
            co_return (a.error() == leat::errc::cancelled ? 1 : 0) +
                (b.error() == leat::errc::cancelled ? 1 : 0);
        });
        co_await leat::sleep_for(1s);
        caller.cancel();
        const int cancelled = co_await caller;
        CHECK(cancelled == 2);
    });
}

TEST_CASE("group: after any of them the caller is where it was")
{
    leat::runtime pool{{.workers = 3}};
    const leat::executor home = pool.get_executor();
    pool.block_on([&]() -> task<> {
        for (std::size_t i = 0; i < test::scaled(2000); ++i) {
            static_cast<void>(co_await leat::when_all(give_after(0ms, 1), give_after(0ms, 2)));
            CHECK((leat::this_task::executor() == home));
            static_cast<void>(co_await leat::when_any(give_after(0ms, 1), give_after(0ms, 2)));
            CHECK((leat::this_task::executor() == home));
            static_cast<void>(co_await leat::when_all_settled(give_after(0ms, 1), give_after(0ms, 2)));
            CHECK((leat::this_task::executor() == home));
            co_await leat::with_group([&](task_group& group) -> task<> { co_await group.spawn([] {}); });
            CHECK((leat::this_task::executor() == home));
        }
    });
}

// ---- References ---------------------------------------------------------------------------------

namespace {

int referred = 0;

task<int&> refer()
{
    co_return referred;
}

}  // namespace

TEST_CASE("group: references come through a tuple as they are, through vectors and variants as wrappers")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        const auto refers = [](const std::reference_wrapper<int>& to) { return &to.get() == &referred; };

        const auto both = co_await leat::when_all(refer(), give_after(1ms, 2));
        CHECK(&std::get<0>(both) == &referred);
        CHECK(std::get<1>(both) == 2);

        const auto first = co_await leat::when_any(refer(), give_after(1ms, 2));
        REQUIRE(first.index == 0);
        CHECK(refers(std::get<0>(first.value)));

        std::vector<task<int&>> many;
        many.push_back(refer());
        many.push_back(refer());
        const std::vector<std::reference_wrapper<int>> all = co_await leat::when_all(std::move(many));
        REQUIRE(all.size() == 2);
        CHECK(refers(all[0]));
        CHECK(refers(all[1]));

        std::vector<task<int&>> one;
        one.push_back(refer());
        const leat::when_any_result<int&> any = co_await leat::when_any(std::move(one));
        CHECK(any.index == 0);
        CHECK(refers(any.value));

        const auto results = co_await leat::with_results<int&>([](leat::result_group<int&>& group) -> task<> {
            co_await group.spawn(refer());
            co_await group.spawn([] { return refer(); });
            co_await group.spawn([]() -> int& { return referred; });
        });
        REQUIRE(results.size() == 3);
        for (const std::reference_wrapper<int>& each : results)
            CHECK(refers(each));

        auto handle = leat::spawn(refer());
        const auto picked = co_await leat::select(handle.join(), leat::after(1h));
        REQUIRE(picked.index == 0);
        CHECK(refers(std::get<0>(picked.value)));

        auto settled = co_await leat::when_all_settled(refer());
        CHECK(&*std::get<0>(settled) == &referred);

        // Its handler is given the reference itself.
        auto another = leat::spawn(refer());
        co_await leat::select(leat::on(another, [](int& value) { CHECK(&value == &referred); }));
    });
}

TEST_CASE("group: children that a deadline or a context in the options has ended are no success")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        auto sleeper = []() -> task<> { co_await leat::sleep_for(1h); };
        auto leave = [&](task_group& group) -> task<> { co_await group.spawn(sleeper); };
        auto stay = [&](task_group& group) -> task<> {
            co_await group.spawn(sleeper);
            static_cast<void>(co_await leat::as_result(leat::sleep_for(2s)));
        };
        const auto [ctx, cancel] = leat::with_timeout(leat::background(), 1s);
        leat::result<> got = co_await leat::as_result(leat::with_group({.context = ctx}, leave));
        CHECK(got.error() == leat::errc::deadline_exceeded);
        const auto [later, cancel_later] = leat::with_timeout(leat::background(), 1s);
        got = co_await leat::as_result(leat::with_group({.context = later}, stay));
        CHECK(got.error() == leat::errc::deadline_exceeded);
        auto end_it = [&](task_group& group) -> task<> {
            co_await group.spawn(sleeper);
            group.cancel();
        };
        got = co_await leat::as_result(leat::with_group(end_it));
        CHECK(got.has_value());
    });
}

TEST_CASE("group: on the pool a deadline above a group is never taken for success")
{
    leat::runtime pool{{.workers = 2}};
    const std::size_t rounds = test::scaled(300);
    std::size_t wrong = 0;
    pool.block_on([&]() -> task<> {
        for (std::size_t i = 0; i < rounds; ++i) {
            int steps = 0;
            auto step = [&]() -> task<> {
                co_await leat::sleep_for(5ms);
                ++steps;
            };
            auto body = [&](task_group& group) -> task<> { co_await group.spawn(step); };
            const leat::result<> got = co_await leat::as_result(leat::timeout(1ms, leat::with_group(body)));
            wrong += got.has_value() && steps == 0;
        }
    });
    CHECK(wrong == 0);
}
