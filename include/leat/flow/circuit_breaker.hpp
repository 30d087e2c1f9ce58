#pragma once

#include <leat/detail/call.hpp>
#include <leat/detail/callback.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/detail/spinlock.hpp>
#include <leat/error.hpp>
#include <leat/time.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <type_traits>
#include <utility>

namespace leat {

/// What a circuit_breaker does with calls.
enum class circuit_state : unsigned char {
    closed,     ///< lets them through, and counts failures
    open,       ///< refuses them, for a time
    half_open,  ///< lets a few through, to see whether it can close again
};

/// When a circuit_breaker opens.
class trip_policy {
public:
    /// After so many failures without a success between them.
    static trip_policy consecutive(std::uint32_t failures) noexcept
    {
        return trip_policy{0, failures, clock::duration::zero()};
    }
    /// When so large a part of the last `calls` calls has failed. Not before there have been as many.
    static trip_policy rate(double part, std::uint32_t calls) noexcept
    {
        return trip_policy{part, calls, clock::duration::zero()};
    }
    /// When so large a part of the calls has failed that have ended within a span, up to now. Not before there have been
    /// `at_least` in it. The span is counted in tenths: what is older than it by less than a tenth may still count.
    template <class Rep, class Period>
    static trip_policy rate_within(double part, std::chrono::duration<Rep, Period> span,
                                   std::uint32_t at_least = 10) noexcept
    {
        return trip_policy{part, at_least, detail::span_of(span)};
    }

    // For the library.
    double part() const noexcept
    {
        return part_;
    }
    std::uint32_t calls() const noexcept
    {
        return calls_;
    }
    clock::duration span() const noexcept
    {
        return span_;
    }

private:
    trip_policy(double part, std::uint32_t calls, clock::duration span) noexcept
        : part_{part}, calls_{calls == 0 ? 1 : calls}, span_{span}
    {
    }

    double part_;
    std::uint32_t calls_;
    clock::duration span_;
};

struct circuit_breaker_options {
    trip_policy trip = trip_policy::consecutive(5);
    clock::duration open_for = clock::duration{30'000'000'000};  ///< before it lets somebody try
    double open_factor = 1;  ///< by how much longer it stays open each time that the try fails
    clock::duration max_open = clock::duration{600'000'000'000};
    std::uint32_t probes = 1;                       ///< how many calls may try at a time
    std::uint32_t successes = 1;                    ///< how many have to succeed, for it to close
    clock::duration slow = clock::duration::max();  ///< a call that takes longer counts as failed
    /// Whether what a call has thrown counts as a failure; none: everything does. That a call was cancelled never counts,
    /// for or against. A function, or a lambda that captures references, pointers and numbers, up to 32 bytes; called
    /// by several threads at a time.
    detail::trivial_callback<bool(const std::exception_ptr& thrown)> counts{};
};

struct circuit_breaker_stats {
    std::uint64_t succeeded = 0;
    std::uint64_t failed = 0;
    std::uint64_t ignored = 0;  ///< cancelled, or ended in another state than they had begun in
    std::uint64_t rejected = 0;
    std::uint64_t tripped = 0;  ///< how often it has opened
};

/// A call was refused by a circuit_breaker that is open.
class circuit_open_error : public rejected_error {
public:
    explicit circuit_open_error(clock::duration wait);

    /// How long it will take until somebody may try; zero if somebody already does.
    clock::duration retry_after() const noexcept
    {
        return wait_;
    }

private:
    clock::duration wait_;
};

class circuit_breaker;

/// The right to make one call. Say how it went: what is destroyed without a word counts for nothing.
class circuit_permit {
public:
    circuit_permit(circuit_permit&& other) noexcept
        : of_{std::exchange(other.of_, nullptr)}, began_{other.began_}, epoch_{other.epoch_},
          wait_{other.wait_}
    {
    }
    circuit_permit& operator=(circuit_permit&&) = delete;
    ~circuit_permit();

    /// False if the call is refused.
    explicit operator bool() const noexcept
    {
        return of_ != nullptr;
    }
    /// Of a call that is refused: how long until somebody may try.
    clock::duration retry_after() const noexcept
    {
        return wait_;
    }

    void succeed() noexcept;
    void fail() noexcept;
    /// It has thrown this, which may count as a failure, or not.
    void fail(const std::exception_ptr& thrown);

private:
    friend class circuit_breaker;
    circuit_permit(circuit_breaker* of, clock::time_point began, std::uint64_t epoch,
                   clock::duration wait) noexcept
        : of_{of}, began_{began}, epoch_{epoch}, wait_{wait}
    {
    }

    circuit_breaker* of_;
    clock::time_point began_;
    std::uint64_t epoch_;
    clock::duration wait_;
};

/// Stops calling what keeps failing: gives it time to recover, and its callers an answer at once.
///
/// Closed, it counts failures; when they are too many, it opens and refuses calls for a time; then it is half open, and
/// lets a few calls try: if they succeed it closes, if one fails it opens again. A call that ends in another state than it
/// began in does not count.
///
/// Threads  any, concurrently; also threads of no runtime, by try_enter().
/// Life     to stay as long as its calls and permits.
/// Cost     two short locks and looks at the clock for each call; nothing is allocated for one.
class circuit_breaker {
public:
    /// Throws  std::bad_alloc, std::length_error: a window over more calls than fit into memory.
    explicit circuit_breaker(const circuit_breaker_options& options = {});
    circuit_breaker(const circuit_breaker&) = delete;
    circuit_breaker& operator=(const circuit_breaker&) = delete;
    ~circuit_breaker();

    /// Runs a function, plain or a coroutine, unless the circuit is open. A function that gives a result<T> fails if that
    /// has no value.
    ///
    /// Result   what the function gives.
    /// Throws   circuit_open_error: the function has not been called; what the function throws.
    template <class F>
        requires std::invocable<std::decay_t<F>&>
    [[nodiscard]] auto run(F&& f) -> task<detail::result_of<std::decay_t<F>>>
    {
        using function = std::decay_t<F>;
        return run_in<detail::result_of<function>, function>(*this, std::forward<F>(f));
    }

    /// Asks for one call, to be made by the caller. The answer may be no, which is false.
    [[nodiscard]] circuit_permit try_enter() noexcept;

    /// A circuit that has been open for long enough is half open.
    circuit_state state() const noexcept;
    circuit_breaker_stats stats() const noexcept;

    /// Opens it, by hand: for open_for, or for as long as it was open last if it has not closed since.
    void trip() noexcept;
    /// Closes it and forgets what it has counted.
    void reset() noexcept;

private:
    friend class circuit_permit;
    enum class verdict : unsigned char { success, failure, none };

    template <class T, class F>
    static task<T> run_in(circuit_breaker& in, F f)
    {
        circuit_permit permit = in.try_enter();
        if (!permit)
            throw circuit_open_error{permit.retry_after()};
        try {
            if constexpr (std::is_void_v<T>) {
                co_await detail::call_as_task(f);
                permit.succeed();
            } else {
                T value = co_await detail::call_as_task(f);
                if constexpr (detail::is_result_value<std::remove_cvref_t<T>>) {
                    if (value)
                        permit.succeed();
                    else
                        permit.fail(value.exception()
                                        ? value.exception()
                                        : std::make_exception_ptr(std::system_error{value.error()}));
                } else {
                    permit.succeed();
                }
                co_return static_cast<T&&>(value);
            }
        } catch (...) {
            permit.fail(std::current_exception());
            throw;
        }
    }

    void end(std::uint64_t epoch, clock::time_point began, verdict how) noexcept;
    void open(clock::time_point now) noexcept;
    void close() noexcept;
    void stay_open_longer() noexcept;
    void look_at(clock::time_point now) const noexcept;

    class window;

    const circuit_breaker_options options_;
    mutable detail::spinlock lock_;
    // mutable: what look_at() may change, which is the passing of time.
    mutable circuit_state state_ = circuit_state::closed;
    mutable std::uint64_t epoch_ = 0;  ///< goes up with every change of state
    clock::time_point opened_{};
    clock::duration open_for_;
    mutable std::uint32_t probing_ = 0;
    mutable std::uint32_t succeeded_ = 0;  ///< of the probes
    circuit_breaker_stats stats_;
    detail::owned<window> window_;
};

}  // namespace leat
