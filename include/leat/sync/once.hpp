#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/eager.hpp>
#include <leat/detail/memory.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/detail/shared_attempt.hpp>
#include <leat/result.hpp>
#include <leat/task.hpp>

#include <concepts>
#include <exception>
#include <type_traits>
#include <utility>

namespace leat {

namespace detail {

[[noreturn]] void throw_no_factory();

/// What a once knows: the attempt that flies, or the one that has succeeded.
template <class T>
class once_cell final : private attempt_owner {
public:
    once_cell() noexcept = default;
    once_cell(const once_cell&) = delete;
    once_cell& operator=(const once_cell&) = delete;
    ~once_cell()
    {
        // Whoever has found it done may destroy it while forget() still holds the lock.
        lock_.lock();
        lock_.unlock();
        if (attempt<T>* const kept = done())
            kept->unref();
    }

    attempt<T>* done() const noexcept
    {
        return done_.load(std::memory_order_acquire);
    }

    // For join_or_begin().
    spinlock lock_;
    bool settled() const noexcept
    {
        return done() != nullptr;
    }
    attempt<T>* current() const noexcept
    {
        return current_;
    }
    attempt<T>* make()
    {
        return new attempt<T>{*this};
    }
    void enter(attempt<T>& what) noexcept
    {
        current_ = &what;
    }

private:
    void forget(attempt_base& what, bool landed) noexcept override
    {
        const spin_guard hold{lock_};
        current_ = nullptr;
        if (landed && what.succeeded()) {
            what.ref();
            done_.store(static_cast<attempt<T>*>(&what), std::memory_order_release);
        }
    }

    atomic<attempt<T>*> done_{nullptr};  ///< counted
    attempt<T>* current_ = nullptr;      ///< under lock_
};

/// Waits until a once is done; begins it if nobody has.
template <class T, class F>
class once_operation final : public attempt_waiter<T> {
public:
    using value_type = std::add_lvalue_reference_t<T>;

    template <class G>
    once_operation(once_cell<T>& of, G&& f) : of_{of}, f_(std::forward<G>(f))
    {
    }
    once_operation(once_operation&& other) noexcept(std::is_nothrow_move_constructible_v<F>)
        : of_{other.of_}, f_(std::move(other.f_))
    {
    }

    bool is_there() noexcept
    {
        this->let_go();
        return of_.done() != nullptr;
    }
    void prepare(turn& here)
    {
        if (is_there())
            return;
        bool begins = false;
        attempt<T>* const found = join_or_begin(of_, begins);
        this->wait_for(found);
        if (begins)
            begin_work(*found, std::move(f_), here, "once");
    }
    bool try_quick() noexcept
    {
        return of_.done() != nullptr;
    }
    const char* kind() const noexcept override
    {
        return "once";
    }
    value_type value()
    {
        attempt<T>* const done = of_.done();
        return (done != nullptr ? *done : this->landed()).result.peek();
    }
    result<value_type> take_result()
    {
        return result_of_attempt(*this);
    }
    std::exception_ptr failure() noexcept
    {
        return of_.done() != nullptr ? nullptr : this->failure_of_landed();
    }

private:
    once_cell<T>& of_;
    F f_;
};

/// What call() and get() give. An F that is an lvalue is referred to until it is needed.
template <class T, class F>
class once_request {
public:
    using operation_type = once_operation<T, std::decay_t<F>>;
    using value_type = std::add_lvalue_reference_t<T>;
    using kept_type = attempt<T>*;
    static constexpr bool in_any_context = true;

    once_request(once_cell<T>& of, F&& f) : of_{of}, f_(std::forward<F>(f))
    {
    }
    // What is done is no wait: neither the context nor the budget is looked at.
    bool try_now(task_root&, attempt<T>*& done) noexcept
    {
        done = of_.done();
        return done != nullptr;
    }
    static value_type take(attempt<T>* done) noexcept
    {
        if constexpr (!std::is_void_v<T>)
            return done->result.peek();
    }
    operation_type make()
    {
        return {of_, std::forward<F>(f_)};
    }

private:
    once_cell<T>& of_;
    F f_;
};

template <class T, class F>
using once_call = eager_call<once_request<T, F>>;

}  // namespace detail

/// Does something once: the first caller does it, and whoever comes meanwhile waits for it.
///
/// Threads  any tasks, concurrently.
/// Life     may be destroyed as soon as every call() has returned. What is being done when the last caller has left is
///          cancelled, and does not touch the once any more.
class once {
public:
    once() noexcept = default;
    once(const once&) = delete;
    once& operator=(const once&) = delete;

    /// Calls `f`, plain or a coroutine, if that has not been done; returns when it has, by whomever.
    ///
    /// All who call meanwhile share one attempt, and what it throws; after that, the next call tries again. A coroutine
    /// runs in a task of its own, under a context of its own with the values of the caller that began it; a plain
    /// function within its caller.
    ///
    /// Throws   what `f` throws; cancelled_error, timed_out_error: the task's context ended first, and it had not been
    ///          done; std::bad_alloc.
    /// Cancel   safe: the others' attempt goes on. When nobody waits for it any more it is cancelled, and the next call
    ///          begins anew. As a case of a select it begins if no other case is ready; with otherwise() it does not.
    /// Life     a coroutine may go on after the caller has been cancelled, so `f` must refer to nothing that goes with
    ///          the caller. An lvalue is copied when it is needed, another is moved: await it in the same expression, and
    ///          once, as there is no function left for a second await that would have to begin.
    /// Cost     one load if it has been done.
    template <class F>
        requires std::invocable<std::decay_t<F>&>
    [[nodiscard]] auto call(F&& f) noexcept(std::is_nothrow_constructible_v<F, F&&>)
    {
        return detail::once_call<void, F>{std::in_place, cell_, std::forward<F>(f)};
    }

    /// Whether it has been done.
    ///
    /// Threads  any thread. What was done is visible to whoever is told that it was.
    [[nodiscard]] bool done() const noexcept
    {
        return cell_.done() != nullptr;
    }

private:
    detail::once_cell<void> cell_;
};

/// A value that is made once, by whoever asks for it first.
///
/// Threads  any tasks, concurrently. The value is shared: who changes it has to guard it.
/// Life     as once; the value lives as long as the once_value.
template <class T>
class once_value {
    static_assert(std::is_object_v<T>,
                  "leat: a once_value holds an object; for nothing at all there is once");

    class factory {
    public:
        factory() noexcept = default;
        factory(const factory&) = delete;
        factory& operator=(const factory&) = delete;
        virtual ~factory() = default;
        virtual task<T> make() = 0;
    };
    template <class F>
    class factory_of final : public factory {
    public:
        explicit factory_of(F&& f) : f_(std::move(f))
        {
        }
        task<T> make() override
        {
            if constexpr (detail::is_task<std::invoke_result_t<F&>>)
                co_return co_await f_();
            else
                co_return f_();
        }

    private:
        F f_;
    };
    /// Keeps the factory for as long as it runs.
    class call_factory {
    public:
        explicit call_factory(detail::shared<factory> f) noexcept : f_{std::move(f)}
        {
        }
        LEAT_MAKES_TASK task<T> operator()()
        {
            if (!f_)
                detail::throw_no_factory();
            return f_->make();
        }

    private:
        detail::shared<factory> f_;
    };

public:
    using value_type = T;

    /// Without a function: get(f) brings one.
    once_value() noexcept = default;
    /// With the function, plain or a coroutine, that get() uses.
    template <class F>
        requires(std::invocable<F&> && !std::same_as<std::remove_cvref_t<F>, once_value>)
    explicit once_value(F make) : factory_{detail::make_shared_object<factory_of<F>>(std::move(make))}
    {
    }
    once_value(const once_value&) = delete;
    once_value& operator=(const once_value&) = delete;

    /// The value; made by `make`, plain or a coroutine, if that has not been done. All that is said of once::call()
    /// holds: attempts are shared, failures are retried.
    ///
    /// Result  a reference to the value, which is the same for all.
    template <class F>
        requires std::invocable<std::decay_t<F>&>
    [[nodiscard]] auto get(F&& make) noexcept(std::is_nothrow_constructible_v<F, F&&>)
    {
        return detail::once_call<T, F>{std::in_place, cell_, std::forward<F>(make)};
    }
    /// The same with the function that was given at the beginning. Throws usage_error if none was.
    [[nodiscard]] auto get() noexcept
    {
        return detail::once_call<T, call_factory>{std::in_place, cell_, call_factory{factory_}};
    }

    /// The value if it has been made, else null.
    ///
    /// Threads  any thread, as done().
    /// Life     as the once_value.
    [[nodiscard]] T* try_get() noexcept
    {
        detail::attempt<T>* const done = cell_.done();
        return done != nullptr ? &done->result.peek() : nullptr;
    }
    [[nodiscard]] const T* try_get() const noexcept
    {
        detail::attempt<T>* const done = cell_.done();
        return done != nullptr ? &done->result.peek() : nullptr;
    }
    /// Whether it has been made.
    [[nodiscard]] bool done() const noexcept
    {
        return cell_.done() != nullptr;
    }

private:
    detail::once_cell<T> cell_;
    detail::shared<factory> factory_;
};

template <class F>
once_value(F) -> once_value<typename detail::task_of<std::invoke_result_t<F&>>::type>;

}  // namespace leat
