#include <leat/time.hpp>

#include <chrono>
#include <mutex>
#include <utility>

namespace leat {
namespace detail {
namespace {

constinit thread_local scheduler* this_threads_world = nullptr;

}  // namespace

[[gnu::noinline]] scheduler* worlds_of_thread() noexcept
{
    asm volatile("");
    return this_threads_world;
}

scheduler* ambient_scheduler() noexcept
{
    turn* const here = current_turn();
    return here != nullptr ? here->sched : worlds_of_thread();
}

[[gnu::noinline]] void set_ambient_scheduler(scheduler* to) noexcept
{
    asm volatile("");
    this_threads_world = to;
}

void sleep_operation::prepare(turn& here) noexcept
{
    const std::int64_t now = here.sched->now();
    if (!absolute_) {
        const std::int64_t span = span_.count();
        until_ = span > timer_wheel::never - now ? timer_wheel::never : now + span;
    }
    due_ = absolute_ ? until_ <= now : span_.count() <= 0;
    home_ = &here.sched->timers(&here);
}

void sleep_operation::link() noexcept
{
    // Nobody has to be told: the shard is that of the worker that runs this.
    static_cast<void>(home_->arm_locked(*this, until_));
}

void sleep_operation::unlink() noexcept
{
    home_->disarm_locked(*this);
}

void sleep_operation::expired(expiry& out) noexcept
{
    win(out.wakes);
}

// A timer or ticker.
//
// The state is shared by the object, by whoever waits for it, and by a firing under way; each holds a reference.
// Destroying the object stops it, so those who still wait will not be woken by it. lock_ orders setting,
// stopping, firing and waiting; the shard's lock is taken under it only to arm and to disarm, and never the
// other way round: the expiry takes a reference under the shard's lock, notes that a firing is under way, and
// fires when it holds no lock. pending_ says whether the present setting is still to fire. A firing that finds
// that it was overtaken, by stop() (pending_ is false) or by reset() (rearm_ is true), does nothing but arm what
// reset() could not: while a firing is under way the state is in that worker's list of calls, and must not
// expire a second time.
class timer_state final : private timed, private expired_call {
public:
    timer_state(scheduler& sched, clock::duration first, clock::duration period, turn* by) : sched_{sched}
    {
        std::int64_t due = 0;
        timer_shard* tell = nullptr;
        {
            std::lock_guard hold{lock_};
            tell = set_locked(first, period, by, due);
        }
        if (tell != nullptr)
            tell->tell(due, by);
    }

    void ref() noexcept
    {
        refs_.fetch_add(1, std::memory_order_relaxed);
    }
    void unref() noexcept
    {
        if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete this;
    }

    bool stop() noexcept
    {
        std::lock_guard hold{lock_};
        return stop_locked();
    }
    bool restart(clock::duration span, clock::duration period) noexcept
    {
        turn* const by = current_turn();
        bool prevented = false;
        std::int64_t due = 0;
        timer_shard* tell = nullptr;
        {
            std::lock_guard hold{lock_};
            prevented = stop_locked();
            tell = set_locked(span, period, by, due);
        }
        if (tell != nullptr)
            tell->tell(due, by);
        return prevented;
    }

    // For tick_operation, under the lock.
    spinlock& lock() noexcept
    {
        return lock_;
    }
    bool take(clock::time_point& when) noexcept
    {
        if (!fired_)
            return false;
        fired_ = false;
        when = fired_at_;
        return true;
    }
    waiter_list waiters;

private:
    ~timer_state()
    {
        shard_->leave();
    }

    /// Returns the shard that has to be told of a new earliest deadline, if any.
    timer_shard* set_locked(clock::duration span, clock::duration period, turn* by,
                            std::int64_t& due) noexcept
    {
        std::int64_t now = 0;
        if (by != nullptr && by->sched == &sched_) {
            if (shard_ != nullptr && shard_->closed())
                return nullptr;
            now = sched_.now();
        } else if (shard_ == nullptr) {
            now = sched_.now();  // in the world that lives on this thread
        } else if (!shard_->while_open([&] { now = shard_->owner().now(); })) {
            return nullptr;  // the scheduler has ended: there is nothing to set it by
        }
        due_ = span.count() > timer_wheel::never - now ? timer_wheel::never : now + span.count();
        due = due_;
        period_ = period.count();
        pending_ = true;
        rearm_ = in_flight_.load(std::memory_order_relaxed);
        return rearm_ ? nullptr : arm(by);
    }
    timer_shard* arm(turn* by) noexcept
    {
        // Elsewhere than in a turn of the scheduler only the shard that is held can be relied on: as long as it is
        // open and locked, the scheduler is there.
        if (shard_ != nullptr && (by == nullptr || by->sched != &sched_)) {
            static_cast<void>(shard_->while_open([&] {
                if (shard_->arm_locked(*this, due_))
                    shard_->tell(due_, by);
            }));
            return nullptr;
        }
        timer_shard& home = sched_.timers(by);
        if (shard_ != &home) {
            home.hold();
            if (shard_ != nullptr)
                shard_->leave();
            shard_ = &home;
        }
        std::lock_guard hold{home.lock};
        return home.arm_locked(*this, due_) ? &home : nullptr;
    }
    bool stop_locked() noexcept
    {
        const bool prevented = std::exchange(fired_, false) || pending_;
        pending_ = false;
        rearm_ = false;
        shard_->disarm(*this);
        return prevented;
    }
    // Under the shard's lock. The object's reference is still there: its destructor disarms first.
    void expired(expiry& out) noexcept override
    {
        ref();
        in_flight_.store(true, std::memory_order_relaxed);
        out.call(*this);
    }
    void fire(turn* by, wake_list& wakes) noexcept override
    {
        timer_shard* tell = nullptr;
        std::int64_t due = 0;
        {
            std::lock_guard hold{lock_};
            in_flight_.store(false, std::memory_order_relaxed);
            if (std::exchange(rearm_, false)) {
                tell = arm(by);
            } else if (std::exchange(pending_, false)) {
                deliver(wakes);
                if (period_ > 0) {
                    // Ticks that are already past are missed, not made up for.
                    const std::int64_t now = shard_->owner().now();
                    due_ += now > due_ ? (now - due_) / period_ * period_ : 0;
                    due_ = period_ > timer_wheel::never - due_ ? timer_wheel::never : due_ + period_;
                    pending_ = true;
                    tell = arm(by);
                }
            }
            due = due_;
        }
        if (tell != nullptr)
            tell->tell(due, by);
        unref();
    }
    void deliver(wake_list& wakes) noexcept
    {
        const clock::time_point when{clock::duration{due_}};
        if (auto* const reader = static_cast<tick_operation*>(waiters.win_front(wakes))) {
            reader->fired_ = when;
        } else {
            fired_ = true;
            fired_at_ = when;
        }
    }

    spinlock lock_;
    scheduler& sched_;              ///< gone if shard_ has been closed
    timer_shard* shard_ = nullptr;  ///< where it was armed last; counted
    std::int64_t period_ = 0;
    std::int64_t due_ = 0;
    clock::time_point fired_at_{};
    atomic<std::uint32_t> refs_{1};
    atomic<bool> in_flight_{false};
    bool pending_ = false;
    bool rearm_ = false;
    bool fired_ = false;  ///< and nobody has taken it
};

void ref_timer(timer_state& state) noexcept
{
    state.ref();
}

void unref_timer(timer_state& state) noexcept
{
    state.unref();
}

spinlock& tick_operation::source() noexcept
{
    return state_->lock();
}

bool tick_operation::try_complete(wake_list&) noexcept
{
    return state_->take(fired_);
}

void tick_operation::link() noexcept
{
    state_->waiters.push_back(*this);
}

void tick_operation::unlink() noexcept
{
    state_->waiters.remove(*this);
}

timer_owner::timer_owner(clock::duration first, clock::duration period)
{
    scheduler* const sched = ambient_scheduler();
    if (sched == nullptr)
        throw usage_error{
            "leat: a timer was made outside of every task and world, where there is no clock to set it by"};
    state_ = new timer_state{*sched, first, period, current_turn()};
}

timer_owner::timer_owner(timer_owner&& other) noexcept : state_{std::exchange(other.state_, nullptr)}
{
}

timer_owner& timer_owner::operator=(timer_owner&& other) noexcept
{
    std::swap(state_, other.state_);
    return *this;
}

timer_owner::~timer_owner()
{
    if (state_ != nullptr) {
        state_->stop();
        state_->unref();
    }
}

}  // namespace detail

clock::time_point clock::now() noexcept
{
    if (detail::scheduler* const sched = detail::ambient_scheduler())
        return time_point{duration{sched->now()}};
    return time_point{
        std::chrono::duration_cast<duration>(std::chrono::steady_clock::now().time_since_epoch())};
}

bool timer::stop() noexcept
{
    return state_->stop();
}

bool timer::restart(clock::duration span) noexcept
{
    return state_->restart(span, clock::duration::zero());
}

namespace {

clock::duration checked_period(clock::duration period)
{
    if (period <= clock::duration::zero())
        throw usage_error{"leat: the period of a ticker is longer than zero"};
    return period;
}

}  // namespace

ticker::ticker(clock::duration period) : timer_owner{checked_period(period), period}
{
}

void ticker::stop() noexcept
{
    state_->stop();
}

void ticker::restart(clock::duration period)
{
    state_->restart(checked_period(period), period);
}

}  // namespace leat
