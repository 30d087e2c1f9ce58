// Counters of readers that are far apart, so that readers on several cores do not take one cache line from each other.
//
//   closed   nobody comes through this slot
//   shut     nobody goes through it either
//   readers  how many have come through it, less those who have gone: may be below zero, as nobody has to leave through
//            the slot through which he came. The sum over all slots is how many there are; modulo 2^30, as each is
//   come     how many have come through it; the sum says whether it was worth it
//
// A reader changes a slot by compare-and-swap from a value that is not closed, or not shut; who closes, shuts and opens
// them has the spinlock of what is read. Whoever finds it closed has changed nothing, and has to look elsewhere. So when
// all slots have been shut, one after the other, nobody came or went since by any, and their sum is exact. While they are
// closed readers can but go: a sum of what is found in one slot after the other is not too low, and zero is exact.
//
// Order: one word says both whether a slot is open and how many there are, so there is no pair of a store and a load
// that could pass each other. Coming is acquire and going is release; closing is both, so that whoever closes sees what
// those did who have gone; opening is release, so that those who come see what happened while it was closed.
// (The road not taken: to count without looking and then to look whether that was allowed. It needs that store and
// load to be in order, which an added fence or exchange has to see to; while it is taken back, others see a reader that
// there is not; and who leaves has to look after it has left, when all may have been freed.)
#pragma once

#include <leat/detail/atomic.hpp>

#include <cstdint>

namespace leat::detail {

class reader_slots {
public:
    static constexpr std::uint32_t modulus = 0x40000000U;

    struct tally {
        std::uint32_t readers;  ///< by this
        std::uint32_t come;     ///< modulo 2^32
    };

    /// Closed, and empty. Null if there is no memory.
    static reader_slots* make() noexcept;
    static void free(reader_slots* slots) noexcept;

    reader_slots(const reader_slots&) = delete;
    reader_slots& operator=(const reader_slots&) = delete;

    /// False: closed, however often one looks. A reader that waits does so at its own slot, where it is in nobody's way.
    bool come(int& spins) noexcept;
    /// False: shut. Else the last that is done to them.
    bool go() noexcept;

    // With the spinlock.

    void open() noexcept;
    tally close() noexcept;
    /// After close() or instead of it.
    tally shut() noexcept;
    /// After close().
    std::uint32_t readers() const noexcept;

private:
    static constexpr std::uint64_t closed = 1;
    static constexpr std::uint64_t shut_too = 2;
    static constexpr std::uint64_t one_reader = 4;
    static constexpr std::uint64_t one_come = std::uint64_t{1} << 32;

    struct alignas(64) slot {
        atomic<std::uint64_t> word{closed | shut_too};
    };

    explicit reader_slots(std::uint32_t count) noexcept;
    static void count(tally& all, std::uint64_t word) noexcept;
    slot* slots() const noexcept;
    slot& mine() noexcept;

    std::uint32_t mask_;
};

}  // namespace leat::detail
