#pragma once

#include <leat/detail/chrono.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/timers.hpp>
#include <leat/detail/token_bucket.hpp>
#include <leat/result.hpp>
#include <leat/time.hpp>

#include <concepts>
#include <cstdint>
#include <utility>

namespace leat {

/// How often something may happen: a number is so many a second.
///
/// Kept as a fraction of whole numbers, so that `rate::per(3, 1s)` is exactly that; a floating-point number as the
/// simplest fraction that it can stand for: 0.1 is one in ten seconds.
class rate {
public:
    /// So many a second; infinity is no limit. Throws usage_error if it is negative or not a number.
    rate(double per_second);
    template <std::integral N>
    rate(N per_second) : rate{static_cast<std::int64_t>(per_second), clock::duration{1'000'000'000}}
    {
    }

    /// So many in each such span. Throws usage_error if either is negative, or the span zero.
    template <class Rep, class Period>
    static rate per(std::int64_t events, std::chrono::duration<Rep, Period> span)
    {
        return rate{events, detail::span_of(span)};
    }
    /// One in each such span; without a limit if that is not positive.
    template <class Rep, class Period>
    static rate every(std::chrono::duration<Rep, Period> span)
    {
        const clock::duration between = detail::span_of(span);
        return between.count() <= 0 ? infinite() : rate{1, between};
    }
    static rate infinite() noexcept
    {
        return rate{detail::token_flow{0, 0}};
    }

    bool is_infinite() const noexcept
    {
        return flow_.unlimited();
    }
    double per_second() const noexcept;

    friend bool operator==(const rate& a, const rate& b) noexcept
    {
        return a.flow_.tokens == b.flow_.tokens && a.flow_.period == b.flow_.period;
    }

    // For the library.
    explicit rate(detail::token_flow flow) noexcept : flow_{flow}
    {
    }
    detail::token_flow flow() const noexcept
    {
        return flow_;
    }

private:
    rate(std::int64_t events, clock::duration span);

    detail::token_flow flow_;
};

class rate_limiter;
class reservation;

namespace detail {

class limiter_core;

/// Who stands in the line of a limiter: a waiter, or a reservation that was made behind one.
struct limiter_entry {
    limiter_entry* before = nullptr;
    limiter_entry* behind = nullptr;
    std::int64_t tokens = 0;
    std::uint64_t number = 0;  ///< in the order of the line
    bool queued = false;
    bool waits = false;  ///< a limiter_wait; else a limiter_booking
};

/// A reservation in the line. Shared by the line and the reservation, under the lock; the last frees it.
struct limiter_booking final : limiter_entry {
    std::int64_t at = 0;
    bool dropped = false;
    limiter_booking* next_trash = nullptr;
};

/// Waits for tokens.
class limiter_wait final : public waiter, private timed, private limiter_entry {
public:
    using value_type = void;

    limiter_wait(limiter_core& of, std::int64_t n) noexcept;
    limiter_wait(const limiter_wait& other) noexcept : limiter_wait{*other.core_, other.tokens}
    {
    }
    ~limiter_wait();

    void prepare(turn& here) noexcept;
    spinlock& source() noexcept override;
    bool source_is_innermost() const noexcept override
    {
        return true;
    }
    bool try_complete(wake_list& wakes) noexcept override;
    void link() noexcept override;
    void unlink() noexcept override;
    void unlinked() noexcept override;
    const char* kind() const noexcept override
    {
        return "tokens of a rate limiter";
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    void value() const;
    result<> take_result() const;

private:
    friend class limiter_core;
    void expired(expiry& out) noexcept override;

    limiter_core* core_;
    timer_shard* home_ = nullptr;
    std::int64_t now_ = 0;
    std::int64_t due_ = token_bucket::never;  ///< when its timer was set for
    bool left_head_ = false;                  ///< it has left the head of the line unserved
    std::int64_t too_small_ = -1;  ///< the size of the bucket, if that is less than what is asked for
};

/// A counted reference to a limiter's core.
class limiter_handle {
public:
    limiter_handle(const limiter_handle& other) noexcept;
    limiter_handle& operator=(limiter_handle other) noexcept
    {
        std::swap(core_, other.core_);
        return *this;
    }
    ~limiter_handle();

    friend bool operator==(const limiter_handle& a, const limiter_handle& b) noexcept
    {
        return a.core_ == b.core_;
    }
    /// Whether nobody else holds it, and it is as good as new.
    bool idle(std::int64_t now) const noexcept;

protected:
    limiter_handle(leat::rate events, std::int64_t burst);

    friend class leat::reservation;
    limiter_core* core_;
};

}  // namespace detail

/// Tokens that have been taken ahead of time. Dropping it keeps them taken.
///
/// Threads  one at a time for the object.
class reservation {
public:
    reservation(reservation&& other) noexcept
        : limiter_{other.limiter_}, booking_{std::exchange(other.booking_, nullptr)}, tokens_{other.tokens_},
          at_{other.at_}, ok_{std::exchange(other.ok_, false)}
    {
    }
    reservation& operator=(reservation&& other) noexcept;
    ~reservation()
    {
        drop();
    }

    /// Whether there is a time at which they will be had: not if more were asked for than the burst, or the rate
    /// is zero.
    bool ok() const noexcept
    {
        return ok_;
    }
    explicit operator bool() const noexcept
    {
        return ok_;
    }
    /// How long from now until they may be used; zero if they may be at once. The longest span if not ok().
    clock::duration delay() const noexcept;
    /// When they may be used.
    clock::time_point when() const noexcept
    {
        return clock::time_point{clock::duration{at_}};
    }

    /// Gives them back, as far as that does not bring forward what was reserved after them. False if there was
    /// nothing to give back: their time has passed, or they have been given back.
    bool cancel() noexcept;

private:
    friend class rate_limiter;
    explicit reservation(detail::limiter_handle of) noexcept : limiter_{std::move(of)}
    {
    }
    void drop() noexcept;

    detail::limiter_handle limiter_;
    detail::limiter_booking* booking_ = nullptr;
    std::int64_t tokens_ = 0;
    std::int64_t at_ = detail::token_bucket::never;
    bool ok_ = false;
};

/// A token bucket: holds at most `burst` tokens, is full at first, and gets `rate` more each second.
///
/// In any span of time at most burst + rate x span are given out, whatever the mix of calls. Whoever waits is served
/// in the order of arrival; nobody overtakes a waiter, not even allow().
///
/// A reference type: copies name the same bucket. Of an infinite rate everything is allowed, whatever the burst; of
/// a zero rate only what is in the bucket. Changing rate or burst affects those who wait, not what is reserved.
///
/// Threads  any, concurrently. All who use one should share a clock: one runtime, or one world.
/// Cost     a short lock and a look at the clock; no allocation but for reserve() behind waiters.
class rate_limiter : public detail::limiter_handle {
public:
    /// Throws  usage_error: burst is negative or absurd; std::bad_alloc.
    explicit rate_limiter(leat::rate events, std::int64_t burst = 1) : limiter_handle{events, burst}
    {
    }

    /// Takes n tokens, if they are there and nobody waits for tokens.
    ///
    /// Result   whether it did. False if n is more than the burst.
    /// Throws   usage_error: n is negative.
    /// Threads  any, also those of no runtime.
    bool allow(std::int64_t n = 1);

    /// Takes n tokens, now or ahead of time, behind those who wait.
    ///
    /// Result   when they may be used, and the right to give them back.
    /// Throws   usage_error: n is negative; std::bad_alloc.
    /// Threads  any, also those of no runtime.
    [[nodiscard]] reservation reserve(std::int64_t n = 1);

    /// Waits for n tokens and takes them.
    ///
    /// Of a zero rate it waits until the rate is changed or the context ends. A deadline that is too near for its turn to
    /// come does not make it fail at once, as Go's Wait does: who stands before it may give up, or the rate may rise.
    ///
    /// Throws   usage_error: n is negative, or more than the burst is, or has become; cancelled_error,
    ///          timed_out_error: the task's context ended first.
    /// Cancel   safe: a cancelled wait has taken none, and those behind it move up. A case for select.
    [[nodiscard]] detail::limiter_wait wait(std::int64_t n = 1);

    leat::rate rate() const noexcept;
    std::int64_t burst() const noexcept;
    /// How many could be taken now; negative if some are owed to reservations.
    double tokens() const noexcept;

    /// From now on. Those who wait are served, or wait, accordingly. Threads: any.
    void set_rate(leat::rate events) noexcept;
    /// The same for the burst. Throws usage_error if it is negative or absurd. Whoever waits for more fails.
    void set_burst(std::int64_t burst);
};

}  // namespace leat
