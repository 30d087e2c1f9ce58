#include "pool.hpp"

#include <leat/detail/frame_pool.hpp>

#include "pause.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <mutex>

namespace leat::detail {
namespace {

using namespace std::chrono_literals;

/// How long a searching worker goes on before it sleeps, in looks at everybody's queue.
constexpr int search_rounds = 24;
constexpr int pauses_between_rounds = 32;

/// The reactor is not asked more often than this while there is other work.
constexpr std::int64_t reactor_interval = 50'000;

/// How long the pool has been at rest when it first looks for a deadlock.
constexpr std::int64_t rest_before_deadlock = 20'000'000;

constexpr unsigned pool_tick_shift = 16;  // timers are rounded up to 65 microseconds

}  // namespace

worker::worker(pool& of, std::size_t index, std::size_t count)
    : pool_{of}, index_{index}, timers_{timer_shard::make(of, pool_tick_shift, of.now())}
{
    sched = &of;
    random = 0x9e3779b97f4a7c15U * (index + 1) ^ static_cast<std::uint64_t>(of.now());
    // Ids are dealt out like cards, so that no counter is shared; zero goes to those outside.
    next_id = index + 1;
    id_step = count + 1;
}

void worker::run() noexcept
{
    set_current_turn(this);
    while (!pool_.ending_.load(std::memory_order_relaxed)) {
        task_root* picked = next_local();
        if (picked == nullptr)
            picked = find_work();
        if (picked == nullptr) {
            sleep();
            continue;
        }
        stop_searching();
        turns_.store(turns_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        run_turn(*this, *picked);
    }
    stop_searching();
    flush_frames();
    set_current_turn(nullptr);
    exited_.store(true, std::memory_order_release);
}

void worker::make_next(task_root& picked) noexcept
{
    if (task_root* const before = std::exchange(slot_, &picked))
        make_last(*before);
}

void worker::make_last(task_root& picked) noexcept
{
    if (!queue_.push(picked)) {
        // Half of the queue, and this one, go where everybody looks.
        std::array<task_root*, run_queue::size / 2 + 1> over;
        std::uint32_t count = queue_.take(over.data(), run_queue::size / 2);
        over[count++] = &picked;
        pool_.injected_.push(over.data(), count);
    }
    pool_.notify_local();
}

task_root* worker::next_local() noexcept
{
    if (--looks_in_ == 0) [[unlikely]] {
        looks_in_ = turns_between_looks;
        look_around(false);
        if (task_root* const picked = take_injected())
            return picked;
    }
    if (slot_ != nullptr) {
        if (++slot_streak_ <= slot_streak_limit)
            return std::exchange(slot_, nullptr);
        make_last(*std::exchange(slot_, nullptr));
    }
    slot_streak_ = 0;
    if (batch_at_ == batch_end_) {
        batch_at_ = 0;
        // Nobody can steal what is in the batch, so while others are idle it is left to them.
        const bool others_idle = pool_.sleepers_.load(std::memory_order_relaxed) != 0 ||
                                 pool_.searching_.load(std::memory_order_relaxed) != 0;
        batch_end_ = queue_.take(batch_.data(), others_idle ? 1 : batch_size);
        if (batch_end_ == 0)
            return nullptr;
    }
    return batch_[batch_at_++];
}

/// Takes a share of the injection queue; the first of them is run at once.
task_root* worker::take_injected() noexcept
{
    std::array<task_root*, 32> some;
    const std::size_t length = pool_.injected_.length();
    if (length == 0)
        return nullptr;
    const std::size_t share = std::min(some.size(), length / pool_.workers_.size() + 1);
    const std::size_t count = pool_.injected_.take(some.data(), share);
    for (std::size_t i = 1; i < count; ++i)
        make_last(*some[i]);
    return count != 0 ? some[0] : nullptr;
}

/// Expires timers and, if it is time, asks the reactor. True if something may have become ready here.
bool worker::look_around(bool at_reactor) noexcept
{
    bool found = false;
    const std::int64_t at = pool_.now();
    if (timers_.earliest_hint() <= at)
        found = timers_.run(at, this) != 0;
    if ((at_reactor || at - polled_at_ >= reactor_interval) && pool_.reactor_.try_take_role()) {
        polled_at_ = at;
        try {
            found = pool_.reactor_.poll() != 0 || found;
        } catch (...) {
            pool_.report_handler(std::current_exception());
            found = true;
        }
        pool_.reactor_.give_role_back();
    }
    return found;
}

task_root* worker::find_work() noexcept
{
    if (look_around(true))
        if (task_root* const picked = next_local())
            return picked;
    if (task_root* const picked = take_injected())
        return picked;
    if (pool_.workers_.size() == 1)
        return nullptr;
    if (!searching_) {
        // More than half would only get into each other's way.
        if (2 * pool_.searching_.load(std::memory_order_seq_cst) >= static_cast<int>(pool_.workers_.size()))
            return nullptr;
        searching_ = true;
        pool_.searching_.fetch_add(1, std::memory_order_seq_cst);
    }
    for (int round = 0; round < search_rounds; ++round) {
        if (task_root* const picked = steal())
            return picked;
        if (task_root* const picked = take_injected())
            return picked;
        if (slot_ != nullptr || pool_.ending_.load(std::memory_order_relaxed))
            return next_local();
        for (int i = 0; i < pauses_between_rounds; ++i)
            pause_core();
    }
    // Timers of workers that are busy with long turns.
    const std::int64_t at = pool_.now();
    for (const auto& other : pool_.workers_)
        if (other->timers_.earliest_hint() <= at && other->timers_.run(at, this) != 0)
            return next_local();
    return nullptr;
}

task_root* worker::steal() noexcept
{
    std::array<task_root*, run_queue::size / 2> loot;
    const std::size_t count = pool_.workers_.size();
    const std::size_t start = choose(static_cast<std::uint32_t>(count));
    for (std::size_t i = 0; i < count; ++i) {
        worker& victim = *pool_.workers_[(start + i) % count];
        if (&victim == this)
            continue;
        const std::uint32_t taken = victim.queue_.steal(loot.data(), static_cast<std::uint32_t>(loot.size()));
        if (taken == 0)
            continue;
        steals_.store(steals_.load(std::memory_order_relaxed) + taken, std::memory_order_relaxed);
        for (std::uint32_t k = 1; k < taken; ++k)
            make_last(*loot[k]);
        return loot[0];
    }
    return nullptr;
}

/// The last searcher that finds work hands the search on: where this came from there may be more.
void worker::stop_searching() noexcept
{
    if (!searching_)
        return;
    searching_ = false;
    if (pool_.searching_.fetch_sub(1, std::memory_order_seq_cst) == 1)
        pool_.notify_remote();
}

void worker::wake(bool in_reactor) noexcept
{
    if (in_reactor) {
        parker_.mark();
        pool_.reactor_.interrupt();
    } else {
        parker_.wake();
    }
}

void worker::sleep() noexcept
{
    const bool reactor = pool_.reactor_.try_take_role();
    parker_.reset();
    {
        std::lock_guard hold{pool_.idle_lock_};
        in_reactor_ = reactor;
        pool_.idle_.push_back(this);
        pool_.sleepers_.fetch_add(1, std::memory_order_seq_cst);
    }
    const bool searched = std::exchange(searching_, false);
    if (searched)
        pool_.searching_.fetch_sub(1, std::memory_order_seq_cst);
    bool woken = false;
    if (!pool_.any_queue_filled() && !pool_.ending_.load(std::memory_order_seq_cst)) {
        add(sleeps_);
        if (reactor) {
            sleep_in_reactor();
        } else {
            pool_.alert_guard();
            sleep_on_futex();
        }
    }
    {
        std::lock_guard hold{pool_.idle_lock_};
        const auto self = std::find(pool_.idle_.begin(), pool_.idle_.end(), this);
        if (self != pool_.idle_.end()) {
            pool_.idle_.erase(self);
            pool_.sleepers_.fetch_sub(1, std::memory_order_seq_cst);
        } else {
            woken = true;
        }
    }
    // Whoever took this worker off the list has counted it as a searcher.
    if (woken)
        searching_ = true;
    if (reactor)
        pool_.reactor_.give_role_back();
}

void worker::sleep_on_futex() noexcept
{
    const std::int64_t deadline = timers_.earliest_hint();
    if (deadline == timer_wheel::never)
        parker_.wait(-1);
    else if (const std::int64_t remaining = deadline - pool_.now(); remaining > 0)
        parker_.wait(remaining);
}

void worker::sleep_in_reactor() noexcept
{
    const std::int64_t deadline = pool_.earliest_deadline();
    std::int64_t span = -1;
    if (deadline != timer_wheel::never) {
        span = deadline - pool_.now();
        if (span <= 0)
            return;
    }
    bool look = span < 0 && pool_.deadlock_possible();
    if (span < 0 && !look) {
        pool_.off_guard_.store(true, std::memory_order_seq_cst);
        look = pool_.deadlock_possible();
    }
    if (parker_.woken()) {
        pool_.off_guard_.store(false, std::memory_order_relaxed);
        return;
    }
    try {
        pool_.reactor_.wait(look ? rest_before_deadlock : span);
        if (look && !parker_.woken())
            pool_.look_for_deadlock(*this);
        else
            pool_.reactor_.poll();
    } catch (...) {
        pool_.report_handler(std::current_exception());
    }
    pool_.off_guard_.store(false, std::memory_order_relaxed);
    polled_at_ = pool_.now();
}

}  // namespace leat::detail
