#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/blocking_wait.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/waiting_room.hpp>
#include <leat/spawn.hpp>

#include <cstdint>
#include <type_traits>
#include <utility>

namespace leat {

class wait_group;

namespace detail {

/// One that a wait_group counts, until this is destroyed.
class counted_in {
public:
    explicit counted_in(wait_group& of);
    counted_in(counted_in&& other) noexcept : of_{std::exchange(other.of_, nullptr)}
    {
    }
    counted_in& operator=(counted_in&&) = delete;
    ~counted_in();

private:
    wait_group* of_;
};

/// What wait_group::spawn() spawns: a callable or a task, and its place in the count, which is given up last. The
/// spawned task destroys it when it has ended, or when the end of the runtime has destroyed the task.
template <class W>
class counted_call {
public:
    template <class V>
    counted_call(counted_in&& place, V&& what) : place_{std::move(place)}, what_(std::forward<V>(what))
    {
    }
    counted_call(counted_call&& other) noexcept(std::is_nothrow_move_constructible_v<W>)
        : place_{std::move(other.place_)}, what_(std::move(other.what_))
    {
    }

    LEAT_MAKES_TASK auto operator()()
    {
        if constexpr (is_task<W>)
            return std::move(what_);
        else
            return what_();
    }

private:
    counted_in place_;
    W what_;
};

}  // namespace detail

/// Counts what is under way: tasks wait until the count is zero. For tasks with a common end use with_group(), which
/// also hears of their failures.
///
/// After zero it can be used again; whoever waits then waits for the next zero.
///
/// Threads  any, concurrently; also threads of no runtime, through add(), done() and blocking_wait().
/// Life     may be destroyed as soon as the last wait on it has returned, even if the done() that let it return has
///          not; while a task waits for it, that is an error, and the wait throws usage_error.
class wait_group {
public:
    wait_group() noexcept = default;
    wait_group(const wait_group&) = delete;
    wait_group& operator=(const wait_group&) = delete;

    /// Adds to the count; lets everybody go on who waits, if it becomes zero. Add before that which calls done() is
    /// started, or a wait may find zero too early.
    ///
    /// Throws  usage_error: the count would be negative, or absurd; it has not changed then.
    /// Cost    one atomic operation; from or to zero a short lock, with many waiters one for each few of them.
    void add(std::int64_t n = 1);

    /// add(-1). What was written before is seen by those who wait.
    void done()
    {
        add(-1);
    }

    /// How many are under way; out of date at once if others use the group.
    [[nodiscard]] std::int64_t count() const noexcept
    {
        return count_.load(std::memory_order_acquire);
    }
    /// Whether the count is zero.
    [[nodiscard]] bool try_wait() const noexcept
    {
        return count() == 0;
    }

    /// Waits until the count is zero.
    ///
    /// Throws   cancelled_error, timed_out_error: the task's context ended first.
    /// Cancel   safe: the group is as it was.
    /// Threads  any thread, concurrently with every other member.
    /// Cost     no lock if the count is zero; no allocation.
    [[nodiscard]] detail::room_operation<wait_group> wait() noexcept
    {
        return detail::room_operation<wait_group>{*this};
    }

    /// Spawns a task that is counted until it has ended, however it ends. Takes what leat::spawn() takes.
    ///
    /// Result  its handle; dropping it detaches the task, whose failure then goes to the runtime's handler.
    /// Errors  as spawn(); the count is then what it was.
    /// Life    a callable and its captures are destroyed before the task counts as done.
    template <class W>
        requires detail::spawnable_task<W&&> || detail::spawnable_callable<W>
    auto spawn(W&& what, const spawn_options& options, detail::location place = detail::location::current())
    {
        return leat::spawn(
            detail::counted_call<std::decay_t<W>>{detail::counted_in{*this}, std::forward<W>(what)}, options,
            place);
    }
    template <class W>
        requires detail::spawnable_task<W&&> || detail::spawnable_callable<W>
    auto spawn(W&& what, detail::location place = detail::location::current())
    {
        return spawn(std::forward<W>(what), spawn_options{}, place);
    }

    /// wait() for a thread that is no worker: blocks the thread. Throws usage_error in a task.
    void blocking_wait()
    {
        detail::wait_blocking(wait());
    }

private:
    friend class detail::room_operation<wait_group>;
    static constexpr const char* waits_for = "wait group";

    bool try_pass() const noexcept
    {
        return try_wait();
    }

    detail::waiting_room room_;
    detail::atomic<std::int64_t> count_{0};
};

inline detail::counted_in::counted_in(wait_group& of) : of_{&of}
{
    of.add(1);
}

inline detail::counted_in::~counted_in()
{
    if (of_ != nullptr)
        of_->done();
}

}  // namespace leat
