#pragma once

#include <leat/detail/chrono.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/timers.hpp>

#include <cstdint>
#include <optional>

namespace leat {

/// The steady clock of the runtime that asks, or the virtual one of a sim::world. Library code never asks
/// another. Models std::chrono's TrivialClock.
///
/// Threads  any; outside every runtime it is std::chrono::steady_clock.
struct clock {
    using duration = std::chrono::nanoseconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<clock>;
    static constexpr bool is_steady = true;

    static time_point now() noexcept;
};

namespace detail {

/// Any span as the clock's, rounded up; beyond its range, the longest that there is.
template <class Rep, class Period>
constexpr clock::duration span_of(std::chrono::duration<Rep, Period> span) noexcept
{
    constexpr double far = 9.2e18;
    const double rough = std::chrono::duration<double, clock::period>{span}.count();
    if (rough >= far)
        return clock::duration::max();
    if (!(rough > -far))
        return clock::duration::min();
    return std::chrono::ceil<clock::duration>(span);
}

/// The scheduler that the calling code belongs to: that of the running task, or the simulated world that
/// lives on this thread, or null.
scheduler* ambient_scheduler() noexcept;
/// The latest world that was made on this thread and still lives, or null.
scheduler* worlds_of_thread() noexcept;
void set_ambient_scheduler(scheduler* to) noexcept;

/// Waits for a point in time: sleep and after. Disarmed at once when it loses.
class sleep_operation final : public waiter, private timed {
public:
    using value_type = void;

    explicit sleep_operation(clock::duration wait) noexcept : span_{wait}
    {
    }
    explicit sleep_operation(clock::time_point until) noexcept
        : until_{until.time_since_epoch().count()}, absolute_{true}
    {
    }
    // Not while it waits; a wheel would point at the old place.
    sleep_operation(const sleep_operation& other) noexcept
        : span_{other.span_}, until_{other.until_}, absolute_{other.absolute_}
    {
    }

    void prepare(turn& here) noexcept;
    spinlock& source() noexcept override
    {
        return home_->lock;
    }
    bool source_is_innermost() const noexcept override
    {
        return true;
    }
    bool try_complete(wake_list&) noexcept override
    {
        return due_;
    }
    void link() noexcept override;
    void unlink() noexcept override;
    const char* kind() const noexcept override
    {
        return "sleep";
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    void value() const noexcept
    {
    }

private:
    void expired(expiry& out) noexcept override;

    clock::duration span_{};
    std::int64_t until_ = 0;
    timer_shard* home_ = nullptr;
    bool absolute_ = false;
    bool due_ = false;
};

class timer_state;
void ref_timer(timer_state& state) noexcept;
void unref_timer(timer_state& state) noexcept;

/// Waits for the next tick of a timer or ticker.
class tick_operation final : public waiter {
public:
    using value_type = clock::time_point;

    explicit tick_operation(timer_state& state) noexcept : state_{&state}
    {
        ref_timer(state);
    }
    tick_operation(const tick_operation& other) noexcept : tick_operation{*other.state_}
    {
    }
    ~tick_operation()
    {
        unref_timer(*state_);
    }

    void prepare(turn&) noexcept
    {
    }
    spinlock& source() noexcept override;
    bool try_complete(wake_list& wakes) noexcept override;
    void link() noexcept override;
    void unlink() noexcept override;
    const char* kind() const noexcept override
    {
        return "tick";
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    value_type value() const noexcept
    {
        return fired_;
    }

private:
    friend class timer_state;

    timer_state* state_;
    clock::time_point fired_{};
};

/// Shared by a timer object and the shard that may be about to fire it.
class timer_owner {
public:
    timer_owner(timer_owner&& other) noexcept;
    timer_owner& operator=(timer_owner&& other) noexcept;
    ~timer_owner();

protected:
    timer_owner(clock::duration first, clock::duration period);

    timer_state* state_;
};

}  // namespace detail

/// Suspends the task for at least `span`. Zero and negative spans do not wait.
///
/// Throws   cancelled_error, timed_out_error: the task's context ended first.
/// Cancel   safe; the timer is disarmed before the error is thrown.
/// Cost     O(1) to arm and to disarm, no allocation.
template <class Rep, class Period>
[[nodiscard]] detail::sleep_operation sleep_for(std::chrono::duration<Rep, Period> span) noexcept
{
    return detail::sleep_operation{detail::span_of(span)};
}

/// The same until a point on leat::clock.
[[nodiscard]] inline detail::sleep_operation sleep_until(clock::time_point until) noexcept
{
    return detail::sleep_operation{until};
}

/// A case for select that becomes ready `span` after the select has begun: `on(after(1s), ...)`.
template <class Rep, class Period>
[[nodiscard]] detail::sleep_operation after(std::chrono::duration<Rep, Period> span) noexcept
{
    return sleep_for(span);
}

/// Fires once, after its span; can be stopped and set again.
///
/// Threads  one thread at a time for the object; waiting is a task's. The firing itself races with nothing:
///          when stop() or reset() has returned, the timer does not fire for what was set before, and a
///          firing that nobody has taken yet is gone.
class timer : private detail::timer_owner {
public:
    /// Starts at once, on the calling task's clock. Throws usage_error outside every task and world.
    template <class Rep, class Period>
    explicit timer(std::chrono::duration<Rep, Period> span)
        : timer_owner{detail::span_of(span), clock::duration::zero()}
    {
    }

    /// Waits for the firing and takes it: a second wait needs a reset(). Result: when it was due.
    ///
    /// Cancel  safe: a cancelled wait has not taken the firing. A case for select.
    [[nodiscard]] detail::tick_operation wait() noexcept
    {
        return detail::tick_operation{*state_};
    }

    /// Disarms. True if this prevented the firing, or took back one that nobody had waited for.
    bool stop() noexcept;

    /// Sets it again, `span` from now. True as for stop().
    template <class Rep, class Period>
    bool reset(std::chrono::duration<Rep, Period> span) noexcept
    {
        return restart(detail::span_of(span));
    }

private:
    bool restart(clock::duration span) noexcept;
};

/// Fires once each period. A slow reader misses ticks; they do not pile up: at most one waits to be taken.
///
/// Threads  as for timer.
class ticker : private detail::timer_owner {
public:
    /// Throws usage_error if the period is not positive, and outside every task and world.
    template <class Rep, class Period>
    explicit ticker(std::chrono::duration<Rep, Period> period) : ticker{detail::span_of(period)}
    {
    }
    explicit ticker(clock::duration period);

    /// Waits for the next tick and takes it. Result: when it was due.
    ///
    /// Cancel  safe: a cancelled wait has not taken the tick. A case for select.
    [[nodiscard]] detail::tick_operation tick() noexcept
    {
        return detail::tick_operation{*state_};
    }
    /// The same under the name that timers and channels use.
    [[nodiscard]] detail::tick_operation wait() noexcept
    {
        return tick();
    }

    /// No more ticks; one that nobody took is gone.
    void stop() noexcept;

    /// Starts again with another period, the first tick one period from now.
    template <class Rep, class Period>
    void reset(std::chrono::duration<Rep, Period> period)
    {
        restart(detail::span_of(period));
    }

private:
    void restart(clock::duration period);
};

}  // namespace leat
