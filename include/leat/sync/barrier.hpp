// Phases of a barrier.
//
// Under the lock: `arrived_` participants of `expected_` have arrived in the phase that is open. The last arrival
// closes it: from that moment on the phase is complete, and counted in `closed_` until its completion function has
// returned. That is called without the lock, by whoever was the last to arrive, and then the waiters of the phase are
// let go. Arrivals that come meanwhile belong to the next phase; should they complete it (which takes calls of arrive()
// that nobody waits for), whoever calls the completion function calls it once more.
//
// A waiter arrives when it is linked, and its arrival is taken back when it is unlinked although its phase is still
// open; or earlier, by the last to arrive, who looks for waiters that have been won by others. If a waiter is won by
// another after it has been looked at, its arrival stands: it had come before. The wait then is complete, although its
// context has ended (ending()), unless the completion function has still to be run: nobody goes on before that.
// (The road not taken is to win all waiters before the phase counts as complete: if one of them turns out to be lost to
// its context, the others have been won already, and can neither go on nor be cancelled any more.)
#pragma once

#include <leat/detail/blocking_wait.hpp>
#include <leat/detail/callback.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/waiting_room.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <type_traits>
#include <utility>

namespace leat {

/// Lets a fixed number of participants go on only when all have arrived; again and again, phase by phase.
///
/// Threads  any, concurrently; also threads of no runtime, through arrive() and the blocking_ forms.
/// Life     may be destroyed as soon as the last wait on it has returned; while a task waits for it, that is an error,
///          and the wait throws usage_error.
class barrier {
public:
    /// Names the phase in which somebody has arrived.
    class arrival_token {
    public:
        arrival_token(arrival_token&& other) noexcept = default;
        arrival_token& operator=(arrival_token&& other) noexcept = default;

    private:
        friend class barrier;
        explicit arrival_token(std::uint64_t phase) noexcept : phase_{phase}
        {
        }
        std::uint64_t phase_;
    };

    /// Throws usage_error if `participants` is negative, or absurd.
    template <std::integral N>
    explicit barrier(N participants) : expected_{detail::count_of(participants)}, next_expected_{expected_}
    {
    }
    /// `completed` is called at the end of each phase, when all have arrived and none has gone on, by the last to
    /// arrive. It must not throw, and must not wait.
    template <std::integral N, std::invocable F>
    barrier(N participants, F completed) : barrier{participants}
    {
        completed_ = [f = std::move(completed)]() mutable noexcept { static_cast<void>(f()); };
    }
    barrier(const barrier&) = delete;
    barrier& operator=(const barrier&) = delete;

    class wait_operation;

    /// Arrives, and waits until all have.
    ///
    /// Throws   cancelled_error, timed_out_error: the task's context ended first; usage_error: more participants than
    ///          there are.
    /// Cancel   the arrival is taken back, as if it had not been: the others go on waiting for a participant. If the
    ///          last one arrives in that very moment the arrival may stand; the wait then succeeds if the phase has
    ///          been completed by then (as a case of a select that another case has won, the arrival has had its effect
    ///          all the same). Who leaves for good calls arrive_and_drop().
    /// Threads  any thread, concurrently with every other member.
    /// Cost     one short lock, for the last to arrive in proportion to who waits; no allocation.
    [[nodiscard]] wait_operation arrive_and_wait() noexcept;

    /// Arrives, without waiting. Give the token to wait(), or forget it.
    ///
    /// Throws  usage_error: more participants than there are.
    arrival_token arrive(std::ptrdiff_t n = 1);

    /// Arrives, and takes no part in the phases to come.
    void arrive_and_drop();

    /// Waits until the phase of the token is complete. Throws and costs as arrive_and_wait().
    ///
    /// Cancel  safe: the arrival stands, the phase can be waited for again.
    [[nodiscard]] wait_operation wait(const arrival_token& since) noexcept;

    /// How many phases have been completed.
    [[nodiscard]] std::uint64_t phase() const noexcept;

    /// The same for threads that are no workers: blocks the thread. Throws usage_error in a task.
    void blocking_arrive_and_wait();
    void blocking_wait(const arrival_token& since);

private:
    /// Whether n more complete the phase. With the lock, as all these.
    bool are_last(std::ptrdiff_t n) noexcept;
    /// Closes the phase; whether the caller has to complete() it.
    bool close_phase() noexcept;
    bool arrive_locked(std::ptrdiff_t n) noexcept;
    bool too_many(std::ptrdiff_t n) const noexcept
    {
        return n < 0 || n > expected_ - arrived_;
    }
    [[noreturn]] static void refuse_arrival();
    /// The phase in which one arrives now.
    std::uint64_t open_phase() const noexcept
    {
        return room_.round() + closed_;
    }
    /// Called by whoever was the last to arrive, without the lock. `stays`: it has announced that it comes back.
    void complete(bool stays) noexcept;

    std::ptrdiff_t expected_;
    std::ptrdiff_t next_expected_;
    std::ptrdiff_t arrived_ = 0;
    std::uint32_t closed_ = 0;
    detail::callback<void()> completed_;
    detail::waiting_room
        room_;  ///< its rounds are the phases; last, so that its destructor waits before the rest goes
};

/// What awaits a phase.
class barrier::wait_operation final : public detail::room_waiter {
public:
    using value_type = void;

    wait_operation(barrier& of, bool arrives, std::uint64_t phase) noexcept
        : of_{&of}, phase_{phase}, arrives_{arrives}
    {
    }
    wait_operation(const wait_operation& other) noexcept
        : room_waiter{}, of_{other.of_}, phase_{other.phase_}, arrives_{other.arrives_}
    {
    }
    // The others wait for the phase that it was the last to arrive for.
    ~wait_operation()
    {
        if (is_last_)
            of_->complete(false);
    }

    void prepare(detail::turn&) noexcept
    {
        is_last_ = refused_ = passed_ = arrived_ = false;
    }
    detail::spinlock& source() noexcept override
    {
        return of_->room_.lock;
    }
    bool try_complete(detail::wake_list&) noexcept override;
    void link() noexcept override;
    void unlink() noexcept override;
    const char* kind() const noexcept override
    {
        return "barrier";
    }
    bool ending() const noexcept
    {
        return passed_;
    }
    bool ends_with_context() const noexcept override
    {
        return passed_;
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    void value()
    {
        require_source();
        passed_ = false;
        if (refused_)
            refuse_arrival();
        if (std::exchange(is_last_, false))
            of_->complete(false);
    }

private:
    friend class barrier;

    barrier* of_;
    std::uint64_t phase_;
    bool arrives_;
    bool arrived_ = false;
    bool is_last_ = false;
    bool refused_ = false;
    bool passed_ = false;
};

inline barrier::wait_operation barrier::arrive_and_wait() noexcept
{
    return wait_operation{*this, true, 0};
}

inline barrier::wait_operation barrier::wait(const arrival_token& since) noexcept
{
    return wait_operation{*this, false, since.phase_};
}

inline void barrier::blocking_arrive_and_wait()
{
    detail::wait_blocking(arrive_and_wait());
}

inline void barrier::blocking_wait(const arrival_token& since)
{
    detail::wait_blocking(wait(since));
}

}  // namespace leat
