#pragma once

#include <leat/detail/frame_pool.hpp>

#include <cstddef>
#include <new>

namespace leat::detail {

/// The base of what is made and freed often, on any thread: its memory comes from the frame pool, unless it needs a
/// stricter alignment than that gives.
template <std::size_t Alignment>
class pooled {
public:
    static void* operator new(std::size_t size)
    {
        if constexpr (Alignment > 16)
            return ::operator new(size, std::align_val_t{Alignment});
        else
            return allocate_frame(size);
    }
    static void operator delete(void* memory, std::size_t size) noexcept
    {
        if constexpr (Alignment > 16)
            ::operator delete(memory, std::align_val_t{Alignment});
        else
            free_frame(memory, size);
    }
};

}  // namespace leat::detail
