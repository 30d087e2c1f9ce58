// One value from a promise to a future.
//
// Both hold the state; the last to let go frees it. The promise writes the outcome, once, and then settles: under the
// lock it sets done_ and wins whoever waits. The future's side reads the outcome only when it is done. Whoever settles
// still holds the state, so nothing that the other side does can take it away meanwhile.
#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/blocking_wait.hpp>
#include <leat/detail/frame_pool.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/outcome.hpp>
#include <leat/detail/park.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <system_error>
#include <type_traits>
#include <utility>

namespace leat {

namespace detail {

class oneshot_base {
public:
    oneshot_base(const oneshot_base&) = delete;
    oneshot_base& operator=(const oneshot_base&) = delete;

    bool done() const noexcept
    {
        return done_.load(std::memory_order_acquire);
    }
    /// Whether one side is left.
    bool alone() const noexcept
    {
        return holders_.load(std::memory_order_acquire) == 1;
    }
    /// The outcome has been written.
    void settle() noexcept;
    /// The promise goes without having been kept: what its future says of that.
    static std::exception_ptr broken() noexcept;

    spinlock lock;
    waiter_list waiters;  ///< under lock
    bool taken = false;   ///< the future's

protected:
    oneshot_base() noexcept = default;
    ~oneshot_base() = default;
    /// Whether this was the last side.
    bool let_go() noexcept
    {
        return alone() || holders_.fetch_sub(1, std::memory_order_acq_rel) == 1;
    }

private:
    atomic<bool> done_{false};
    atomic<std::uint8_t> holders_{2};
};

template <class T>
class oneshot_state final : public oneshot_base {
public:
    static void* operator new(std::size_t size)
    {
        return allocate_frame(size);
    }
    static void operator delete(void* block, std::size_t size) noexcept
    {
        free_frame(block, size);
    }
    void release() noexcept
    {
        if (let_go())
            delete this;
    }
    outcome<T> result;
};

[[noreturn]] void throw_promise_misused(bool empty);
[[noreturn]] void throw_future_misused(bool empty);

/// Awaits what a promise gives.
template <class T>
class oneshot_operation final : public waiter {
public:
    using value_type = T;

    explicit oneshot_operation(oneshot_state<T>* of) noexcept : of_{of}
    {
    }
    oneshot_operation(const oneshot_operation& other) noexcept : of_{other.of_}
    {
    }

    void prepare(turn&) noexcept
    {
    }
    bool try_quick() noexcept
    {
        return of_->done();
    }
    spinlock& source() noexcept override
    {
        return of_->lock;
    }
    bool try_complete(wake_list&) noexcept override
    {
        return of_->done();
    }
    void link() noexcept override
    {
        of_->waiters.push_back(*this);
    }
    void unlink() noexcept override
    {
        of_->waiters.remove(*this);
    }
    const char* kind() const noexcept override
    {
        return "oneshot";
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    T value()
    {
        take();
        return of_->result.take();
    }
    leat::result<T> take_result()
    {
        take();
        return of_->result.take_result();
    }

private:
    void take()
    {
        if (std::exchange(of_->taken, true))
            throw_future_misused(false);
    }
    oneshot_state<T>* of_;
};

}  // namespace detail

template <class T>
class oneshot;

/// The side of a oneshot that gives the value. Move-only; destroyed without having given one, it leaves
/// broken_promise_error.
///
/// Threads  any, one at a time; also threads of no runtime.
template <class T = void>
class oneshot_promise {
public:
    using value_type = T;

    /// An empty one.
    oneshot_promise() noexcept = default;
    oneshot_promise(oneshot_promise&& other) noexcept : state_{std::exchange(other.state_, nullptr)}
    {
    }
    oneshot_promise& operator=(oneshot_promise&& other) noexcept
    {
        oneshot_promise{std::move(other)}.swap(*this);
        return *this;
    }
    ~oneshot_promise()
    {
        if (state_ == nullptr)
            return;
        if (!state_->done()) {
            state_->result.fail(detail::oneshot_base::broken());
            state_->settle();
        }
        state_->release();
    }

    /// Gives the value, made from the arguments: none for void, an lvalue for a reference.
    ///
    /// Result  whether there is a future to have it; if not, the value is dropped with the promise.
    /// Throws  usage_error: it has been given before, or the promise is empty. What making the value throws: the
    ///         promise is then still to be kept.
    template <class... Args>
    bool set_value(Args&&... args)
    {
        require();
        if constexpr (std::is_reference_v<T>) {
            static_assert(sizeof...(Args) == 1,
                          "leat: set_value() of a reference takes what it is to refer to");
            state_->result.emplace(std::addressof(args)...);
        } else {
            state_->result.emplace(std::forward<Args>(args)...);
        }
        return settle();
    }
    /// Gives a failure instead: the future throws it. Result and throws as set_value().
    bool set_exception(std::exception_ptr thrown)
    {
        require();
        state_->result.fail(std::move(thrown));
        return settle();
    }
    bool set_error(std::error_code why)
    {
        return set_exception(std::make_exception_ptr(std::system_error{why}));
    }

    /// Whether the future has gone, so that nobody will have the value.
    [[nodiscard]] bool abandoned() const noexcept
    {
        return state_ == nullptr || state_->alone();
    }
    explicit operator bool() const noexcept
    {
        return state_ != nullptr;
    }
    void swap(oneshot_promise& other) noexcept
    {
        std::swap(state_, other.state_);
    }

private:
    friend class oneshot<T>;
    explicit oneshot_promise(detail::oneshot_state<T>* adopted) noexcept : state_{adopted}
    {
    }
    void require() const
    {
        if (state_ == nullptr || state_->done())
            detail::throw_promise_misused(state_ == nullptr);
    }
    bool settle() noexcept
    {
        state_->settle();
        return !state_->alone();
    }

    detail::oneshot_state<T>* state_ = nullptr;
};

/// The side of a oneshot that gets the value. Move-only; awaiting it gives the value, or throws what was given instead,
/// once. It is a case for select.
///
/// Errors   broken_promise_error: the promise has gone without giving one; usage_error: the future is empty, or its
///          value was had before.
/// Cancel   cancelling a wait leaves the value; the future can be awaited again.
/// Threads  one at a time.
template <class T = void>
class [[nodiscard]] oneshot_future {
public:
    using value_type = T;

    /// An empty one.
    oneshot_future() noexcept = default;
    oneshot_future(oneshot_future&& other) noexcept : state_{std::exchange(other.state_, nullptr)}
    {
    }
    oneshot_future& operator=(oneshot_future&& other) noexcept
    {
        oneshot_future{std::move(other)}.swap(*this);
        return *this;
    }
    ~oneshot_future()
    {
        if (state_ != nullptr)
            state_->release();
    }

    /// Whether there is a value, or a failure.
    [[nodiscard]] bool ready() const noexcept
    {
        return state_ != nullptr && state_->done();
    }
    explicit operator bool() const noexcept
    {
        return state_ != nullptr;
    }

    /// Waits for the value. Awaiting the future itself means the same. The operation does not keep the future: that has
    /// to stay until it has been awaited.
    ///
    /// Throws   what was given instead of a value; see above; cancelled_error, timed_out_error: the task's context
    ///          ended first.
    /// Cost     no lock if it is there; no allocation.
    [[nodiscard]] detail::oneshot_operation<T> get() const
    {
        if (state_ == nullptr)
            detail::throw_future_misused(true);
        return detail::oneshot_operation<T>{state_};
    }
    /// The same for a thread that is no worker: blocks the thread. Throws usage_error in a task.
    T blocking_get() const
    {
        return detail::wait_blocking(get());
    }
    void swap(oneshot_future& other) noexcept
    {
        std::swap(state_, other.state_);
    }

    // For the library.
    auto as_operation() const
    {
        return get();
    }
    auto await_in(detail::task_root& root) const
    {
        return detail::owning_awaiter<detail::oneshot_operation<T>, true>{root, get()};
    }
    auto await_result_in(detail::task_root& root) const
    {
        return detail::owning_awaiter<detail::oneshot_operation<T>, false>{root, get()};
    }

private:
    friend class oneshot<T>;
    explicit oneshot_future(detail::oneshot_state<T>* adopted) noexcept : state_{adopted}
    {
    }

    detail::oneshot_state<T>* state_ = nullptr;
};

/// A promise and a future of one value: `auto [promise, future] = leat::oneshot<int>{};`
///
/// T may be void, a reference, or move-only.
///
/// Throws  std::bad_alloc.
/// Cost    one allocation from the frame pool.
template <class T = void>
class oneshot {
    explicit oneshot(detail::oneshot_state<T>* state) noexcept : promise{state}, future{state}
    {
    }

public:
    oneshot() : oneshot{new detail::oneshot_state<T>}
    {
    }

    oneshot_promise<T> promise;
    oneshot_future<T> future;
};

}  // namespace leat
