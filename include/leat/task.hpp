#pragma once

#include <leat/detail/config.hpp>
#include <leat/detail/frame_pool.hpp>
#include <leat/detail/location.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/outcome.hpp>
#include <leat/detail/park.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <type_traits>
#include <utility>

namespace leat {

template <class T = void>
class task;

namespace detail {

/// The half of an await that stays in the awaiting frame: both ends of one link of the await chain.
struct awaiter_base {
    std::coroutine_handle<> parent{};
    std::coroutine_handle<> child{};  ///< owned
};

/// What the promises of all tasks have in common, at the same offset in every frame, so that a chain can be
/// walked from handles alone.
class alignas(16) promise_base {
public:
    promise_base() noexcept = default;
    promise_base(const promise_base&) = delete;
    promise_base& operator=(const promise_base&) = delete;

    static promise_base& of(std::coroutine_handle<> frame) noexcept
    {
        return std::coroutine_handle<promise_base>::from_address(frame.address()).promise();
    }
    std::coroutine_handle<> frame() noexcept
    {
        return std::coroutine_handle<promise_base>::from_promise(*this);
    }

    static void* operator new(std::size_t size)
    {
        return allocate_frame(size);
    }
    static void operator delete(void* frame, std::size_t size) noexcept
    {
        free_frame(frame, size);
    }

    task_root* root = nullptr;        ///< null until the task has been awaited or spawned
    awaiter_base* awaiter = nullptr;  ///< null in the root frame

#if LEAT_REGISTRY
    location where{};  ///< the last co_await; before the first, the start of the coroutine
    void stand_at(location here) noexcept
    {
        where = here;
    }
#else
    void stand_at(location) noexcept
    {
    }
#endif
};

/// The part of a promise that does not depend on how tasks are resumed.
template <class T>
class task_promise_base : public promise_base {
public:
    outcome<T> result;

    /// Numbers are converted at the `co_return`, so that a warning about the conversion names that line.
    void return_value(T value) noexcept
        requires std::is_scalar_v<T>
    {
        result.emplace(value);
    }
    template <class U = T>
        requires(!std::is_scalar_v<T> && std::convertible_to<U, T>)
    void return_value(U&& value)
    {
        result.emplace(std::forward<U>(value));
    }
    void unhandled_exception() noexcept
    {
        result.fail(std::current_exception());
    }
};

template <class T>
class task_promise_base<T&> : public promise_base {
public:
    outcome<T&> result;

    void return_value(T& value) noexcept
    {
        result.emplace(std::addressof(value));
    }
    void unhandled_exception() noexcept
    {
        result.fail(std::current_exception());
    }
};

template <>
class task_promise_base<void> : public promise_base {
public:
    outcome<void> result;

    void return_void() noexcept
    {
        result.emplace();
    }
    void unhandled_exception() noexcept
    {
        result.fail(std::current_exception());
    }
};

/// Reports a task that was destroyed before it had been awaited; see set_never_awaited_handler().
void report_never_awaited(const promise_base& promise) noexcept;
[[noreturn]] void throw_consumed_task();

/// The end of a frame: the awaiting frame goes on, or the scheduler's loop finishes the root.
template <transfer Mode>
struct final_awaiter {
    bool await_ready() const noexcept
    {
        return false;
    }
    template <class Promise>
    auto await_suspend(std::coroutine_handle<Promise> frame) const noexcept
    {
        promise_base& promise = frame.promise();
        if constexpr (Mode == transfer::symmetric) {
            if (promise.awaiter != nullptr)
                return promise.awaiter->parent;
            end(promise, frame);
            return std::coroutine_handle<>{std::noop_coroutine()};
        } else {
            if (promise.awaiter != nullptr)
                promise.root->now->next = promise.awaiter->parent;
            else
                end(promise, frame);
        }
    }
    void await_resume() const noexcept
    {
    }

private:
    // The frame is not destroyed here: a compiler may still write to it when await_suspend() returns a
    // handle (llvm#56301), and some crash (GCC PR121961).
    static void end(promise_base& promise, std::coroutine_handle<> frame) noexcept
    {
        promise.root->current = frame;
        promise.root->now->ended = true;
    }
};

template <class T, transfer Mode, bool Throwing>
class task_awaiter : private awaiter_base {
public:
    task_awaiter(std::coroutine_handle<> owned, task_root& root) noexcept : root_{root}
    {
        child = owned;
    }
    task_awaiter(const task_awaiter&) = delete;
    task_awaiter& operator=(const task_awaiter&) = delete;
    ~task_awaiter()
    {
        if (child)
            child.destroy();
    }

    bool await_ready() const noexcept
    {
        return false;
    }
    auto await_suspend(std::coroutine_handle<> frame) noexcept
    {
        parent = frame;
        promise_base& promise = promise_base::of(child);
        promise.root = &root_;
        promise.awaiter = this;
        if constexpr (Mode == transfer::symmetric)
            return child;
        else
            root_.now->next = child;
    }
    decltype(auto) await_resume()
    {
        outcome<T>& got = static_cast<task_promise_base<T>&>(promise_base::of(child)).result;
        if constexpr (Throwing)
            return got.take();
        else
            return got.take_result();
    }

private:
    task_root& root_;
};

/// The awaiter of something that is already there.
template <class T>
class ready_awaiter {
public:
    explicit ready_awaiter(T value) : value_{std::move(value)}
    {
    }
    bool await_ready() const noexcept
    {
        return true;
    }
    void await_suspend(std::coroutine_handle<>) const noexcept
    {
    }
    T await_resume()
    {
        return std::move(value_);
    }

private:
    T value_;
};

/// Asks, in a task, for the root that runs it. Never suspends.
struct get_root {
    static constexpr bool in_any_context = true;

    get_root() noexcept
    {
    }
    auto await_in(task_root& root) const noexcept
    {
        return ready_awaiter<task_root*>{&root};
    }
};

/// Something of the library's that brings its own awaiter for the task that awaits it.
template <class A>
concept awaited_in_root = requires(A&& a, task_root& root) { std::forward<A>(a).await_in(root); };

/// What awaitables of others become in a task: adapt() gives something with await_in(). For those who know them.
template <class A>
struct foreign_awaitable;
template <class A>
concept adaptable = requires(A&& a) { foreign_awaitable<std::remove_cvref_t<A>>::adapt(std::forward<A>(a)); };

/// Awaits what adapt() has made of it, and keeps that as long.
template <class A, bool Throwing>
class adapted_awaiter {
    using adapted = decltype(foreign_awaitable<std::remove_cvref_t<A>>::adapt(std::declval<A>()));

    static auto await(adapted& what, task_root& root)
    {
        if constexpr (Throwing)
            return std::move(what).await_in(root);
        else
            return std::move(what).await_result_in(root);
    }

public:
    adapted_awaiter(A&& what, task_root& root)
        : adapted_{foreign_awaitable<std::remove_cvref_t<A>>::adapt(std::forward<A>(what))},
          awaiter_{await(adapted_, root)}
    {
    }
    bool await_ready()
    {
        return awaiter_.await_ready();
    }
    bool await_suspend(std::coroutine_handle<> frame) noexcept
    {
        return awaiter_.await_suspend(frame);
    }
    decltype(auto) await_resume()
    {
        return awaiter_.await_resume();
    }

private:
    adapted adapted_;
    decltype(await(std::declval<adapted&>(), std::declval<task_root&>())) awaiter_;
};

/// Marks an awaitable whose failure is to be a value.
template <class A>
class as_result_awaitable {
public:
    explicit as_result_awaitable(A&& inner) noexcept : inner_{std::forward<A>(inner)}
    {
    }
    A&& take() noexcept
    {
        return static_cast<A&&>(inner_);
    }

private:
    A&& inner_;
};

template <class T>
constexpr bool is_task = false;
template <class T>
constexpr bool is_task<task<T>> = true;
template <class T>
constexpr bool is_as_result = false;
template <class A>
constexpr bool is_as_result<as_result_awaitable<A>> = true;

/// Plain values of leat that may also be awaited, so that `co_await this_task::context()` means what users
/// of Asio expect.
template <class T>
constexpr bool is_awaitable_value = false;

template <class>
constexpr bool always_false = false;

template <class T, transfer Mode>
class task_promise final : public task_promise_base<T> {
public:
    LEAT_MAKES_TASK task<T> get_return_object() noexcept;

#if LEAT_REGISTRY
    std::suspend_always initial_suspend(location here = location::current()) noexcept
    {
        this->stand_at(here);
        return {};
    }
#else
    std::suspend_always initial_suspend() const noexcept
    {
        return {};
    }
#endif
    final_awaiter<Mode> final_suspend() const noexcept
    {
        return {};
    }

    template <class A>
    auto await_transform(A&& awaited, location here = location::current())
    {
        this->stand_at(here);
        using type = std::remove_cvref_t<A>;
        task_root& runs_in = *this->root;
        if constexpr (is_task<type>) {
            static_assert(!std::is_lvalue_reference_v<A>,
                          "leat: a task is awaited once and consumed by it: co_await std::move(t)");
            return start<typename type::value_type, true>(awaited);
        } else if constexpr (is_as_result<type>) {
            using inner = decltype(awaited.take());
            using inner_type = std::remove_cvref_t<inner>;
            if constexpr (is_task<inner_type>) {
                static_assert(!std::is_lvalue_reference_v<inner>,
                              "leat: a task is awaited once and consumed by it: as_result(std::move(t))");
                return start<typename inner_type::value_type, false>(awaited.take());
            } else if constexpr (operation<inner_type>) {
                runs_in.settle();
                auto&& op = awaited.take();
                return operation_awaiter<inner_type, false>{op, runs_in};
            } else if constexpr (adaptable<inner>) {
                runs_in.settle();
                return adapted_awaiter<inner, false>{awaited.take(), runs_in};
            } else {
                runs_in.settle();
                return std::forward<inner>(awaited.take()).await_result_in(runs_in);
            }
        } else if constexpr (operation<type>) {
            runs_in.settle();
            return operation_awaiter<type, true>{awaited, runs_in};
        } else if constexpr (awaited_in_root<A>) {
            if constexpr (!in_any_context<type>)
                runs_in.settle();
            return std::forward<A>(awaited).await_in(runs_in);
        } else if constexpr (adaptable<A>) {
            runs_in.settle();
            return adapted_awaiter<A, true>{std::forward<A>(awaited), runs_in};
        } else if constexpr (is_awaitable_value<type>) {
            return ready_awaiter<type>{std::forward<A>(awaited)};
        } else if constexpr (std::is_same_v<type, std::suspend_never>) {
            return std::suspend_never{};
        } else {
            static_assert(always_false<A>,
                          "leat: a task can await tasks, operations of leat, and, with "
                          "leat/asio, Asio's operations; nothing else knows how to resume it");
        }
    }

private:
    template <class U, bool Throwing>
    auto start(task<U>& child)
    {
        const std::coroutine_handle<> frame = child.release();
        if (!frame)
            throw_consumed_task();
        return task_awaiter<U, Mode, Throwing>{frame, *this->root};
    }
    template <class U, bool Throwing>
    auto start(task<U>&& child)
    {
        return start<U, Throwing>(child);
    }
};

}  // namespace detail

/// A lazy coroutine with a result: does nothing until it is awaited or spawned, and is awaited once.
///
/// Move-only. Awaiting it runs it as part of the awaiting task: same context, same executor; the first
/// suspension inside suspends the whole chain. T may be void, a reference, move-only or without a default
/// constructor.
///
/// Result   what the coroutine returned; what it threw is thrown.
/// Errors   usage_error: the task has been moved from (awaited or spawned before).
/// Cancel   by the context of the awaiting task; the operations inside heed it.
/// Threads  a task object belongs to one thread at a time.
/// Cost     one allocation from the frame pool.
template <class T>
class LEAT_TASK_LINT [[nodiscard("a task does nothing until it is awaited or spawned")]] task {
public:
    using value_type = T;
    using promise_type = detail::task_promise<T, detail::transfer_mode>;

    /// An empty task; awaiting it is an error.
    task() noexcept = default;
    task(task&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)}
    {
    }
    task& operator=(task&& other) noexcept
    {
        if (this != &other) {
            reset();
            frame_ = std::exchange(other.frame_, nullptr);
        }
        return *this;
    }
    /// A task that was never awaited is reported; see set_never_awaited_handler().
    ~task()
    {
        reset();
    }

    /// Whether there is a coroutine left to await.
    explicit operator bool() const noexcept
    {
        return frame_ != nullptr;
    }

    /// Destroys the coroutine without a report that it was never awaited.
    void discard() noexcept
    {
        if (const auto frame = release())
            frame.destroy();
    }

    // For the library: gives the frame away.
    std::coroutine_handle<> release() noexcept
    {
        return std::coroutine_handle<>::from_address(std::exchange(frame_, nullptr));
    }

private:
    template <class, detail::transfer>
    friend class detail::task_promise;

    explicit task(void* frame) noexcept : frame_{frame}
    {
    }

    void reset() noexcept
    {
        if (frame_ == nullptr)
            return;
        const std::coroutine_handle<> frame = release();
        detail::report_never_awaited(detail::promise_base::of(frame));
        frame.destroy();
    }

    void* frame_ = nullptr;
};

template <class T, detail::transfer Mode>
task<T> detail::task_promise<T, Mode>::get_return_object() noexcept
{
    return task<T>{this->frame().address()};
}

/// Turns the failure of a task or operation into a value: `result<T> r = co_await as_result(op);`
///
/// Being cancelled, running out of time and a closed channel cost no exception this way; what a task
/// throws is caught and kept in the result. Await it in the same expression.
template <class A>
[[nodiscard]] auto as_result(A&& awaited) noexcept
{
    return detail::as_result_awaitable<A&&>{std::forward<A>(awaited)};
}

/// Who is told of a task that was destroyed before it was awaited, which nearly always is a forgotten
/// co_await: the function, file and line of the coroutine. The default prints a line to stderr. Tasks
/// destroyed while an exception unwinds are not reported. Null restores the default; returns the one
/// before. Threads: any.
using never_awaited_handler = void (*)(const char* function, const char* file, unsigned line) noexcept;
never_awaited_handler set_never_awaited_handler(never_awaited_handler handler) noexcept;

}  // namespace leat
