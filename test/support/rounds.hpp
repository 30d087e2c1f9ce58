// How often a stress test goes round.
#pragma once

#include "scale.hpp"

#include <cstddef>

namespace test {

/// `full` where the code runs at its own speed, fewer where it is instrumented or not optimised.
constexpr int rounds(std::size_t full) noexcept
{
#if defined(__OPTIMIZE__)
    return static_cast<int>(scaled(full));
#else
    return static_cast<int>(scaled(full) / 4 + 1);
#endif
}

}  // namespace test
