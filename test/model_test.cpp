// The protocols between threads, as they are in the sources, under every interleaving of a few threads: parking,
// channels, select, contexts, joins, locks and permits; the run queue and the injection queue; how workers go to sleep. The sources are compiled
// into this file with a name of their own for the namespace and atomics of their own; see support/model.hpp.
#include <doctest/doctest.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LEAT_MODEL_ASAN
#endif
#endif

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wsubobject-linkage"  // sources are included here, whose helpers are local
#endif

#define LEAT_MODEL_ATOMIC "support/model_atomic.hpp"
#define leat leat_model

#include "support/bare_root.hpp"
#include "support/counted.hpp"

#include <leat/channel.hpp>
#include <leat/context.hpp>
#include <leat/group.hpp>
#include <leat/select.hpp>
#include <leat/spawn.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/sync/semaphore.hpp>
#include <leat/sync/shared_mutex.hpp>
#include <leat/task.hpp>
#include <leat/time.hpp>

#include "channel.cpp"
#include "context.cpp"
#include "error.cpp"
#include "fork_scope.cpp"
#include "group.cpp"
#include "inspect.cpp"
#include "mutex.cpp"
#include "park.cpp"
#include "reader_slots.cpp"
#include "scope_verdict.cpp"
#include "select.cpp"
#include "semaphore.cpp"
#include "shared_mutex.cpp"
#include "spawn.cpp"
#include "spinlock.cpp"
#include "task.cpp"
#include "this_task.cpp"
#include "time.cpp"
#include "timer_wheel.cpp"
#include "timers.cpp"

#include "fork_stack.hpp"
#include "injection_queue.hpp"
#include "run_queue.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace leat::detail {

// Frames straight from the system, so that AddressSanitizer sees every use after free.
void* allocate_frame(std::size_t size)
{
    return ::operator new(size);
}
void free_frame(void* frame, std::size_t) noexcept
{
    ::operator delete(frame);
}

// Two readers of a shared mutex have one, or each has its own.
thread_slot& this_threads_slot() noexcept
{
    static thread_slot slots[2];
    const std::size_t mine = model::explorer::thread_number() % 2;
    slots[mine].index = static_cast<std::uint32_t>(mine);
    return slots[mine];
}

}  // namespace leat::detail

namespace {

using namespace leat::detail;
using model::check;
using model::explorer;

void* swap_turn(void* to)
{
    turn* const before = current_turn();
    set_current_turn(static_cast<turn*>(to));
    return before;
}

using test::no_scheduler;
using test::root_names;
using test::test_root;
using test::test_stop;
using test::test_waiter;

void must_pass(const model::outcome& got)
{
    const std::string count =
        std::to_string(got.schedules) + (got.exhausted ? " schedules, all" : " schedules");
    MESSAGE(count);
    CHECK(got.failure == "");
    CHECK(got.exhausted);
}

}  // namespace

namespace {

/// Preemptions: the larger the scenario the fewer.
#if defined(__OPTIMIZE__)
constexpr bool fast = !test::under_sanitizer;
#else
constexpr bool fast = false;
#endif
constexpr int fewest_preemptions = 1;
constexpr int few_preemptions = fast ? 2 : 1;
constexpr int some_preemptions = fast ? 3 : 2;
constexpr int many_preemptions = fast ? 5 : 3;

}  // namespace

#define MODEL_TEST(name) \
    TEST_CASE(name* doctest::skip(test::under_tsan))  // one thread: nothing for TSan to see

namespace {

/// A task that waits for two things parks; so many of them, and the cancellation, want to win it; and what `more`
/// adds goes on beside.
template <class More>
void race_for_a_park(explorer& run, int rivals, More more)
{
    no_scheduler sched;
    test_stop stop;
    test_root root{sched, stop};
    spinlock here;
    spinlock there;
    test_waiter first{root, here};
    test_waiter second{root, there};
    int waiters_won = 0;
    int context_won = 0;
    bool refused = false;
    task_root::word winner = 0;

    run.thread([&] {
        here.lock();
        there.lock();
        switch (root.prepare_park()) {
        case park_result::parked:
            first.link();
            second.link();
            break;
        case park_result::claimed: break;
        case park_result::refused: refused = true; break;
        }
        there.unlock();
        here.unlock();
        if (refused)
            return;
        explorer::here()->wait_until([&] { return root.times_scheduled != 0; });
        winner = root.finish_park();
        for (test_waiter* each : {&first, &second}) {
            each->source().lock();
            each->unlink();
            each->source().unlock();
        }
    });
    for (test_waiter* each : rivals == 2 ? std::vector<test_waiter*>{&first, &second} : std::vector{&first})
        run.thread([&, each] {
            each->source().lock();
            const bool won = each->linked && root.claim(*each) == claim_result::won;
            each->unlink();
            each->source().unlock();
            if (won) {
                ++waiters_won;
                ++root.times_scheduled;
            }
        });
    run.thread([&] {
        stop.set();
        if (root.claim_for_context() == claim_result::won) {
            ++context_won;
            ++root.times_scheduled;
        }
    });
    more(root);
    run.run();
    check(waiters_won + context_won == (refused ? 0 : 1), "not exactly one has won");
    check(root.times_scheduled == waiters_won + context_won, "scheduled too often");
    check(refused || (winner == task_root::by_context) == (context_won == 1),
          "somebody else is said to have won");
    root.leave_context();
}

}  // namespace

MODEL_TEST("park word: of two waiters and a cancellation exactly one wins, and none is lost")
{
    explorer e{{.preemptions = few_preemptions}};
    must_pass(e.explore([](explorer& run) { race_for_a_park(run, 2, [](task_root&) {}); }));
}

MODEL_TEST("park word: a claim waits for an inspector, who has never seen a task that runs")
{
    explorer e{{.preemptions = few_preemptions}};
    must_pass(e.explore([](explorer& run) {
        race_for_a_park(run, 1, [&run](task_root& root) {
            run.thread([&root] { static_cast<void>(chain_reader::read(root)); });
        });
    }));
}

MODEL_TEST("park word: a shielded park is left to its waiter by the cancellation")
{
    explorer e{{.preemptions = many_preemptions}};
    must_pass(e.explore([](explorer& run) {
        no_scheduler sched;
        test_stop stop;
        test_root root{sched, stop};
        spinlock here;
        test_waiter only{root, here};
        task_root::word winner = 0;
        run.thread([&] {
            here.lock();
            root.prepare_shielded_park();
            only.link();
            here.unlock();
            explorer::here()->wait_until([&] { return root.times_scheduled != 0; });
            winner = root.finish_park();
        });
        run.thread([&] {
            explorer::here()->wait_until([&] { return only.linked; });
            here.lock();
            if (root.claim(only) == claim_result::won)
                ++root.times_scheduled;
            here.unlock();
        });
        run.thread([&] {
            stop.set();
            check(root.claim_for_context() == claim_result::lost, "the cancellation has won a shielded park");
        });
        run.run();
        check(winner == reinterpret_cast<task_root::word>(&only), "the waiter has not won");
    }));
}

MODEL_TEST("park word: a waiter that wins while the task is arming does not schedule it")
{
    explorer e{{.preemptions = some_preemptions}};
    must_pass(e.explore([](explorer& run) {
        no_scheduler sched;
        test_stop stop;
        test_root root{sched, stop};
        spinlock here;
        test_waiter first{root, here};
        test_waiter second{root, here};
        int won = 0;
        int awake = 0;
        bool suspended = false;
        run.thread([&] {
            root.begin_arming();
            for (test_waiter* each : {&first, &second}) {
                here.lock();
                each->link();
                here.unlock();
            }
            // Who arms asks for a cancellation that came before: nobody else will.
            suspended = root.end_arming();
            if (suspended)
                explorer::here()->wait_until([&] { return root.times_scheduled != 0; });
            check(root.finish_park() > task_root::inspected, "nobody has won");
        });
        for (test_waiter* each : {&first, &second})
            run.thread([&, each] {
                explorer::here()->wait_until([each] { return each->linked; });
                here.lock();
                switch (root.claim(*each)) {
                case claim_result::won: ++won, ++root.times_scheduled; break;
                case claim_result::won_while_arming: ++awake; break;
                case claim_result::lost: break;
                }
                here.unlock();
            });
        run.run();
        check(won + awake == 1, "not exactly one has won");
        check(suspended == (won == 1), "a task that slept was not woken, or one that did not was");
    }));
}

namespace {

/// Workers that are model threads: a queue, and whoever is free takes from it.
class model_pool final : public no_scheduler {
public:
    model_pool()
    {
        root_context_ = cancel_node::make(nullptr);
        unstoppable_ = cancel_node::make(nullptr);
    }
    ~model_pool()
    {
        shard.close();
        shard.leave();
        root_context_->unref();
        static_cast<cancel_node*>(unstoppable_)->unref();
    }
    void ready(task_root& root, turn*) noexcept override
    {
        explorer::point();
        queue_.push_back(&root);
    }
    std::int64_t now() noexcept override
    {
        return clock;
    }
    timer_shard& timers(turn*) noexcept override
    {
        return shard;
    }
    /// Expires what is due at `until`, until every task has ended.
    void add_clock(explorer& run, std::int64_t until)
    {
        run.thread([this, until] {
            clock = until;
            for (;;) {
                explorer::here()->wait_until([this] { return live == 0 || shard.armed() != 0; });
                if (live == 0)
                    break;
                shard.run(until, nullptr);
            }
        });
    }
    void ready_later(task_root& root, turn* by) noexcept override
    {
        ready(root, by);
    }
    void task_created(turn*) noexcept override
    {
        ++live;
    }
    void task_ended(turn*) noexcept override
    {
        --live;
    }
    /// Adds a worker, which works until every task has ended.
    void add_worker(explorer& run)
    {
        run.thread([this] {
            turn here;
            here.sched = this;
            here.seat = 1;
            set_current_turn(&here);
            for (;;) {
                explorer::here()->wait_until([this] { return !queue_.empty() || live == 0; });
                if (queue_.empty())
                    break;
                task_root* const root = queue_.front();
                queue_.pop_front();
                run_turn(here, *root);
            }
            set_current_turn(nullptr);
        });
    }
    template <class W>
    auto spawn(W&& what, const leat::context& under)
    {
        spawn_site site;
        site.sched = this;
        site.context = &under.node();
        return launch(prepare_spawn(site, std::forward<W>(what)), nullptr);
    }

    int live = 0;
    std::int64_t clock = 0;
    timer_shard& shard = timer_shard::make(*this, 0, 0);

private:
    std::deque<task_root*> queue_;
};

enum class end { none, value, closed, cancelled };

leat::task<> receive(leat::channel<int> from, end& how)
{
    [[maybe_unused]] const int gcc_12_needs_a_local = 0;
    const leat::result<std::optional<int>> got = co_await leat::as_result(from.recv());
    if (!got.has_value())
        how = end::cancelled;
    else
        how = got.value().has_value() ? end::value : end::closed;
}

leat::task<> send(leat::channel<int> to, end& how)
{
    [[maybe_unused]] const int gcc_12_needs_a_local = 0;
    const leat::result<> sent = co_await leat::as_result(to.send(1));
    if (sent.has_value())
        how = end::value;
    else
        how = sent.error() == leat::errc::channel_closed ? end::closed : end::cancelled;
}

}  // namespace

MODEL_TEST("channel: a receiver, a sender that does not wait, a cancellation: one outcome, and no value lost")
{
    explorer e{{.preemptions = some_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        const test::no_more_than_before counts;
        model_pool pool;
        std::optional<leat::channel<int>> ch{1};
        end how = end::none;
        bool sent = false;
        {
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            pool.spawn(receive(*ch, how), ctx).detach();
            pool.add_worker(run);
            run.thread([&] { sent = ch->try_send(1).has_value(); });
            run.thread([&, &stop = cancel] { stop(); });
            run.run();
        }
        check(sent, "there was room");
        check(how == end::value || how == end::cancelled, "a third outcome");
        check(ch->size() == (how == end::value ? 0U : 1U), "a value was lost or doubled");
        check(pool.live == 0, "the task has not ended");
    }));
}

MODEL_TEST("channel: sender and receiver on two workers, both cancelled: both or none have the value")
{
    explorer e{{.preemptions = few_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        const leat::channel<int> ch;
        end received = end::none;
        end sent = end::none;
        {
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            pool.spawn(receive(ch, received), ctx).detach();
            pool.spawn(send(ch, sent), ctx).detach();
            pool.add_worker(run);
            pool.add_worker(run);
            run.thread([&, &stop = cancel] { stop(); });
            run.run();
        }
        check((received == end::value) == (sent == end::value), "half a rendezvous");
        check(pool.live == 0, "a task has not ended");
    }));
}

MODEL_TEST(
    "channel: closed, cancelled and dropped by its last handle while a task waits; the core is freed once")
{
    explorer e{{.preemptions = few_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        std::optional<leat::channel<int>> ch{0};
        end how = end::none;
        {
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            auto* const raw = &*ch;
            // The task holds no handle of its own: the channel may go while it waits.
            auto body = [raw, &how]() -> leat::task<> {
                [[maybe_unused]] const int gcc_12_needs_a_local = 0;
                auto op = raw->recv();
                const leat::result<std::optional<int>> got = co_await leat::as_result(op);
                how = !got.has_value() ? end::cancelled : got.value().has_value() ? end::value : end::closed;
            };
            pool.spawn(body, ctx).detach();
            pool.add_worker(run);
            run.thread([&] {
                explorer::here()->wait_until([&] {
                    return how != end::none || leat::detail::channel_access::core(*ch)->receivers.front();
                });
                ch.reset();
            });
            run.thread([&, &stop = cancel] {
                explorer::here()->wait_until(
                    [&] { return !ch || leat::detail::channel_access::core(*ch)->receivers.front(); });
                stop();
            });
            run.run();
        }
        check(how == end::closed || how == end::cancelled, "a third outcome");
        check(pool.live == 0, "the task has not ended");
    }));
}

MODEL_TEST(
    "channel: who looks while the first value is taken, and a waiting sender's takes its place, finds one")
{
    explorer e{{.preemptions = some_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        const leat::channel<int> ch{1};
        end sent = end::none;
        check(ch.try_send(0).has_value(), "there was room");
        pool.spawn(send(ch, sent), leat::background()).detach();
        pool.add_worker(run);
        const auto take = [&] {
            explorer::here()->wait_until(
                [&] { return sent != end::none || leat::detail::channel_access::core(ch)->senders.front(); });
            check(ch.try_recv().has_value(), "there were two values");
        };
        run.thread(take);
        run.thread(take);
        run.run();
        check(sent == end::value, "the sender has not sent");
        check(pool.live == 0, "the task has not ended");
    }));
}

MODEL_TEST("channel: looks find what was done before: room, a value, the end; of two at least one")
{
    explorer e{{.preemptions = many_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        const leat::channel<int> a{1};
        const leat::channel<int> b{1};
        bool found_a = false;
        bool found_b = false;
        run.thread([&] {
            check(a.try_send(1).has_value(), "there was room");
            found_b = b.try_recv().error() == leat::errc::channel_closed;
        });
        run.thread([&] {
            b.close();
            found_a = a.try_recv().has_value();
        });
        run.run();
        check(found_a || found_b, "both have missed what the other had done");
    }));
}

MODEL_TEST(
    "select: two that face each other on the same channels, and a cancellation: they meet or neither does")
{
    explorer e{{.preemptions = few_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        const leat::channel<int> a;
        const leat::channel<int> b;
        end how[2] = {end::none, end::none};
        int given = 0;
        int had = 0;
        {
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            auto side = [&](bool first) -> leat::task<> {
                const leat::channel<int> to = first ? a : b;
                const leat::channel<int> from = first ? b : a;
                try {
                    static_cast<void>(
                        co_await leat::select(leat::on(to.send(1), [&] { ++given; }),
                                              leat::on(from.recv(), [&](std::optional<int>) { ++had; })));
                    how[first ? 0 : 1] = end::value;
                } catch (const leat::cancelled_error&) {
                    how[first ? 0 : 1] = end::cancelled;
                }
            };
            pool.spawn(side(true), ctx).detach();
            pool.spawn(side(false), ctx).detach();
            pool.add_worker(run);
            pool.add_worker(run);
            run.thread([&, &stop = cancel] { stop(); });
            run.run();
        }
        check(given == had, "half a rendezvous");
        check(how[0] == how[1], "one of them was left");
        check(pool.live == 0, "a task has not ended");
    }));
}

MODEL_TEST("select: without any case, it may be cancelled while it is still parking")
{
    explorer e{{.preemptions = few_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        bool ended = false;
        {
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            auto body = [&]() -> leat::task<> {
                try {
                    const std::vector<leat::channel<int>> nothing;
                    static_cast<void>(co_await leat::select_range(nothing));
                } catch (const leat::cancelled_error&) {
                    ended = true;
                }
            };
            pool.spawn(body(), ctx).detach();
            pool.add_worker(run);
            pool.add_worker(run);
            run.thread([&, &stop = cancel] { stop(); });
            run.run();
        }
        check(ended, "it was not cancelled");
    }));
}

MODEL_TEST("join: a task that ends, its joiner, and a cancellation of either; the block is freed once")
{
    explorer e{{.preemptions = few_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        const leat::channel<int> ch;
        end joined = end::none;
        end child_end = end::none;
        {
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            leat::join_handle<> child = pool.spawn(receive(ch, child_end), leat::background());
            auto* const raw = &child;
            auto joiner = [&joined](leat::join_handle<> of) -> leat::task<> {
                const leat::result<> got = co_await leat::as_result(of);
                joined = got.has_value() ? end::value : end::cancelled;
            };
            pool.add_worker(run);
            pool.add_worker(run);
            raw->cancel();
            pool.spawn(joiner(std::move(child)), ctx).detach();
            run.thread([&, &stop = cancel] { stop(); });
            run.run();
        }
        check(child_end == end::cancelled, "the child was not cancelled");
        check(joined != end::none, "the joiner has not ended");
        check(pool.live == 0, "a task has not ended");
    }));
}

namespace {

/// What is to be guarded: how many read it, and how many write.
class guarded_place {
public:
    void write()
    {
        check(std::exchange(writers_, 1) == 0 && readers_ == 0, "two have it");
        explorer::point();
        writers_ = 0;
    }
    void read()
    {
        ++readers_;
        explorer::point();
        check(writers_ == 0, "it is read while it is written");
        --readers_;
    }

private:
    int writers_ = 0;
    int readers_ = 0;
};

/// Waits for something that guards the place, and gives it up again.
template <class Wait, class Use>
leat::task<> pass(Wait wait, Use use, end& how)
{
    [[maybe_unused]] const int gcc_12_needs_a_local = 0;
    auto got = co_await leat::as_result(wait());
    how = got.has_value() ? end::value : end::cancelled;
    if (got.has_value())
        use();
}

/// The same, and then destroys what guards it: nobody else is waiting for it or has it.
template <class Guards, class Wait>
leat::task<> pass_and_destroy(std::unique_ptr<Guards>& of, Wait wait)
{
    [[maybe_unused]] const int gcc_12_needs_a_local = 0;
    {
        const auto got = co_await wait(*of);
    }
    of.reset();
}

}  // namespace

MODEL_TEST(
    "mutex: held while two wait, of whom one is cancelled: one at a time has it, and nobody is forgotten")
{
    explorer e{{.preemptions = some_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        leat::mutex m;
        guarded_place place;
        end first = end::none, second = end::none;
        {
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            auto held = m.try_lock();
            const auto lock = [&m] { return m.lock(); };
            const auto write = [&place] { place.write(); };
            pool.spawn(pass(lock, write, first), ctx).detach();
            pool.spawn(pass(lock, write, second), leat::background()).detach();
            pool.add_worker(run);
            run.thread([&] {
                place.write();
                held.unlock();
            });
            run.thread([&, &stop = cancel] { stop(); });
            run.run();
        }
        check(first != end::none && second == end::value, "one was forgotten");
        check(m.try_lock().owns_lock(), "it is still locked");
        check(pool.live == 0, "a task has not ended");
    }));
}

MODEL_TEST("mutex: one that comes, one that waits, and a thread, on two workers: one at a time has it")
{
    explorer e{{.preemptions = few_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        leat::mutex m;
        guarded_place place;
        end first = end::none, second = end::none;
        auto held = m.try_lock();
        const auto lock = [&m] { return m.lock(); };
        const auto write = [&place] { place.write(); };
        pool.spawn(pass(lock, write, first), leat::background()).detach();
        pool.spawn(pass(lock, write, second), leat::background()).detach();
        pool.add_worker(run);
        pool.add_worker(run);
        run.thread([&] {
            held.unlock();
            if (const auto again = m.try_lock())
                place.write();
        });
        run.run();
        check(first == end::value && second == end::value, "one was forgotten");
        check(m.try_lock().owns_lock(), "it is still locked");
    }));
}

MODEL_TEST(
    "mutex, shared_mutex, semaphore: destroyed by who had it last, while another is still giving it up")
{
    explorer e{{.preemptions = many_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        auto m = std::make_unique<leat::mutex>();
        auto held = m->try_lock();
        const auto wait = [](leat::mutex& of) { return of.lock(); };
        pool.spawn(pass_and_destroy(m, wait), leat::background()).detach();
        pool.add_worker(run);
        run.thread([&] { held.unlock(); });
        run.run();
        check(!m, "it has not ended");
    }));
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        auto m = std::make_unique<leat::shared_mutex>();
        auto held = m->try_lock_shared();
        const auto wait = [](leat::shared_mutex& of) { return of.lock(); };
        pool.spawn(pass_and_destroy(m, wait), leat::background()).detach();
        pool.add_worker(run);
        run.thread([&] { held.unlock(); });
        run.run();
        check(!m, "it has not ended");
    }));
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        auto permits = std::make_unique<leat::semaphore>(1);
        auto held = permits->try_acquire();
        const auto wait = [](leat::semaphore& of) { return of.acquire(); };
        pool.spawn(pass_and_destroy(permits, wait), leat::background()).detach();
        pool.add_worker(run);
        run.thread([&] { held.release(); });
        run.run();
        check(!permits, "it has not ended");
    }));
}

MODEL_TEST("shared_mutex: a writer that is cancelled while it waits behind one reader lets the next one in")
{
    explorer e{{.preemptions = some_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        leat::shared_mutex m;
        guarded_place place;
        end writer = end::none, reader = end::none;
        {
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            auto held = m.try_lock_shared();
            pool.spawn(pass([&m] { return m.lock(); }, [&place] { place.write(); }, writer), ctx).detach();
            pool.spawn(pass([&m] { return m.lock_shared(); }, [&place] { place.read(); }, reader),
                       leat::background())
                .detach();
            pool.add_worker(run);
            run.thread([&] {
                place.read();
                held.unlock();
            });
            run.thread([&, &stop = cancel] { stop(); });
            run.run();
        }
        check(writer != end::none && reader == end::value, "one was forgotten");
        check(m.try_lock().owns_lock(), "it is still locked");
        check(pool.live == 0, "a task has not ended");
    }));
}

MODEL_TEST(
    "shared_mutex: a reader that upgrades, one that comes, one that goes: nobody writes beside a reader")
{
    explorer e{{.preemptions = many_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        leat::shared_mutex m;
        guarded_place place;
        end upgraded = end::none, reader = end::none;
        auto mine = m.try_lock_shared();
        auto other = m.try_lock_shared();
        pool.spawn(pass([&mine] { return mine.upgrade(); }, [&place] { place.write(); }, upgraded),
                   leat::background())
            .detach();
        pool.spawn(pass([&m] { return m.lock_shared(); }, [&place] { place.read(); }, reader),
                   leat::background())
            .detach();
        pool.add_worker(run);
        run.thread([&] {
            place.read();
            other.unlock();
        });
        run.run();
        check(upgraded == end::value && reader == end::value, "one was forgotten");
        check(m.try_lock().owns_lock(), "it is still locked");
    }));
}

namespace {

/// Its readers count in slots.
void spread(leat::shared_mutex& m)
{
    leat::shared_mutex::guard::core_of(m).spread_readers();
}

void read_twice(leat::shared_mutex& m, guarded_place& place)
{
    for (int i = 0; i < 2; ++i)
        if (auto mine = m.try_lock_shared())
            place.read();
}

}  // namespace

MODEL_TEST("shared_mutex: readers in slots, who come and go, and a writer who drains them")
{
    explorer e{{.preemptions = few_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        leat::shared_mutex m;
        guarded_place place;
        end writer = end::none;
        spread(m);
        pool.spawn(pass([&m] { return m.lock(); }, [&place] { place.write(); }, writer), leat::background())
            .detach();
        pool.add_worker(run);
        run.thread([&] { read_twice(m, place); });
        run.thread([&] { read_twice(m, place); });
        run.run();
        check(writer == end::value, "it was forgotten");
        check(m.try_lock().owns_lock(), "it is still locked");
    }));
}

MODEL_TEST(
    "shared_mutex: in slots, a reader is there, one comes, one upgrades, a writer waits and is cancelled")
{
    explorer e{{.preemptions = few_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        leat::shared_mutex m;
        guarded_place place;
        end writer = end::none, reader = end::none, upgraded = end::none;
        {
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            auto mine = m.try_lock_shared();
            spread(m);
            auto other = m.try_lock_shared();
            pool.spawn(pass([&m] { return m.lock(); }, [&place] { place.write(); }, writer), ctx).detach();
            pool.spawn(pass([&m] { return m.lock_shared(); }, [&place] { place.read(); }, reader),
                       leat::background())
                .detach();
            pool.spawn(pass([&mine] { return mine.upgrade(); }, [&place] { place.write(); }, upgraded),
                       leat::background())
                .detach();
            pool.add_worker(run);
            run.thread([&] {
                place.read();
                other.unlock();
            });
            run.thread([&, &stop = cancel] { stop(); });
            run.run();
        }
        check(writer != end::none && reader == end::value && upgraded == end::value, "one was forgotten");
        check(m.try_lock().owns_lock(), "it is still locked");
        check(pool.live == 0, "a task has not ended");
    }));
}

MODEL_TEST("shared_mutex: in slots, a writer becomes a reader, while one comes and one waits to write")
{
    explorer e{{.preemptions = few_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        leat::shared_mutex m;
        guarded_place place;
        end writer = end::none;
        spread(m);
        // As if it had been worth it to have slots.
        for (int i = 0; i < 16; ++i)
            static_cast<void>(m.try_lock_shared());
        auto mine = m.try_lock();
        pool.spawn(pass([&m] { return m.lock(); }, [&place] { place.write(); }, writer), leat::background())
            .detach();
        pool.add_worker(run);
        run.thread([&] {
            auto reads = mine.downgrade();
            place.read();
            reads.unlock();
        });
        run.thread([&] { read_twice(m, place); });
        run.run();
        check(writer == end::value, "it was forgotten");
        check(m.try_lock().owns_lock(), "it is still locked");
    }));
}

MODEL_TEST("shared_mutex: in slots, destroyed by who had it last, while another is still giving it up")
{
    explorer e{{.preemptions = many_preemptions}};
    e.swap_local = swap_turn;
    // Written, then opened again, with a reader behind: or read through a slot, with a writer behind.
    for (const bool written : {true, false})
        must_pass(e.explore([written](explorer& run) {
            model_pool pool;
            auto m = std::make_unique<leat::shared_mutex>();
            spread(*m);
            for (int i = 0; i < 16; ++i)
                static_cast<void>(m->try_lock_shared());
            leat::shared_mutex::guard writes;
            leat::shared_mutex::shared_guard reads;
            if (written) {
                writes = m->try_lock();
                const auto wait = [](leat::shared_mutex& of) { return of.lock_shared(); };
                pool.spawn(pass_and_destroy(m, wait), leat::background()).detach();
            } else {
                reads = m->try_lock_shared();
                const auto wait = [](leat::shared_mutex& of) { return of.lock(); };
                pool.spawn(pass_and_destroy(m, wait), leat::background()).detach();
            }
            pool.add_worker(run);
            run.thread([&] {
                writes.unlock();
                reads.unlock();
            });
            run.run();
            check(!m, "it has not ended");
        }));
}

MODEL_TEST("semaphore: a large request that is cancelled, a small one behind it, and permits that come back")
{
    explorer e{{.preemptions = some_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        leat::semaphore permits{2};
        end large = end::none, small = end::none;
        {
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            auto held = permits.try_acquire(2);
            int given = 0;
            pool.spawn(pass([&permits] { return permits.acquire(2); },
                            [&given] { check(given == 2, "too early"); }, large),
                       ctx)
                .detach();
            pool.spawn(pass([&permits] { return permits.acquire(1); },
                            [&given] { check(given == 2, "too early"); }, small),
                       leat::background())
                .detach();
            pool.add_worker(run);
            run.thread([&] {
                given = 2;
                held.release();
            });
            run.thread([&, &stop = cancel] { stop(); });
            run.run();
        }
        check(large != end::none && small == end::value, "one was forgotten");
        check(permits.available() == 2, "permits were lost or doubled");
        check(pool.live == 0, "a task has not ended");
    }));
}

namespace {

leat::task<> ends_at_once()
{
    [[maybe_unused]] const int gcc_12_needs_a_local = 0;
    co_return;
}

leat::task<> forks(leat::task<> a, leat::task<> b, bool& went_on)
{
    [[maybe_unused]] const int gcc_12_needs_a_local = 0;
    try {
        co_await leat::when_all(std::move(a), std::move(b));
    } catch (const leat::cancelled_error&) {
    }
    went_on = true;
}

}  // namespace

MODEL_TEST("fork: two children end on two workers: the owner goes on once")
{
    explorer e{{.preemptions = some_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        bool went_on = false;
        pool.spawn(forks(ends_at_once(), ends_at_once(), went_on), leat::background()).detach();
        pool.add_worker(run);
        pool.add_worker(run);
        run.run();
        check(went_on, "the owner has not gone on");
        check(pool.live == 0, "a task has not ended");
    }));
}

MODEL_TEST("fork: a child ends while another settles, is cancelled, and a report reads its owner")
{
    explorer e{{.preemptions = few_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        const leat::channel<int> ch;
        bool went_on = false;
        end how = end::none;
        {
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            pool.spawn(forks(ends_at_once(), receive(ch, how), went_on), ctx).detach();
            pool.add_worker(run);
            pool.add_worker(run);
            run.thread([&, &stop = cancel] {
                cancel_node::for_each_task(
                    [](task_root& root) { static_cast<void>(chain_reader::read(root)); });
                stop();
            });
            run.run();
        }
        check(how == end::cancelled, "the child was not cancelled");
        check(went_on, "the owner has not gone on");
        check(pool.live == 0, "a task has not ended");
    }));
}

MODEL_TEST(
    "fork: two children settle at the same time, below an owner without a context, and a handle cancels them")
{
    explorer e{{.preemptions = fewest_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        const leat::channel<int> ch;
        bool inner = false, outer = false;
        end first = end::none, second = end::none;
        {
            leat::join_handle<> handle = pool.spawn(
                forks(forks(receive(ch, first), receive(ch, second), inner), ends_at_once(), outer),
                leat::background());
            pool.add_worker(run);
            pool.add_worker(run);
            run.thread([&handle] { handle.cancel(); });
            run.run();
        }
        check(first == end::cancelled && second == end::cancelled, "a child was not cancelled");
        check(inner && outer, "an owner has not gone on");
        check(pool.live == 0, "a task has not ended");
    }));
}

namespace {

leat::task<> groups(leat::task<> a, leat::task<> b, leat::group_options options, end& how)
{
    [[maybe_unused]] const int gcc_12_needs_a_local = 0;
    auto body = [&a, &b](leat::task_group& group) -> leat::task<> {
        static_cast<void>(co_await group.spawn(std::move(a)));
        static_cast<void>(co_await group.spawn(std::move(b)));
    };
    const leat::result<> got = co_await leat::as_result(leat::with_group(options, body));
    how = got.has_value() ? end::value : end::cancelled;
}

leat::task<> fails()
{
    [[maybe_unused]] const int gcc_12_needs_a_local = 0;
    throw leat::timed_out_error{};
    co_return;
}

}  // namespace

MODEL_TEST("group: children end on two workers while the owner comes to wait for them: it goes on once")
{
    explorer e{{.preemptions = some_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        end how = end::none;
        pool.spawn(groups(ends_at_once(), ends_at_once(), {}, how), leat::background()).detach();
        pool.add_worker(run);
        pool.add_worker(run);
        run.run();
        check(how == end::value, "the owner has not gone on");
        check(pool.live == 0, "a task has not ended");
    }));
}

MODEL_TEST("group: with a limit of one, each child hands its place on, and the owner goes on once")
{
    explorer e{{.preemptions = some_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        end how = end::none;
        pool.spawn(groups(ends_at_once(), ends_at_once(), {.limit = 1}, how), leat::background()).detach();
        pool.add_worker(run);
        pool.add_worker(run);
        run.run();
        check(how == end::value, "the owner has not gone on");
        check(pool.live == 0, "a task has not ended");
    }));
}

MODEL_TEST("group: a child fails, so that the other ends, while a report reads the owner who waits for both")
{
    explorer e{{.preemptions = few_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        const leat::channel<int> ch;
        end how = end::none, child = end::none;
        pool.spawn(groups(fails(), receive(ch, child), {}, how), leat::background()).detach();
        pool.add_worker(run);
        pool.add_worker(run);
        run.thread([] {
            cancel_node::for_each_task([](task_root& root) { static_cast<void>(chain_reader::read(root)); });
        });
        run.run();
        // The failure may come before there is a second child.
        check(child == end::cancelled || child == end::none, "the child was not cancelled");
        check(how == end::cancelled, "the owner has not heard of the failure");
        check(pool.live == 0, "a task has not ended");
    }));
}

MODEL_TEST(
    "group: a child spawns a sibling and ends, the other ends, the owner comes: it goes on once, after all")
{
    explorer e{{.preemptions = few_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        int ended = 0;
        bool all = false;
        auto count = [&ended]() -> leat::task<> {
            ++ended;
            co_return;
        };
        auto owner = [&]() -> leat::task<> {
            auto body = [&](leat::task_group& group) -> leat::task<> {
                auto spawns = [&]() -> leat::task<> {
                    static_cast<void>(co_await group.spawn(count));
                    ++ended;
                };
                static_cast<void>(co_await group.spawn(spawns));
                static_cast<void>(co_await group.spawn(count));
            };
            co_await leat::with_group(body);
            all = ended == 3;
        };
        pool.spawn(owner, leat::background()).detach();
        pool.add_worker(run);
        pool.add_worker(run);
        run.run();
        check(all, "the owner has gone on too early, or not at all");
        check(pool.live == 0, "a task has not ended");
    }));
}

MODEL_TEST("context: whoever returns from cancel() finds it cancelled, however many cancel it and its parent")
{
    explorer e{{.preemptions = many_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        auto [parent, cancel_parent] = leat::with_cancel(leat::background());
        auto [child, cancel_child] = leat::with_cancel(parent);
        const leat::context& c = child;
        const leat::context& p = parent;
        run.thread([&p, &stop = cancel_parent] {
            stop();
            check(p.cancelled(), "the parent is not cancelled");
        });
        run.thread([&c, &stop = cancel_child] {
            stop();
            check(c.cancelled(), "the child is not cancelled");
        });
        run.run();
        check(c.cancelled() && p.cancelled(), "not both are cancelled");
    }));
}

MODEL_TEST(
    "context: whoever returns from cancel() finds all below cancelled, though others cancel parts of it")
{
    explorer e{{.preemptions = some_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        auto [top, cancel_top] = leat::with_cancel(leat::background());
        auto [middle, cancel_middle] = leat::with_cancel(top);
        auto [bottom, cancel_bottom] = leat::with_cancel(middle);
        const leat::context& t = top;
        const leat::context& m = middle;
        const leat::context& b = bottom;
        const auto why = [](const char* what) { return std::make_exception_ptr(what); };
        run.thread([&, &stop = cancel_top] {
            stop(why("top"));
            check(t.cancelled() && m.cancelled() && b.cancelled(), "not all are cancelled");
            check(t.cause() != nullptr && m.cause() != nullptr && b.cause() != nullptr, "a cause is missing");
        });
        run.thread([&, &stop = cancel_middle] {
            stop(why("middle"));
            check(m.cancelled() && b.cancelled(), "those below are not cancelled");
        });
        run.run();
        // One order to end has reached both, the other found them ended: no mixture.
        check(m.cause() == b.cause(), "the one below has another cause");
    }));
}

MODEL_TEST(
    "context: a task that parks while its context, or the one above, is cancelled, is never left parked")
{
    explorer e{{.preemptions = few_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        const leat::channel<int> never;
        end how = end::none;
        {
            auto [parent, cancel_parent] = leat::with_cancel(leat::background());
            auto [child, cancel_child] = leat::with_cancel(parent);
            pool.spawn(receive(never, how), child).detach();
            pool.add_worker(run);
            run.thread([&stop = cancel_parent] { stop(); });
            run.thread([&stop = cancel_child] { stop(); });
            run.run();
        }
        check(how == end::cancelled, "it was not cancelled");
    }));
}

MODEL_TEST("after_func: stop() and the end of the context: it runs, or stop() says that it will not")
{
    explorer e{{.preemptions = some_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        int runs = 0;
        bool stopped = false;
        {
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            const leat::context& of = ctx;
            leat::after_func_handle handle;
            auto body = [&, of]() -> leat::task<> {
                handle = leat::after_func(of, [&runs] { ++runs; });
                co_return;
            };
            pool.spawn(body, leat::background()).detach();
            pool.add_worker(run);
            run.run();
            run.thread([&] { stopped = handle.stop(); });
            run.thread([&stop = cancel] { stop(); });
            run.run();
            pool.add_worker(run);
            run.run();
        }
        check(runs == (stopped ? 0 : 1), "it ran although it was stopped, or was lost");
        check(pool.live == 0, "a task has not ended");
    }));
}

MODEL_TEST("timers: a sleep, its expiry and a cancellation: one outcome, and nothing stays armed")
{
    explorer e{{.preemptions = few_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        end how = end::none;
        {
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            auto body = [&how]() -> leat::task<> {
                [[maybe_unused]] const int gcc_12_needs_a_local = 0;
                const leat::result<> slept = co_await leat::as_result(
                    leat::sleep_until(leat::clock::time_point{leat::clock::duration{5}}));
                how = slept.has_value() ? end::value : end::cancelled;
            };
            pool.spawn(body, ctx).detach();
            pool.add_worker(run);
            pool.add_clock(run, 5);
            run.thread([&, &stop = cancel] { stop(); });
            run.run();
        }
        check(how != end::none, "the sleeper has not ended");
        check(pool.shard.armed() == 0, "a timer was left");
    }));
}

MODEL_TEST("timers: a deadline, a value and a cancellation of the same wait: one outcome, and no value lost")
{
    explorer e{{.preemptions = fewest_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        const leat::channel<int> ch{1};
        end how = end::none;
        {
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            auto body = [&]() -> leat::task<> {
                const leat::result<std::optional<int>> got =
                    co_await leat::as_result(leat::timeout(leat::clock::duration{5}, ch.recv()));
                how = got.has_value() ? end::value : end::cancelled;
            };
            pool.spawn(body, ctx).detach();
            pool.add_worker(run);
            pool.add_clock(run, 5);
            run.thread([&] { static_cast<void>(ch.try_send(1)); });
            run.thread([&, &stop = cancel] { stop(); });
            run.run();
        }
        check(how != end::none, "the task has not ended");
        check(ch.size() == (how == end::value ? 0U : 1U), "a value was lost or doubled");
    }));
}

MODEL_TEST("timer: once stop() has returned it does not fire, whatever was under way")
{
    explorer e{{.preemptions = some_preemptions}};
    e.swap_local = swap_turn;
    must_pass(e.explore([](explorer& run) {
        model_pool pool;
        bool fired = false;
        bool prevented = false;
        auto body = [&]() -> leat::task<> {
            [[maybe_unused]] const int gcc_12_needs_a_local = 0;
            leat::timer timer{leat::clock::duration{5}};
            prevented = timer.stop();
            const std::size_t which = co_await leat::select(
                leat::on(timer.wait(), [](leat::clock::time_point) {}), leat::otherwise([] {}));
            fired = which == 0;
            timer.reset(leat::clock::duration{0});
            static_cast<void>(co_await timer.wait());
        };
        pool.spawn(body, leat::background()).detach();
        pool.add_worker(run);
        pool.add_clock(run, 5);
        run.run();
        check(prevented, "nobody had taken the firing");
        check(!fired, "it fired after stop()");
        check(pool.live == 0, "what was set anew was lost");
        check(pool.shard.armed() == 0, "a timer was left");
    }));
}

MODEL_TEST(
    "run queue: an owner and two thieves, a ring of four, counters about to wrap: each task is taken once")
{
    for (const std::uint32_t start : {0U, 0xfffffffdU}) {
        explorer e{{.preemptions = some_preemptions}};
        must_pass(e.explore([start](explorer& run) {
            run_queue_of<4> queue{start};
            root_names tasks(6);
            int taken[6] = {};
            int refused = 0;
            const auto count = [&](task_root** some, std::uint32_t n) {
                for (std::uint32_t i = 0; i < n; ++i)
                    ++taken[tasks.index_of(some[i])];
            };
            run.thread([&] {
                task_root* some[4];
                for (std::size_t i = 0; i < 6; ++i) {
                    if (!queue.push(tasks[i])) {
                        ++refused;
                        ++taken[i];
                    }
                    if (i == 3)
                        count(some, queue.take(some, 2));
                }
            });
            for (int thief = 0; thief < 2; ++thief)
                run.thread([&] {
                    task_root* some[4];
                    count(some, queue.steal(some, 4));
                });
            run.run();
            task_root* some[4];
            while (const std::uint32_t n = queue.take(some, 4))
                count(some, n);
            for (const int times : taken)
                check(times == 1, "a task was lost or taken twice");
            check(queue.empty(), "the queue is not empty");
        }));
    }
}

MODEL_TEST(
    "fork stack: an owner that pushes and pops, two thieves, counters about to wrap: each task is taken once")
{
    for (const std::uint32_t start : {0U, 0xfffffffeU}) {
        explorer e{{.preemptions = some_preemptions}};
        must_pass(e.explore([start](explorer& run) {
            fork_stack_of<2> stack{start};
            root_names tasks(4);
            int taken[4] = {};
            const auto count = [&](task_root* root) {
                if (root != nullptr)
                    ++taken[tasks.index_of(root)];
            };
            run.thread([&] {
                for (std::size_t i = 0; i < 4; ++i) {
                    if (!stack.push(tasks[i]))
                        ++taken[i];
                    if (i % 2 == 1)
                        count(stack.pop());
                }
                count(stack.pop());
            });
            for (int thief = 0; thief < 2; ++thief)
                run.thread([&] { count(stack.steal()); });
            run.run();
            while (!stack.empty())
                count(stack.pop());
            for (const int times : taken)
                check(times == 1, "a task was lost or taken twice");
        }));
    }
}

MODEL_TEST("injection queue: pushes of one and of many, and two that take: each task is taken once, in order")
{
    explorer e{{.preemptions = few_preemptions}};
    must_pass(e.explore([](explorer& run) {
        no_scheduler sched;
        test_stop stop;
        std::deque<test_root> roots;
        for (int i = 0; i < 4; ++i)
            roots.emplace_back(sched, stop);
        injection_queue queue;
        std::vector<task_root*> taken[2];
        run.thread([&] {
            queue.push(roots[0]);
            queue.push(roots[1]);
        });
        run.thread([&] {
            task_root* two[] = {&roots[2], &roots[3]};
            queue.push(two, 2);
        });
        for (auto& mine : taken)
            run.thread([&queue, &mine] {
                task_root* some[2];
                const std::size_t count = queue.take(some, 2);
                mine.insert(mine.end(), some, some + count);
            });
        run.run();
        task_root* rest[4];
        const std::size_t left = queue.take(rest, 4);
        check(taken[0].size() + taken[1].size() + left == 4, "a task was lost or taken twice");
        check(queue.empty(), "the length is wrong");
    }));
}

namespace {

/// The pool's way to sleep and to wake, as at the top of lib/pool.hpp, over the real injection queue.
class sleepers_model {
public:
    static constexpr int workers = 2;

    void work(int self)
    {
        while (!ending.load()) {
            bool found = take();
            if (!found && (searches[self] || 2 * searching.load() < workers)) {
                if (!std::exchange(searches[self], true))
                    searching.fetch_add(1);
                found = take();
            }
            if (found) {
                stop_searching(self);
                ++taken;
            } else {
                sleep(self);
            }
        }
        stop_searching(self);
    }
    void add(task_root& root)
    {
        queue.push(root);
        notify();
    }
    void end()
    {
        ending.store(true);
        for (int i = 0; i < workers; ++i)
            woken[i].store(true);
    }

    injection_queue queue;
    int taken = 0;

private:
    bool take()
    {
        task_root* one[1];
        return queue.take(one, 1) != 0;
    }
    void stop_searching(int self)
    {
        if (std::exchange(searches[self], false) && searching.fetch_sub(1) == 1)
            notify();
    }
    void notify()
    {
        if (searching.load() == 0 && sleepers.load() != 0)
            wake_one();
    }
    void sleep(int self)
    {
        woken[self].store(false);
        lock.lock();
        idle.push_back(self);
        sleepers.fetch_add(1);
        lock.unlock();
        if (std::exchange(searches[self], false))
            searching.fetch_sub(1);
        if (queue.empty() && !ending.load())
            explorer::here()->wait_until([&, self] { return woken[self].load(); });
        lock.lock();
        bool called = true;
        for (std::size_t i = 0; i < idle.size(); ++i)
            if (idle[i] == self) {
                idle.erase(idle.begin() + static_cast<std::ptrdiff_t>(i));
                sleepers.fetch_sub(1);
                called = false;
                break;
            }
        lock.unlock();
        if (called)
            searches[self] = true;
    }
    void wake_one()
    {
        int chosen = -1;
        lock.lock();
        if (!idle.empty() && searching.load() == 0) {
            chosen = idle.back();
            idle.pop_back();
            sleepers.fetch_sub(1);
            searching.fetch_add(1);
        }
        lock.unlock();
        if (chosen >= 0)
            woken[chosen].store(true);
    }

    spinlock lock;
    std::vector<int> idle;
    atomic<int> sleepers{0};
    atomic<int> searching{0};
    atomic<bool> ending{false};
    atomic<bool> woken[workers];
    bool searches[workers] = {};
};

}  // namespace

MODEL_TEST("pool: no task is left lying while every worker sleeps")
{
    explorer e{{.preemptions = fewest_preemptions}};
    must_pass(e.explore([](explorer& run) {
        no_scheduler sched;
        test_stop stop;
        std::deque<test_root> roots;
        for (int i = 0; i < 2; ++i)
            roots.emplace_back(sched, stop);
        sleepers_model pool;
        for (int i = 0; i < sleepers_model::workers; ++i)
            run.thread([&pool, i] { pool.work(i); });
        run.thread([&] {
            for (test_root& each : roots)
                pool.add(each);
        });
        // Nobody else will wake the workers: if a task is missed, this waits for ever.
        run.thread([&] {
            explorer::here()->wait_until([&] { return pool.taken == 2; });
            pool.end();
        });
        run.run();
        check(pool.taken == 2, "a task was missed");
    }));
}
