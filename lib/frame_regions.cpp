#include "frame_regions.hpp"

#include <algorithm>
#include <bit>
#include <mutex>
#include <new>
#include <utility>

#include <sys/mman.h>

namespace leat::detail::frames {
namespace {

/// Null if the system has none.
region* map_region() noexcept
{
    constexpr std::size_t asked = 2 * region_bytes;  // has an aligned region in it somewhere
    void* const got = ::mmap(nullptr, asked, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED)
        return nullptr;
    auto* const begin = static_cast<std::byte*>(got);
    region* const r = region_of(begin + region_bytes - 1);
    auto* const base = reinterpret_cast<std::byte*>(r);
    if (base != begin)
        ::munmap(begin, static_cast<std::size_t>(base - begin));
    if (base + region_bytes != begin + asked)
        ::munmap(base + region_bytes, static_cast<std::size_t>(begin + asked - (base + region_bytes)));
    region* const made = ::new (static_cast<void*>(r)) region;  // the descriptors are written when used
    made->prev = made->next = nullptr;
    made->clean = all_clean;
    return made;
}

void unmap_region(region* r) noexcept
{
    if (r != nullptr)
        ::munmap(static_cast<void*>(r), region_bytes);
}

}  // namespace

span* region_store::take() noexcept
{
    if (span* const s = take_mapped(nullptr))
        return s;
    region* const fresh = map_region();
    return fresh == nullptr ? nullptr : take_mapped(fresh);
}

void region_store::give(span* s) noexcept
{
    {
        std::lock_guard guard{lock_};
        --used_;
        s->next = reserve_;
        reserve_ = s;
        ++reserved_;
        if (++gives_ > 8 * allowance_ + 64) {
            // `low_` spans lay in the reserve all the time, bursts included.
            allowance_ = std::max(reserve_least, allowance_ - std::min(allowance_, (low_ + 1) / 2));
            low_ = reserved_;
            gives_ = 0;
        }
    }
    shrink(true);
}

void region_store::relax() noexcept
{
    forget(true);
}

void region_store::trim() noexcept
{
    forget(false);
    region* idle = nullptr;
    {
        std::lock_guard guard{lock_};
        idle = std::exchange(idle_, nullptr);
        if (idle != nullptr)
            --regions_;
    }
    unmap_region(idle);
}

std::size_t region_store::bytes() noexcept
{
    std::lock_guard guard{lock_};
    return (used_ + reserved_) * span_bytes + regions_ * header_bytes;
}

span* region_store::take_mapped(region* fresh) noexcept
{
    std::lock_guard guard{lock_};
    if (fresh != nullptr) {
        link(fresh);
        ++regions_;
    }
    span* s = reserve_;
    if (fresh == nullptr && s != nullptr) {
        reserve_ = s->next;
        low_ = std::min(low_, --reserved_);
    } else {
        if (released_ != 0) {
            // Had it been kept, this span would have saved two system calls and its page faults.
            --released_;
            allowance_ = std::min(reserve_most, allowance_ + 1);
        }
        if (first_ == nullptr) {
            if (idle_ == nullptr)
                return nullptr;
            link(std::exchange(idle_, nullptr));
        }
        region* const r = first_;
        s = &r->spans[static_cast<unsigned>(std::countr_zero(r->clean))];
        r->clean &= r->clean - 1;
        if (r->clean == 0)
            unlink(r);
    }
    ++used_;
    return s;
}

void region_store::forget(bool some) noexcept
{
    {
        std::lock_guard guard{lock_};
        allowance_ = reserve_least;
    }
    shrink(some);
    std::lock_guard guard{lock_};
    released_ = 0;  // nor is what went now to be missed later
}

void region_store::shrink(bool some) noexcept
{
    for (;;) {
        span* s = nullptr;
        {
            std::lock_guard guard{lock_};
            if (reserved_ <= (some ? allowance_ + used_ / reserve_share : 0))
                return;
            s = reserve_;
            reserve_ = s->next;
            low_ = std::min(low_, --reserved_);
            ++released_;
        }
        // A failure leaves the memory where it is, to be used again.
        (void)::madvise(begin_of(s), bytes_of(s), MADV_DONTNEED);
        region* const r = region_of(s);
        region* surplus = nullptr;
        {
            std::lock_guard guard{lock_};
            if (r->clean == 0)
                link(r);
            r->clean |= std::uint64_t{1} << number_of(s);
            if (r->clean == all_clean) {
                unlink(r);
                if (some && idle_ == nullptr) {
                    idle_ = r;
                } else {
                    surplus = r;
                    --regions_;
                }
            }
        }
        unmap_region(surplus);
    }
}

void region_store::link(region* r) noexcept
{
    r->prev = nullptr;
    r->next = first_;
    if (first_ != nullptr)
        first_->prev = r;
    first_ = r;
}

void region_store::unlink(region* r) noexcept
{
    (r->prev != nullptr ? r->prev->next : first_) = r->next;
    if (r->next != nullptr)
        r->next->prev = r->prev;
}

}  // namespace leat::detail::frames
