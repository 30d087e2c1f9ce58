// Operations for code that is no task: a thread waits for one as a task of its own that parks by blocking.
#pragma once

#include <leat/detail/operation.hpp>
#include <leat/detail/park.hpp>

#include <atomic>
#include <system_error>

namespace leat::detail {

/// Throws usage_error on a worker, which must not block.
void require_no_task();

/// A root that stands for the calling thread. Being scheduled means that the thread goes on.
class thread_parker {
public:
    /// Throws usage_error on a worker, which must not block.
    thread_parker();
    thread_parker(const thread_parker&) = delete;
    thread_parker& operator=(const thread_parker&) = delete;
    ~thread_parker();

    task_root& root() noexcept;
    turn& here() noexcept
    {
        return here_;
    }
    /// Blocks until the root has been scheduled.
    void wait() noexcept;

private:
    class self;
    alignas(16) std::byte space_[384];
    self* self_;
    turn here_;
};

/// Completes an operation if that is possible without waiting.
template <operation Op>
bool complete_now(Op& op)
{
    if (op.must_wait())
        return false;
    turn nowhere;
    op.prepare(nowhere);
    wake_list wakes;
    bool complete = false;
    {
        const spin_guard hold{op.source()};
        complete = op.try_complete(wakes);
    }
    wakes.flush(current_turn());
    return complete;
}

/// Blocks the calling thread until the operation is complete.
template <operation Op>
void complete_blocking(Op& op)
{
    thread_parker parker;
    task_root& root = parker.root();
    op.root = &root;
    op.prepare(parker.here());
    wake_list wakes;
    spinlock& source = op.source();
    source.lock();
    if (op.try_complete(wakes)) {
        source.unlock();
        wakes.flush(nullptr);
        return;
    }
    root.prepare_shielded_park();
    op.link();
    source.unlock();
    parker.wait();
    root.finish_park();
}

/// Waits for an operation by blocking the calling thread.
template <class Op>
    requires operation<std::remove_cvref_t<Op>>
typename std::remove_cvref_t<Op>::value_type wait_blocking(Op&& op)
{
    complete_blocking(op);
    if (const std::error_code why = op.error())
        throw_error(why);
    return op.value();
}

/// The same, with failure as a value.
template <operation Op>
result<typename Op::value_type> wait_blocking_result(Op& op)
{
    complete_blocking(op);
    return op.take_result();
}

}  // namespace leat::detail
