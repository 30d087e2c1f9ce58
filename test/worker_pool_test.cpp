#include "support/counted.hpp"
#include "support/rounds.hpp"

#include <leat/flow/worker_pool.hpp>
#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using leat::job_priority;
using leat::task_group;
using leat::worker_pool;

leat::task<> takes(leat::clock::duration span)
{
    co_await leat::sleep_for(span);
}

leat::task<> submit_nothing(worker_pool& pool)
{
    auto handle = co_await pool.submit([] {});
    handle.detach();
}
template <class F>
leat::task<leat::job_handle<>> submit_job(worker_pool& pool, F job, job_priority rank)
{
    auto handle = co_await pool.submit(job, {.priority = rank});
    co_return handle;
}

/// Runs a scene with a pool in a group, in a world.
template <class Scene>
void in_world(Scene scene, leat::worker_pool_options options = {}, std::uint64_t seed = 1)
{
    leat::sim::world world{seed};
    world.run([&]() -> leat::task<> {
        co_await leat::with_group([&](task_group& group) -> leat::task<> {
            worker_pool pool{group, options};
            co_await scene(world, pool, group);
        });
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE(
    "worker_pool: jobs run side by side, as many as there are workers, and each gives its result to its handle")
{
    in_world(
        [](leat::sim::world& world, worker_pool& pool, task_group&) -> leat::task<> {
            int running = 0;
            int most = 0;
            auto job = [&](int number) -> leat::task<int> {
                most = std::max(most, ++running);
                co_await leat::sleep_for(1s);
                --running;
                co_return number* number;
            };
            std::vector<leat::job_handle<int>> handles;
            for (int i = 0; i < 10; ++i)
                handles.push_back(co_await pool.submit([&job, i] { return job(i); }));
            CHECK(!handles[0].done());
            for (int i = 0; i < 10; ++i) {
                const int got = co_await handles[static_cast<std::size_t>(i)];
                CHECK(got == i * i);
            }
            CHECK(most == 3);
            CHECK(world.now() == 4s);
            CHECK(pool.stats().ended == 10);
            CHECK(pool.stats().workers == 3);
        },
        {.workers = 3, .queue = 10});
}

TEST_CASE("worker_pool: whoever submits to a full queue waits for a place; who does not wait is refused")
{
    in_world(
        [](leat::sim::world& world, worker_pool& pool, task_group&) -> leat::task<> {
            co_await leat::sleep_for(1ms);
            for (int i = 0; i < 3; ++i)
                (co_await pool.submit([] { return takes(1s); })).detach();
            CHECK(world.now() == 1ms);
            CHECK(pool.stats().running == 1);
            CHECK(pool.stats().queued == 2);
            auto refused = pool.try_submit([] {});
            CHECK(refused.error() == leat::errc::rejected);
            auto late = co_await leat::as_result(leat::timeout(500ms, submit_nothing(pool)));
            CHECK(late.error() == leat::errc::deadline_exceeded);
            CHECK(pool.stats().waiting == 0);
            auto last = co_await pool.submit([] { return 7; });
            CHECK(world.now() == 1001ms);
            const int got = co_await last;
            CHECK(got == 7);
            CHECK(world.now() == 3001ms);
            auto taken = pool.try_submit([] { return 8; });
            const int eight = co_await std::move(taken).value();
            CHECK(eight == 8);
        },
        {.workers = 1, .queue = 2});
}

TEST_CASE("worker_pool: higher priorities first, also among those who wait for a place; else in order")
{
    in_world(
        [](leat::sim::world&, worker_pool& pool, task_group& group) -> leat::task<> {
            co_await leat::sleep_for(1ms);
            std::string order;
            auto note = [&](char c) {
                return [&order, c]() -> leat::task<> {
                    order += c;
                    co_await leat::sleep_for(1s);
                };
            };
            const std::pair<char, job_priority> jobs[] = {
                {'a', job_priority::low},    {'b', job_priority::normal}, {'c', job_priority::high},
                {'d', job_priority::normal}, {'e', job_priority::low},    {'f', job_priority::high},
                {'g', job_priority::normal},
            };
            for (const auto& [name, priority] : jobs) {
                const char c = name;
                const job_priority rank = priority;
                co_await group.spawn([&pool, &note, c, rank]() -> leat::task<> {
                    auto handle = co_await pool.submit(note(c), {.priority = rank});
                    co_await handle;
                });
                co_await leat::sleep_for(1ms);
            }
            co_await pool.drain();
            // a runs at once; b and c have the places in the queue; of those who wait, each time one enters.
            CHECK(order == "acfbdge");
        },
        {.workers = 1, .queue = 2});
}

TEST_CASE("worker_pool: an elastic pool grows when nobody is free, and shrinks when there is nothing to do")
{
    in_world(
        [](leat::sim::world& world, worker_pool& pool, task_group&) -> leat::task<> {
            co_await leat::sleep_for(1s);
            CHECK(pool.stats().workers == 1);
            std::vector<leat::job_handle<>> jobs;
            for (int i = 0; i < 6; ++i)
                jobs.push_back(co_await pool.submit([] { return takes(1s); }));
            CHECK(world.now() == 1s);
            CHECK(pool.stats().workers == 4);
            for (auto& each : jobs)
                co_await each;
            CHECK(world.now() == 3s);
            CHECK(pool.stats().workers == 4);
            // Two have had nothing to do since 2 s, two since 3 s.
            co_await leat::sleep_for(9s - 1ns);
            CHECK(pool.stats().workers == 4);
            co_await leat::sleep_for(1ns);
            co_await leat::sleep_for(1ns);
            CHECK(pool.stats().workers == 2);
            co_await leat::sleep_for(2s);
            CHECK(pool.stats().workers == 1);
            // And again.
            for (int i = 0; i < 3; ++i)
                (co_await pool.submit([] { return takes(1s); })).detach();
            CHECK(pool.stats().workers == 3);
            co_await pool.drain();
            CHECK(pool.stats().ended == 9);
        },
        {.workers = 1, .max_workers = 4, .queue = 4, .idle = 10s});
}

TEST_CASE("worker_pool: without a queue a job goes to a worker who waits, or its submitter does")
{
    in_world(
        [](leat::sim::world& world, worker_pool& pool, task_group&) -> leat::task<> {
            co_await leat::sleep_for(1s);
            auto first = co_await pool.submit([] { return takes(2s); });
            auto refused = pool.try_submit([] {});
            CHECK(refused.error() == leat::errc::rejected);
            auto second = co_await pool.submit([] { return takes(2s); });
            CHECK(world.now() == 3s);
            CHECK(first.done());
            co_await second;
            CHECK(world.now() == 5s);
        },
        {.workers = 1, .queue = 0});
}

TEST_CASE(
    "worker_pool: who waits for the end of all jobs is woken too if the last thing was a cancelled submission")
{
    // Either the worker drops the submission or that leaves by itself.
    for (std::uint64_t seed = 1; seed <= 16; ++seed)
        in_world(
            [](leat::sim::world& world, worker_pool& pool, task_group& group) -> leat::task<> {
                co_await leat::sleep_for(1ms);  // until the worker waits
                auto stop = leat::with_cancel(leat::background());
                auto job = [&]() -> leat::task<> {
                    co_await leat::sleep_for(1s);
                    stop.second();
                };
                auto running = co_await pool.submit(job);
                co_await group.spawn([&]() -> leat::task<> {
                    const auto how =
                        co_await leat::as_result(leat::with_context(stop.first, submit_nothing(pool)));
                    CHECK(how.error() == leat::errc::cancelled);
                });
                co_await leat::sleep_for(1ms);
                CHECK(pool.stats().waiting == 1);
                const auto drained = co_await leat::as_result(leat::timeout(1h, pool.drain()));
                CHECK(drained.has_value());
                CHECK(world.now() < 2s);
                running.detach();
            },
            {.workers = 1, .queue = 0}, seed);
}

TEST_CASE("worker_pool: a job that is queued can be cancelled and never runs; one that runs hears of it")
{
    in_world(
        [](leat::sim::world& world, worker_pool& pool, task_group&) -> leat::task<> {
            co_await leat::sleep_for(1ms);
            int ran = 0;
            auto running = co_await pool.submit([&]() -> leat::task<> {
                ++ran;
                co_await leat::sleep_for(1h);
            });
            auto queued = co_await pool.submit([&] { ++ran; });
            co_await leat::sleep_for(1ms);
            CHECK(pool.stats().queued == 1);
            queued.cancel();
            queued.cancel();
            CHECK(queued.done());
            CHECK(pool.stats().queued == 0);
            const auto never = co_await leat::as_result(queued);
            CHECK(never.error() == leat::errc::cancelled);
            running.cancel();
            const auto stopped = co_await leat::as_result(running);
            CHECK(stopped.error() == leat::errc::cancelled);
            CHECK(ran == 1);
            CHECK(world.now() == 2ms);
            // One that has been given to a worker who has not begun with it does not run either.
            auto given = co_await pool.submit([&] { ++ran; });
            given.cancel();
            const auto not_begun = co_await leat::as_result(given);
            CHECK(not_begun.error() == leat::errc::cancelled);
            CHECK(ran == 1);
            // The worker goes on.
            auto next = co_await pool.submit([&] { return ++ran; });
            const int got = co_await next;
            CHECK(got == 2);
        },
        {.workers = 1});
}

TEST_CASE(
    "worker_pool: cancelling a job is nothing to those that its worker does next, whoever still knows its context")
{
    in_world(
        [](leat::sim::world&, worker_pool& pool, task_group&) -> leat::task<> {
            std::vector<leat::context> known;
            std::stop_token token;
            auto keeps_context = [&known] { known.push_back(leat::this_task::context()); };
            auto keeps_token = [&token] { token = leat::this_task::context().stop_token(); };
            auto first = co_await pool.submit(keeps_context);
            co_await first;
            auto second = co_await pool.submit(keeps_token);
            co_await second;
            auto third = co_await pool.submit(keeps_context);
            co_await third;
            CHECK(known.size() == 2);
            CHECK(known[0] != known[1]);

            auto fourth = co_await pool.submit([] { return takes(1h); });
            co_await leat::sleep_for(1s);
            fourth.cancel();
            const auto how = co_await leat::as_result(std::move(fourth));
            CHECK(how.error() == leat::errc::cancelled);
            CHECK_FALSE(known[0].cancelled());
            CHECK_FALSE(token.stop_requested());

            // Somebody who is under it may be told by the handle as long as there is one.
            first.cancel();
            CHECK(known[0].cancelled());
            CHECK_FALSE(known[1].cancelled());
            second = {};
            CHECK(token.stop_requested());

            auto last = co_await pool.submit([] { return leat::this_task::context().cancelled(); });
            const bool cancelled = co_await last;
            CHECK_FALSE(cancelled);
        },
        {.workers = 1});
}

TEST_CASE("worker_pool: a plain function is told by its context, too")
{
    leat::runtime pool_of_threads{{.workers = 2}};
    pool_of_threads.block_on([]() -> leat::task<> {
        co_await leat::with_group([](task_group& group) -> leat::task<> {
            worker_pool pool{group, {.workers = 1}};
            for (int i = 0; i < 100; ++i) {
                std::atomic<bool> begun{false};
                auto job = co_await pool.submit([&begun] {
                    begun = true;
                    while (!leat::this_task::context().cancelled())
                        std::this_thread::yield();
                });
                while (!begun)
                    co_await leat::this_task::yield();
                job.cancel();
                co_await job;
            }
        });
    });
}

TEST_CASE("worker_pool: what a job throws goes to its handle; without one the group fails")
{
    in_world([](leat::sim::world&, worker_pool& pool, task_group&) -> leat::task<> {
        auto failing = []() -> leat::task<int> {
            throw std::domain_error{"on purpose"};
            co_return 0;
        };
        auto handle = co_await pool.submit(failing);
        bool thrown = false;
        try {
            static_cast<void>(co_await handle);
        } catch (const std::domain_error&) {
            thrown = true;
        }
        CHECK(thrown);
        bool twice = false;
        try {
            static_cast<void>(co_await handle);
        } catch (const leat::usage_error&) {
            twice = true;
        }
        CHECK(twice);
    });

    for (const bool late : {false, true}) {
        CAPTURE(late);
        leat::sim::world world{2};
        bool thrown = false;
        try {
            world.run([&]() -> leat::task<> {
                co_await leat::with_group([&](task_group& group) -> leat::task<> {
                    worker_pool pool{group};
                    auto failing = [] { throw std::domain_error{"nobody looks"}; };
                    auto handle = co_await pool.submit(failing);
                    if (late)
                        co_await leat::sleep_for(1s);
                    handle.detach();
                    co_await leat::sleep_for(1h);
                });
            });
        } catch (const std::domain_error&) {
            thrown = true;
        }
        CHECK(thrown);
        CHECK(world.now() == (late ? 1s : 0s));
        CHECK(world.live_tasks() == 0);
    }
}

TEST_CASE("worker_pool: closing does what is queued and refuses what comes; the group ends when it is done")
{
    leat::sim::world world{3};
    int ran = 0;
    world.run([&]() -> leat::task<> {
        co_await leat::with_group([&](task_group& group) -> leat::task<> {
            worker_pool pool{group, {.workers = 2, .queue = 3}};
            co_await leat::sleep_for(1ms);
            auto job = [&]() -> leat::task<> {
                co_await leat::sleep_for(1s);
                ++ran;
            };
            for (int i = 0; i < 5; ++i)
                (co_await pool.submit(job)).detach();
            co_await group.spawn([&]() -> leat::task<> {
                const auto refused = co_await leat::as_result(submit_nothing(pool));
                CHECK(refused.error() == leat::errc::channel_closed);
                CHECK(world.now() == 2ms);
            });
            co_await leat::sleep_for(1ms);
            pool.close();
            pool.close();
            CHECK(pool.try_submit([] {}).error() == leat::errc::channel_closed);
            co_await leat::this_task::yield();
        });
        CHECK(ran == 5);
        CHECK(world.now() == 3001ms);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("worker_pool: stopping cancels what is queued and what runs")
{
    in_world(
        [](leat::sim::world& world, worker_pool& pool, task_group&) -> leat::task<> {
            co_await leat::sleep_for(1ms);
            std::vector<leat::job_handle<>> jobs;
            for (int i = 0; i < 6; ++i)
                jobs.push_back(co_await pool.submit([] { return takes(1h); }));
            pool.stop();
            for (auto& each : jobs) {
                const auto how = co_await leat::as_result(each);
                CHECK(how.error() == leat::errc::cancelled);
            }
            co_await pool.drain();
            CHECK(world.now() == 1ms);
            CHECK(pool.stats().ended == 6);
        },
        {.workers = 2, .queue = 10});
}

TEST_CASE("worker_pool: if the group is cancelled no handle waits for ever")
{
    leat::sim::world world{4};
    world.run([&]() -> leat::task<> {
        std::vector<leat::job_handle<>> jobs;
        const auto how = co_await leat::as_result(leat::with_group([&](task_group& group) -> leat::task<> {
            worker_pool pool{group, {.workers = 2, .queue = 10}};
            for (int i = 0; i < 6; ++i)
                jobs.push_back(co_await pool.submit([] { return takes(1h); }));
            co_await leat::sleep_for(1s);
            throw std::domain_error{"on purpose"};
        }));
        CHECK(how.error() == leat::errc::failed);
        for (auto& each : jobs) {
            CHECK(each.done());
            const auto end = co_await leat::as_result(each);
            CHECK(end.error() == leat::errc::cancelled);
        }
    });
    CHECK(world.live_tasks() == 0);
    CHECK(world.now() == 1s);
}

TEST_CASE("worker_pool: handles and submissions are cases for select")
{
    in_world(
        [](leat::sim::world& world, worker_pool& pool, task_group&) -> leat::task<> {
            co_await leat::sleep_for(1ms);
            auto slow = co_await pool.submit([] { return takes(10s); });
            const auto none = co_await leat::select(slow, leat::after(1s));
            CHECK(none.index == 1);
            // No worker and no place.
            const auto full = co_await leat::select(pool.submit([] { return 1; }), leat::after(1s));
            CHECK(full.index == 1);
            CHECK(pool.stats().waiting == 0);
            const auto ended = co_await leat::select(leat::after(1h), slow.join());
            CHECK(ended.index == 1);
            CHECK(world.now() == 10'001ms);
            auto handed = co_await leat::select(pool.submit([] { return 2; }), leat::after(1s));
            CHECK(handed.index == 0);
            const int two = co_await std::get<0>(handed.value);
            CHECK(two == 2);
        },
        {.workers = 1, .queue = 0});
}

TEST_CASE("worker_pool: a pool without workers, or without a place for one, is refused")
{
    leat::sim::world world{5};
    world.run([&]() -> leat::task<> {
        co_await leat::with_group({.limit = 2}, [&](task_group& group) -> leat::task<> {
            CHECK_THROWS_AS((worker_pool{group, {.workers = 0}}), leat::usage_error);
            {
                // There are fewer than were asked for.
                worker_pool pool{group, {.workers = 4}};
                CHECK(pool.stats().workers == 2);
                auto handle = co_await pool.submit([] { return 1; });
                const int one = co_await handle;
                CHECK(one == 1);
                CHECK_THROWS_AS((worker_pool{group, {.workers = 1}}), leat::usage_error);
            }
        });
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("worker_pool: if the group has no place for more workers, the queue is bounded all the same")
{
    for (const std::size_t queue : {0U, 3U}) {
        CAPTURE(queue);
        leat::sim::world world{6};
        world.run([&]() -> leat::task<> {
            co_await leat::with_group({.limit = 2}, [&](task_group& group) -> leat::task<> {
                worker_pool pool{group, {.workers = 1, .max_workers = 100, .queue = queue}};
                co_await leat::sleep_for(1ms);
                std::size_t taken = 0;
                for (int i = 0; i < 50; ++i)
                    taken += pool.try_submit([] { return takes(1s); }).has_value();
                co_await leat::sleep_for(1ms);
                CHECK(pool.stats().workers == 2);
                // At most one more, when it was found that there is no place.
                CHECK(taken >= queue + 1);
                CHECK(taken <= queue + 3);
                CHECK(pool.stats().queued <= queue + 1);
                co_await pool.drain();
                auto again = co_await pool.submit([] { return 1; });
                const int one = co_await again;
                CHECK(one == 1);
            });
        });
        CHECK(world.live_tasks() == 0);
    }
}

TEST_CASE("worker_pool: takes tasks too")
{
    in_world(
        [](leat::sim::world&, worker_pool& pool, task_group&) -> leat::task<> {
            co_await leat::sleep_for(1ms);
            auto three = [](std::unique_ptr<int> held) -> leat::task<int> {
                co_await leat::sleep_for(1s);
                co_return *held;
            };
            auto handle = co_await pool.submit(three(std::make_unique<int>(3)));
            const auto refused = pool.try_submit(takes(1s));
            CHECK(refused.error() == leat::errc::rejected);
            const int got = co_await handle;
            CHECK(got == 3);
        },
        {.workers = 1, .queue = 0});
}

TEST_CASE("worker_pool: functions and results are destroyed, once, whatever becomes of a job")
{
    const test::no_more_than_before before;
    in_world(
        [&](leat::sim::world&, worker_pool& pool, task_group&) -> leat::task<> {
            co_await leat::sleep_for(1ms);
            auto job = [held = test::counted{1}]() -> leat::task<test::counted> {
                co_await leat::sleep_for(1s);
                co_return test::counted{held.value + 1};
            };
            auto awaited = co_await pool.submit(job);
            auto dropped = co_await pool.submit(job);
            auto cancelled = co_await pool.submit(job);
            auto refused = pool.try_submit(job);
            CHECK(!refused.has_value());
            dropped.detach();
            cancelled.cancel();
            const test::counted got = co_await awaited;
            CHECK(got.value == 2);
        },
        {.workers = 1, .queue = 2});
    CHECK(before.excess() == 0);
}

TEST_CASE("worker_pool: submitting, cancelling, detaching, growing and closing race; every job ends once")
{
    for (int round = 0; round < test::rounds(30); ++round) {
        CAPTURE(round);
        leat::runtime runtime{{.workers = 4}};
        std::atomic<long> begun{0};
        std::atomic<long> completed{0};
        std::atomic<long> cancelled{0};
        std::atomic<long> accepted{0};
        runtime.block_on([&]() -> leat::task<> {
            co_await leat::with_group([&](task_group& group) -> leat::task<> {
                const std::size_t queue = static_cast<std::size_t>(round % 4) * 3;
                worker_pool pool{group,
                                 {.workers = 1,
                                  .max_workers = 1 + static_cast<std::size_t>(round % 5),
                                  .queue = queue,
                                  .idle = 100us}};
                auto job = [&]() -> leat::task<> {
                    ++begun;
                    co_await leat::this_task::yield();
                    ++completed;
                };
                co_await leat::with_group([&](task_group& submitters) -> leat::task<> {
                    for (int i = 0; i < 6; ++i)
                        co_await submitters.spawn([&, i]() -> leat::task<> {
                            for (int n = 0; n < 200; ++n) {
                                auto handle = co_await leat::as_result(
                                    submit_job(pool, job, static_cast<job_priority>(n % 3)));
                                if (!handle)
                                    break;
                                ++accepted;
                                if ((n + i) % 3 == 0) {
                                    handle->detach();
                                } else {
                                    if ((n + i) % 3 == 1)
                                        handle->cancel();
                                    const auto how = co_await leat::as_result(*handle);
                                    cancelled += !how;
                                }
                                if (i == 0 && n == 150 && round % 3 == 0)
                                    pool.close();
                                if (i == 0 && n == 150 && round % 3 == 1)
                                    pool.stop();
                            }
                        });
                });
                co_await pool.drain();
                const leat::worker_pool_stats stats = pool.stats();
                CHECK(static_cast<long>(stats.ended) == accepted.load());
                CHECK(stats.running == 0);
                CHECK(stats.queued == 0);
                CHECK(stats.waiting == 0);
            });
        });
        CHECK(begun.load() <= accepted.load());
        CHECK(completed.load() + cancelled.load() <= accepted.load());
    }
}

TEST_CASE("worker_pool: many small jobs")
{
    leat::runtime runtime{{.workers = 2}};
    const long jobs = test::rounds(200'000);
    std::atomic<long> sum{0};
    runtime.block_on([&]() -> leat::task<> {
        co_await leat::with_group([&](task_group& group) -> leat::task<> {
            worker_pool pool{group, {.workers = 4, .queue = 128}};
            for (long i = 0; i < jobs; ++i) {
                auto handle = co_await pool.submit([&sum, i] { sum += i; });
                handle.detach();
            }
        });
    });
    CHECK(sum.load() == jobs * (jobs - 1) / 2);
}

TEST_CASE("worker_pool: the end of a runtime destroys workers, submitters and those who wait")
{
    const test::no_more_than_before before;
    for (int i = 0; i < 10; ++i) {
        leat::runtime runtime{{.workers = 2}};
        std::atomic<bool> ready{false};
        auto scene = [&]() -> leat::task<> {
            co_await leat::with_group([&](task_group& group) -> leat::task<> {
                worker_pool pool{group, {.workers = 2, .queue = 1}};
                auto job = [held = test::counted{1}]() -> leat::task<> { co_await leat::sleep_for(1h); };
                for (int n = 0; n < 3; ++n)
                    (co_await pool.submit(job)).detach();
                ready = true;
                (co_await pool.submit(job)).detach();
            });
        };
        runtime.spawn(scene).detach();
        while (!ready.load())
            std::this_thread::yield();
        runtime.stop();
    }
    CHECK(before.excess() == 0);
}

}  // namespace
