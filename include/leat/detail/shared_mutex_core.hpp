// The heart of a shared mutex: one word that says who has it, and a queue under a spinlock.
//
//   written   one has it alone
//   queued    somebody waits: every change of the word is made under the spinlock
//   readers   how many share it, in steps of one_reader
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
// Life: as for a semaphore, semaphore_core.hpp.
#pragma once

#include <leat/detail/locking.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/park.hpp>

#include <cstdint>
#include <utility>

namespace leat::detail {

class shared_waiter;

class shared_mutex_core : public lock_holder {
public:
    using word = std::uint64_t;

    constexpr explicit shared_mutex_core(const char* name) noexcept : name_{name}
    {
    }
    shared_mutex_core(const shared_mutex_core&) = delete;
    shared_mutex_core& operator=(const shared_mutex_core&) = delete;
    ~shared_mutex_core();

    bool try_lock() noexcept
    {
        word seen = 0;
        return word_.compare_exchange_strong(seen, written, std::memory_order_acquire,
                                             std::memory_order_relaxed);
    }
    bool try_lock_shared() noexcept
    {
        // Not looked at before: a guess that is wrong brings the word here to be written, a look only to be read.
        word seen = 0;
        do {
            if (word_.compare_exchange_weak(seen, seen + one_reader, std::memory_order_acquire,
                                            std::memory_order_relaxed)) [[likely]]
                return true;
        } while ((seen & (written | queued)) == 0);
        return false;
    }
    /// Of one of the readers.
    bool try_upgrade() noexcept;
    /// Whether `queued` was left over, and is no longer there: it is worth trying again.
    bool nobody_waits() noexcept;

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
        do {
            if (word_.compare_exchange_weak(seen, seen - one_reader, std::memory_order_release,
                                            std::memory_order_relaxed)) [[likely]]
                return;
        } while ((seen & queued) == 0);
        change_slowly(one_reader, 0);
    }
    void downgrade() noexcept
    {
        word seen = written;
        if (!word_.compare_exchange_strong(seen, one_reader, std::memory_order_release,
                                           std::memory_order_relaxed)) [[unlikely]]
            change_slowly(written, one_reader);
    }

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
    static constexpr word one_reader = 4;

    void change_slowly(word minus, word plus) noexcept;
    void serve() noexcept;
    bool serve_some(wake_list& wakes) noexcept;
    bool serve_upgrader(wake_list& wakes) noexcept;

    atomic<word> word_{0};
    waiter_list queue_;
    shared_waiter* upgrader_ = nullptr;
    const char* name_;
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
    void give_back() noexcept
    {
        if (std::exchange(state_, state::idle) == state::granted) [[unlikely]]
            give_back_granted();
    }

    shared_mutex_core* of_;
    state state_ = state::idle;
    mode mode_;

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
    static bool take_now(shared_mutex_core& of, std::uint64_t by) noexcept
    {
        if constexpr (Mode == mode::shared)
            return of.try_lock_shared();
        if (!of.try_lock())
            return false;
        of.held_by(by);
        return true;
    }
    bool try_quick() noexcept
    {
        if (!take_now(*of_, root->id()))
            return false;
        state_ = state::granted;
        return true;
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    Guard value() noexcept
    {
        state_ = state::idle;
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
