// The tasks that when_all(), when_any() and when_all_settled() run side by side, and whoever waits for them.
//
// Forking is meant to cost little more than a call, so a forked task has next to nothing of its own: its root lies
// in the frame of its owner, who waits for it, and its context is not made before somebody looks at it.
//
// Contexts. A forked task is *unsettled* at first: it has no context. Before its first operation that heeds one, and
// before it derives one or spawns, it settles: its scope makes its node, once, a child of the owner's context, for
// which the owner has to settle first if it is itself a forked task, and so on up. From then on everything is as if
// the node had always been there: if the scope was cancelled before, the node is born cancelled; if a context above was,
// it is as well. Until then nobody can tell the difference, because nobody looks: a task that computes and forks
// but never waits costs no context. The node ends with the scope.
//
// An owner that waits for forked tasks is in no list either: nobody could find it but its children. It is *unknown*.
// When its scope makes a node, the child that settles enrols the owner, which is parked, and acts for it: the owner becomes
// known, and with it, because they settle first, everybody above. So above every task that is parked all owners
// are known, for reports and for the end of the runtime. The end finds the unknown ones through the tasks it takes
// out of queues; when it looks, no worker runs any more. (Rejected: a list of owners for each worker. It costs two locks
// per fork, a third of all of it, for what a report would show of tasks that compute.)
//
// The end. state_ holds the number of children that have not ended, and whether the owner is known.
//
//   unknown    A child's end is a compare-and-swap, which fails if the owner has become known. The last one has the
//              owner to itself, for nobody else knows it, and makes it run next, without a claim.
//   known      Reports, cancellers and the end of the runtime may be at the owner's park word. A child's end is counted
//              under lock_, and the last one claims the owner there. If the end of the runtime was faster, the owner
//              is being destroyed: its scope's destructor waits, with the lock, until nobody is left.
//
// unknown becomes known once, under lock_, by somebody who is below a child that has not ended, or by the end of the
// runtime, which runs alone. Acquire and release on state_ hand what the children did to the last, and through the queue to
// the owner. After its count nobody touches scope or root again, except the last for the owner.
//
// The owner launches its children when it waits, after it has parked; the scope stays until the last that it launches has
// ended, so that one is the last thing it touches. The first child runs next, the others are stacked, for thieves
// and then for this worker.
#pragma once

#include <leat/detail/context_node.hpp>
#include <leat/detail/frame_pool.hpp>
#include <leat/detail/outcome.hpp>
#include <leat/detail/scope_verdict.hpp>
#include <leat/task.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <vector>

namespace leat::detail {

/// The root of a forked task. Lies in the owner's frame, and is made before the scope, so that it goes after it.
class forked_root : public task_root {
public:
    /// Takes over the frame. By the owner, through fork_scope::add().
    void begin(fork_scope& scope, scheduler& where, stop_state& unsettled, std::uint32_t index,
               std::coroutine_handle<> frame) noexcept
    {
        scope_ = &scope;
        index_ = index;
        sched_ = &where;
        stop_ = &unsettled;
        current = frame;
        promise_base& promise = promise_base::of(frame);
        promise.root = this;
#if LEAT_REGISTRY
        place_ = promise.where;
#endif
    }

    void own_context() override;
    fork_scope* forked_in() const noexcept override
    {
        return scope_;
    }

protected:
    forked_root() noexcept = default;
    ~forked_root() override = default;

    /// What is left to do when the task has ended and its frame is gone. The root may be gone afterwards.
    void ended(turn* by) noexcept;
    /// The same for one that has thrown, whose frame is not gone yet.
    void failed(std::exception_ptr thrown, turn& here) noexcept;

private:
    void settle_context() override;

    friend class fork_scope;

    fork_scope* scope_ = nullptr;
    std::uint32_t index_ = 0;
};

template <class T>
class forked_task final : public forked_root {
public:
    outcome<T> result;

private:
    void finished(turn& here) noexcept override
    {
        static_cast<task_promise_base<T>&>(promise_base::of(current)).result.move_to(result);
        if (result.has_value()) [[likely]] {
            current.destroy();
            ended(&here);
        } else {
            failed(result.thrown(), here);
        }
    }
    void abandoned() noexcept override
    {
        ended(nullptr);
    }
};

class fork_scope final : public scope_verdict {
public:
    fork_scope(task_root& owner, scope_policy policy) noexcept
        : scope_verdict{policy}, owner_{owner}, unsettled_{never_stopped()}
    {
    }
    ~fork_scope()
    {
        if (state_.load(std::memory_order_acquire) != 0) [[unlikely]]
            leave_known();
    }

    /// Takes a task that join() is to run. Nothing is thrown: what fails fails the scope.
    template <class T>
    void add(forked_task<T>& child, task<T>& what, std::size_t index) noexcept
    {
        if (const std::coroutine_handle<> frame = what.release()) [[likely]] {
            child.begin(*this, *owner_.now->sched, unsettled_, static_cast<std::uint32_t>(index), frame);
            child.queued = forked_;
            forked_ = &child;
            added_ += one;
        } else {
            refuse(child.result);
        }
    }

    /// Runs what has been added, and waits until all have ended. Deaf to cancellation, because leaving early would leave
    /// them behind. To be awaited by the owner, once.
    class join_awaiter {
    public:
        explicit join_awaiter(fork_scope& of) noexcept : of_{of}
        {
        }
        bool await_ready() const noexcept
        {
            return of_.forked_ == nullptr;
        }
        void await_suspend(std::coroutine_handle<> frame) const noexcept
        {
            of_.launch(frame);
        }
        void await_resume() const noexcept
        {
            of_.owner_.finish_park();
        }

    private:
        fork_scope& of_;
    };
    class join_operation {
    public:
        static constexpr bool in_any_context = true;

        explicit join_operation(fork_scope& of) noexcept : of_{of}
        {
        }
        join_awaiter await_in(task_root&) const noexcept
        {
            return join_awaiter{of_};
        }

    private:
        fork_scope& of_;
    };
    join_operation join() noexcept
    {
        return join_operation{*this};
    }

    /// After the end: throws what the scope has to throw.
    void rethrow()
    {
        if (!all_well()) [[unlikely]]
            rethrow_failure();
    }

private:
    friend class forked_root;
    friend void add_unknown_owners(task_root& leaf, std::vector<task_root*>& into);

    static constexpr std::uint32_t known = 1;
    static constexpr std::uint32_t one = 2;  ///< child

    template <class T>
    void refuse(outcome<T>& slot) noexcept
    {
        try {
            throw_consumed_task();
        } catch (...) {
            slot.fail(std::current_exception());
            if (note_body(std::current_exception(), false))
                cancel(std::current_exception());
        }
    }
    void launch(std::coroutine_handle<> frame) noexcept;
    void child_ended(std::uint32_t index, std::exception_ptr thrown, bool stopped, turn* by) noexcept;
    void count_end(turn* by) noexcept;
    void cancel(const std::exception_ptr& cause) noexcept;
    cancel_node& context(turn* by);
    void make_context(turn* by);
    task_root* reveal_owner() noexcept;
    std::uint32_t live() const noexcept;
    void leave_known() noexcept;
    void rethrow_failure();

    atomic<std::uint32_t> state_{0};
    bool cancelled_ = false;     ///< under lock_
    bool ended_itself_ = false;  ///< under lock_: cancelled_ came before the end of a context above
    task_root& owner_;
    stop_state& unsettled_;
    task_root* forked_ = nullptr;  ///< the owner's: not launched yet, the last first
    std::uint32_t added_ = 0;      ///< the owner's: as in state_
    atomic<cancel_node*> node_{nullptr};
    std::exception_ptr cause_;  ///< under lock_: of cancelled_
};

/// The roots of as many tasks as a range has.
template <class T>
class forked_tasks {
public:
    explicit forked_tasks(std::size_t count) : bytes_{count * sizeof(forked_task<T>)}
    {
        static_assert(alignof(forked_task<T>) <= 16);
        if (count == 0)
            return;
        first_ = static_cast<forked_task<T>*>(allocate_frame(bytes_));
        for (std::size_t i = 0; i < count; ++i)
            ::new (static_cast<void*>(first_ + i)) forked_task<T>;
        last_ = first_ + count;
    }
    forked_tasks(const forked_tasks&) = delete;
    forked_tasks& operator=(const forked_tasks&) = delete;
    ~forked_tasks()
    {
        if (first_ == nullptr)
            return;
        for (forked_task<T>& each : *this)
            each.~forked_task<T>();
        free_frame(first_, bytes_);
    }

    std::size_t size() const noexcept
    {
        return static_cast<std::size_t>(last_ - first_);
    }
    forked_task<T>& operator[](std::size_t i) noexcept
    {
        return first_[i];
    }
    forked_task<T>* begin() noexcept
    {
        return first_;
    }
    forked_task<T>* end() noexcept
    {
        return last_;
    }

private:
    std::size_t bytes_;
    forked_task<T>* first_ = nullptr;
    forked_task<T>* last_ = nullptr;
};

/// For the end of a runtime, when none of its tasks runs any more: claims the owners that wait for a task, and that
/// nobody else knows. Adds those that it has won.
void add_unknown_owners(task_root& leaf, std::vector<task_root*>& into);

}  // namespace leat::detail
