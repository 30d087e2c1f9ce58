#pragma once

#include <leat/detail/chrono.hpp>
#include <leat/detail/context_node.hpp>
#include <leat/detail/memory.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/task.hpp>
#include <leat/time.hpp>

#include <exception>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>

namespace leat {

class context;

/// Names a value that contexts carry. Make it a constant with static storage: its address is the key.
///
///     inline constexpr leat::context_key<std::string> request_id{"request id"};
template <class T>
class context_key {
public:
    constexpr explicit context_key(const char* name = "") noexcept : name_{name}
    {
    }
    context_key(const context_key&) = delete;
    context_key& operator=(const context_key&) = delete;

    constexpr const char* name() const noexcept
    {
        return name_;
    }

private:
    const char* name_;
};

namespace detail {

/// Waits for a context to end. Heeds it even if it is the task's own: then this is ready instead of the
/// task being thrown at.
class done_operation final : public waiter {
public:
    using value_type = void;
    static constexpr bool mostly_waits = true;

    explicit done_operation(cancel_node* node) noexcept : node_{node}
    {
    }
    done_operation(const done_operation& other) noexcept : node_{other.node_}
    {
    }

    void prepare(turn& here) noexcept;
    spinlock& source() noexcept override;
    bool try_complete(wake_list&) noexcept override;
    void link() noexcept override;
    void unlink() noexcept override;
    const char* kind() const noexcept override
    {
        return "done";
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    void value() const noexcept
    {
    }
    /// Whether it would be ready now, without the lock.
    bool ending() const noexcept
    {
        return node_ != nullptr && node_->ending();
    }
    bool ends_with_context() const noexcept override
    {
        return ending();
    }
    // A deadline may have nobody yet who watches it; see prepare().
    bool must_wait() const noexcept
    {
        return node_ == nullptr || (node_->error() == 0 && node_->deadline() == timer_wheel::never);
    }

private:
    cancel_node* node_;
    spinlock alone_;  ///< the source, if the context can not end
};

template <class T>
inline constexpr char type_key = 0;

/// Something that is to last as long as a canceller.
class canceller_guard {
public:
    canceller_guard() noexcept = default;
    canceller_guard(const canceller_guard&) = delete;
    canceller_guard& operator=(const canceller_guard&) = delete;
    virtual ~canceller_guard() = default;
};

context make_context(context_node* adopted) noexcept;

/// A value that a context carries.
class context_value {
public:
    explicit context_value(const void* where) noexcept : at{where}
    {
    }
    context_value(const context_value&) = delete;
    context_value& operator=(const context_value&) = delete;
    virtual ~context_value() = default;

    const void* const at;
};
template <class T>
class context_value_of final : public context_value {
public:
    template <class U>
    explicit context_value_of(U&& value)
        : context_value{std::addressof(value_)}, value_(std::forward<U>(value))
    {
    }

private:
    const T value_;
};
context_node* make_value_node(context_node& parent, const void* key, owned<context_value> value);

}  // namespace detail

/// A node in the tree of cancellations, deadlines and values. A cheap handle: copies name the same node.
///
/// Every task has one, inherited by what it spawns and awaits; with_context() replaces it for a sub-call.
///
/// Threads  any, concurrently.
class context {
public:
    /// background().
    context() noexcept;
    /// A context that ends when the token is asked to stop. Include <stop_token> for that.
    context(std::stop_token token);
    context(const context& other) noexcept : node_{other.node_}
    {
        node_->ref();
    }
    context(context&& other) noexcept;
    context& operator=(context other) noexcept
    {
        std::swap(node_, other.node_);
        return *this;
    }
    ~context()
    {
        node_->unref();
    }

    /// Waits until the context has ended; a case for select. Never throws, even if it is the task's own
    /// context that ends. The operation does not keep the context: await it in the same expression.
    [[nodiscard]] detail::done_operation done() const noexcept
    {
        return detail::done_operation{node_->canceller()};
    }

    /// Zero while it lasts; then errc::cancelled or errc::deadline_exceeded.
    ///
    /// If its own deadline has passed and no timer has noticed yet, this ends the context, and what is below it,
    /// with all that cancel() does: callbacks of std::stop_tokens run inside the call. So do cancelled() and
    /// cause().
    std::error_code error() const noexcept;
    bool cancelled() const noexcept
    {
        return static_cast<bool>(error());
    }
    /// Null while it lasts; then what was given to cancel(), or a cancelled_error or timed_out_error.
    std::exception_ptr cause() const;

    /// The earliest deadline at or above it.
    std::optional<clock::time_point> deadline() const noexcept;

    /// The value kept under a key, or null. Lives as long as this context.
    template <class T>
    const T* value(const context_key<T>& key) const noexcept
    {
        return static_cast<const T*>(node_->find(&key));
    }
    /// The same for a value kept under its type.
    template <class T>
    const T* value() const noexcept
    {
        return static_cast<const T*>(node_->find(&detail::type_key<T>));
    }

    /// A token that is asked to stop when the context ends. Callbacks registered with it run inside
    /// cancel(), on the thread that calls it. A deadline that was made outside of every runtime and world has
    /// nobody to watch it before a task waits under the context or on done(): until then the token is asked only
    /// when somebody looks at error().
    ///
    /// Throws  std::bad_alloc.
    /// Cost    one allocation, the first time.
    std::stop_token stop_token() const;
    operator std::stop_token() const;

    friend bool operator==(const context& a, const context& b) noexcept
    {
        return a.node_ == b.node_;
    }

    // For the library.
    detail::context_node& node() const noexcept
    {
        return *node_;
    }

private:
    friend context detail::make_context(detail::context_node* adopted) noexcept;
    explicit context(detail::context_node* adopted) noexcept : node_{adopted}
    {
    }

    detail::context_node* node_;
};

/// The right to cancel one context: call it, with or without a reason. Cancels when destroyed.
///
/// Idempotent: the first call's reason stays. Calling wakes what waits, but runs nothing inline except the
/// callbacks of std::stop_tokens.
///
/// Threads  any, concurrently, except for moving and destroying.
/// Cost     proportional to what is under the context.
class [[nodiscard("destroying it cancels the context")]] canceller {
public:
    canceller() noexcept = default;
    explicit canceller(context of) noexcept : context_{std::move(of)}, armed_{true}
    {
    }
    canceller(canceller&& other) noexcept
        : context_{std::move(other.context_)}, guard_{std::move(other.guard_)},
          armed_{std::exchange(other.armed_, false)}
    {
    }
    canceller& operator=(canceller&& other) noexcept
    {
        if (this != &other) {
            (*this)();
            context_ = std::move(other.context_);
            guard_ = std::move(other.guard_);
            armed_ = std::exchange(other.armed_, false);
        }
        return *this;
    }
    ~canceller()
    {
        (*this)();
    }

    void operator()() const noexcept
    {
        cancel(nullptr);
    }
    void operator()(std::exception_ptr cause) const noexcept
    {
        cancel(std::move(cause));
    }
    /// The reason as a code; cause() then is a std::system_error.
    void operator()(std::error_code cause) const
    {
        cancel(std::make_exception_ptr(std::system_error{cause}));
    }
    void cancel(std::exception_ptr cause = nullptr) const noexcept
    {
        if (armed_)
            if (detail::cancel_node* const node = context_.node().canceller())
                node->cancel(errc::cancelled, std::move(cause));
    }

    // For the library.
    void keep(detail::owned<detail::canceller_guard> guard) noexcept
    {
        guard_ = std::move(guard);
    }

private:
    context context_;
    detail::owned<detail::canceller_guard> guard_;
    bool armed_ = false;
};

/// What the with_ functions give: `auto [ctx, cancel] = with_cancel(parent);`
using cancellable_context = std::pair<context, canceller>;

/// The context that never ends and has no values.
context background() noexcept;

/// A child that can be cancelled. Without a parent: of the running task's context, or background().
///
/// Throws  std::bad_alloc, as with_deadline(), with_timeout(), with_value(), without_cancel() and merge().
/// Cost    one allocation from the frame pool, and the parent's lock twice.
[[nodiscard]] cancellable_context with_cancel(const context& parent);
[[nodiscard]] cancellable_context with_cancel();

/// A child that ends with errc::deadline_exceeded at a point in time, unless its parent's deadline is
/// earlier. One that has passed gives a context that has ended.
[[nodiscard]] cancellable_context with_deadline(const context& parent, clock::time_point deadline);
[[nodiscard]] cancellable_context with_deadline(clock::time_point deadline);

/// The same, from now. Negative spans are in the past; one beyond the end of time is no limit.
[[nodiscard]] cancellable_context with_timeout(const context& parent, clock::duration span);
[[nodiscard]] cancellable_context with_timeout(clock::duration span);
template <class Rep, class Period>
[[nodiscard]] cancellable_context with_timeout(const context& parent, std::chrono::duration<Rep, Period> span)
{
    return with_timeout(parent, detail::span_of(span));
}
template <class Rep, class Period>
[[nodiscard]] cancellable_context with_timeout(std::chrono::duration<Rep, Period> span)
{
    return with_timeout(detail::span_of(span));
}

/// A child that carries one more value. It ends when its parent does.
template <class T, class U = T>
[[nodiscard]] context with_value(const context& parent, const context_key<T>& key, U&& value)
{
    return detail::make_context(detail::make_value_node(
        parent.node(), &key, detail::make_owned<detail::context_value_of<T>>(std::forward<U>(value))));
}
template <class T>
[[nodiscard]] context with_value(const context& parent, T value)
{
    return detail::make_context(
        detail::make_value_node(parent.node(), &detail::type_key<T>,
                                detail::make_owned<detail::context_value_of<T>>(std::move(value))));
}

/// The values of `parent`, without its end: for cleanup that must not be interrupted.
[[nodiscard]] context without_cancel(const context& parent);

/// Ends when either ends; the values are the first one's, then the second's.
[[nodiscard]] cancellable_context merge(const context& first, const context& second);

/// Ends when one of the signals arrives, with a signal_error as the cause. Other handling of these signals in
/// the process is replaced until the canceller has been destroyed, which puts it back; until then, signals that
/// follow the first have no effect.
///
/// Errors  usage_error outside a runtime (a simulated world has no signals); std::system_error for a signal
///         that does not exist or can not be handled.
/// Threads the canceller may be destroyed on any, also after the runtime, which then has stopped listening.
[[nodiscard]] cancellable_context with_signals(const context& parent, std::initializer_list<int> signals);

/// The cause of a context that a signal has ended.
class signal_error : public std::runtime_error {
public:
    explicit signal_error(int number);
    int number() const noexcept
    {
        return number_;
    }

private:
    int number_;
};

/// Ends what after_func() began to wait for.
class after_func_handle {
public:
    after_func_handle() noexcept = default;
    after_func_handle(after_func_handle&& other) noexcept
        : state_{std::exchange(other.state_, nullptr)}, of_{std::move(other.of_)}
    {
    }
    after_func_handle& operator=(after_func_handle&& other) noexcept
    {
        std::swap(state_, other.state_);
        std::swap(of_, other.of_);
        return *this;
    }
    /// Destroying the handle stops nothing.
    ~after_func_handle();

    /// True if the function will not run; false if it has been started or stopped before.
    bool stop() noexcept;
    bool operator()() noexcept
    {
        return stop();
    }

    class state;
    after_func_handle(state* adopted, context of) noexcept : state_{adopted}, of_{std::move(of)}
    {
    }

private:
    state* state_ = nullptr;
    context of_;
};

namespace detail {
after_func_handle start_after_func(const context& of, task<> body, location place);

template <class F>
task<> call_after(F f)
{
    [[maybe_unused]] const int gcc_12_needs_a_local = 0;
    if constexpr (is_task<std::invoke_result_t<F&>>)
        co_await f();
    else
        f();
}
}  // namespace detail

/// Runs `f`, plain or a coroutine, in a task of its own once the context has ended; at once if it has. The
/// task runs where after_func was called, deaf to cancellation, with the values of the nearest context at
/// or above `of` that can end.
///
/// Errors  usage_error outside every task and world; std::bad_alloc.
template <class F>
after_func_handle after_func(const context& of, F f, detail::location place = detail::location::current())
{
    return detail::start_after_func(of, detail::call_after<F>(std::move(f)), place);
}

namespace detail {

/// Replaces the context of a task for as long as it lives.
class context_scope {
public:
    context_scope(task_root& root, const context& to) noexcept
        : root_{root}, to_{to}, before_{root.exchange_context(to.node())}
    {
    }
    context_scope(const context_scope&) = delete;
    context_scope& operator=(const context_scope&) = delete;
    ~context_scope()
    {
        if (root_.enrolled())
            root_.leave_context();
        root_.exchange_context(*before_);
    }

private:
    task_root& root_;
    context to_;
    context_node* before_;
};

/// The same by one that has a limit in time, below the task's own or beside it.
class limit_scope {
public:
    enum class kind : unsigned char { heeding, shielding };
    limit_scope(task_root& root, clock::duration span, kind how);

private:
    limit_scope(task_root& root, cancellable_context limit);

    canceller cancel_;
    context_scope scope_;
};

template <class A, class T>
task<T> run_under(context to, A inner)
{
    task_root& root = *co_await get_root{};
    root.own_context();
    const context_scope scope{root, to};
    co_return co_await static_cast<A&&>(inner);
}

template <class A, class T>
task<T> run_until(clock::duration span, A inner)
{
    task_root& root = *co_await get_root{};
    root.own_context();
    const limit_scope scope{root, span, limit_scope::kind::heeding};
    co_return co_await static_cast<A&&>(inner);
}

template <class A, class T>
task<T> run_shielded(clock::duration span, A inner)
{
    task_root& root = *co_await get_root{};
    root.own_context();
    const limit_scope scope{root, span, limit_scope::kind::shielding};
    co_return co_await static_cast<A&&>(inner);
}

/// What awaiting an A in a task gives.
template <class A>
struct awaited {
    using awaiter =
        decltype(std::declval<task_promise<void, transfer_mode>&>().await_transform(std::declval<A>()));
    using type = decltype(std::declval<awaiter&>().await_resume());
};
template <class T>
struct awaited<task<T>> {
    using type = T;
};
template <class A>
using awaited_t = typename awaited<A>::type;

}  // namespace detail

/// Runs a task or an operation under another context: it and all it spawns see that one.
///
/// Throws  whatever the inner one throws; std::bad_alloc.
/// Cancel  by `to` alone: unless it is below the context of the calling task, the end of that one does not reach
///         the inner one.
template <class A>
[[nodiscard]] auto with_context(const context& to, A inner) -> task<detail::awaited_t<A>>
{
    return detail::run_under<A, detail::awaited_t<A>>(to, std::move(inner));
}

/// Runs a task or an operation with a time limit.
///
/// Result   that of the inner one. If it completes although the time is up, its result counts: nothing is
///          lost.
/// Throws   timed_out_error once the limit has passed and the inner one, and every group it started, has
///          ended; else whatever the inner one throws. A limit further out that passes first throws the
///          same from here.
template <class Rep, class Period, class A>
[[nodiscard]] auto timeout(std::chrono::duration<Rep, Period> limit, A inner) -> task<detail::awaited_t<A>>
{
    return detail::run_until<A, detail::awaited_t<A>>(detail::span_of(limit), std::move(inner));
}

/// Runs a task or an operation that must not be interrupted, such as cleanup: deaf to the cancellation of the
/// calling task, but for no longer than `limit`.
///
/// Throws  timed_out_error after the limit; whatever the inner one throws.
template <class Rep, class Period, class A>
[[nodiscard]] auto shield(std::chrono::duration<Rep, Period> limit, A inner)
{
    return detail::run_shielded<A, detail::awaited_t<A>>(detail::span_of(limit), std::move(inner));
}

template <>
inline constexpr bool detail::is_awaitable_value<context> = true;

}  // namespace leat
