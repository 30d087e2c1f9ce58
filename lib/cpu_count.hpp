#pragma once

#include <cstddef>

namespace leat::detail {

/// How many workers a runtime should have: LEAT_WORKERS, else the container's CPU quota (rounded up), else the
/// cores this process may run on. Throws usage_error if LEAT_WORKERS is no positive number.
std::size_t default_workers();

}  // namespace leat::detail
