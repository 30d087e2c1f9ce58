// What waits, is given what it waits for, and is destroyed before its task has run again.
#pragma once

#include "bare_root.hpp"

#include <leat/detail/operation.hpp>

#include <coroutine>
#include <optional>

namespace test {

/// A task of which nothing ever runs but what is called here.
class idle_task {
public:
    idle_task() noexcept
    {
        turn_.root = &root;
        turn_.sched = &sched_;
        turn_.budget = 1000;
        root.now = &turn_;
    }

private:
    no_scheduler sched_;
    test_stop stop_;

public:
    test_root root{sched_, stop_};
    /// Whether it has been won by somebody, to be run.
    bool won() const noexcept
    {
        return !root.can_be_won();
    }
    leat::detail::turn& turn() noexcept
    {
        return turn_;
    }

private:
    leat::detail::turn turn_;
};

/// Waits for an operation that is not complete; calls give(), which has to wake the task; and destroys what waits.
template <class Op, class Give>
bool given_to_await(Op op, Give give)
{
    idle_task task;
    std::optional<leat::detail::operation_awaiter<Op, true>> waits;
    waits.emplace(op, task.root);
    if (waits->await_ready() || !waits->await_suspend(std::noop_coroutine()))
        return false;
    const bool parked = !task.won();
    give();
    const bool won = task.won();
    waits.reset();
    return parked && won;
}

/// The same as a case of a select waits: it can not try again, so it has to be given the thing itself.
template <class Op, class Give>
bool given_to_case(const Op& from, Give give)
{
    idle_task task;
    std::optional<Op> op{from};
    op->root = &task.root;
    op->prepare(task.turn());
    bool complete = false;
    {
        const leat::detail::spin_guard hold{op->source()};
        leat::detail::wake_list wakes;
        complete = op->try_complete(wakes);
        if (!complete) {
            static_cast<void>(task.root.prepare_park());
            op->link();
        }
    }
    const bool parked = !complete && !task.won();
    give();
    const bool won = task.won();
    op.reset();
    return parked && won;
}

}  // namespace test
