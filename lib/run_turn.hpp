// The inner loop of every scheduler: one turn of one task.
#pragma once

#include <leat/detail/park.hpp>

namespace leat::detail {

/// How many ready operations a task may complete before it has to let others run.
constexpr std::int32_t turn_budget = 128;

/// The turn on this thread; see current_turn().
void set_current_turn(turn* to) noexcept;

/// Resumes a task until it has parked, yielded or ended. Afterwards it is not touched: it may run elsewhere
/// or have gone.
void run_turn(turn& here, task_root& root) noexcept;

}  // namespace leat::detail
