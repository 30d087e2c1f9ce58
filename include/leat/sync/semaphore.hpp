#pragma once

#include <leat/detail/blocking_wait.hpp>
#include <leat/detail/eager.hpp>
#include <leat/detail/semaphore_core.hpp>
#include <leat/error.hpp>

#include <cstddef>
#include <utility>

namespace leat {

class semaphore;

/// Permits of a semaphore, given back when it goes. Movable, also to other tasks and threads. The semaphore has to
/// outlive it.
class [[nodiscard]] semaphore_permit {
public:
    /// Holds nothing.
    semaphore_permit() noexcept = default;
    semaphore_permit(semaphore_permit&& other) noexcept
        : of_{std::exchange(other.of_, nullptr)}, count_{other.count_}
    {
    }
    semaphore_permit& operator=(semaphore_permit&& other) noexcept
    {
        if (this != &other) {
            release();
            of_ = std::exchange(other.of_, nullptr);
            count_ = other.count_;
        }
        return *this;
    }
    ~semaphore_permit()
    {
        release();
    }

    /// Gives the permits back before their time. Does nothing if it holds none.
    ///
    /// Threads  any.
    /// Cost     one atomic operation; if others wait, a short lock, and those are woken whom the permits suffice for.
    void release() noexcept
    {
        if (of_ != nullptr)
            std::exchange(of_, nullptr)->release(count_);
    }
    /// How many it holds.
    std::ptrdiff_t count() const noexcept
    {
        return of_ != nullptr ? static_cast<std::ptrdiff_t>(count_) : 0;
    }
    explicit operator bool() const noexcept
    {
        return of_ != nullptr;
    }

    // For the library.
    semaphore_permit(detail::semaphore_core& of, detail::semaphore_core::number count) noexcept
        : of_{&of}, count_{count}
    {
    }

private:
    detail::semaphore_core* of_ = nullptr;
    detail::semaphore_core::number count_ = 0;
};

namespace detail {

/// Acquires permits; none if it would have to wait behind as many others as `behind` says.
class acquire_operation final : public semaphore_waiter {
public:
    using value_type = semaphore_permit;
    static constexpr bool holds = true;

    acquire_operation(semaphore_core& of, semaphore_core::number wanted,
                      std::size_t behind = static_cast<std::size_t>(-1)) noexcept
        : semaphore_waiter{of, wanted, behind}
    {
    }
    // Until it is awaited; then it stays where it is.
    acquire_operation(const acquire_operation& other) noexcept
        : semaphore_waiter{*other.of_, other.wanted_, other.behind_}
    {
    }
    ~acquire_operation()
    {
        give_back();
    }

    void prepare(turn&) noexcept
    {
        give_back();
    }
    bool try_quick() noexcept
    {
        if (!of_->try_acquire(wanted_))
            return false;
        state_ = state::granted;
        return true;
    }
    std::error_code error() const noexcept
    {
        return state_ == state::too_large ? make_error_code(errc::exceeds_capacity) : std::error_code{};
    }
    semaphore_permit value() noexcept
    {
        if (std::exchange(state_, state::idle) == state::too_many)
            return {};
        return {*of_, wanted_};
    }
};

/// What acquire() gives.
class acquire_request {
public:
    using operation_type = acquire_operation;
    using value_type = semaphore_permit;
    struct kept_type {
        semaphore_core* of;
        semaphore_core::number permits;
    };

    acquire_request(semaphore_core& of, semaphore_core::number wanted) noexcept : of_{&of}, wanted_{wanted}
    {
    }
    bool try_now(task_root& root, kept_type& taken) noexcept
    {
        turn& here = *root.now;
        if (!may_take(root, here) || !of_->try_acquire(wanted_))
            return false;
        --here.budget;
        taken = {of_, wanted_};
        return true;
    }
    static semaphore_permit take(kept_type got) noexcept
    {
        return {*got.of, got.permits};
    }
    acquire_operation make() noexcept
    {
        return {*of_, wanted_};
    }

private:
    semaphore_core* of_;
    semaphore_core::number wanted_;
};

}  // namespace detail

/// A number of permits: who wants more of them than are free waits.
///
/// Requests are served strictly in the order in which they came. One that has to wait for many permits is not
/// overtaken by later ones that want fewer, not even by another case of its own select; if it is cancelled, those behind
/// it go on at once.
///
/// Life     may be destroyed when all permits are back and nobody waits: also at once by the task that gave the last
///          one back, though another is still leaving release(). Destroyed in use, it says so and ends the program.
/// Threads  any, concurrently; also threads of no runtime, through the try_ and blocking_ forms.
class semaphore {
public:
    using permit = semaphore_permit;
    using acquire_operation = detail::eager_call<detail::acquire_request>;

    /// With so many permits, all free, and maybe a name for reports, which is not copied: a string literal.
    /// Throws usage_error if their number is negative or absurd.
    explicit semaphore(std::ptrdiff_t permits, const char* name = nullptr) : core_{permits, name}
    {
    }

    /// Acquires permits, suspending while there are not as many free, or others wait. A case for select.
    ///
    /// Result   a permit that stands for them, and gives them back.
    /// Throws   cancelled_error, timed_out_error: the task's context ended first; std::system_error of
    ///          errc::exceeds_capacity: more than the semaphore has, or has left after remove(). The call itself:
    ///          usage_error if the number is negative.
    /// Cancel   safe: a cancelled request has acquired nothing, and keeps nobody waiting.
    /// Life     refers to the semaphore.
    /// Threads  any thread, concurrently with every other member.
    /// Cost     one atomic operation if there are permits and nobody waits; no allocation.
    [[nodiscard]] acquire_operation acquire(std::ptrdiff_t permits = 1)
    {
        return acquire_operation{std::in_place, core_, detail::checked_permits(permits)};
    }
    /// Acquires permits if that is possible without waiting, and without overtaking anybody.
    ///
    /// Result   a permit, which is false if it holds nothing.
    /// Throws   usage_error if the number is negative.
    /// Threads  any, also those of no runtime.
    semaphore_permit try_acquire(std::ptrdiff_t permits = 1)
    {
        const auto wanted = detail::checked_permits(permits);
        if (core_.try_acquire(wanted) || core_.try_acquire_slowly(wanted))
            return {core_, wanted};
        return {};
    }
    /// acquire() for a thread that is no worker: blocks the thread.
    ///
    /// Throws   usage_error in a task, which must co_await acquire(); as acquire().
    semaphore_permit blocking_acquire(std::ptrdiff_t permits = 1)
    {
        return detail::wait_blocking(acquire(permits).as_operation());
    }

    /// Adds permits, which at once serve those who wait. Throws usage_error: a negative number, or an absurd sum.
    void add(std::ptrdiff_t permits)
    {
        core_.add(permits);
    }
    /// Takes permits away. Those that are held are not revoked: what is given back first makes up for them.
    /// Requests that wait and can no longer be met fail with errc::exceeds_capacity.
    ///
    /// Throws  usage_error: a negative number, or more than there are.
    /// Cost    proportional to those who wait.
    void remove(std::ptrdiff_t permits)
    {
        core_.remove(permits);
    }

    /// How many are free; out of date at once.
    std::ptrdiff_t available() const noexcept
    {
        return static_cast<std::ptrdiff_t>(core_.available());
    }
    /// How many there are, free and held.
    std::ptrdiff_t capacity() const noexcept
    {
        return static_cast<std::ptrdiff_t>(core_.capacity());
    }
    /// Null if it has none.
    const char* name() const noexcept
    {
        return core_.name();
    }

private:
    detail::semaphore_core core_;
};

}  // namespace leat
