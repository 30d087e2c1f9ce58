// use_task: any asynchronous operation of Asio's, awaited in a task.
//
//     std::size_t got = co_await socket.async_read_some(buffer, leat::use_task);
//
// One await of an operation. asio_wait is what the awaiter, in the task's frame, and the operation's handler,
// wherever Asio has put it, share; each holds a reference, and so does a request to cancel that is under way.
// The last one frees it. Whatever Asio holds refers to the asio_wait, never to the frame, which may be destroyed
// while the operation is pending (at the end of a runtime that could not wait); then the asio_wait is `detached`.
//
//   start     The awaiter runs the initiation as part of the task's turn. Nothing is published yet: a handler
//             that is called inside the initiation, or on another thread before it returns, finds no waiter and
//             leaves `done` behind. (The road not taken is to arm the task's park first: then every
//             initiation would need a way back.)
//   park      As with any source: under the lock, if it is not done, the task parks and is linked.
//   finish    The handler has been called (it has stored its values) or destroyed (there are none). Under the
//             lock: done, and the waiter wins, unless somebody else has claimed the task.
//   cancel    The context's canceller claims the parked task and calls context_ended() (see stop_hook in
//             park.hpp), which acts for the task: if the operation is done, the task is made ready; else it is
//             parked again, shielded, so that only the operation's end wakes it, and a cancel_request is posted.
//             If the context ends while the task is about to park, the task does the same itself.
//   emit      The request runs on the executor that the operation runs on, where Asio expects signals to be
//             emitted: under the same strand as its steps. The lock is not held meanwhile; `emitting` is. A
//             finish that comes then (inside the emission, or beside it on an executor of many threads) leaves
//             it to the emitter to wake the task. So once the task goes on, nobody touches the operation's
//             objects: they may be destroyed. A request that comes late finds `done` and does nothing.
//
// The executor is learnt when the operation asks for the handler's associated executor, giving its own as the
// default, which it gets. It is given back (destroyed) in finish(), as it must not outlive its context; finish()
// waits for a request that is just being posted to it. If nobody asks, or if the executor can not post, signals
// are emitted by the canceller itself.
#pragma once

#include <leat/asio/executor.hpp>
#include <leat/detail/frame_pool.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/park.hpp>
#include <leat/error.hpp>
#include <leat/result.hpp>
#include <leat/task.hpp>

#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/execution/blocking.hpp>
#include <asio/execution/executor.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/post.hpp>
#include <asio/prefer.hpp>
#include <asio/require.hpp>
#include <asio/system_executor.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

namespace leat {

namespace detail {

class asio_wait;

/// Runs where an operation runs, to cancel it.
class cancel_request {
public:
    explicit cancel_request(asio_wait& of) noexcept;
    cancel_request(cancel_request&& other) noexcept : of_{std::exchange(other.of_, nullptr)}
    {
    }
    ~cancel_request();
    void operator()() noexcept;

private:
    asio_wait* of_;
};

template <class E>
concept posting_executor = asio::execution::is_executor<E>::value &&
                           asio::can_require<E, asio::execution::blocking_t::never_t>::value;

class asio_wait {
public:
    asio_wait(const asio_wait&) = delete;
    asio_wait& operator=(const asio_wait&) = delete;

    void ref() noexcept
    {
        refs_.fetch_add(1, std::memory_order_relaxed);
    }
    void unref() noexcept
    {
        if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            destroy();
    }

    // By the handler.

    asio::cancellation_slot slot() noexcept
    {
        return signal_.slot();
    }
    /// Keeps the first executor that the operation names as its own.
    template <class E>
    void remember(const E& executor) noexcept;
    /// The handler has been called, or will never be. Once.
    void finish() noexcept;

    // By the task, or whoever acts for it.

    /// Asks the operation to end. Once.
    void request_cancel() noexcept;
    /// The frame goes: from here on nothing of it is touched.
    void detach() noexcept;

    // By a request.

    void emit() noexcept;

    spinlock lock;
    waiter* waiting = nullptr;  ///< under lock
    bool done = false;          ///< under lock until true
    bool cancelling = false;    ///< has been asked to end; under lock until done

protected:
    asio_wait() noexcept = default;
    virtual ~asio_wait();

private:
    virtual void destroy() noexcept = 0;
    void settle() noexcept;
    void forget_executor() noexcept;

    struct executor_kind {
        void (*post)(void* executor, asio_wait& of);
        void (*destroy)(void* executor) noexcept;
    };
    template <class E>
    static constexpr bool is_small = sizeof(E) <= 64 && alignof(E) <= alignof(std::max_align_t);
    template <class E>
    static E* stored(void* at) noexcept
    {
        if constexpr (is_small<E>)
            return std::launder(static_cast<E*>(at));
        else
            return *static_cast<E**>(at);
    }
    template <class E>
    static const executor_kind kind_of;

    asio::cancellation_signal signal_;
    std::atomic<std::uint32_t> refs_{2};
    bool posting_ = false;   ///< under lock
    bool emitting_ = false;  ///< under lock
    bool ending_ = false;    ///< the handler has gone; under lock
    bool detached_ = false;  ///< under lock
    std::atomic<bool> asked_{false};
    std::atomic<const executor_kind*> kind_{nullptr};
    alignas(std::max_align_t) std::byte executor_[64];
};

template <class E>
const asio_wait::executor_kind asio_wait::kind_of = {
    [](void* at, asio_wait& of) { asio::post(*stored<E>(at), cancel_request{of}); },
    [](void* at) noexcept {
        if constexpr (is_small<E>)
            std::destroy_at(stored<E>(at));
        else
            delete stored<E>(at);
    }};

template <class E>
void asio_wait::remember(const E& executor) noexcept
{
    // The default of those who have none, not the operation's own.
    if constexpr (!std::is_same_v<E, asio::system_executor> && posting_executor<E>) {
        // Tracked work would keep a context busy, or be given back to one that has gone.
        using kept =
            std::decay_t<decltype(asio::prefer(executor, asio::execution::outstanding_work.untracked))>;
        if (asked_.load(std::memory_order_relaxed) || asked_.exchange(true, std::memory_order_relaxed))
            return;
        if constexpr (is_small<kept>) {
            ::new (static_cast<void*>(executor_))
                kept(asio::prefer(executor, asio::execution::outstanding_work.untracked));
        } else {
            kept* const copy =
                new (std::nothrow) kept(asio::prefer(executor, asio::execution::outstanding_work.untracked));
            if (copy == nullptr)
                return;
            ::new (static_cast<void*>(executor_)) kept*(copy);
        }
        kind_.store(&kind_of<kept>, std::memory_order_release);
    }
}

/// The asio_wait of operations whose handlers take Ts.
template <class... Ts>
class asio_wait_for final : public asio_wait {
public:
    static asio_wait_for* make()
    {
        static_assert(alignof(asio_wait_for) <= 16, "leat: an Asio operation with an over-aligned result");
        return ::new (allocate_frame(sizeof(asio_wait_for))) asio_wait_for;
    }

    std::optional<std::tuple<Ts...>> values;

private:
    asio_wait_for() noexcept = default;
    ~asio_wait_for() override = default;
    void destroy() noexcept override
    {
        this->~asio_wait_for();
        free_frame(this, sizeof(asio_wait_for));
    }
};

/// Memory for what Asio keeps while an operation is pending.
template <class T>
class frame_allocator {
public:
    using value_type = T;

    frame_allocator() noexcept = default;
    template <class U>
    frame_allocator(const frame_allocator<U>&) noexcept
    {
    }
    T* allocate(std::size_t count)
    {
        static_assert(alignof(T) <= 16, "leat: an Asio operation that is over-aligned");
        if (count > static_cast<std::size_t>(-1) / sizeof(T))
            throw std::bad_array_new_length{};
        return static_cast<T*>(allocate_frame(count * sizeof(T)));
    }
    void deallocate(T* block, std::size_t count) noexcept
    {
        free_frame(block, count * sizeof(T));
    }
    friend bool operator==(frame_allocator, frame_allocator) noexcept
    {
        return true;
    }
};
template <>
class frame_allocator<void> {
public:
    using value_type = void;

    frame_allocator() noexcept = default;
    template <class U>
    frame_allocator(const frame_allocator<U>&) noexcept
    {
    }
    template <class U>
    struct rebind {
        using other = frame_allocator<U>;
    };
    friend bool operator==(frame_allocator, frame_allocator) noexcept
    {
        return true;
    }
};

/// The completion handler. Owns one reference; called or destroyed, it finishes the wait.
template <class... Ts>
class asio_handler {
public:
    using allocator_type = frame_allocator<void>;
    using cancellation_slot_type = asio::cancellation_slot;

    explicit asio_handler(asio_wait_for<Ts...>& adopted) noexcept : wait_{&adopted}
    {
    }
    asio_handler(asio_handler&& other) noexcept : wait_{std::exchange(other.wait_, nullptr)}
    {
    }
    asio_handler& operator=(asio_handler&&) = delete;
    ~asio_handler()
    {
        if (wait_ != nullptr)
            finish();
    }

    template <class... As>
    void operator()(As&&... values)
    {
        wait_->values.emplace(std::forward<As>(values)...);
        finish();
    }

    allocator_type get_allocator() const noexcept
    {
        return {};
    }
    cancellation_slot_type get_cancellation_slot() const noexcept
    {
        return wait_->slot();
    }
    template <class E>
    void remember(const E& executor) const noexcept
    {
        if (wait_ != nullptr)
            wait_->remember(executor);
    }

private:
    void finish() noexcept
    {
        asio_wait_for<Ts...>* const wait = std::exchange(wait_, nullptr);
        wait->finish();
        wait->unref();
    }

    asio_wait_for<Ts...>* wait_;
};

// ---- What a handler's arguments mean -------------------------------------------------------------

template <class... Ts>
struct asio_value {
    using type = std::tuple<Ts...>;
};
template <>
struct asio_value<> {
    using type = void;
};
template <class T>
struct asio_value<T> {
    using type = T;
};

/// A leading error_code or exception_ptr is the failure; the rest is the value.
template <class... Ts>
struct asio_arguments {
    using value_type = typename asio_value<Ts...>::type;
    static constexpr std::size_t skipped = 0;
};
template <class... Ts>
struct asio_arguments<std::error_code, Ts...> {
    using value_type = typename asio_value<Ts...>::type;
    static constexpr std::size_t skipped = 1;
};
template <class... Ts>
struct asio_arguments<std::exception_ptr, Ts...> {
    using value_type = typename asio_value<Ts...>::type;
    static constexpr std::size_t skipped = 1;
};

template <class Signature>
struct asio_signature;
template <class R, class... Ts>
struct asio_signature<R(Ts...)> {
    using wait = asio_wait_for<std::decay_t<Ts>...>;
    using handler = asio_handler<std::decay_t<Ts>...>;
    using arguments = asio_arguments<std::decay_t<Ts>...>;
    using value_type = typename arguments::value_type;
    static constexpr std::size_t count = sizeof...(Ts);

    template <std::size_t... I>
    static value_type take(wait& from, std::index_sequence<I...>)
    {
        return value_type(std::move(std::get<I + arguments::skipped>(*from.values))...);
    }
    static value_type take(wait& from)
    {
        return take(from, std::make_index_sequence<count - arguments::skipped>{});
    }
    /// Why there is no value; false if there is one.
    static bool failed(const wait& of, std::error_code& why, std::exception_ptr& thrown)
    {
        if constexpr (arguments::skipped == 1) {
            using first = std::tuple_element_t<0, std::tuple<std::decay_t<Ts>...>>;
            if constexpr (std::is_same_v<first, std::error_code>)
                why = std::get<0>(*of.values);
            else
                thrown = std::get<0>(*of.values);
        }
        return static_cast<bool>(why) || thrown != nullptr;
    }
};
template <class R, class... Ts>
struct asio_signature<R(Ts...) noexcept> : asio_signature<R(Ts...)> {};
template <class R, class... Ts>
struct asio_signature<R(Ts...)&> : asio_signature<R(Ts...)> {};
template <class R, class... Ts>
struct asio_signature<R(Ts...) & noexcept> : asio_signature<R(Ts...)> {};
template <class R, class... Ts>
struct asio_signature<R(Ts...) &&> : asio_signature<R(Ts...)> {};
template <class R, class... Ts>
struct asio_signature<R(Ts...) && noexcept> : asio_signature<R(Ts...)> {};

// ---- The awaiting side ---------------------------------------------------------------------------

template <class Operation>
class asio_case;

/// What does not depend on the operation.
class asio_awaiter_base : protected waiter, private stop_hook {
public:
    asio_awaiter_base(const asio_awaiter_base&) = delete;
    asio_awaiter_base& operator=(const asio_awaiter_base&) = delete;

    bool await_suspend(std::coroutine_handle<> frame) noexcept;

protected:
    enum class state : unsigned char { fresh, complete, refused, parked };

    explicit asio_awaiter_base(task_root& in) noexcept
    {
        root = &in;
    }
    ~asio_awaiter_base()
    {
        if (wait_ != nullptr)
            leave();
    }

    /// False if the context has ended already.
    bool may_start() noexcept;
    /// After the initiation: whether the await is over.
    bool is_over() noexcept;
    void resumed() noexcept
    {
        if (state_ == state::parked)
            unpark();
    }
    bool refused() const noexcept
    {
        return state_ == state::refused;
    }
    bool cancelled() const noexcept
    {
        return wait_->cancelling;
    }

    asio_wait* wait_ = nullptr;

private:
    void unpark() noexcept;
    void leave() noexcept;
    void see_through() noexcept;
    void context_ended(turn* by) noexcept override;

    spinlock& source() noexcept override;
    bool try_complete(wake_list& wakes) noexcept override;
    void link() noexcept override;
    void unlink() noexcept override;
    const char* kind() const noexcept override;

    state state_ = state::fresh;
};

template <class Operation, bool Throwing>
class asio_awaiter final : public asio_awaiter_base {
    using signature = typename Operation::signature;
    using value_type = typename signature::value_type;

public:
    asio_awaiter(Operation& op, task_root& in) noexcept : asio_awaiter_base{in}, op_{op}
    {
    }

    bool await_ready()
    {
        if (!may_start())
            return true;
        if (auto* const kept = op_.take_kept()) {
            wait_ = kept;
            return is_over();
        }
        auto* const wait = signature::wait::make();
        wait_ = wait;
        op_.start(typename signature::handler{*wait});
        return is_over();
    }

    auto await_resume()
    {
        resumed();
        if constexpr (Throwing) {
            if (refused())
                throw_stopped(*root);
            auto& wait = static_cast<typename signature::wait&>(*wait_);
            std::error_code why;
            std::exception_ptr thrown;
            if (failed(why, thrown)) {
                if (cancelled())
                    throw_stopped(*root);
                if (thrown)
                    std::rethrow_exception(thrown);
                throw std::system_error{why};
            }
            return signature::take(wait);
        } else {
            using answer = result<value_type>;
            if (refused())
                return answer{make_error_code(root->stop_reason())};
            auto& wait = static_cast<typename signature::wait&>(*wait_);
            std::error_code why;
            std::exception_ptr thrown;
            if (failed(why, thrown)) {
                if (cancelled())
                    return answer{make_error_code(root->stop_reason())};
                if (thrown)
                    return answer{thrown};
                return answer{why};
            }
            if constexpr (std::is_void_v<value_type>)
                return answer{};
            else
                return answer{std::in_place, signature::take(wait)};
        }
    }

private:
    bool failed(std::error_code& why, std::exception_ptr& thrown) const
    {
        const auto& wait = static_cast<const typename signature::wait&>(*wait_);
        if (wait.values)
            return signature::failed(wait, why, thrown);
        why = make_error_code(errc::abandoned);
        return true;
    }

    Operation& op_;
};

/// An operation of Asio's that has not been started. What has lost in a select and succeeded all the same is kept
/// here, and given to the next who awaits it.
template <class Signature, class Initiation, class... Args>
class [[nodiscard("an operation does nothing until it is awaited")]] asio_operation {
public:
    using signature = asio_signature<Signature>;
    using value_type = typename signature::value_type;
    using wait = typename signature::wait;

    template <class I, class... As>
    explicit asio_operation(std::in_place_t, I&& initiation, As&&... args)
        : initiation_(std::forward<I>(initiation)), args_(std::forward<As>(args)...)
    {
    }
    asio_operation(asio_operation&& other)
        : initiation_(std::move(other.initiation_)), args_(std::move(other.args_)),
          kept_{std::exchange(other.kept_, nullptr)}
    {
    }
    asio_operation& operator=(asio_operation&&) = delete;
    ~asio_operation()
    {
        if (kept_ != nullptr)
            kept_->unref();
    }

    /// Once. Lets go of what it was made with, executors above all: they may have to go before the await is over.
    void start(typename signature::handler&& handler)
    {
        start(std::move(handler), std::move(initiation_), std::move(args_));
    }
    /// Any number of times, one after the other.
    void start_again(typename signature::handler&& handler)
    {
        static_assert(std::is_copy_constructible_v<Initiation> &&
                          std::is_copy_constructible_v<std::tuple<Args...>>,
                      "leat: this operation of Asio's can be started once: std::move() it into the select");
        start(std::move(handler), Initiation(initiation_), std::tuple<Args...>(args_));
    }

    /// A wait that has ended, with its reference.
    wait* take_kept() noexcept
    {
        return std::exchange(kept_, nullptr);
    }
    void keep(wait& ended) noexcept
    {
        ended.ref();
        kept_ = &ended;
    }

    auto await_in(task_root& root) && noexcept
    {
        return asio_awaiter<asio_operation, true>{*this, root};
    }
    auto await_result_in(task_root& root) && noexcept
    {
        return asio_awaiter<asio_operation, false>{*this, root};
    }

    // For select.
    asio_case<asio_operation> as_operation() &&
    {
        return asio_case<asio_operation>{std::move(*this)};
    }
    asio_case<asio_operation&> as_operation() &
    {
        return asio_case<asio_operation&>{*this};
    }

private:
    static void start(typename signature::handler&& handler, Initiation initiation, std::tuple<Args...> args)
    {
        std::apply(
            [&](Args&... each) { std::move(initiation)(std::move(handler), static_cast<Args&&>(each)...); },
            args);
    }

    Initiation initiation_;
    std::tuple<Args...> args_;
    wait* kept_ = nullptr;
};

/// An initiation whose handler has an executor of its own, which is where signals are emitted then.
template <class Executor, class Initiation>
class bound_initiation {
public:
    bound_initiation(const Executor& executor, Initiation initiation)
        : executor_{executor}, initiation_{std::move(initiation)}
    {
    }
    template <class Handler, class... Args>
    void operator()(Handler&& handler, Args&&... args) &&
    {
        handler.remember(executor_);
        std::move(initiation_)(asio::bind_executor(executor_, std::forward<Handler>(handler)),
                               std::forward<Args>(args)...);
    }

private:
    Executor executor_;
    Initiation initiation_;
};

}  // namespace detail

/// The completion token with which an operation of Asio's is awaited in a task.
///
/// Nothing happens before it is awaited, in the expression that makes it or after std::move(). The task
/// resumes on its own executor, wherever the operation runs. bind_executor() and as_tuple() can be
/// put around it; with as_default_on() it need not be written.
///
/// Result   what a handler would be given, without the leading error: nothing, a value, or a std::tuple.
/// Throws   cancelled_error, timed_out_error: the task's context ended, and the operation has ended without
///          success; std::system_error with the operation's error_code (or the exception that it ended with);
///          errc::abandoned if Asio destroyed the handler without calling it, as io_contexts do at their end.
/// Cancel   through Asio's cancellation slot, with cancellation_type::terminal. The await returns when the
///          operation has ended, never before, so that its buffers are free; should it have succeeded
///          meanwhile, that counts, and nothing is lost. An operation that ignores cancellation is waited for.
///          If the context has ended already, the operation is not started.
/// Select   it is a case, and works in when_any(): if it loses it is cancelled, and has ended before the handler of the
///          winner runs. A read may have taken bytes by then. They are lost if the operation was a temporary. One that is
///          a variable of the caller's keeps what it has completed, and gives it when it is next selected or,
///          moved, awaited; it can be used for one select after the other:
///              auto read = socket.async_read_some(buffer, use_task);
///              co_await select(on(read, ...), on(news.recv(), ...));
/// Threads  the operation is started by the task, on its worker; its I/O object must not be used by others
///          meanwhile. On an io_context that several threads run, operations of several steps need a strand, as they do
///          without leat; on a pool they do not.
/// Cost     three small blocks: the operation and what is shared with it, from the frame pool, and the slot's
///          handler, from Asio.
class use_task_t {
public:
    constexpr use_task_t() noexcept
    {
    }

    /// An executor whose I/O objects use use_task where no token is given.
    template <class Inner>
    class executor_with_default : public Inner {
    public:
        using default_completion_token_type = use_task_t;

        template <class Other>
            requires(!std::is_same_v<Other, executor_with_default> &&
                     std::is_convertible_v<const Other&, Inner>)
        executor_with_default(const Other& executor) noexcept : Inner(executor)
        {
        }
    };

    /// The type of an I/O object with use_task as the default: use_task_t::as_default_on_t<tcp::socket>.
    template <class T>
    using as_default_on_t =
        typename T::template rebind_executor<executor_with_default<typename T::executor_type>>::other;

    template <class T>
    static auto as_default_on(T&& object)
    {
        return as_default_on_t<std::decay_t<T>>(std::forward<T>(object));
    }
};

inline constexpr use_task_t use_task{};

}  // namespace leat

template <class Signature>
class asio::async_result<leat::use_task_t, Signature> {
public:
    template <class Initiation, class... Args>
    static auto initiate(Initiation&& initiation, leat::use_task_t, Args&&... args)
    {
        return leat::detail::asio_operation<Signature, std::decay_t<Initiation>, std::decay_t<Args>...>{
            std::in_place, std::forward<Initiation>(initiation), std::forward<Args>(args)...};
    }
};

template <class Executor, class Signature>
class asio::async_result<asio::executor_binder<leat::use_task_t, Executor>, Signature> {
public:
    template <class Initiation, class Token, class... Args>
    static auto initiate(Initiation&& initiation, Token&& token, Args&&... args)
    {
        using bound = leat::detail::bound_initiation<Executor, std::decay_t<Initiation>>;
        return leat::detail::asio_operation<Signature, bound, std::decay_t<Args>...>{
            std::in_place, bound{token.get_executor(), std::forward<Initiation>(initiation)},
            std::forward<Args>(args)...};
    }
};

template <class... Ts, class Candidate>
struct asio::associated_executor<leat::detail::asio_handler<Ts...>, Candidate> {
    using type = Candidate;
    static type get(const leat::detail::asio_handler<Ts...>& handler,
                    const Candidate& candidate = Candidate()) noexcept
    {
        handler.remember(candidate);
        return candidate;
    }
};

namespace leat::detail {

template <class>
constexpr bool is_asio_operation = false;
template <class Signature, class Initiation, class... Args>
constexpr bool is_asio_operation<asio_operation<Signature, Initiation, Args...>> = true;

/// asio::deferred operations, and all that can be called with a token to start one.
template <class A>
    requires requires(A&& a) { requires is_asio_operation<decltype(std::forward<A>(a)(use_task_t{}))>; }
struct foreign_awaitable<A> {
    template <class B>
    static auto adapt(B&& deferred)
    {
        return std::forward<B>(deferred)(use_task_t{});
    }
};

}  // namespace leat::detail

#include <leat/asio/operation_case.hpp>
