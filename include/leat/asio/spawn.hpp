// Tasks on any executor of Asio's, with any completion token.
//
// How tasks run on an executor that is not leat's: guest.hpp. The handler of a spawn() is owned (handler.hpp) by its
// hosted_spawn, which the task knows as its scope.
// When the task has ended its result is moved there. In a drain the rest waits until the turn is over, so that the
// handler runs as one of the executor's functions: not in a turn, and free to throw. Elsewhere (the task has moved) it
// is posted. A task that is destroyed by the end of its context abandons its handler. Only if there is a slot does
// the task have a handle, through which it is cancelled; root_ holds it until release().
#pragma once

#include <leat/asio/guest.hpp>
#include <leat/asio/handler.hpp>
#include <leat/detail/callback.hpp>
#include <leat/runtime.hpp>
#include <leat/spawn.hpp>
#include <leat/this_task.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/bind_allocator.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/detached.hpp>

#include <atomic>
#include <exception>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace leat {

namespace detail {

/// Whether a handler is that of asio::detached, which is not told of failures.
template <class Handler>
constexpr bool ignores_failure = false;
template <>
inline constexpr bool ignores_failure<asio::detail::detached_handler> = true;
template <class T, class E>
constexpr bool ignores_failure<asio::executor_binder<T, E>> = ignores_failure<T>;
template <class T, class S>
constexpr bool ignores_failure<asio::cancellation_slot_binder<T, S>> = ignores_failure<T>;
template <class T, class A>
constexpr bool ignores_failure<asio::allocator_binder<T, A>> = ignores_failure<T>;

/// Tells of a task whose token takes no failure, unless it has just been told to end.
void report_detached(joinable_root& ended, const std::exception_ptr& thrown) noexcept;
/// In a drain: has the job done when the turn is over. False elsewhere.
[[nodiscard]] bool follow_turn(turn* by, after_turn& job) noexcept;

template <class T, class Handler, class E>
class hosted_spawn final : public handler_owner<hosted_spawn<T, Handler, E>, Handler, E>,
                           public join_scope_base,
                           private after_turn {
    using owner = handler_owner<hosted_spawn, Handler, E>;

public:
    hosted_spawn(Handler&& handler, const E& executor) : owner{std::move(handler), executor}
    {
    }

    /// Starts the task. Afterwards this may have gone.
    void launch(joinable_root& root, turn* by)
    {
        const bool cancellable = this->connect_slot();
        if (cancellable)
            root_.store(&root, std::memory_order_release);
        root.launch(by, cancellable);
    }
    void cancel() noexcept override
    {
        if (joinable_root* const root = root_.load(std::memory_order_acquire))
            root->cancel();
    }

private:
    friend owner;

    class answer {
    public:
        explicit answer(outcome<T>& from) noexcept
        {
            from.move_to(result_);
        }
        void operator()(Handler&& handler)
        {
            if constexpr (std::is_void_v<T>) {
                std::move(handler)(result_.thrown());
            } else {
                if (result_.has_value())
                    std::move(handler)(std::exception_ptr{}, result_.take());
                else
                    std::move(handler)(result_.thrown(), T());
            }
        }

    private:
        outcome<T> result_;
    };

    void release() noexcept
    {
        if (joinable_root* const root = root_.exchange(nullptr, std::memory_order_acq_rel))
            root->drop_handle();
    }
    answer take_answer() noexcept
    {
        return answer{result_};
    }
    void child_ended(joinable_root& child, std::exception_ptr thrown, bool, turn* by) noexcept override
    {
        outcome<T>& left = static_cast<joinable<T>&>(child).result;
        if (left.empty()) {
            this->abandon();
            return;
        }
        if constexpr (ignores_failure<Handler>)
            if (thrown)
                report_detached(child, thrown);
        thrown = nullptr;
        left.move_to(result_);
        if (!follow_turn(by, *this))
            this->complete_later();
    }
    void turn_over() override
    {
        this->complete_here();
    }

    outcome<T> result_;
    std::atomic<joinable_root*> root_{nullptr};
};

/// Options that outlast the call in which they were given.
class kept_options {
public:
    kept_options(const spawn_options& options, location place)
        : name_{options.name},
          context_{options.context.get() != nullptr ? std::optional<leat::context>{*options.context.get()}
                                                    : std::nullopt},
          place_{place}
    {
    }
    spawn_site site(scheduler& on) const
    {
        spawn_options options;
        options.name = name_;
        if (context_)
            options.context = *context_;
        return spawn_site::on(on, options, place_);
    }

private:
    std::string name_;
    std::optional<leat::context> context_;
    location place_;
};

/// What a task, or a callable, gives when it is spawned.
template <class W>
struct hosted_value : task_of<std::invoke_result_t<W&>> {};
template <class T>
struct hosted_value<task<T>> : task_of<task<T>> {};
template <class W>
using hosted_value_t = typename hosted_value<std::decay_t<W>>::type;

template <class T>
struct hosted_signature {
    static_assert(
        !std::is_reference_v<T>,
        "leat: a handler can not be given a reference when there is none: let the task return a pointer");
    static_assert(
        std::is_default_constructible_v<T>,
        "leat: when the task fails the handler is given a value all the same, as by co_spawn: a default "
        "constructed one, which this type does not have; return a std::optional of it");
    using type = void(std::exception_ptr, T);
};
template <>
struct hosted_signature<void> {
    using type = void(std::exception_ptr);
};

template <class E>
class initiate_hosted {
public:
    using executor_type = E;

    initiate_hosted(const E& executor, kept_options options)
        : executor_{executor}, options_{std::move(options)}
    {
    }
    executor_type get_executor() const noexcept
    {
        return executor_;
    }
    template <class Handler, class W>
    void operator()(Handler&& handler, W&& what) const
    {
        using value = hosted_value_t<W>;
        using state = hosted_spawn<value, std::decay_t<Handler>, E>;
        const scheduler_pin home = pin_scheduler(executor_);
        state* const hosted = state::make(std::decay_t<Handler>(std::forward<Handler>(handler)), executor_);
        spawn_site site;
        joinable_root* root = nullptr;
        try {
            site = options_.site(home.sched());
            site.scope = hosted;
            root = prepare_spawn(site, std::decay_t<W>(std::forward<W>(what)));
            hosted->launch(*root, site.by);
        } catch (...) {
            if (root != nullptr)
                destroy_unlaunched(*root);
            hosted->abandon();
            throw;
        }
    }

private:
    E executor_;
    kept_options options_;
};

template <class W>
concept spawnable = spawnable_task<W&&> || spawnable_callable<W>;

template <class C>
concept asio_context = std::is_convertible_v<C&, asio::execution_context&>;

/// Goes on on an executor of Asio's.
class guest_hop {
public:
    explicit guest_hop(scheduler_pin to) noexcept : to_{std::move(to)}
    {
    }

    auto await_in(task_root& root) && noexcept
    {
        return awaiter<hop_operation::awaiter>{std::move(to_), root};
    }
    auto await_result_in(task_root& root) && noexcept
    {
        return awaiter<unless_stopped<hop_operation::awaiter>>{std::move(to_), root};
    }

private:
    template <class Hop>
    class awaiter : private scheduler_pin, public Hop {
    public:
        awaiter(scheduler_pin to, task_root& root) noexcept
            : scheduler_pin{std::move(to)}, Hop{leat::executor{this->scheduler_pin::sched()}, root}
        {
        }
    };

    scheduler_pin to_;
};

}  // namespace detail

/// Starts a task on any executor: an io_context's, run by any number of threads, a strand, a thread_pool's,
/// any_io_executor, leat's own. No runtime of leat's is needed.
///
/// Takes a task or a callable, as leat::spawn() does, and a completion token of Asio's: a callback, use_future,
/// use_awaitable, deferred, detached, leat::use_task. The task runs through that executor alone, and so does what it
/// spawns with leat::spawn(), in groups and so on; channels, selects, timers, contexts and blocking() work in it as
/// anywhere, also between tasks of different executors.
///
/// Result   what the token makes of void(std::exception_ptr) or void(std::exception_ptr, T); T is default
///          constructed if the task has failed. With asio::detached a failure, unless the task was cancelled, goes
///          to the handler of set_on_unhandled(), or ends the program.
/// Throws   std::bad_alloc; usage_error for an empty task; what copying a callable, and calling it, throws.
/// Cancel   by the token's cancellation slot, whatever the type of the signal; and by its context: that in the options;
///          else that of the task that spawns it; else one which ends with the executor's context.
/// Threads  any. On an io_context that several threads run, tasks run in parallel, but the turns of one never overlap. The
///          handler is called through its associated executor; by default the task's.
/// Life     the task counts as work of its executor, and the handler as work of its own, until the handler has been
///          called: io_context::run() does not return before. If the context is destroyed first, the task's frames
///          are destroyed, innermost first, and the handler is, without being called. stop() leaves all as it is.
/// Cost     beside the task, one block, from the handler's associated allocator if it has one.
template <class E, class W, class Token>
    requires detail::asio_executor<E> && detail::spawnable<W>
auto spawn(const E& executor, W&& what, Token&& token, const spawn_options& options = {},
           detail::location place = detail::location::current())
{
    using signature = typename detail::hosted_signature<detail::hosted_value_t<W>>::type;
    return asio::async_initiate<Token, signature>(
        detail::initiate_hosted<E>{executor, detail::kept_options{options, place}}, token,
        std::forward<W>(what));
}
/// The same for the executor of an execution context.
template <class C, class W, class Token>
    requires detail::asio_context<C> && detail::spawnable<W>
auto spawn(C& context, W&& what, Token&& token, const spawn_options& options = {},
           detail::location place = detail::location::current())
{
    return leat::spawn(context.get_executor(), std::forward<W>(what), std::forward<Token>(token), options,
                       place);
}

/// Who is told of detached tasks of a context that fail; by default the failure is printed and the program ends.
///
/// Throws  std::bad_alloc.
/// Threads any.
void set_on_unhandled(asio::execution_context& of, detail::callback<void(const unhandled_failure&)> handler);

namespace this_task {

/// Carries the task over to any executor of Asio's, where it stays.
///
/// Throws  cancelled_error, timed_out_error: the task's context has ended; the task may or may not have moved.
///         std::bad_alloc.
template <class E>
    requires(detail::asio_executor<E> && !std::is_base_of_v<leat::executor, E>)
[[nodiscard]] auto resume_on(const E& to)
{
    return detail::guest_hop{detail::pin_scheduler(to)};
}

/// The executor that the task runs on, as Asio's: the one that was given to spawn(), or that of leat's pool. For I/O
/// objects, which this_task::executor() suits too if it is a pool's or an io_context's own.
///
/// Throws  usage_error outside every task, and if the executor is none for I/O.
asio::any_io_executor asio_executor();

}  // namespace this_task

}  // namespace leat
