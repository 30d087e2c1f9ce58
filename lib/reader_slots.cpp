#include <leat/detail/reader_slots.hpp>

#include <leat/detail/park.hpp>
#include <leat/detail/thread_slots.hpp>

#include "pause.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <memory>
#include <new>
#include <thread>
#include <type_traits>

namespace leat::detail {
namespace {

// To close them takes the longer the more there are.
std::uint32_t slots_wanted() noexcept
{
    static const std::uint32_t count =
        is_model ? 2 : std::bit_ceil(std::clamp<std::uint32_t>(std::thread::hardware_concurrency(), 2, 16));
    return count;
}

constexpr std::size_t slot_size = 64;
constexpr std::align_val_t slot_alignment{slot_size};

}  // namespace

// What is always read and never written has a line of its own, before the slots.
reader_slots* reader_slots::make() noexcept
{
    static_assert(sizeof(slot) == slot_size && sizeof(reader_slots) <= slot_size);
    const std::uint32_t count = slots_wanted();
    void* const space = ::operator new((count + 1) * slot_size, slot_alignment, std::nothrow);
    return space != nullptr ? ::new (space) reader_slots{count} : nullptr;
}

void reader_slots::free(reader_slots* slots) noexcept
{
    static_assert(std::is_trivially_destructible_v<slot>);
    ::operator delete(static_cast<void*>(slots), slot_alignment);
}

reader_slots::reader_slots(std::uint32_t count) noexcept : mask_{count - 1}
{
    std::byte* const space = reinterpret_cast<std::byte*>(this) + slot_size;
    for (std::uint32_t i = 0; i < count; ++i)
        ::new (static_cast<void*>(space + i * slot_size)) slot;
}

reader_slots::slot* reader_slots::slots() const noexcept
{
    auto* const space = reinterpret_cast<std::byte*>(const_cast<reader_slots*>(this));
    return std::launder(reinterpret_cast<slot*>(space + slot_size));
}

reader_slots::slot& reader_slots::mine() noexcept
{
    const turn* const here = current_turn();
    const std::uint32_t number =
        here != nullptr && here->has_company() ? here->seat - 1U : this_threads_slot().index;
    return slots()[number & mask_];
}

bool reader_slots::come(int& spins) noexcept
{
    atomic<std::uint64_t>& word = mine().word;
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    for (;;) {
        while ((seen & closed) == 0)
            if (word.compare_exchange_weak(seen, seen + one_reader + one_come, std::memory_order_acquire,
                                           std::memory_order_relaxed))
                return true;
        if (spins <= 0)
            return false;
        --spins;
        pause_core();
        seen = word.load(std::memory_order_relaxed);
    }
}

bool reader_slots::go() noexcept
{
    atomic<std::uint64_t>& word = mine().word;
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    while ((seen & shut_too) == 0)
        if (word.compare_exchange_weak(seen, seen - one_reader, std::memory_order_release,
                                       std::memory_order_relaxed))
            return true;
    return false;
}

void reader_slots::open() noexcept
{
    for (std::uint32_t i = 0; i <= mask_; ++i)
        slots()[i].word.store(0, std::memory_order_release);
}

reader_slots::tally reader_slots::close() noexcept
{
    tally all{0, 0};
    for (std::uint32_t i = 0; i <= mask_; ++i)
        count(all, slots()[i].word.fetch_add(closed, std::memory_order_acq_rel));
    return all;
}

reader_slots::tally reader_slots::shut() noexcept
{
    tally all{0, 0};
    for (std::uint32_t i = 0; i <= mask_; ++i)
        count(all, slots()[i].word.exchange(closed | shut_too, std::memory_order_acq_rel));
    return all;
}

std::uint32_t reader_slots::readers() const noexcept
{
    tally all{0, 0};
    for (std::uint32_t i = 0; i <= mask_; ++i)
        count(all, slots()[i].word.load(std::memory_order_acquire));
    return all.readers;
}

// Those who leave where they did not come borrow from the number of those who came.
void reader_slots::count(tally& all, std::uint64_t word) noexcept
{
    const auto readers = static_cast<std::uint32_t>(word) / static_cast<std::uint32_t>(one_reader);
    all.readers = (all.readers + readers) % modulus;
    all.come += static_cast<std::uint32_t>(word >> 32) + (readers >= modulus / 2 ? 1 : 0);
}

}  // namespace leat::detail
