#pragma once

#include <leat/detail/blocking_queue.hpp>
#include <leat/detail/outcome.hpp>
#include <leat/task.hpp>

#include <concepts>
#include <type_traits>
#include <utility>

namespace leat {

namespace detail {

template <class F>
class blocking_operation final : public blocking_job {
public:
    using value_type = std::invoke_result_t<F&>;

    explicit blocking_operation(F&& f) : f_{std::move(f)}
    {
    }
    blocking_operation(blocking_operation&& other) noexcept(std::is_nothrow_move_constructible_v<F>)
        : f_{std::move(other.f_)}
    {
    }

    void prepare(turn& here) noexcept
    {
        queue_ = &here.sched->blocking();
    }
    spinlock& source() noexcept override
    {
        return *queue_;
    }
    bool try_complete(wake_list&) noexcept override
    {
        return false;
    }
    void link() noexcept override
    {
        queue_->push(*this);
    }
    void unlink() noexcept override
    {
        queue_->remove(*this);
    }
    static void published(spinlock& source) noexcept
    {
        static_cast<blocking_queue&>(source).job_pushed();
    }
    const char* kind() const noexcept override
    {
        return "blocking call";
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    value_type value()
    {
        return got_.take();
    }
    result<value_type> take_result()
    {
        return got_.take_result();
    }

private:
    void run() noexcept override
    {
        try {
            if constexpr (std::is_void_v<value_type>) {
                f_();
                got_.emplace();
            } else if constexpr (std::is_reference_v<value_type>) {
                value_type v = f_();
                got_.emplace(std::addressof(v));
            } else {
                got_.emplace(f_());
            }
        } catch (...) {
            got_.fail(std::current_exception());
        }
    }

    F f_;
    outcome<value_type> got_;
    blocking_queue* queue_ = nullptr;
};

}  // namespace detail

/// Runs a call that may block, such as reading a file, on a thread kept for that, while the task is parked.
///
/// Result   what `f` returns; what it throws is thrown. `f` may refer to the task's locals.
/// Throws   cancelled_error, timed_out_error: the task's context ended before `f` had begun; it has not run.
/// Cancel   a call that has begun is not interrupted, and its result is not lost: the task waits for it.
/// Cost     a hand-over to a thread and back, tens of microseconds; at most runtime_options::blocking_threads
///          run at a time, the others wait in line. In a sim::world `f` runs at once on the world's thread.
template <std::invocable F>
[[nodiscard]] auto blocking(F f)
{
    return detail::blocking_operation<F>{std::move(f)};
}

}  // namespace leat
