// The heart of a shared mutex: one word that says who has it, a queue under a spinlock, and, once readers have got in each
// other's way, counters of readers that are far apart (reader_slots.hpp).
//
//   written   one has it alone
//   queued    somebody waits: every change of the word is made under the spinlock
//   spread    the slots are open: readers come and go through them, and the word is changed under the spinlock only
//   gathered  the slots were open, or a writer is waiting under the spinlock for readers to go: who comes takes the
//             spinlock, who goes does not have to
//   readers   how many share it, in steps of one_reader; if spread, to be added to what the slots say
//
// While nobody waits, it is taken and given up by compare-and-swap of the word. Strictly first in, first out: whoever
// comes while others wait queues up behind them. So writers are not starved by readers who keep coming, nor readers
// by writers; readers that stand in the queue one after the other are let in together.
//
// One of the readers may wait to become the writer (upgrader_); nobody is let in until it is the only one left and has.
// A second one that wanted the same would wait for the first, which waits for it: it is refused.
//
// `queued` may be set although nobody waits any more; whoever finds that under the spinlock takes it back.
//
// Slots. Readers on several cores who count in one word take its cache line from each other: each of them waits for it
// twice, though none has to wait for another. So readers who find the word changed under their hands (crowded()) open the
// slots; a mutex that is not crowded has none.
//   - spread is set only while it is neither written nor queued. Whoever has to wait, or to know how many readers there
//     are (a writer, an upgrade), shuts the slots first, under the spinlock, and adds their sum to the word (gather()). From
//     then on all is as if there had never been any.
//   - A reader comes or goes by changing one slot, or, if it finds that closed, as ever. It may go through another slot
//     than it came through, or through the word: only the sum counts.
//   - A writer who finds the slots open closes them, but lets readers go through them, and for a moment waits for that
//     (drain_slots()). When they have gone nobody has it but the writer. Should others have to be let in through the word
//     after it, because they wait or the slots are not worth it, open_ is taken back first (give_up_slots()): who is let in
//     later than that sees it, and does not go through a slot that is closed, but not shut.
//   - gathered remembers that it was worth it: when the writer goes, or the next reader comes, and nobody waits, the slots
//     are opened again. If few readers have come through them again and again they stay shut, until readers have been in
//     each other's way twice as often as before.
//   - open_ says where to look, and is only believed as far as the slot says: one that is closed has let nobody in. It
//     stays as it is while a writer comes and goes, and lies apart from what writers change, so that readers fetch only
//     their slots again, and wait at these.
//
// Who is about to wait for somebody who runs on another core looks for a moment first (most_spins), which takes less than
// being parked and woken: a writer while readers go, with the spinlock, so that no more come; anybody while one writes for
// whom nobody waits yet. It has not come until it is in the queue, so it overtakes nobody.
//
// Life: as for a semaphore, semaphore_core.hpp. Readers may have gone through slots that somebody has just opened, and who
// still has the spinlock: the destructor waits for it, if there are slots.
#pragma once

#include <leat/detail/locking.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/park.hpp>
#include <leat/detail/reader_slots.hpp>

#include <cstdint>
#include <utility>

namespace leat::detail {

class shared_waiter;

class shared_mutex_core : public lock_holder {
public:
    using word = std::uint64_t;

    constexpr explicit shared_mutex_core(const char* name) noexcept : name_{name}, far_from_word_{}
    {
    }
    shared_mutex_core(const shared_mutex_core&) = delete;
    shared_mutex_core& operator=(const shared_mutex_core&) = delete;
    ~shared_mutex_core();

    bool try_lock() noexcept
    {
        word seen = 0;
        return take_free(seen) || ((seen & written) == 0 && (seen & by_spinlock) != 0 && lock_soon(0));
    }
    bool try_lock_shared() noexcept
    {
        return share_free() || try_lock_shared_slowly(0, true);
    }
    /// The same for a task that waits if it fails: waits for a moment, if it can be that those who have it run.
    bool try_lock_in(const turn& here) noexcept
    {
        word seen = 0;
        if (take_free(seen)) [[likely]]
            return true;
        if (here.has_company())
            return (seen & queued) == 0 && lock_soon(most_spins);
        return (seen & written) == 0 && (seen & (spread | gathered)) != 0 && lock_soon(0);
    }
    bool try_lock_shared_in(const turn& here) noexcept
    {
        return share_free() || try_lock_shared_slowly(here.has_company() ? most_spins : 0, false);
    }
    /// Takes it if it is free and nobody has been there; else says what was seen.
    bool take_free(word& seen) noexcept
    {
        return word_.compare_exchange_strong(seen, written, std::memory_order_acquire,
                                             std::memory_order_relaxed);
    }
    // The word is not looked at before: a guess that is wrong brings it here to be written, a look only to be read.
    bool share_free() noexcept
    {
        word seen = 0;
        return open_.load(std::memory_order_relaxed) == nullptr &&
               word_.compare_exchange_strong(seen, one_reader, std::memory_order_acquire,
                                             std::memory_order_relaxed);
    }
    /// Of one of the readers.
    bool try_upgrade() noexcept;

    void unlock() noexcept
    {
        word seen = written;
        if (!word_.compare_exchange_strong(seen, 0, std::memory_order_release, std::memory_order_relaxed))
            [[unlikely]]
            change_slowly(written, 0);
    }
    void unlock_shared() noexcept
    {
        word seen = one_reader;
        if (open_.load(std::memory_order_relaxed) != nullptr ||
            !word_.compare_exchange_strong(seen, 0, std::memory_order_release, std::memory_order_relaxed))
            [[unlikely]]
            unlock_shared_slowly();
    }
    void downgrade() noexcept
    {
        word seen = written;
        if (!word_.compare_exchange_strong(seen, one_reader, std::memory_order_release,
                                           std::memory_order_relaxed)) [[unlikely]]
            change_slowly(written, one_reader);
    }

    /// Opens the slots, as readers who are in each other's way do. By one that comes; nothing but a hint.
    void spread_readers() noexcept;

    bool is_written() const noexcept
    {
        return (word_.load(std::memory_order_relaxed) & written) != 0;
    }
    std::uint64_t readers() const noexcept
    {
        return word_.load(std::memory_order_relaxed) / one_reader;
    }
    const char* name() const noexcept
    {
        return name_;
    }

    mutable spinlock lock;

private:
    friend class shared_waiter;

    static constexpr word written = 1;
    static constexpr word queued = 2;
    static constexpr word spread = 4;
    static constexpr word gathered = 8;
    static constexpr word one_reader = 16;
    static constexpr word by_spinlock = queued | spread | gathered;

    /// How often somebody looks before he waits: a microsecond.
    static constexpr int most_spins = is_model ? 1 : 32;

    bool lock_soon(int spins) noexcept;
    bool try_lock_shared_slowly(int spins, bool exactly) noexcept;
    bool share_with_spinlock() noexcept;
    void unlock_shared_slowly() noexcept;
    void change_slowly(word minus, word plus) noexcept;

    void crowded() noexcept;
    bool open_slots_with(reader_slots*& spare) noexcept;
    void open_slots() noexcept;
    /// With the spinlock; not while it is spread.
    void give_up_slots() noexcept
    {
        open_.store(nullptr, std::memory_order_relaxed);
    }
    bool drain_slots(int& spins) noexcept;
    word worth_it(std::uint32_t come) noexcept;
    word gather() noexcept;

    void serve() noexcept;
    bool serve_some(wake_list& wakes) noexcept;
    bool serve_upgrader(wake_list& wakes) noexcept;

    // Of how often readers were in each other's way; only guides.
    atomic<std::uint8_t> crowds_{0};
    atomic<std::uint8_t> crowds_to_bear_{least_crowds};
    std::uint8_t credit_ = 0;  ///< under the spinlock
    static constexpr std::uint8_t least_crowds = 8;
    static constexpr std::uint8_t most_crowds = 128;

    atomic<word> word_{0};
    waiter_list queue_;
    shared_waiter* upgrader_ = nullptr;
    const char* name_;
    reader_slots* slots_ = nullptr;  ///< under the spinlock; kept until the end
    // Readers who find their slots through it do not have to fetch the line that writers write.
    [[maybe_unused]] char far_from_word_[16];
    atomic<reader_slots*> open_{nullptr};  ///< slots_ while they are worth a look
};

/// One who wants it: alone, shared, or alone while sharing it already.
class shared_waiter : public waiter {
public:
    enum class mode : unsigned char { alone, shared, upgrade };

    spinlock& source() noexcept final
    {
        return of_->lock;
    }
    bool try_complete(wake_list& wakes) noexcept final;
    void link() noexcept final;
    void unlink() noexcept final;
    void unlinked() noexcept final;
    const char* kind() const noexcept final
    {
        return "shared_mutex";
    }
    void describe(inspect::task_info& into) const final;

protected:
    enum class state : unsigned char {
        idle,
        granted,  ///< has it, and has not given it to its task yet
        refused,  ///< another reader upgrades
        left,     ///< has left the queue, so that others may be served
    };

    shared_waiter(shared_mutex_core& of, mode how) noexcept : of_{&of}, mode_{how}
    {
    }
    ~shared_waiter() = default;

    void grant() noexcept
    {
        state_ = state::granted;
        if (mode_ != mode::shared)
            of_->held_by(root->id());
    }
    /// Those who were let in with this one have it, too, before they run. Were this one to go on until its budget is used
    /// up, it would meet them as holders, and park; and so would they, each in turn.
    void let_others_run() noexcept
    {
        if (root->now != nullptr && root->now->budget > 1)
            root->now->budget = 1;
    }
    void give_back() noexcept
    {
        if (std::exchange(state_, state::idle) == state::granted) [[unlikely]]
            give_back_granted();
    }

    shared_mutex_core* of_;
    state state_ = state::idle;
    mode mode_;
    bool waited_ = false;  ///< and has been let in, maybe with others

private:
    friend class shared_mutex_core;

    void give_back_granted() noexcept;
};

/// Locks; Guard is what the task gets.
template <class Guard, shared_waiter::mode Mode>
class shared_lock_operation final : public shared_waiter {
public:
    using value_type = Guard;
    using owner_type = typename Guard::owner_type;
    static constexpr bool holds = true;

    shared_lock_operation(shared_mutex_core& of, owner_type& owner) noexcept
        : shared_waiter{of, Mode}, owner_{&owner}
    {
    }
    // Until it is awaited; then it stays where it is.
    shared_lock_operation(const shared_lock_operation& other) noexcept
        : shared_waiter{*other.of_, Mode}, owner_{other.owner_}
    {
    }
    ~shared_lock_operation()
    {
        give_back();
    }

    void prepare(turn&) noexcept
    {
        give_back();
    }
    static bool take_now(shared_mutex_core& of, const task_root& by) noexcept
    {
        if constexpr (Mode == mode::shared)
            return of.try_lock_shared_in(*by.now);
        if (!of.try_lock_in(*by.now))
            return false;
        of.held_by(by.id());
        return true;
    }
    bool try_quick() noexcept
    {
        shared_mutex_core::word seen = 0;
        if (!(Mode == mode::shared ? of_->share_free() : of_->take_free(seen)))
            return false;
        grant();
        return true;
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    Guard value() noexcept
    {
        state_ = state::idle;
        if (waited_)
            let_others_run();
        return Guard{*owner_};
    }

private:
    owner_type* owner_;
};

/// Makes the writer of a reader; From is the guard of the reader, which has it until then.
template <class Guard, class From>
class upgrade_operation final : public shared_waiter {
public:
    using value_type = Guard;
    static constexpr bool holds = true;

    upgrade_operation(shared_mutex_core& of, From& from) noexcept
        : shared_waiter{of, mode::upgrade}, from_{&from}
    {
    }
    upgrade_operation(const upgrade_operation& other) noexcept
        : shared_waiter{*other.of_, mode::upgrade}, from_{other.from_}
    {
    }
    ~upgrade_operation()
    {
        give_back();
    }

    void prepare(turn&) noexcept
    {
        give_back();
    }
    bool try_quick() noexcept
    {
        if (!of_->try_upgrade())
            return false;
        grant();
        return true;
    }
    std::error_code error() const noexcept
    {
        return state_ == state::refused ? make_error_code(errc::upgrade_refused) : std::error_code{};
    }
    Guard value() noexcept
    {
        state_ = state::idle;
        return Guard{*from_->let_go()};
    }

private:
    From* from_;
};

}  // namespace leat::detail
