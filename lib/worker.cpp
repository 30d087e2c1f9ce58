#include "pool.hpp"

#include <leat/detail/frame_pool.hpp>

#include "pause.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <mutex>
#include <utility>

namespace leat::detail {
namespace {

using namespace std::chrono_literals;

/// How long a searching worker goes on before it sleeps, in looks at everybody's queue: longer if it has been
/// successful lately.
constexpr int fewest_rounds = 1;
constexpr int most_rounds = 24;
constexpr int pauses_between_rounds = 32;

/// The reactor is not asked more often than this while there is other work.
constexpr std::int64_t reactor_interval = 50'000;

/// So many tasks that have slept are woken by one worker: to wake another for them costs more than they mostly do,
/// and happens every tick. If one of them takes long, the watch helps.
constexpr std::uint32_t few_expired = 16;

/// While somebody works, whoever is on watch looks this often whether he is stuck in a long turn.
constexpr std::int64_t watch_interval = 1'000'000;

/// After so much rest a sleeper gives its memory back and, in the reactor, looks for a deadlock.
constexpr std::int64_t short_rest = 20'000'000;

constexpr unsigned pool_tick_shift = 16;  // timers are rounded up to 65 microseconds

}  // namespace

worker::worker(pool& of, std::size_t index, std::size_t count)
    : pool_{of}, index_{index}, timers_{timer_shard::make(of, pool_tick_shift, of.now())}, turns_seen_(count)
{
    sched = &of;
    random = 0x9e3779b97f4a7c15U * (index + 1) ^ static_cast<std::uint64_t>(of.now());
    // Ids are dealt out like cards, so that no counter is shared; zero goes to those outside.
    next_id = index + 1;
    id_step = count + 1;
    if (count > 1)
        seat = static_cast<std::uint8_t>(index % 255 + 1);
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
        show(*picked);
        run_turn(*this, *picked);
        shown_id_.store(0, std::memory_order_release);
    }
    stop_searching();
    flush_frames();
    set_current_turn(nullptr);
    exited_.store(true, std::memory_order_release);
}

[[gnu::noinline]] void worker::show_name(const task_root& picked) noexcept
{
    const std::string_view name = picked.name();
    std::lock_guard hold{shown_lock_};
    shown_name_length_ = std::min(name.size(), shown_name_.size());
    std::copy_n(name.data(), shown_name_length_, shown_name_.data());
    shown_name_of_ = picked.id();
}

/// Says whom it runs, in copies, because the task may have gone when somebody reads about it.
void worker::show(const task_root& picked) noexcept
{
    if constexpr (shows_places)
        shown_place_.store(place_of(picked), std::memory_order_release);
    if (picked.name().data() != nullptr && picked.id() != shown_name_of_) [[unlikely]]
        show_name(picked);
    shown_id_.store(picked.id(), std::memory_order_release);
}

// Only the worker fills its slot and its batch; thieves can but empty them. So it may store into what it has
// found empty; what it takes, it takes by an exchange, unless nobody else is there.
void worker::make_next(task_root& picked) noexcept
{
    task_root* const before = take_from(slot_);
    slot_.store(&picked, std::memory_order_release);
    if (before != nullptr)
        make_last(*before);
}

task_root* worker::take_from(std::atomic<task_root*>& place) const noexcept
{
    task_root* const there = place.load(std::memory_order_relaxed);
    if (there == nullptr)
        return nullptr;
    if (has_company())
        return place.exchange(nullptr, std::memory_order_acquire);
    place.store(nullptr, std::memory_order_relaxed);
    return there;
}

void worker::make_last(task_root& picked) noexcept
{
    if (!queue_.push(picked)) {
        // Half of the queue, and this one, go where everybody looks.
        std::array<task_root*, run_queue::size / 2 + 1> over;
        std::uint32_t count = queue_.take(over.data(), run_queue::size / 2);
        over[count++] = &picked;
        pool_.injected_.push(over.data(), count);
        // Nobody looks there on behalf of a worker that is stuck in a turn.
        pool_.notify_remote();
        return;
    }
    if (!expiring_ || queue_.length() > few_expired)
        pool_.notify_local();
}

void worker::make_forked(task_root& picked) noexcept
{
    if (!forks_.push(picked))
        make_last(picked);
    else
        pool_.notify_local();
}

/// Only at the end of a turn, so that nobody has to wait for what thieves do not see. There is one already if a task
/// ends within another's turn, as it is destroyed.
void worker::go_on(task_root& picked) noexcept
{
    if (straight_on_ == nullptr)
        straight_on_ = &picked;
    else
        make_next(picked);
}

task_root* worker::next_local() noexcept
{
    bool others_first = false;
    if (--looks_in_ != 0) [[likely]] {
        if (straight_on_ != nullptr)
            return std::exchange(straight_on_, nullptr);
    } else {
        looks_in_ = turns_between_looks;
        if (straight_on_ != nullptr)
            make_forked(*std::exchange(straight_on_, nullptr));
        look_around(false);
        if (task_root* const picked = take_injected())
            return picked;
        others_first = true;
    }
    if (task_root* const picked = take_from(slot_)) {
        if (++slot_streak_ <= slot_streak_limit)
            return picked;
        make_last(*picked);
    }
    slot_streak_ = 0;
    if (!others_first)
        if (task_root* const picked = forks_.pop())
            return picked;
    while (batch_at_ != batch_end_)
        if (task_root* const picked = take_from(batch_[batch_at_++]))
            return picked;
    // What is in the batch is hard to steal, so while others are idle it is left to them.
    const bool others_idle = pool_.sleepers_.load(std::memory_order_relaxed) != 0 ||
                             pool_.searching_.load(std::memory_order_relaxed) != 0;
    std::array<task_root*, batch_size> taken;
    const std::uint32_t count = queue_.take(taken.data(), others_idle ? 1 : batch_size);
    if (count == 0)
        return others_first ? forks_.pop() : nullptr;
    batch_at_ = 1;
    batch_end_ = count;
    for (std::uint32_t i = 1; i < count; ++i)
        batch_[i].store(taken[i], std::memory_order_release);
    return taken[0];
}

bool worker::has_ready() const noexcept
{
    return slot_.load(std::memory_order_relaxed) != nullptr || !queue_.empty() || !forks_.empty() ||
           std::any_of(batch_.begin(), batch_.end(), [](const std::atomic<task_root*>& place) {
               return place.load(std::memory_order_relaxed) != nullptr;
           });
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
    if (!at_reactor)
        pool_.watch_turns(at);
    if (timers_.earliest_hint() <= at) {
        expiring_ = true;
        found = timers_.run(at, this) != 0;
        expiring_ = false;
    }
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
    for (int round = 0; round < search_rounds_; ++round) {
        task_root* picked = steal();
        if (picked == nullptr)
            picked = take_injected();
        if (picked != nullptr) {
            search_rounds_ = std::min(2 * search_rounds_, most_rounds);
            return picked;
        }
        if (slot_.load(std::memory_order_relaxed) != nullptr || pool_.ending_.load(std::memory_order_relaxed))
            return next_local();
        for (int i = 0; i < pauses_between_rounds; ++i)
            pause_core();
    }
    search_rounds_ = std::max(search_rounds_ / 2, fewest_rounds);
    // What those have who are busy with long turns.
    if (task_root* const picked = rob_stuck())
        return picked;
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
        if (task_root* const forked = victim.forks_.steal()) {
            add(steals_);
            return forked;
        }
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

/// From workers that have begun no turn since turns_seen_ was written, what they have put aside for themselves.
task_root* worker::rob_stuck() noexcept
{
    task_root* first = nullptr;
    const auto rob = [&](std::atomic<task_root*>& place) {
        task_root* const loot = take_from(place);
        if (loot == nullptr)
            return;
        add(steals_);
        if (first == nullptr)
            first = loot;
        else
            make_last(*loot);
    };
    for (const auto& victim : pool_.workers_) {
        if (victim.get() == this ||
            victim->turns_.load(std::memory_order_relaxed) != turns_seen_[victim->index_])
            continue;
        rob(victim->slot_);
        for (std::atomic<task_root*>& place : victim->batch_)
            rob(place);
    }
    return first;
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
    bool on_watch = false;
    {
        std::lock_guard hold{pool_.idle_lock_};
        in_reactor_ = reactor;
        if (!reactor && pool_.watcher_ == nullptr)
            pool_.watcher_ = this;
        on_watch = pool_.watcher_ == this;
        pool_.idle_.push_back(this);
        pool_.sleepers_.fetch_add(1, std::memory_order_seq_cst);
    }
    const bool searched = std::exchange(searching_, false);
    if (searched)
        pool_.searching_.fetch_sub(1, std::memory_order_seq_cst);
    if (!pool_.any_queue_filled() && !pool_.ending_.load(std::memory_order_seq_cst)) {
        add(sleeps_);
        for (const auto& each : pool_.workers_)
            turns_seen_[each->index_] = each->turns_.load(std::memory_order_relaxed);
        if (reactor)
            sleep_in_reactor();
        else
            sleep_on_futex(on_watch);
    }
    // Whoever took this worker off the list has counted it as a searcher.
    searching_ = pool_.leave_idle(*this);
    if (reactor)
        pool_.reactor_.give_role_back();
}

/// Until woken, or its own timers are due, or, being on watch, somebody needs help.
void worker::sleep_on_futex(bool on_watch) noexcept
{
    bool rested = false;
    while (!parker_.woken() && !pool_.ending_.load(std::memory_order_relaxed)) {
        const bool watching = on_watch && !pool_.all_asleep();
        std::int64_t span = -1;
        if (watching)
            span = watch_interval;
        else if (!rested)
            span = short_rest;
        else if (on_watch && !pool_.sleep_deeply(*this))
            continue;
        if (!sleep_span(span, timers_.earliest_hint()))
            return;
        parker_.wait(span);
        if (parker_.woken())
            return;
        if (watching) {
            rested = false;
            if (needed_elsewhere())
                return;
        } else if (!rested) {
            rested = true;
            flush_frames();
        }
    }
}

/// Until woken, or its own timers are due, or there was I/O, or somebody needs help.
void worker::sleep_in_reactor() noexcept
{
    bool rested = false;
    std::int64_t next_look = -1;
    try {
        while (!parker_.woken() && !pool_.ending_.load(std::memory_order_relaxed)) {
            const bool watching = !pool_.all_asleep();
            std::int64_t span = next_look;
            if (watching)
                span = watch_interval;
            else if (!rested)
                span = short_rest;
            else if (!pool_.sleep_deeply(*this))
                continue;
            if (!sleep_span(span, timers_.earliest_hint()))
                break;
            if (pool_.reactor_.wait(span)) {
                pool_.reactor_.poll();
                break;
            }
            if (watching) {
                rested = false;
                if (needed_elsewhere())
                    break;
            } else {
                if (!std::exchange(rested, true))
                    flush_frames();
                next_look = pool_.look_for_deadlock(*this, next_look);
                if (has_ready())
                    break;
            }
        }
    } catch (...) {
        pool_.report_handler(std::current_exception());
    }
    pool_.off_guard_.store(false, std::memory_order_relaxed);
    polled_at_ = pool_.now();
}

/// Cuts a span (negative: without end) short at a deadline; false if that has come.
bool worker::sleep_span(std::int64_t& span, std::int64_t deadline) const noexcept
{
    if (deadline == timer_wheel::never)
        return true;
    const std::int64_t remaining = deadline - pool_.now();
    if (span < 0 || remaining < span)
        span = remaining;
    return remaining > 0;
}

/// A look of the one on watch at those who work: whether one of them, in a turn that has not ended since the last
/// look, keeps others waiting: tasks that it has made ready, timers of its shard, or all I/O.
bool worker::needed_elsewhere() noexcept
{
    const std::int64_t at = pool_.now();
    pool_.watch_turns(at);
    bool progress = false;
    bool kept_waiting = false;
    for (const auto& other : pool_.workers_) {
        const std::uint64_t turns = other->turns_.load(std::memory_order_relaxed);
        if (std::exchange(turns_seen_[other->index_], turns) != turns)
            progress = true;
        else if (other.get() != this && other->has_ready())
            kept_waiting = true;
    }
    // Who makes progress looks at the reactor by himself.
    return kept_waiting || (!progress && !in_reactor_ && !pool_.reactor_.attended()) ||
           pool_.earliest_deadline() <= at - watch_interval;
}

}  // namespace leat::detail
