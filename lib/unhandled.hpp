#pragma once

#include <leat/detail/callback.hpp>
#include <leat/detail/park.hpp>
#include <leat/runtime.hpp>

#include <exception>

namespace leat::detail {

/// Tells of a detached task that has failed: the handler, if there is one; else prints it and terminates.
void report_unhandled(const callback<void(const unhandled_failure&)>& handler, const task_root& root,
                      std::exception_ptr thrown) noexcept;

}  // namespace leat::detail
