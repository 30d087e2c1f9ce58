#include <leat/detail/timer_wheel.hpp>

#include <bit>

// Time is counted in ticks, as unsigned numbers (nanoseconds are biased, so that negative ones come first).
// A tick is written in digits of six bits, one per level:
//
//     level   10 … 3      2        1        0
//     digit   ……       [0..63]  [0..63]  [0..63]
//
// What always holds, but inside expire():
//
//   - No armed tick is before current_.
//   - A link is on the level of the highest digit in which its tick differs from current_ (0 if in none), in
//     the slot which that digit names. So a link need not remember its place: place_of(tick_) finds it.
//   - Hence on each level all slots in use lie after current_'s digit (on level 0, not before it): no level
//     ever wraps; everything on a level comes before everything on the levels above; and the earliest link is
//     in the lowest level in use, in its first slot in use. On level 0 a slot is one tick.
//   - current_ moves only forward, and only through expire(): up to the time given, but not into a slot of a
//     higher level without spreading that slot over the lower ones (cascade). That keeps the second rule: as
//     long as current_ stays before a link's slot, the highest digit that differs stays the same.
//   - Links of equal tick are always in the same slot, in the order of insertion: rule two puts them there,
//     new ones go to the end, and cascade() keeps the order.
//   - used_levels_ and occupied_ say exactly which slots have links. The head of any other slot is garbage.
//   - earliest_[l], if not null, is the link that earliest() would find in level l's first slot in use.
//
// The obvious wheel, one slot per tick modulo 64 on each level, needs to walk empty slots when time jumps,
// and knows no order between what wraps and what does not. A heap has the order, but arm-and-cancel, which is
// what nearly all timers do, costs it O(log n) and cache misses; here it is the neighbours in one list.

namespace leat::detail {

namespace {

constexpr std::uint64_t sign = std::uint64_t{1} << 63;

constexpr std::uint64_t biased(std::int64_t ns) noexcept
{
    return static_cast<std::uint64_t>(ns) ^ sign;
}

constexpr std::uint64_t bit(unsigned n) noexcept
{
    return std::uint64_t{1} << n;
}

}  // namespace

// The slots stay as they are: their bits are clear.
// NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init)
timer_wheel::timer_wheel(unsigned tick_shift, std::int64_t start_ns) noexcept
    : current_{biased(start_ns) >> tick_shift}, now_{biased(start_ns)}, shift_{tick_shift}
{
    assert(tick_shift < 64);
}

timer_wheel::~timer_wheel()
{
    assert(size_ == 0 && "leat: a timer wheel ends while timers are armed");
}

timer_wheel::place timer_wheel::place_of(std::uint64_t tick) const noexcept
{
    // With the lowest bit set, equal ticks need no case of their own.
    const auto level = (63U - static_cast<unsigned>(std::countl_zero((tick ^ current_) | 1))) / slot_bits;
    return {level, static_cast<unsigned>(tick >> (level * slot_bits)) % slots};
}

std::uint64_t timer_wheel::first_tick(place where) const noexcept
{
    const unsigned low = where.level * slot_bits;
    const unsigned high = low + slot_bits;
    const std::uint64_t above = high < 64 ? current_ >> high << high : 0;
    return above | (std::uint64_t{where.slot} << low);
}

timer_wheel::place timer_wheel::lowest() const noexcept
{
    const auto level = static_cast<unsigned>(std::countr_zero(used_levels_));
    return {level, static_cast<unsigned>(std::countr_zero(occupied_[level]))};
}

std::int64_t timer_wheel::to_ns(std::uint64_t tick) const noexcept
{
    // Deadlines less than a tick before the end of time round up to beyond it.
    if (tick > ~std::uint64_t{0} >> shift_)
        return never;
    return static_cast<std::int64_t>((tick << shift_) ^ sign);
}

void timer_wheel::link_up(timer_link& link) noexcept
{
    const place where = place_of(link.tick_);
    timer_node& head = slots_[where.level][where.slot];
    std::uint64_t& occupied = occupied_[where.level];
    timer_link*& earliest = earliest_[where.level];
    const std::uint64_t here = bit(where.slot);
    if ((occupied & here) == 0) {
        head.prev = head.next = &head;
        if ((occupied & (here - 1)) == 0)
            earliest = &link;  // alone in what is now the first slot
        occupied |= here;
        used_levels_ |= 1U << where.level;
    } else if ((occupied & (here - 1)) == 0 && earliest != nullptr && link.tick_ < earliest->tick_) {
        earliest = &link;
    }
    link.prev = head.prev;
    link.next = &head;
    head.prev->next = &link;
    head.prev = &link;
}

void timer_wheel::unlink(timer_link& link, place where) noexcept
{
    timer_node* const prev = link.prev;
    timer_node* const next = link.next;
    prev->next = next;
    next->prev = prev;
    link.next = nullptr;
    if (earliest_[where.level] == &link)
        earliest_[where.level] = nullptr;
    if (prev == next) {
        // Only the head has the same neighbour on both sides: the slot is empty. If it was the first, then
        // earliest_ was in it, and is null by now or was already.
        occupied_[where.level] &= ~bit(where.slot);
        if (occupied_[where.level] == 0)
            used_levels_ &= ~(1U << where.level);
    }
}

void timer_wheel::insert(timer_link& link, std::int64_t deadline_ns) noexcept
{
    assert(!link.armed());
    const std::uint64_t deadline = biased(deadline_ns);
    std::uint64_t tick = deadline >> shift_;
    // Up to a full tick, unless that would make a link wait whose deadline has come within the present tick.
    if (deadline > now_ && (tick << shift_) != deadline)
        ++tick;
    link.deadline_ = deadline_ns;
    link.tick_ = tick < current_ ? current_ : tick;
    link_up(link);
    ++size_;
}

void timer_wheel::remove(timer_link& link) noexcept
{
    assert(link.armed());
    unlink(link, place_of(link.tick_));
    --size_;
}

std::int64_t timer_wheel::earliest() const noexcept
{
    if (size_ == 0)
        return never;
    const place where = lowest();
    if (where.level == 0)
        return to_ns(first_tick(where));
    timer_link*& earliest = earliest_[where.level];
    if (earliest == nullptr) {
        const timer_node& head = slots_[where.level][where.slot];
        earliest = static_cast<timer_link*>(head.next);
        for (timer_node* node = earliest->next; node != &head; node = node->next) {
            auto* const link = static_cast<timer_link*>(node);
            if (link->tick_ < earliest->tick_)
                earliest = link;
        }
    }
    return to_ns(earliest->tick_);
}

std::int64_t timer_wheel::earliest_hint() const noexcept
{
    return size_ == 0 ? never : to_ns(first_tick(lowest()));
}

// Pre: current_ is the slot's first tick, so that every link finds a place on a lower level.
void timer_wheel::cascade(place from) noexcept
{
    timer_node& head = slots_[from.level][from.slot];
    head.prev->next = nullptr;
    timer_node* node = head.next;
    earliest_[from.level] = nullptr;
    occupied_[from.level] &= ~bit(from.slot);
    if (occupied_[from.level] == 0)
        used_levels_ &= ~(1U << from.level);
    while (node != nullptr) {
        auto& link = static_cast<timer_link&>(*node);
        node = link.next;
        link_up(link);
    }
}

timer_link* timer_wheel::expire(std::int64_t now_ns) noexcept
{
    const std::uint64_t now = biased(now_ns);
    now_ = now > now_ ? now : now_;
    const std::uint64_t tick = now_ >> shift_;
    while (size_ != 0) {
        const place where = lowest();
        const std::uint64_t first = first_tick(where);
        if (first > tick)
            break;
        current_ = first;
        if (where.level == 0) {
            auto& link = static_cast<timer_link&>(*slots_[0][where.slot].next);
            unlink(link, where);
            --size_;
            return &link;
        }
        cascade(where);
    }
    current_ = tick;
    return nullptr;
}

void timer_wheel::clear() noexcept
{
    while (size_ != 0) {
        const place where = lowest();
        unlink(static_cast<timer_link&>(*slots_[where.level][where.slot].next), where);
        --size_;
    }
}

}  // namespace leat::detail
