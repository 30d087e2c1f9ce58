// Work that several callers share: what is behind once, once_value, single_flight and concurrent_map::load_or_compute.
//
// An attempt is one run of the work. Its owner (the once, the board of keys) knows it while it flies, so that whoever
// comes joins it. The work is a task of its own, below the root context of its scheduler with the values of the caller
// that began it: the end of that caller's context does not reach it, only that of the scheduler; not even that, if the
// caller that began it is deaf itself. (Work that is no coroutine can not be cut short, so it runs within its caller's
// await.)
//
//   flying ──land()──▶ landed      the outcome is there; whoever waits is woken
//      └──the last one leaves──▶ orphaned     nobody wants it any more: the work is cancelled
//
// Both steps are taken under the attempt's lock, and within it the owner forgets the attempt, under its own lock: that is
// the order of the two. Nobody joins an attempt that does not fly, so interested_ does not grow from zero.
//
// Who frees what: every caller holds a reference to the attempt, and so does the work; the last to let go frees it. The
// owner may hold one too, to an attempt that has succeeded. That it points to one that flies needs none: the work's is
// let go after the owner has forgotten.
//
// Life of the owner. It is touched by callers, who keep it alive, and by land(), if the attempt still flies: then somebody
// is interested, who can not return before the lock has been given back, except through what the owner itself shows
// (a once that is done), and that it shows under its own lock, which its destructor takes. An orphaned attempt touches its
// owner no more.
#pragma once

#include <leat/context.hpp>
#include <leat/detail/atomic.hpp>
#include <leat/detail/frame_pool.hpp>
#include <leat/detail/outcome.hpp>
#include <leat/detail/park.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/result.hpp>
#include <leat/spawn.hpp>
#include <leat/task.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace leat::detail {

class attempt_base;

class attempt_owner {
public:
    /// The attempt has landed, or else is orphaned. Called once, under its lock.
    virtual void forget(attempt_base& what, bool landed) noexcept = 0;

protected:
    ~attempt_owner() = default;
};

class attempt_base {
public:
    attempt_base(const attempt_base&) = delete;
    attempt_base& operator=(const attempt_base&) = delete;

    static void* operator new(std::size_t size)
    {
        return allocate_frame(size);
    }
    static void* operator new(std::size_t size, std::align_val_t alignment)
    {
        return ::operator new(size, alignment);
    }
    static void operator delete(void* block, std::size_t size) noexcept
    {
        free_frame(block, size);
    }
    static void operator delete(void* block, std::size_t, std::align_val_t alignment) noexcept
    {
        ::operator delete(block, alignment);
    }

    void ref() noexcept
    {
        refs_.fetch_add(1, std::memory_order_relaxed);
    }
    void unref() noexcept
    {
        if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete this;
    }

    /// Becomes interested in it; false if it does not fly any more.
    [[nodiscard]] bool join() noexcept
    {
        const spin_guard hold{lock};
        if (state_ != state::flying)
            return false;
        ++interested_;
        ++joined_;
        return true;
    }
    /// Under the lock: one who has joined is not interested any more. The context of the work if it is to be cancelled,
    /// counted.
    [[nodiscard]] cancel_node* leave() noexcept;
    static void cancel_work(cancel_node* work) noexcept;

    /// Under the lock, or after having been woken.
    bool landed() const noexcept
    {
        return state_ == state::landed;
    }
    /// Once it has landed: whether more than one had joined.
    bool shared() const noexcept
    {
        return joined_ > 1;
    }

    /// Makes the context in which the work runs.
    context open_context(turn& here);
    /// The outcome has been written. Once.
    void land() noexcept;

    virtual bool succeeded() const noexcept = 0;

    spinlock lock;
    waiter_list waiters;

protected:
    explicit attempt_base(attempt_owner& of) noexcept : owner_{of}
    {
    }
    virtual ~attempt_base();

private:
    enum class state : unsigned char { flying, landed, orphaned };

    attempt_owner& owner_;
    atomic<std::uint32_t> refs_{1};
    std::uint32_t interested_ = 1;
    std::uint32_t joined_ = 1;
    state state_ = state::flying;
    cancel_node* work_ = nullptr;
};

template <class T>
class attempt : public attempt_base {
public:
    explicit attempt(attempt_owner& of) noexcept : attempt_base{of}
    {
    }
    bool succeeded() const noexcept override
    {
        return result.has_value();
    }
    /// Runs f, which does not suspend, and lands.
    template <class F>
    void run(F& f) noexcept
    {
        try {
            if constexpr (std::is_void_v<T>) {
                static_cast<void>(f());
                result.emplace();
            } else {
                result.emplace(f());
            }
        } catch (...) {
            result.fail(std::current_exception());
        }
        land();
    }
    outcome<T> result;
};

/// The work's hold on its attempt. Lands it when the work has ended or been destroyed.
template <class T>
class attempt_pilot {
public:
    explicit attempt_pilot(attempt<T>& of) noexcept : of_{&of}
    {
        of.ref();
    }
    attempt_pilot(attempt_pilot&& other) noexcept : of_{std::exchange(other.of_, nullptr)}
    {
    }
    attempt_pilot& operator=(attempt_pilot&&) = delete;
    ~attempt_pilot()
    {
        if (of_ == nullptr)
            return;
        if (of_->result.empty())
            of_->result.fail(of_->result.thrown());
        of_->land();
        of_->unref();
    }
    attempt<T>& operator*() const noexcept
    {
        return *of_;
    }

private:
    attempt<T>* of_;
};

/// What the work's task runs. The function and what it holds are gone when the callers are woken.
template <class T, class F>
class attempt_work {
public:
    attempt_work(attempt<T>& of, F&& f) : pilot_{of}, f_(std::move(f))
    {
    }
    attempt_work(attempt_work&& other) noexcept(std::is_nothrow_move_constructible_v<F>)
        : pilot_{std::move(other.pilot_)}, f_(std::move(other.f_))
    {
    }

    task<> operator()()
    {
        attempt<T>& mine = *pilot_;
        try {
            if constexpr (std::is_void_v<T>) {
                static_cast<void>(co_await f_());
                mine.result.emplace();
            } else {
                mine.result.emplace(co_await f_());
            }
        } catch (...) {
            mine.result.fail(std::current_exception());
        }
    }

private:
    attempt_pilot<T> pilot_;
    F f_;
};

/// Begins the work of a new attempt: runs it, if it is no coroutine.
template <class T, class F>
void begin_work(attempt<T>& what, F&& f, turn& here, std::string_view name)
{
    if constexpr (is_task<std::invoke_result_t<F&>>) {
        attempt_work<T, F> work{what, std::move(f)};
        const context under = what.open_context(here);
        leat::spawn(std::move(work), {.name = name, .context = under}).detach();
    } else {
        what.run(f);
    }
}

/// Joins the attempt that an owner knows, or has it know a new one. The Owner has
///     spinlock lock_;
///     attempt* current(key...);           under the lock: the one that flies, or null
///     bool settled(key...);               under the lock: there is nothing to attempt any more
///     attempt* make(key...);              without
///     void enter(attempt&);               under the lock: flies from now on
/// Result  null if it is settled. Else counted for the caller, who is interested in it.
template <class Owner, class... Key>
auto* join_or_begin(Owner& owner, bool& begins, const Key&... key)
{
    using pointer = decltype(owner.make(key...));
    struct let_go {
        void operator()(pointer spare) const noexcept
        {
            spare->unref();
        }
    };
    owned<std::remove_pointer_t<pointer>, let_go> fresh;
    pointer found = nullptr;
    for (;;) {
        bool settled = false;
        {
            const spin_guard hold{owner.lock_};
            settled = owner.settled(key...);
            found = settled ? nullptr : owner.current(key...);
            if (found != nullptr) {
                found->ref();
            } else if (!settled && fresh) {
                owner.enter(*fresh);
                begins = true;
                return fresh.release();
            }
        }
        if (settled)
            return pointer{nullptr};
        if (found == nullptr)
            fresh.reset(owner.make(key...));
        else if (found->join())
            return found;
        else
            found->unref();
    }
}

/// Waits for an attempt to land. What derives from it finds, or begins, the attempt in prepare().
template <class T>
class attempt_waiter : public waiter {
public:
    spinlock& source() noexcept final
    {
        return on_ != nullptr ? on_->lock : alone_;
    }
    bool try_complete(wake_list&) noexcept final
    {
        return on_ == nullptr || on_->landed();
    }
    void link() noexcept final
    {
        on_->waiters.push_back(*this);
    }
    void unlink() noexcept final
    {
        on_->waiters.remove(*this);
        if (std::exchange(interested_, false))
            to_cancel_ = on_->leave();
    }
    void unlinked() noexcept final
    {
        attempt_base::cancel_work(std::exchange(to_cancel_, nullptr));
    }
    std::error_code error() const noexcept
    {
        return {};
    }

protected:
    attempt_waiter() noexcept = default;
    ~attempt_waiter()
    {
        let_go();
    }
    /// Takes over what join_or_begin() gave.
    void wait_for(attempt<T>* joined) noexcept
    {
        on_ = joined;
        interested_ = joined != nullptr;
    }
    void let_go() noexcept
    {
        if (on_ == nullptr)
            return;
        if (std::exchange(interested_, false)) {
            {
                const spin_guard hold{on_->lock};
                to_cancel_ = on_->leave();
            }
            unlinked();
        }
        std::exchange(on_, nullptr)->unref();
    }
    /// Its attempt has landed. Throws what that has failed with.
    attempt<T>& landed()
    {
        if (const std::exception_ptr why = failure_of_landed())
            std::rethrow_exception(why);
        return *on_;
    }
    std::exception_ptr failure_of_landed() noexcept
    {
        interested_ = false;
        return on_->result.thrown();
    }
    bool waits() const noexcept
    {
        return on_ != nullptr;
    }

private:
    attempt<T>* on_ = nullptr;
    bool interested_ = false;
    cancel_node* to_cancel_ = nullptr;
    spinlock alone_;  ///< the source if there is nothing to wait for
};

/// What as_result() gives of an operation that waits for an attempt.
template <class Op>
auto result_of_attempt(Op& op)
{
    using value_type = typename Op::value_type;
    const std::exception_ptr why = op.failure();
    if (why)
        return result<value_type>{why};
    if constexpr (std::is_void_v<value_type>)
        return result<value_type>{};
    else if constexpr (std::is_reference_v<value_type>)
        return result<value_type>{op.value()};
    else
        return result<value_type>{std::in_place, op.value()};
}

}  // namespace leat::detail
