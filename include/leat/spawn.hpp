#pragma once

#include <leat/context.hpp>
#include <leat/detail/atomic.hpp>
#include <leat/detail/joining.hpp>
#include <leat/task.hpp>

#include <concepts>
#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace leat {

template <class T>
class join_handle;

/// A context named in options. Refers to it only while the call lasts, so that options are trivial to
/// destroy (g++ 12 destroys some temporaries of a co_await expression twice).
class context_ref {
public:
    context_ref() noexcept = default;
    context_ref(const leat::context& to) noexcept : to_{&to}
    {
    }
    const leat::context* get() const noexcept
    {
        return to_;
    }

private:
    const leat::context* to_ = nullptr;
};

/// How a task is started.
struct spawn_options {
    std::string_view name{};  ///< for reports; copied, up to a NUL
    context_ref context{};    ///< instead of the one it would inherit
};

namespace detail {

class joinable_root;

/// What owns the children of a group: told when each of them ends.
class join_scope_base {
public:
    /// Called by the child's scheduler, with nothing locked, after its frame has gone. `thrown` is null if it
    /// succeeded; `stopped` says that it ended because its context did.
    virtual void child_ended(joinable_root& child, std::exception_ptr thrown, bool stopped,
                             turn* by) noexcept = 0;

protected:
    ~join_scope_base() = default;
};

/// Where and how a task is to be made.
struct spawn_site {
    scheduler* sched = nullptr;
    context_node* context = nullptr;
    join_scope_base* scope = nullptr;
    bool context_outlives = false;  ///< the context is the scope's own
    turn* by = nullptr;
    std::uint64_t younger_than = 0;  ///< the id of whom it may refer to, if that does not run in `by`
    std::string_view name{};
    location place{};

    /// In the running task, or in the world that lives on this thread. Throws usage_error elsewhere.
    static spawn_site here(const spawn_options& options, location place);
    /// On a scheduler, under the context that here() would choose, or the scheduler's own.
    static spawn_site on(scheduler& sched, const spawn_options& options, location place);
};

// The root of a spawned task. Two hold it: the task, until it has ended, and its handle, until that is
// dropped; the last one frees it. When the task ends its frame and its callable are destroyed, the result
// having been moved here, then done_ is set and the joiner woken, under join_lock_.
//
// A task gets a context of its own only when somebody could tell the difference: when it derives a context,
// spawns, or replaces its context while a handle could still cancel it. Until then cancel() sets a flag that
// the task's operations look at. own_ and the flag change under join_lock_.
class joinable_root : public task_root {
public:
    static void* operator new(std::size_t size)
    {
        return allocate_frame(size);
    }
    static void operator delete(void* block, std::size_t size) noexcept
    {
        free_frame(block, size);
    }

    void adopt(std::coroutine_handle<> frame) noexcept
    {
        current = frame;
        promise_base& promise = promise_base::of(frame);
        promise.root = this;
#if LEAT_REGISTRY
        // Calls that can not learn where they are: the next best thing is where the coroutine begins.
        if (place_.line() == 0)
            place_ = promise.where;
#endif
    }
    /// Makes it runnable. With a handle, the caller now shares it.
    void launch(turn* by, bool with_handle) noexcept;
    /// The two halves of launching without a handle.
    void announce(turn* by) noexcept;
    void queue(turn* by) noexcept;

    void cancel() noexcept;
    void drop_handle() noexcept;
    bool done() const noexcept
    {
        return done_.load(std::memory_order_acquire);
    }

    void own_context() override;

    // Small things first: they share a word with the last of the base.
    spinlock join_lock;

protected:
    /// Whether somebody has been given the failure.
    bool observed_ = false;

private:
    bool counted_context_;
    atomic<bool> done_{false};
    atomic<std::uint8_t> holders_{1};

public:
    bool taken = false;       ///< the result has been given to a joiner
    std::uint32_t index = 0;  ///< its place among the children of its scope
    waiter_stack joiners;     ///< under join_lock

protected:
    friend void discard_root(joinable_root& root) noexcept;

    explicit joinable_root(const spawn_site& site);
    ~joinable_root() override;

    /// Moves the result out of the root frame.
    virtual void keep_result(promise_base& promise) noexcept = 0;
    virtual void destroy_callable() noexcept
    {
    }
    virtual std::exception_ptr failure() const noexcept = 0;

private:
    void finished(turn& here) noexcept final;
    void abandoned() noexcept final;
    void end(turn* by, bool stopped) noexcept;
    void release() noexcept;

    join_scope_base* scope_;
    cancel_node* own_ = nullptr;
};

template <class T>
class joinable : public joinable_root {
public:
    using value_type = T;
    using joinable_root::joinable_root;
    static constexpr const char* joined_as = "join";
    static constexpr const char* asked_twice =
        "leat: the result of a task was asked for twice; a join_handle is awaited once";

    outcome<T> result;

    void observe() noexcept
    {
        observed_ = true;
    }

private:
    void keep_result(promise_base& promise) noexcept override
    {
        static_cast<task_promise_base<T>&>(promise).result.move_to(result);
    }
    std::exception_ptr failure() const noexcept override
    {
        return result.has_value() || result.empty() ? nullptr : result.thrown();
    }
};

/// The root of a spawned task<T>.
template <class T>
class spawned_task final : public joinable<T> {
public:
    explicit spawned_task(const spawn_site& site) : joinable<T>{site}
    {
    }
};

template <class R>
struct task_of {
    using type = R;
};
template <class T>
struct task_of<task<T>> {
    using type = T;
};

/// The root of a spawned callable, which it keeps with its arguments until the task has ended.
template <class T, class F, class... Args>
class spawned_call final : public joinable<T> {
public:
    template <class G, class... As>
    explicit spawned_call(const spawn_site& site, G&& f, As&&... args)
        : joinable<T>{site}, call_{std::in_place, std::forward<G>(f), std::forward<As>(args)...}
    {
    }

    LEAT_MAKES_TASK task<T> make()
    {
        return std::apply(
            [](F& f, Args&... args) -> task<T> {
                if constexpr (is_task<std::invoke_result_t<F&, Args&...>>)
                    return f(args...);
                else
                    return call_plain<F, Args...>(f, args...);
            },
            *call_);
    }

private:
    template <class G, class... As>
    static task<T> call_plain(G& f, As&... args)
    {
        co_return f(args...);
    }
    void destroy_callable() noexcept override
    {
        call_.reset();
    }

    std::optional<std::tuple<F, Args...>> call_;
};

/// Frees a root that was never launched.
void discard_root(joinable_root& root) noexcept;
/// The same for one that has a frame, which has not begun.
void destroy_unlaunched(joinable_root& root) noexcept;

template <class T>
joinable<T>* prepare_spawn(const spawn_site& site, task<T>&& what)
{
    if (!what)
        throw_consumed_task();
    auto* const root = new spawned_task<T>{site};
    root->adopt(what.release());
    return root;
}

template <class F, class... Args>
    requires std::invocable<std::decay_t<F>&, std::decay_t<Args>&...>
auto prepare_spawn(const spawn_site& site, F&& f, Args&&... args)
{
    using made = std::invoke_result_t<std::decay_t<F>&, std::decay_t<Args>&...>;
    using value = typename task_of<made>::type;
    using root_type = spawned_call<value, std::decay_t<F>, std::decay_t<Args>...>;
    auto* const root = new root_type{site, std::forward<F>(f), std::forward<Args>(args)...};
    try {
        task<value> body = root->make();
        if (!body)
            throw_consumed_task();
        root->adopt(body.release());
    } catch (...) {
        discard_root(*root);
        throw;
    }
    return static_cast<joinable<value>*>(root);
}

template <class T>
using join_operation = joining<joinable<T>>;

}  // namespace detail

/// The one who waits for a spawned task, if anybody does.
///
/// Awaiting it gives the task's result or throws what it threw; once. It is a case for select. Dropping it
/// detaches the task: if that fails and nobody has seen it, the runtime's handler is told; of a runtime that has
/// gone, the failure is printed.
///
/// Errors  usage_error: the handle is empty, or was awaited before.
/// Cancel  cancelling the waiter leaves the task as it is; the handle can be awaited again.
/// Threads one thread at a time for the handle; cancel() from any.
template <class T = void>
class join_handle : public detail::joinable_handle<detail::joinable<T>> {
    using base = detail::joinable_handle<detail::joinable<T>>;

public:
    join_handle() noexcept = default;

    /// The id that this_task::id() gives in the task; zero if the handle is empty.
    std::uint64_t id() const noexcept
    {
        return this->joined() != nullptr ? this->joined()->id() : 0;
    }

    // For the library.
    explicit join_handle(detail::joinable<T>* adopted) noexcept : base{adopted}
    {
    }
};

namespace detail {

template <class T>
join_handle<T> launch(joinable<T>* root, turn* by) noexcept
{
    root->launch(by, true);
    return join_handle<T>{root};
}

template <class W>
concept spawnable_task = is_task<std::remove_cvref_t<W>> && !std::is_lvalue_reference_v<W>;
template <class W>
concept spawnable_callable = !is_task<std::remove_cvref_t<W>> && std::invocable<std::decay_t<W>&>;

}  // namespace detail

/// Starts a task that runs independently, on the executor of the running task and under its context.
///
/// Takes a task, or a callable, plain or a coroutine, which it keeps alive, with its arguments, until the
/// task has ended: so a lambda coroutine may use its captures. The new task is queued behind those that are
/// ready; the calling one goes on.
///
/// Result  a handle to await the task with; dropping it detaches the task.
/// Errors  usage_error outside every task and world; std::bad_alloc, and what copying the arguments throws.
///         The failure of a task that nobody joins goes to the runtime's handler; being cancelled is none.
/// Cancel  by its context: that of the running task, or the one in the options.
/// Cost    one allocation from the frame pool beside the coroutine's own.
template <class W>
    requires detail::spawnable_task<W&&> || detail::spawnable_callable<W>
auto spawn(W&& what, const spawn_options& options, detail::location place = detail::location::current())
{
    const detail::spawn_site site = detail::spawn_site::here(options, place);
    return detail::launch(detail::prepare_spawn(site, std::forward<W>(what)), site.by);
}
template <class W>
    requires detail::spawnable_task<W&&> || detail::spawnable_callable<W>
auto spawn(W&& what, detail::location place = detail::location::current())
{
    return leat::spawn(std::forward<W>(what), spawn_options{}, place);
}
template <class W>
    requires detail::spawnable_task<W&&> || detail::spawnable_callable<W>
auto spawn(const spawn_options& options, W&& what, detail::location place = detail::location::current())
{
    return leat::spawn(std::forward<W>(what), options, place);
}
template <class F, class A, class... Args>
    requires(std::invocable<std::decay_t<F>&, std::decay_t<A>&, std::decay_t<Args>&...> &&
             !std::is_same_v<std::decay_t<A>, spawn_options> &&
             !std::is_same_v<std::decay_t<A>, detail::location>)
auto spawn(F&& f, A&& first, Args&&... rest)
{
    const detail::spawn_site site = detail::spawn_site::here({}, {});
    return detail::launch(
        detail::prepare_spawn(site, std::forward<F>(f), std::forward<A>(first), std::forward<Args>(rest)...),
        site.by);
}

}  // namespace leat
