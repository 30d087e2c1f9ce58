#pragma once

#include <leat/context.hpp>
#include <leat/task.hpp>

#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

namespace leat {

class executor;

namespace detail {
/// What makes executor one of Asio's; defined by leat/asio/executor.hpp.
template <class Dependent>
struct asio_bridge;
}  // namespace detail

/// Where tasks run: a handle on a scheduler. Cheap to copy; refers to it, does not keep it alive. With
/// leat/asio/executor.hpp it is an executor of Asio's as well.
class executor {
public:
    executor() noexcept = default;
    explicit executor(detail::scheduler& sched) noexcept : sched_{&sched}
    {
    }
    explicit operator bool() const noexcept
    {
        return sched_ != nullptr;
    }
    detail::scheduler& sched() const noexcept
    {
        return *sched_;
    }
    friend bool operator==(const executor& a, const executor& b) noexcept = default;

    // For Asio.
    template <class F, class Bridge = detail::asio_bridge<std::remove_cvref_t<F>>>
        requires requires(const executor& on, F&& f) { Bridge::execute(on, std::forward<F>(f)); }
    void execute(F&& f) const
    {
        Bridge::execute(*this, std::forward<F>(f));
    }
    template <class P, class Bridge = detail::asio_bridge<P>>
    auto query(const P& property) const -> decltype(Bridge::query(std::declval<const executor&>(), property))
    {
        return Bridge::query(*this, property);
    }
    template <class P, class Bridge = detail::asio_bridge<P>>
    auto require(const P& property) const
        -> decltype(Bridge::require(std::declval<const executor&>(), property))
    {
        return Bridge::require(*this, property);
    }

private:
    detail::scheduler* sched_ = nullptr;
};

namespace detail {

/// An awaiter that answers with a result instead of throwing that the task has been stopped.
template <class Awaiter>
class unless_stopped : public Awaiter {
public:
    using Awaiter::Awaiter;

    result<> await_resume() const noexcept
    {
        return this->root_.stop_requested() ? result<>{this->root_.stop_reason()} : result<>{};
    }
};

/// Lets the others run.
class yield_operation {
public:
    yield_operation() noexcept
    {
    }

    class awaiter {
    public:
        explicit awaiter(task_root& root) noexcept : root_{root}
        {
        }
        bool await_ready() const noexcept
        {
            return root_.stop_requested();
        }
        void await_suspend(std::coroutine_handle<> frame) const noexcept
        {
            root_.current = frame;
            yield_turn(root_);
        }
        void await_resume() const
        {
            if (root_.stop_requested())
                throw_stopped(root_);
        }

    protected:
        task_root& root_;
    };

    auto await_in(task_root& root) const noexcept
    {
        return awaiter{root};
    }
    auto await_result_in(task_root& root) const noexcept
    {
        return unless_stopped<awaiter>{root};
    }
};

/// What is ready, and counts all the same: heeds the context, and lets the others run if the turn has done enough.
class step_operation {
public:
    step_operation() noexcept
    {
    }

    class awaiter : public yield_operation::awaiter {
    public:
        using yield_operation::awaiter::awaiter;

        bool await_ready() const noexcept
        {
            return root_.stop_requested() || --root_.now->budget > 0;
        }
    };

    auto await_in(task_root& root) const noexcept
    {
        return awaiter{root};
    }
};

/// Goes on elsewhere.
class hop_operation {
public:
    explicit hop_operation(executor to) noexcept : to_{to}
    {
    }

    class awaiter {
    public:
        awaiter(executor to, task_root& root) noexcept : to_{to}, root_{root}
        {
        }
        bool await_ready() const noexcept
        {
            return root_.stop_requested() || &root_.sched() == &to_.sched();
        }
        void await_suspend(std::coroutine_handle<> frame) const noexcept
        {
            root_.current = frame;
            hop(root_, to_.sched());
        }
        void await_resume() const
        {
            if (root_.stop_requested())
                throw_stopped(root_);
        }

    private:
        static void hop(task_root& root, scheduler& to) noexcept;

        executor to_;

    protected:
        task_root& root_;
    };

    auto await_in(task_root& root) const noexcept
    {
        return awaiter{to_, root};
    }
    auto await_result_in(task_root& root) const noexcept
    {
        return unless_stopped<awaiter>{to_, root};
    }

private:
    executor to_;
};

}  // namespace detail

/// About the running task. Everything but yield() and resume_on() answers at once and throws usage_error
/// outside every task; the answers may also be awaited, as is the habit with Asio.
namespace this_task {

/// Lets the other ready tasks of the worker run first.
///
/// Throws  cancelled_error, timed_out_error: the task's context has ended.
[[nodiscard]] inline detail::yield_operation yield() noexcept
{
    return detail::yield_operation{};
}

/// The context that operations of the task heed.
leat::context context();

/// Unique in the runtime or world where the task was spawned, for as long as that lives: two runtimes deal out
/// the same ids. Later tasks of a world have larger ones.
std::uint64_t id();

/// The name it was spawned with; empty if none. Valid while the task lives.
std::string_view name();

/// Where the task runs.
leat::executor executor();

/// Whether the calling code runs in a task.
bool running() noexcept;

/// Carries the task over to another executor, where it stays: whatever it awaits then resumes it there.
/// Does nothing if it is there already.
///
/// Throws  cancelled_error, timed_out_error: the task's context has ended; the task may or may not have
///         moved.
[[nodiscard]] inline detail::hop_operation resume_on(leat::executor to) noexcept
{
    return detail::hop_operation{to};
}

/// The value that the task's context carries under a key, or null.
template <class T>
const T* value(const context_key<T>& key)
{
    return this_task::context().value(key);
}

}  // namespace this_task

template <>
inline constexpr bool detail::is_awaitable_value<executor> = true;
template <>
inline constexpr bool detail::is_awaitable_value<std::uint64_t> = true;
template <>
inline constexpr bool detail::is_awaitable_value<std::string_view> = true;

}  // namespace leat
