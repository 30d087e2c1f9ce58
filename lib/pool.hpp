// The work-stealing pool.
//
// Each worker has a slot for the task it has just made ready (so that a hand-over stays on its core), a batch
// that it has taken from its queue and is working off, and the queue itself, which others steal from. What
// comes from elsewhere goes through the injection queue. A worker runs its slot first, but only so many times
// in a row; then its batch and its queue; every so many turns it looks at the injection queue, its timers and
// the reactor, so that none of them starves.
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
// One of the sleepers waits in the reactor, for the earliest of all deadlines; the others wait on a futex, for
// their own earliest. Both are woken through worker::wake().
//
// A deadlock is looked for by the worker in the reactor: when it has slept for a while, everybody else sleeps,
// some turn has been run since it last looked, and neither a timer nor a blocking call nor an operation of the
// reactor is under way. If it goes to sleep for good because there is nothing to look for, it says so in
// off_guard_; whoever then gives it a reason (the last worker to fall asleep, a thread that enters block_on())
// interrupts it. Another Dekker pair: it raises off_guard_, then asks for a reason again; they make the reason
// (sleepers_, blocked_on_), then read off_guard_.
//
// The end: see stop().
#pragma once

#include <leat/detail/context_node.hpp>
#include <leat/detail/park.hpp>
#include <leat/detail/timers.hpp>
#include <leat/runtime.hpp>

#include "blocking_pool.hpp"
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

    pool& pool_;
    const std::size_t index_;
    timer_shard& timers_;
    run_queue queue_;
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
    void sleep() noexcept;
    void sleep_in_reactor() noexcept;
    void sleep_on_futex() noexcept;
    void stop_searching() noexcept;

    static void add(std::atomic<std::uint64_t>& counter) noexcept
    {
        counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }

    task_root* slot_ = nullptr;
    int slot_streak_ = 0;
    std::array<task_root*, batch_size> batch_{};
    std::uint32_t batch_at_ = 0;
    std::uint32_t batch_end_ = 0;
    std::uint32_t looks_in_ = turns_between_looks;
    std::int64_t polled_at_ = 0;
    bool searching_ = false;
    parker parker_;
    bool in_reactor_ = false;  ///< where it sleeps; under idle_lock_
};

class pool final : public scheduler {
public:
    explicit pool(runtime_options options);
    ~pool();

    void ready(task_root& root, turn* by) noexcept override;
    void ready_later(task_root& root, turn* by) noexcept override;
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
    std::uint32_t choose(std::uint32_t) noexcept override
    {
        return 0;
    }
    std::uint64_t new_id(turn* by, std::uint64_t above) noexcept override;
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

    void inject(task_root& root) noexcept;
    void notify_local() noexcept;
    void notify_remote() noexcept;
    void wake_one() noexcept;
    void wake_all() noexcept;
    bool any_queue_filled() const noexcept;
    std::int64_t earliest_deadline() const noexcept;
    std::size_t armed_timers() const noexcept;
    std::uint64_t total_turns() const noexcept;
    bool deadlock_possible() const noexcept;
    void alert_guard() noexcept;
    void look_for_deadlock(worker& by) noexcept;
    void report_handler(std::exception_ptr thrown) noexcept;
    bool wait_until_empty(std::chrono::nanoseconds grace) noexcept;
    void end_workers() noexcept;
    void destroy_left() noexcept;
    void destroy_injected() noexcept;
    void destroy_all(std::vector<task_root*>& left) noexcept;
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

    std::atomic<std::uint64_t> created_outside_{0};
    std::atomic<std::uint64_t> ended_outside_{0};
    std::atomic<std::uint64_t> ids_outside_;
    std::uint64_t id_step_ = 1;
    std::atomic<int> callers_outside_{0};  ///< threads that are in ready(), for whom the end waits
    std::atomic<int> blocked_on_{0};
    std::atomic<std::uint64_t> deadlock_checked_at_{~std::uint64_t{0}};
    std::atomic<bool> off_guard_{false};

    std::atomic<bool> draining_{false};  ///< stop() waits for the last task
    std::atomic<bool> ending_{false};    ///< workers leave their loops
    std::atomic<bool> over_{false};      ///< whoever makes a task ready now destroys it
    mutable std::mutex stop_mutex_;
    std::condition_variable drained_;
    bool stopped_ = false;
    std::string deadlock_report_;  ///< under stop_mutex_
};

}  // namespace leat::detail
