#pragma once

namespace leat::detail {

/// Tells the core that this is a spinning loop.
inline void pause_core() noexcept
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    asm volatile("yield");
#endif
}

}  // namespace leat::detail
