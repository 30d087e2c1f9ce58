#pragma once

#include "for_each_task.hpp"

#include <leat/task.hpp>

#include <algorithm>
#include <vector>

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

/// The youngest first: a child refers to its parent's frame, never the other way round.
inline void destroy_chains(std::vector<task_root*>& left) noexcept
{
    std::sort(left.begin(), left.end(),
              [](const task_root* a, const task_root* b) { return a->id() > b->id(); });
    for (task_root* const root : left)
        destroy_chain(*root);
    left.clear();
}

/// Claims every parked task whose scheduler `is_one` says is meant.
template <class IsOne>
void claim_parked_tasks(std::vector<task_root*>& into, IsOne is_one)
{
    cancel_node::for_each_task([&](task_root& root) {
        if (is_one(root.sched()) && root.claim_for_shutdown() != claim_result::lost)
            into.push_back(&root);
    });
}

}  // namespace leat::detail
