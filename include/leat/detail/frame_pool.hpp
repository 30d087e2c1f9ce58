// Memory for coroutine frames: caches of threads before a central store. How it works: lib/frame_pool.cpp.
#pragma once

#include <cstddef>

namespace leat::detail {

/// Memory for a coroutine frame or a block of a task, aligned to 16.
///
/// Result   never null; the content is indeterminate. A size of zero counts as one.
/// Throws   bad_alloc: the system has no memory, or fail_next_frames() asked for it.
/// Threads  any thread, also while and after its thread-local objects are destroyed.
[[nodiscard, gnu::noinline]] void* allocate_frame(std::size_t size);

/// Takes back what allocate_frame(size) returned, on whichever thread. `size` must be the one asked for.
///
/// Threads  any thread, also while and after its thread-local objects are destroyed.
[[gnu::noinline]] void free_frame(void* frame, std::size_t size) noexcept;

/// Gives back what this thread holds ready, and with it what the pool keeps for bursts that recur: for a
/// thread that has been idle for some milliseconds and is about to sleep for long. A thread that ends gives
/// back its own by itself.
void flush_frames() noexcept;

/// Returns to the system whatever is wholly free: this thread's cache, what the centre holds ready, and the
/// reserve. Other threads keep their caches. Costs system calls; for once a burst is over.
void trim_frames() noexcept;

/// Blocks count with the size they were rounded up to.
struct frame_stats {
    std::size_t live_bytes = 0;    ///< allocated and not freed
    std::size_t cached_bytes = 0;  ///< free, and held ready by a thread or by the centre
    std::size_t system_bytes = 0;  ///< from the system: live, cached, the rest of their spans, the reserve
};

/// Exact while no other thread allocates or frees; otherwise each figure is near the truth at some moment.
frame_stats frame_pool_stats() noexcept;

/// Whether frames are recycled at all: not under sanitizers and Valgrind, from which it would hide use after
/// free. Settled by the first call of anything in this file, for the whole life of the process.
bool frames_are_cached() noexcept;

/// For tests: when `after` more have succeeded, the next `n` allocate_frame() of this thread throw bad_alloc. Zero
/// ends it. Result: how many of those asked for before have not come to pass.
std::size_t fail_next_frames(std::size_t n, std::size_t after = 0) noexcept;

}  // namespace leat::detail
