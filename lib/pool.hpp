// The work-stealing pool.
//
// Each worker has a place for what a turn goes straight on with (the first of the tasks it has forked, or their owner
// when the last has ended), a slot for the task it has just made ready (so that a hand-over stays on its core), a stack of
// what its tasks have forked (when_all() and its kin), to unfold depth first, a batch that it has taken from its
// queue and is working off, and the queue itself. Others steal from the stack and the queue; from the slot and the
// batch only when the worker is stuck in a turn. What comes from elsewhere goes through the injection queue. A
// worker goes straight on, or runs its slot first, but only so many times in a row; then the stack; then its batch and its queue; every
// so many turns it looks at the injection queue, its timers and the reactor, and passes over the stack, so that
// none of them starves. If there are more tasks than the worker's queue holds, who yields goes behind what is in the
// injection queue: the worker's own queue is served first, and so gets shorter until it is the injection queue's turn.
// (Otherwise tasks that do nothing but yield keep the worker's queue full; it overflows with whatever was about to run
// there, and a task may be unlucky often. If they always went there, what comes from outside would wait behind them all.)
//
// Sleeping and waking. A worker that finds nothing becomes a searcher (at most half of them are), and then
// goes to sleep like this:
//     raise sleepers_  ->  lower searching_  ->  look at every queue once more  ->  sleep
// Who adds work does:
//     add it  ->  read searching_  ->  read sleepers_  ->  wake one, if nobody searches and somebody sleeps
// From outside the pool all of these are sequentially consistent, so either the sleeper sees the work or the
// adder sees the sleeper: no task is left lying while everybody sleeps. A worker that adds to its own queue
// reads the two without that care: should it miss a sleeper, it will come to the task itself, and asks again
// with the next. A searcher that finds something, being the last searcher, wakes the next one, as there may be
// more. The list of sleepers is under idle_lock_; who takes a worker off the list owes it a wake-up, and has
// made it a searcher already.
//
// One of the sleepers waits in the reactor, the others wait on a futex, each until the first of its own timers is
// due. Both are woken through worker::wake().
//
// The watch. A worker that leaves the reactor with work wakes nobody to take its place, because mostly it is back
// before a thread could have been woken; nor does one that fills its slot. If its turn is a long one, though, I/O,
// its timers and what it has made ready would wait beside idle workers. So, while somebody works, two of the
// sleepers get up every millisecond and look around (needed_elsewhere()): the one in the reactor and one of the
// others, watcher_. When everybody sleeps they rest a while, and then sleep deeply, without end: they set deep_,
// under idle_lock_, provided that nobody has woken by then. Whoever leaves the list of sleepers, under the same
// lock, rouses those who sleep deeply. So an idle pool costs nothing, and rousing is paid for once per idle spell.
//
// A deadlock is looked for by the worker in the reactor: when everybody has slept for a while, a thread is in
// block_on(), and neither a timer nor a blocking call nor an operation of the reactor is under way. Any of these
// wakes somebody when it ends, and the next sleep brings the next look. While there are threads that leat does not
// know it looks again and again, ever more seldom, for they may end. Without a thread in block_on() it says so in
// off_guard_, and enter_block_on() interrupts it. Another Dekker pair: it raises off_guard_, then reads
// blocked_on_; they raise blocked_on_, then read off_guard_.
//
// The end: see stop().
#pragma once

#include <leat/detail/context_node.hpp>
#include <leat/detail/park.hpp>
#include <leat/detail/timers.hpp>
#include <leat/runtime.hpp>

#include "blocking_pool.hpp"
#include "fork_stack.hpp"
#include "injection_queue.hpp"
#include "parker.hpp"
#include "reactor.hpp"
#include "run_queue.hpp"
#include "run_turn.hpp"

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

namespace leat::detail {

class pool;

/// The turn of a worker, from which the worker is found.
class worker : public turn {
public:
    worker(pool& of, std::size_t index, std::size_t count);
    ~worker()
    {
        timers_.close();
        timers_.leave();
    }

    static worker& of(turn& here) noexcept
    {
        return static_cast<worker&>(here);
    }

    void run() noexcept;
    void wake(bool in_reactor) noexcept;

    void make_next(task_root& root) noexcept;
    void make_last(task_root& root) noexcept;
    void make_forked(task_root& root) noexcept;
    void go_on(task_root& root) noexcept;

    pool& pool_;
    const std::size_t index_;
    timer_shard& timers_;
    run_queue queue_;
    fork_stack forks_;
    std::thread thread_;

    // Written by the worker, read by others for metrics and the end.
    std::atomic<std::uint64_t> created_{0};
    std::atomic<std::uint64_t> ended_{0};
    std::atomic<std::uint64_t> turns_{0};
    std::atomic<std::uint64_t> steals_{0};
    std::atomic<std::uint64_t> sleeps_{0};
    std::atomic<bool> exited_{false};

private:
    friend class pool;
    static constexpr std::uint32_t batch_size = 8;
    static constexpr int slot_streak_limit = 16;
    static constexpr std::uint32_t turns_between_looks = 61;

    task_root* next_local() noexcept;
    task_root* find_work() noexcept;
    task_root* steal() noexcept;
    task_root* take_injected() noexcept;
    bool look_around(bool at_reactor) noexcept;
    task_root* rob_stuck() noexcept;
    task_root* take_from(std::atomic<task_root*>& place) const noexcept;
    bool has_ready() const noexcept;
    void sleep() noexcept;
    void sleep_in_reactor() noexcept;
    void sleep_on_futex(bool on_watch) noexcept;
    bool sleep_span(std::int64_t& span, std::int64_t deadline) const noexcept;
    bool needed_elsewhere() noexcept;
    void stop_searching() noexcept;

    static constexpr bool shows_places = LEAT_REGISTRY != 0 && sizeof(location) <= sizeof(void*);
    using shown_place = std::conditional_t<shows_places, location, void*>;
    static shown_place place_of(const task_root& root) noexcept
    {
#if LEAT_REGISTRY
        if constexpr (shows_places)
            return root.spawned_at();
#endif
        return static_cast<void>(root), shown_place{};
    }
    void show(const task_root& picked) noexcept;
    void show_name(const task_root& picked) noexcept;

    static void add(std::atomic<std::uint64_t>& counter) noexcept
    {
        counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }

    task_root* straight_on_ = nullptr;  ///< what the turn that is ending goes on with
    std::atomic<task_root*> slot_{nullptr};
    int slot_streak_ = 0;
    std::array<std::atomic<task_root*>, batch_size> batch_{};
    std::uint32_t batch_at_ = 0;
    std::uint32_t batch_end_ = 0;
    std::uint32_t looks_in_ = turns_between_looks;
    std::int64_t polled_at_ = 0;
    bool searching_ = false;
    int search_rounds_ = 8;
    bool expiring_ = false;  ///< it runs timers

    // The task that runs, for reports: valid if turns_ is the same before and after a look.
    std::atomic<std::uint64_t> shown_id_{0};
    std::atomic<shown_place> shown_place_{};
    mutable spinlock shown_lock_;
    std::array<char, 64> shown_name_{};  ///< under shown_lock_
    std::size_t shown_name_length_ = 0;  ///< under shown_lock_
    std::uint64_t shown_name_of_ = 0;    ///< the last task with a name; written under shown_lock_

    // What watch_turns() has seen of its turns; under shown_lock_.
    std::uint64_t watched_turn_ = 0;
    std::int64_t watched_since_ = 0;
    std::uint64_t reported_turn_ = 0;

    parker parker_;
    std::vector<std::uint64_t> turns_seen_;  ///< of each worker, when this one fell asleep or last looked
    bool in_reactor_ = false;                ///< where it sleeps; under idle_lock_
    bool deep_ = false;                      ///< it must be roused when somebody wakes; under idle_lock_
};

class pool final : public scheduler {
public:
    explicit pool(runtime_options options);
    ~pool();

    void ready(task_root& root, turn* by) noexcept override;
    void ready_later(task_root& root, turn* by) noexcept override;
    void yielded(task_root& root, turn* by) noexcept override;
    void fork(task_root& root, turn* by) noexcept override;
    void go_on(task_root& root, turn* by) noexcept override;
    void task_created(turn* by) noexcept override;
    void task_ended(turn* by) noexcept override;
    std::int64_t now() noexcept override;
    timer_shard& timers(turn* by) noexcept override;
    void timer_armed(timer_shard& shard, std::int64_t deadline, turn* by) noexcept override;
    blocking_queue& blocking() noexcept override
    {
        return blocking_;
    }
    void unhandled(task_root& root, std::exception_ptr thrown) noexcept override;
    void add_running(std::vector<inspect::task_info>& all) override;
    /// Reports turns that have become too long. By a worker, every now and then.
    void watch_turns(std::int64_t at) noexcept;
    std::uint32_t choose(std::uint32_t) noexcept override
    {
        return 0;
    }
    std::uint64_t new_id(turn* by, std::uint64_t above) noexcept override;
    std::uint64_t tasks_forked(turn* by, std::uint32_t count) noexcept override;
    bool refuses_tasks() const noexcept override
    {
        return ending_.load(std::memory_order_seq_cst);
    }

    void stop() noexcept;
    runtime_metrics metrics();
    std::uint64_t live() const noexcept;

    void enter_block_on() noexcept
    {
        blocked_on_.fetch_add(1, std::memory_order_seq_cst);
        alert_guard();
    }
    void leave_block_on() noexcept
    {
        blocked_on_.fetch_sub(1, std::memory_order_seq_cst);
    }
    /// The report of the deadlock that was found, if one was; empty otherwise.
    std::string deadlock() const;

    reactor* io_reactor() noexcept override
    {
        return &reactor_;
    }
    worker* worker_of(turn* by) noexcept
    {
        return by != nullptr && by->sched == this ? &worker::of(*by) : nullptr;
    }

private:
    friend class worker;

    std::uint64_t id_beyond(std::uint64_t last, std::uint64_t lower) const noexcept;
    void inject(task_root& root) noexcept;
    void notify_local() noexcept;
    void notify_remote() noexcept;
    void wake_one() noexcept;
    void wake_all() noexcept;
    bool any_queue_filled() const noexcept;
    std::int64_t earliest_deadline() const noexcept;
    std::size_t armed_timers() const noexcept;
    std::uint64_t total_turns() const noexcept;
    bool all_asleep() const noexcept
    {
        return sleepers_.load(std::memory_order_seq_cst) == static_cast<int>(workers_.size());
    }
    bool sleep_deeply(worker& who) noexcept;
    bool leave_idle(worker& who) noexcept;
    void alert_guard() noexcept;
    std::int64_t look_for_deadlock(worker& by, std::int64_t waited) noexcept;
    void report_handler(std::exception_ptr thrown) noexcept;
    bool describe_running(const worker& of, inspect::task_info& info) const;
    bool wait_until_empty(std::chrono::nanoseconds grace) noexcept;
    void end_workers() noexcept;
    void destroy_left() noexcept;
    void destroy_injected() noexcept;
    void claim_parked(std::vector<task_root*>& into);

    runtime_options options_;
    reactor reactor_;
    blocking_pool blocking_;
    injection_queue injected_;
    std::vector<std::unique_ptr<worker>> workers_;

    alignas(64) std::atomic<int> sleepers_{0};
    std::atomic<int> searching_{0};
    alignas(64) spinlock idle_lock_;
    std::vector<worker*> idle_;  ///< under idle_lock_; room for all from the start
    worker* watcher_ = nullptr;  ///< under idle_lock_

    std::atomic<std::uint64_t> created_outside_{0};
    std::atomic<std::uint64_t> ended_outside_{0};
    std::atomic<std::uint64_t> ids_outside_;
    std::uint64_t id_step_ = 1;
    std::atomic<int> callers_outside_{0};  ///< threads that are in ready(), for whom the end waits
    std::atomic<int> blocked_on_{0};
    std::atomic<bool> off_guard_{false};

    std::atomic<bool> draining_{false};  ///< stop() waits for the last task
    std::atomic<bool> ending_{false};    ///< workers leave their loops
    std::atomic<bool> over_{false};      ///< whoever makes a task ready now destroys it
    mutable std::mutex stop_mutex_;
    std::condition_variable drained_;
    bool stopping_ = false;        ///< under stop_mutex_
    bool stopped_ = false;         ///< under stop_mutex_
    std::string deadlock_report_;  ///< under stop_mutex_
};

}  // namespace leat::detail
