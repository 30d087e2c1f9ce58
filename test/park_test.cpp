// The claim protocol of leat/detail/park.hpp, transition by transition, and the queues of ready tasks under stress.
// All interleavings of a few threads: model_test.cpp. Every awaitable: cancellation_test.cpp.
#include "support/bare_root.hpp"
#include "support/rounds.hpp"

#include <doctest/doctest.h>

#include <leat/detail/park.hpp>

#include "fork_stack.hpp"
#include "injection_queue.hpp"
#include "run_queue.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <type_traits>
#include <vector>

namespace {

using namespace leat::detail;
using test::no_scheduler;
using test::root_names;
using test::test_root;
using test::test_stop;
using test::test_waiter;

static_assert(!std::is_copy_constructible_v<task_root> && !std::is_copy_constructible_v<waiter>);
// A winner's address must not be taken for a state.
static_assert(sizeof(waiter) > task_root::calling);

struct parts {
    no_scheduler sched;
    test_stop stop;
    test_root root{sched, stop};
    spinlock lock;
    test_waiter first{root, lock};
    test_waiter second{root, lock};
};

task_root::word word_of(waiter& of)
{
    return reinterpret_cast<task_root::word>(&of);
}

}  // namespace

TEST_CASE("park: a task that runs cannot be claimed by anybody")
{
    parts p;
    CHECK(p.root.claim(p.first) == claim_result::lost);
    CHECK(p.root.claim_for_context() == claim_result::lost);
    CHECK(p.root.claim_for_shutdown() == claim_result::lost);
}

TEST_CASE("park: the first claim of a park wins, and every later one loses until the task parks again")
{
    parts p;
    for (int round = 0; round < 2; ++round) {
        CHECK(p.root.prepare_park() == park_result::parked);
        CHECK(p.root.claim(p.first) == claim_result::won);
        CHECK(p.root.claim(p.first) == claim_result::lost);
        CHECK(p.root.claim(p.second) == claim_result::lost);
        CHECK(p.root.claim_for_context() == claim_result::lost);
        CHECK(p.root.claim_for_shutdown() == claim_result::lost);
        CHECK(p.root.finish_park() == word_of(p.first));
        CHECK(p.root.claim(p.second) == claim_result::lost);
    }
}

TEST_CASE("park: the context and the end of the runtime are winners of their own kind")
{
    parts p;
    CHECK(p.root.prepare_park() == park_result::parked);
    CHECK(p.root.claim_for_context() == claim_result::won);
    CHECK(p.root.claim(p.first) == claim_result::lost);
    CHECK(p.root.finish_park() == task_root::by_context);
    CHECK(p.root.prepare_park() == park_result::parked);
    CHECK(p.root.claim_for_shutdown() == claim_result::won);
    CHECK(p.root.claim_for_context() == claim_result::lost);
    CHECK(p.root.finish_park() == task_root::by_shutdown);
}

TEST_CASE("park: a shielded park is closed to the context, and open to waiters and the end of the runtime")
{
    parts p;
    p.root.prepare_shielded_park();
    CHECK(p.root.claim_for_context() == claim_result::lost);
    CHECK(p.root.claim(p.first) == claim_result::won);
    CHECK(p.root.finish_park() == word_of(p.first));
    p.root.prepare_shielded_park();
    CHECK(p.root.claim_for_shutdown() == claim_result::won);
    CHECK(p.root.finish_park() == task_root::by_shutdown);
}

TEST_CASE("park: under a context that has ended the task does not park, but may be deaf to it")
{
    parts p;
    p.stop.set();
    CHECK(p.root.stop_requested());
    CHECK(p.root.stop_reason() == leat::errc::cancelled);
    CHECK(p.root.prepare_park() == park_result::refused);
    CHECK(p.root.claim(p.first) == claim_result::lost);
    p.root.prepare_shielded_park();
    CHECK(p.root.claim(p.first) == claim_result::won);
    CHECK(p.root.finish_park() == word_of(p.first));
}

TEST_CASE("park: a task that arms is won while it is awake, and then does not suspend")
{
    parts p;
    p.root.begin_arming();
    CHECK(p.root.claim(p.first) == claim_result::won_while_arming);
    CHECK(p.root.claim(p.second) == claim_result::lost);
    CHECK_FALSE(p.root.end_arming());
    CHECK(p.root.finish_park() == word_of(p.first));

    p.root.begin_arming();
    CHECK(p.root.end_arming());
    CHECK(p.root.claim(p.second) == claim_result::won);
    CHECK(p.root.finish_park() == word_of(p.second));

    p.root.begin_arming();
    CHECK(p.root.claim_for_context() == claim_result::won_while_arming);
    CHECK_FALSE(p.root.end_arming());
    CHECK(p.root.finish_park() == task_root::by_context);
}

TEST_CASE("waiter list: first in, first out; those that cannot be won are dropped on the way")
{
    parts p;
    parts q;
    parts r;
    waiter_list queue;
    queue.push_back(p.first);
    queue.push_back(q.first);
    queue.push_back(r.first);
    queue.push_back(r.second);
    CHECK(p.root.prepare_park() == park_result::parked);
    CHECK(r.root.prepare_park() == park_result::parked);
    wake_list wakes;
    CHECK(queue.win_front(wakes) == &p.first);
    CHECK(queue.front() == &q.first);
    CHECK(queue.win_front(wakes) == &r.first);
    CHECK_FALSE(q.first.linked);
    CHECK(queue.front() == &r.second);
    CHECK(queue.win_front(wakes) == nullptr);
    CHECK(queue.empty());
    queue.remove(r.second);  // again: it has been dropped
    CHECK_FALSE(wakes.empty());
    wakes.flush(nullptr);
    CHECK(wakes.empty());
    CHECK(p.root.finish_park() == word_of(p.first));
    CHECK(r.root.finish_park() == word_of(r.first));
}

TEST_CASE("waiter list: members leave from the front, the middle and the back")
{
    for (const std::array<int, 3> order : {std::array{0, 1, 2}, std::array{1, 0, 2}, std::array{2, 1, 0}}) {
        parts of[3];
        waiter_list queue;
        for (parts& each : of)
            queue.push_back(each.first);
        for (const int which : order)
            queue.remove(of[which].first);
        CHECK(queue.empty());
        queue.push_back(of[1].first);
        CHECK(queue.pop_front() == &of[1].first);
        CHECK(queue.pop_front() == nullptr);
    }
}

TEST_CASE("park: raced by waiters and a cancellation, exactly one wins each time")
{
    constexpr int claimers = 3;
    const int rounds = test::rounds(20'000);
    parts p;
    std::atomic<int> round{0};
    std::atomic<int> wins{0};
    std::atomic<int> arrived{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < claimers; ++i)
        threads.emplace_back([&, i] {
            for (int mine = 1; mine <= rounds; ++mine) {
                while (round.load() < mine)
                    std::this_thread::yield();
                claim_result got = claim_result::lost;
                if (i == 0) {
                    got = p.root.claim_for_context();
                } else {
                    std::lock_guard hold{p.lock};
                    got = p.root.claim(i == 1 ? p.first : p.second);
                }
                if (got == claim_result::won)
                    wins.fetch_add(1);
                arrived.fetch_add(1);
            }
        });
    int wrong = 0;
    for (int mine = 1; mine <= rounds; ++mine) {
        arrived.store(0);
        wins.store(0);
        if (p.root.prepare_park() != park_result::parked)
            ++wrong;
        round.store(mine);
        while (arrived.load() < claimers)
            std::this_thread::yield();
        if (wins.load() != 1 || p.root.finish_park() < task_root::by_context)
            ++wrong;
    }
    for (std::thread& each : threads)
        each.join();
    CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE(
    "run queue: as a ring that was filled and emptied in turn, also where its counters wrap around",
    queue_type, run_queue_of<1>, run_queue_of<4>, run_queue)
{
    for (const std::uint32_t start : {0U, 0xffffffffU - queue_type::size, 0xffffffffU, 0x7fffffffU}) {
        const auto queue = std::make_unique<queue_type>(start);
        root_names tasks(queue_type::size + 1);
        for (int round = 0; round < 3; ++round) {
            CHECK(queue->empty());
            for (std::size_t i = 0; i < queue_type::size; ++i)
                CHECK(queue->push(tasks[i]));
            CHECK_FALSE(queue->push(tasks[queue_type::size]));
            CHECK(queue->length() == queue_type::size);
            std::vector<task_root*> some(queue_type::size);
            const std::uint32_t stolen = queue->steal(some.data(), queue_type::size);
            CHECK(stolen == (queue_type::size + 1) / 2);
            std::uint32_t had = stolen;
            while (const std::uint32_t more = queue->take(some.data() + had, 3))
                had += more;
            CHECK(had == queue_type::size);
            for (std::size_t i = 0; i < had; ++i)
                CHECK(some[i] == &tasks[i]);
        }
    }
}

TEST_CASE_TEMPLATE("run queue: an owner and thieves: every task is taken exactly once", queue_type,
                   run_queue_of<4>, run_queue)
{
    constexpr int thieves = 2;
    const auto total = static_cast<std::size_t>(test::rounds(300'000));
    const auto queue = std::make_unique<queue_type>(0xffffff00U);
    root_names tasks(total);
    std::vector<std::atomic<unsigned char>> taken(total);
    std::atomic<bool> over{false};
    const auto note = [&](task_root** some, std::uint32_t count) {
        for (std::uint32_t i = 0; i < count; ++i)
            taken[tasks.index_of(some[i])].fetch_add(1);
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < thieves; ++i)
        threads.emplace_back([&] {
            std::array<task_root*, queue_type::size> some;
            while (!over.load())
                note(some.data(), queue->steal(some.data(), queue_type::size / 2));
        });
    std::array<task_root*, queue_type::size> some;
    std::minstd_rand random{7};
    for (std::size_t i = 0; i < total; ++i) {
        while (!queue->push(tasks[i]))
            note(some.data(), queue->take(some.data(), 1 + static_cast<std::uint32_t>(random()) % 3));
        if (random() % 4 == 0)
            note(some.data(), queue->take(some.data(), 1));
    }
    while (const std::uint32_t count = queue->take(some.data(), 8))
        note(some.data(), count);
    over.store(true);
    for (std::thread& each : threads)
        each.join();
    CHECK(queue->empty());
    CHECK(std::all_of(taken.begin(), taken.end(), [](const auto& times) { return times.load() == 1; }));
}

TEST_CASE_TEMPLATE(
    "fork stack: its owner takes the youngest, a thief the oldest, also where counters wrap around",
    stack_type, fork_stack_of<1>, fork_stack_of<4>, fork_stack)
{
    for (const std::uint32_t start : {0U, 0xffffffffU - stack_type::size, 0xffffffffU, 0x7fffffffU}) {
        const auto stack = std::make_unique<stack_type>(start);
        root_names tasks(stack_type::size + 1);
        for (int round = 0; round < 3; ++round) {
            CHECK(stack->empty());
            CHECK(stack->pop() == nullptr);
            CHECK(stack->steal() == nullptr);
            for (std::size_t i = 0; i < stack_type::size; ++i)
                CHECK(stack->push(tasks[i]));
            CHECK_FALSE(stack->push(tasks[stack_type::size]));
            CHECK(stack->length() == stack_type::size);
            std::size_t first = 0;
            std::size_t last = stack_type::size;
            while (first != last) {
                CHECK(stack->pop() == &tasks[--last]);
                if (first != last)
                    CHECK(stack->steal() == &tasks[first++]);
            }
        }
    }
}

TEST_CASE_TEMPLATE("fork stack: an owner and thieves: every task is taken exactly once", stack_type,
                   fork_stack_of<4>, fork_stack)
{
    constexpr int thieves = 2;
    const auto total = static_cast<std::size_t>(test::rounds(300'000));
    const auto stack = std::make_unique<stack_type>(0xffffff00U);
    root_names tasks(total);
    std::vector<std::atomic<unsigned char>> taken(total);
    std::atomic<bool> over{false};
    const auto note = [&](const task_root* root) {
        if (root != nullptr)
            taken[tasks.index_of(root)].fetch_add(1);
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < thieves; ++i)
        threads.emplace_back([&] {
            while (!over.load())
                note(stack->steal());
        });
    std::minstd_rand random{7};
    for (std::size_t i = 0; i < total; ++i) {
        while (!stack->push(tasks[i]))
            note(stack->pop());
        for (auto pops = random() % 4; pops > 1; --pops)
            note(stack->pop());
    }
    while (!stack->empty())
        note(stack->pop());
    over.store(true);
    for (std::thread& each : threads)
        each.join();
    CHECK(std::all_of(taken.begin(), taken.end(), [](const auto& times) { return times.load() == 1; }));
}

TEST_CASE("injection queue: from many threads, one at a time and in chains: every task is taken exactly once")
{
    constexpr std::size_t sides = 2;
    const auto each_side = static_cast<std::size_t>(test::rounds(20'000)) * 4;
    no_scheduler sched;
    test_stop stop;
    std::vector<std::unique_ptr<test_root>> roots;
    for (std::size_t i = 0; i < sides * each_side; ++i)
        roots.push_back(std::make_unique<test_root>(sched, stop));
    injection_queue queue;
    std::atomic<std::size_t> taken{0};
    std::vector<std::thread> threads;
    for (std::size_t side = 0; side < sides; ++side) {
        threads.emplace_back([&, side] {
            for (std::size_t i = side * each_side; i < (side + 1) * each_side; i += 4) {
                queue.push(*roots[i]);
                std::array<task_root*, 3> chain{roots[i + 1].get(), roots[i + 2].get(), roots[i + 3].get()};
                queue.push(chain.data(), chain.size());
            }
        });
        threads.emplace_back([&] {
            std::array<task_root*, 8> some;
            while (taken.load() < roots.size()) {
                const std::size_t count = queue.take(some.data(), some.size());
                for (std::size_t i = 0; i < count; ++i)
                    ++static_cast<test_root*>(some[i])->times_scheduled;
                if (count == 0)
                    std::this_thread::yield();
                taken.fetch_add(count);
            }
        });
    }
    for (std::thread& each : threads)
        each.join();
    CHECK(queue.empty());
    CHECK(
        std::all_of(roots.begin(), roots.end(), [](const auto& root) { return root->times_scheduled == 1; }));
}
