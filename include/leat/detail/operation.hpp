// Awaiting an operation: one waiter on one source.
//
// An operation is a waiter that also has
//     using value_type = ...;
//     void prepare(turn&);               called once, by the task, before its source is asked for
//     std::error_code error() const;     after completion: why it has no value, or zero
//     value_type value();                after completion without error
// and may have
//     result<value_type> take_result();  instead of value(), for as_result
//     bool ending() const;               complete, although the task's own context has ended
//     static constexpr bool shielded;    true: deaf to the task's context
//     static constexpr bool mostly_waits;  true: a task that has to enrol does before it asks, unless must_wait()
//                                        says otherwise, and not while it has the lock
//     bool try_quick() noexcept;         completes without the source's lock, or says false and has done nothing;
//                                        called by the task, after prepare(), before anything else is
//     bool is_there();                   prepare() begins something: user's code, that may be wasted. So select asks this
//                                        instead, by the task, whether it is complete without that; and prepares it
//                                        only if it, and all other cases, are not
//     static constexpr bool holds;       true: once complete it has something that others wait for: a lock, a permit.
//                                        A task whose budget is used up then lets others run before it asks, not
//                                        when it has it, when they could only queue up behind it
//     bool contends() const noexcept;    with holds: the task has been woken not because the operation is complete, but
//                                        to try again. It does before its frame goes on (turn_hook), with
//                                        try_complete(), and link() if it has to wait again; or it gives up,
//                                        with unlink(), and another has to be woken instead
// Everything else that can wait (select, joins of many) is built on the same protocol; see park.hpp.
#pragma once

#include <leat/detail/park.hpp>
#include <leat/result.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <new>
#include <system_error>
#include <type_traits>
#include <utility>

namespace leat::detail {

template <class Op>
concept operation = std::derived_from<Op, waiter> && requires(Op& op, turn& here) {
    typename Op::value_type;
    op.prepare(here);
    { op.error() } -> std::convertible_to<std::error_code>;
    op.value();
};

template <class Op>
constexpr bool is_shielded = false;
template <class Op>
    requires requires { Op::shielded; }
constexpr bool is_shielded<Op> = Op::shielded;

template <class Op>
constexpr bool is_holding = false;
template <class Op>
    requires requires { Op::holds; }
constexpr bool is_holding<Op> = Op::holds;

template <class Op>
concept quick_operation = requires(Op& op) {
    { op.try_quick() } noexcept -> std::same_as<bool>;
};
template <class Op>
concept beginning_operation = requires(Op& op) {
    { op.is_there() } -> std::same_as<bool>;
};
template <class Op>
concept contending_operation = requires(const Op& op) {
    { op.contends() } noexcept -> std::same_as<bool>;
};

/// Whether an operation can be one of several that are waited for. Not if its source has to be told after it
/// has been published, when the task may have gone.
template <class Op>
concept selectable_operation = operation<Op> && !requires(spinlock& source) { Op::published(source); };

/// Whether an operation is complete because the task's context has ended: done().
template <class Op>
bool completes_when_stopped(const Op& op) noexcept
{
    if constexpr (requires { op.ending(); })
        return op.ending();
    else
        return false;
}

/// Whether it does not look at the context of the task that awaits it, nor at whether it has one.
template <class A>
constexpr bool in_any_context = false;
template <class A>
    requires requires { A::in_any_context; }
constexpr bool in_any_context<A> = A::in_any_context;

/// Throws what the end of the task's context is reported as: cancelled_error with the cause, or
/// timed_out_error.
[[noreturn]] void throw_stopped(task_root& root);

/// Queues the running task behind the others. The caller suspends.
void yield_turn(task_root& root) noexcept;

/// A turn_hook that is made when it is needed: until then it costs its awaiter nothing.
template <class Awaiter>
class late_turn_hook {
    class hook final : public turn_hook {
    public:
        explicit hook(Awaiter& of) noexcept : of_{of}
        {
        }
        bool begin_turn(turn& here) noexcept override
        {
            return of_.begin_turn(here);
        }

    private:
        Awaiter& of_;
    };

public:
    late_turn_hook() noexcept
    {
    }
    turn_hook* make(Awaiter& of) noexcept
    {
        static_assert(std::is_trivially_destructible_v<hook>);
        return ::new (static_cast<void*>(space_)) hook{of};
    }

private:
    alignas(hook) std::byte space_[sizeof(hook)];
};

class no_turn_hook {};

/// The awaiter of an operation. Throwing says whether failure is thrown or returned.
template <operation Op, bool Throwing>
class operation_awaiter {
    enum class state : unsigned char { fresh, asked, complete, refused, parked };
    static constexpr bool hooked = is_holding<Op>;
    static_assert(hooked || !contending_operation<Op>);
    using hook_space = std::conditional_t<hooked, late_turn_hook<operation_awaiter>, no_turn_hook>;
    friend hook_space;

    Op& op_;
    spinlock* source_;  ///< once it has been asked
    state state_ = state::fresh;
    [[no_unique_address]] hook_space hook_;

public:
    operation_awaiter(Op& op, task_root& root) noexcept : op_{op}
    {
        op_.root = &root;
    }
    operation_awaiter(const operation_awaiter&) = delete;
    operation_awaiter& operator=(const operation_awaiter&) = delete;
    ~operation_awaiter()
    {
        if (state_ == state::parked) [[unlikely]]
            unlink();
    }

    // Leaves the source locked if the operation has to wait: await_suspend() goes on from there. Nothing
    // but the saving of the frame happens in between.
    bool await_ready() noexcept(noexcept(op_.prepare(std::declval<turn&>())))
    {
        Op& op = op_;
        task_root& in = root();
        turn& here = *in.now;
        if (!is_shielded<Op> && in.stop_requested()) [[unlikely]] {
            refuse();
            return true;
        }
        op.prepare(here);
        if constexpr (requires { Op::mostly_waits; })
            if (op.must_wait()) [[likely]]
                in.enroll();
        if constexpr (hooked)
            if (here.budget <= 1) [[unlikely]]
                return false;
        return try_now(op, here) && (hooked || here.budget > 0);
    }

    bool await_suspend(std::coroutine_handle<> frame) noexcept
    {
        root().current = frame;
        root().now->left = true;
        if (state_ == (hooked ? state::fresh : state::complete)) {
            hook();
            yield_turn(root());
            return true;
        }
        return park();
    }

    decltype(auto) await_resume()
    {
        if (!hooked && state_ == state::parked) {
            state_ = state::complete;
            if (root().finish_park() == task_root::by_context) [[unlikely]] {
                unlink();
                refuse();
            }
        }
        if constexpr (Throwing) {
            if (state_ == state::refused) [[unlikely]]
                throw_stopped(root());
            if (const std::error_code why = op_.error()) [[unlikely]]
                throw_error(why);
            return op_.value();
        } else {
            using answer = result<typename Op::value_type>;
            if (state_ == state::refused)
                return answer{make_error_code(root().stop_reason())};
            if (const std::error_code why = op_.error())
                return answer{why};
            if constexpr (requires { op_.take_result(); }) {
                return op_.take_result();
            } else if constexpr (std::is_void_v<typename Op::value_type>) {
                op_.value();
                return answer{};
            } else if constexpr (std::is_reference_v<typename Op::value_type>) {
                return answer{op_.value()};
            } else {
                return answer{std::in_place, op_.value()};
            }
        }
    }

private:
    // The operation knows it; to say it twice would make every frame that waits larger.
    task_root& root() const noexcept
    {
        return *op_.root;
    }

    // True: complete. Else the source is locked.
    bool try_now(Op& op, turn& here) noexcept
    {
        if constexpr (quick_operation<Op>)
            if (op.try_quick()) [[likely]] {
                state_ = state::complete;
                --here.budget;
                return true;
            }
        source_ = &op.source();
        source_->lock();
        wake_list wakes;
        if (!op.try_complete(wakes)) {
            state_ = state::asked;
            return false;
        }
        source_->unlock();
        wakes.flush(&here);
        state_ = state::complete;
        --here.budget;
        return true;
    }

    // With the source locked, which it no longer is afterwards. True: the task is parked, and maybe gone on.
    bool park() noexcept
    {
        if (!root().enrolled()) [[unlikely]] {
            source_->unlock();
            root().enroll();
            source_->lock();
            wake_list wakes;
            if (op_.try_complete(wakes)) {
                source_->unlock();
                wakes.flush(root().now);
                state_ = state::complete;
                return false;
            }
        }
        state_ = state::parked;
        root().waits_for(op_.kind(), &op_);
        hook();
        spinlock& source = *source_;
        if constexpr (is_shielded<Op>) {
            root().prepare_shielded_park();
            op_.link();
            source.unlock();
            return true;
        }
        switch (root().prepare_park()) {
        case park_result::parked: op_.link(); break;
        case park_result::claimed: break;
        case park_result::refused:
            source.unlock();
            root().on_turn = nullptr;
            give_up();
            return false;
        }
        source.unlock();
        // The task may be running elsewhere, or be gone; its source lives.
        if constexpr (requires { Op::published(source); })
            Op::published(source);
        return true;
    }

    void hook() noexcept
    {
        if constexpr (hooked)
            root().on_turn = hook_.make(*this);
    }

    // Of a task that has been won, or has yielded before it has asked.
    bool begin_turn(turn& here) noexcept
    {
        if (state_ == state::parked) {
            if (root().finish_park() == task_root::by_context) [[unlikely]] {
                unlink();
                refuse();
                return true;
            }
            bool again = false;
            if constexpr (contending_operation<Op>)
                again = op_.contends();
            if (!again) {
                state_ = state::complete;
                return true;
            }
        }
        if (!is_shielded<Op> && root().stop_requested()) [[unlikely]] {
            give_up();
            return true;
        }
        return try_now(op_, here) || !park();
    }

    // Of an operation that is not in its source's queue.
    void give_up() noexcept
    {
        if constexpr (contending_operation<Op>)
            if (op_.contends())
                unlink();
        refuse();
    }

    void refuse() noexcept
    {
        state_ = completes_when_stopped(op_) ? state::complete : state::refused;
    }

    // Also when the source has already dropped the waiter: whoever dropped it holds the lock until it has
    // let go of it.
    void unlink() noexcept
    {
        source_->lock();
        op_.unlink();
        source_->unlock();
        op_.unlinked();
    }
};

/// The same for operations that are made where they are awaited, from something that is not one.
template <operation Op, bool Throwing>
class owning_awaiter {
public:
    template <class... Args>
    explicit owning_awaiter(task_root& root, Args&&... args)
        : op_{std::forward<Args>(args)...}, awaiter_{op_, root}
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
    Op op_;
    operation_awaiter<Op, Throwing> awaiter_;
};

}  // namespace leat::detail
