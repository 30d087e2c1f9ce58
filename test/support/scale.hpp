// How much of a stress is enough: sanitizers make everything ten to fifty times slower.
#pragma once

#include <cstddef>

namespace test {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool under_asan = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool under_asan = true;
#else
inline constexpr bool under_asan = false;
#endif
#else
inline constexpr bool under_asan = false;
#endif

#if defined(__SANITIZE_THREAD__)
inline constexpr bool under_tsan = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool under_tsan = true;
#else
inline constexpr bool under_tsan = false;
#endif
#else
inline constexpr bool under_tsan = false;
#endif

inline constexpr bool under_sanitizer = under_asan || under_tsan;

/// `count`, or a twentieth of it under a sanitizer.
constexpr std::size_t scaled(std::size_t count) noexcept
{
    return under_sanitizer ? count / 20 + 1 : count;
}

}  // namespace test
