#include <leat/detail/thread_slots.hpp>

#include <leat/detail/spinlock.hpp>

namespace leat::detail {
namespace {

constinit spinlock slots_lock;
constinit atomic<thread_slot*> all_slots{nullptr};
constinit thread_slot* free_slots = nullptr;  // under the lock, as what follows
constinit std::uint32_t slots_made = 0;

constinit thread_local thread_slot* mine = nullptr;

/// Gives the slot back when the thread ends. What uses one even later takes one that is never given back.
class keeper {
public:
    keeper() noexcept = default;
    keeper(const keeper&) = delete;
    keeper& operator=(const keeper&) = delete;
    ~keeper()
    {
        thread_slot* const slot = mine;
        mine = nullptr;
        const spin_guard hold{slots_lock};
        slot->next_free = free_slots;
        free_slots = slot;
    }
    void touch() noexcept
    {
        asm volatile("");
    }
};

thread_slot* take_slot() noexcept
{
    {
        const spin_guard hold{slots_lock};
        if (thread_slot* const slot = free_slots) {
            free_slots = slot->next_free;
            return slot;
        }
    }
    auto* const slot = new thread_slot;
    const spin_guard hold{slots_lock};
    slot->index = slots_made++;
    slot->next = all_slots.load(std::memory_order_relaxed);
    all_slots.store(slot, std::memory_order_seq_cst);
    return slot;
}

[[gnu::noinline]] thread_slot& begin_thread() noexcept
{
    static constinit thread_local bool begun = false;
    mine = take_slot();
    if (!begun) {
        begun = true;
        static thread_local keeper gives_back;
        gives_back.touch();
    }
    return *mine;
}

}  // namespace

[[gnu::noinline]] thread_slot& this_threads_slot() noexcept
{
    asm volatile("");
    if (mine != nullptr) [[likely]]
        return *mine;
    return begin_thread();
}

// A slot that is new was not there when the reader that has it began: it is of after the look at the list.
bool all_pinned_since(std::uint64_t time) noexcept
{
    for (const thread_slot* each = all_slots.load(std::memory_order_seq_cst); each != nullptr;
         each = each->next) {
        const std::uint64_t pinned = each->pin.load(std::memory_order_seq_cst);
        if (pinned != 0 && pinned < time)
            return false;
    }
    return true;
}

}  // namespace leat::detail
