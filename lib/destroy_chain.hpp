#pragma once

#include <leat/task.hpp>

namespace leat::detail {

/// Destroys the frames of a task that will not run again, innermost first, in a loop, and then tells the
/// root. The park of the task must have been claimed for that, or the task must be in no queue.
inline void destroy_chain(task_root& root) noexcept
{
    std::coroutine_handle<> frame = root.current;
    while (frame) {
        awaiter_base* const above = promise_base::of(frame).awaiter;
        frame.destroy();
        if (above == nullptr)
            break;
        // The parent's awaiter would destroy the child that has just gone.
        above->child = nullptr;
        frame = above->parent;
    }
    root.abandoned();
}

}  // namespace leat::detail
