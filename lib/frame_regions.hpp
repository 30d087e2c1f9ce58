// Where the memory of coroutine frames comes from: regions of the system, cut into spans. frame_pool.cpp tells
// how spans become blocks, and has the whole picture: who changes what, under which lock.
#pragma once

#include <leat/detail/spinlock.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace leat::detail::frames {

constexpr std::size_t span_bytes = std::size_t{64} << 10;
constexpr std::size_t spans_per_region = 64;
constexpr std::size_t region_bytes = span_bytes * spans_per_region;
constexpr std::size_t header_bytes = 4096;

/// Spans kept ready for reuse: at least so many, at most so many, and one more for every so many in use.
constexpr std::size_t reserve_least = 4;
constexpr std::size_t reserve_most = 512;
constexpr std::size_t reserve_share = 16;

/// Memory that is nobody's at the moment.
struct block {
    block* next;
    block* next_magazine;  // in the first block of a magazine that the centre holds
};

struct span {
    block* free;  // of those handed out before
    span* prev;   // in its class's list of spans that have blocks; `next` also in the reserve
    span* next;
    std::uint32_t out;
    std::uint32_t carved;  // blocks handed out at least once: those behind were never touched
    std::uint32_t blocks;
    std::uint32_t index;  // class
};

struct region {
    region* prev;  // in the list of regions with clean spans
    region* next;
    std::uint64_t clean;  // a bit per span that is neither in use nor in the reserve: it holds no memory
    std::array<span, spans_per_region> spans;
};

static_assert(sizeof(region) <= header_bytes);

constexpr std::uint64_t all_clean = ~std::uint64_t{0};

inline region* region_of(const void* address) noexcept
{
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    return reinterpret_cast<region*>(reinterpret_cast<std::uintptr_t>(address) & ~(region_bytes - 1));
}

inline unsigned number_of(const span* s) noexcept
{
    return static_cast<unsigned>(s - region_of(s)->spans.data());
}

inline span* span_of(const block* b) noexcept
{
    region* const r = region_of(b);
    const auto offset = reinterpret_cast<std::uintptr_t>(b) - reinterpret_cast<std::uintptr_t>(r);
    return &r->spans[offset / span_bytes];
}

inline std::byte* begin_of(const span* s) noexcept
{
    const std::size_t number = number_of(s);
    auto* const base = reinterpret_cast<std::byte*>(region_of(s));
    return number == 0 ? base + header_bytes : base + number * span_bytes;
}

inline std::size_t bytes_of(const span* s) noexcept
{
    return number_of(s) == 0 ? span_bytes - header_bytes : span_bytes;
}

/// The spans without a class. Any thread may call anything; no system call is made under the lock.
class region_store {
public:
    constexpr region_store() noexcept = default;

    /// A span without a class. Null if the system has none.
    span* take() noexcept;
    /// A span of which no block is out.
    void give(span* s) noexcept;
    /// Forgets what bursts there were.
    void relax() noexcept;
    void trim() noexcept;
    std::size_t bytes() noexcept;

private:
    /// From `fresh`, which joins the list, if it is not null; else from the reserve, or a region.
    span* take_mapped(region* fresh) noexcept;
    void forget(bool some) noexcept;
    /// Returns spans to the system, one at a time, until no more are reserved than should: `some`, or none.
    void shrink(bool some) noexcept;
    void link(region* r) noexcept;
    void unlink(region* r) noexcept;

    spinlock lock_;
    region* first_ = nullptr;  // of those that have both clean spans and others
    region* idle_ = nullptr;   // the one wholly clean region that is kept
    span* reserve_ = nullptr;  // spans that still hold memory
    std::size_t reserved_ = 0;
    std::size_t used_ = 0;
    std::size_t regions_ = 0;

    // How many to keep. One burst is returned at once; if spans are wanted back that had been returned, more
    // are kept the next time; if some were kept for nothing over many give()s, or on relax(), fewer.
    std::size_t allowance_ = reserve_least;
    std::size_t released_ = 0;  // to the system, and not wanted since
    std::size_t low_ = 0;       // the least reserved_ lately
    std::size_t gives_ = 0;     // since low_ was set
};

}  // namespace leat::detail::frames
