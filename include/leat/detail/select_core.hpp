// Select: one park on any mix of waiters.
//
// First each case is looked at without its lock (waiter::must_wait()), which mostly is all that a select with
// otherwise() does. Those that may be ready are tried alone, in random order (or in order, if biased), one lock at a time: if one can
// complete it does, and the others have not been touched. If none can, the locks of all sources are taken,
// in the order of their addresses (the wheels of timers last, since a timer takes its wheel's inside its own),
// each once; every case is tried again, since the world may have moved on;
// and only if still none can, all waiters are linked and the task parks, before the first lock is released.
// So no peer ever sees a select that is half published, and two selects that face each other can not miss
// each other: whichever takes the locks second finds the other parked, and claims it.
// (The road not taken is to publish case by case, with a claim of one's own park before each match: it needs
// to undo claims when the peer is lost meanwhile, and peers that met the undone claim have dropped us.)
#pragma once

#include <leat/detail/operation.hpp>
#include <leat/detail/park.hpp>
#include <leat/detail/spinlock.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace leat::detail {

/// One case, as select sees it.
class select_slot {
public:
    select_slot() noexcept
    {
    }

    waiter* what;         ///< null: disabled
    spinlock* source;     ///< once they are to be locked
    std::uint32_t order;  ///< scratch: which case comes when
    bool promising;       ///< a look says that it may be ready
    bool linked;
};

class select_core final : private wait_description {
public:
    static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

    /// `locks` is scratch, of the same size as `slots`, but of one at least.
    select_core(task_root& root, select_slot* slots, spinlock** locks, std::size_t count,
                std::size_t fallback, bool biased) noexcept
        : root_{root}, slots_{slots}, locks_{locks}, count_{count}, fallback_{fallback}, biased_{biased}
    {
    }
    select_core(const select_core&) = delete;
    select_core& operator=(const select_core&) = delete;
    ~select_core()
    {
        if (state_ == state::parked) [[unlikely]]
            unlink_all();
    }

    /// What slots need to be told before start().
    static void set(select_slot& slot, waiter* what, bool must_wait) noexcept
    {
        slot.what = what;
        slot.promising = what != nullptr && !must_wait;
        slot.linked = false;
    }

    /// True: there is an answer.
    bool start() noexcept;
    /// After start(), if there was no answer: what has been begun since may be there at once, and counts even if it has
    /// ended the context.
    bool start_begun() noexcept;
    /// True: suspend. False: there is an answer.
    bool suspend(std::coroutine_handle<> frame) noexcept;
    /// After the task has been resumed, or start() or suspend() had an answer. Throws if the context ended
    /// first.
    std::size_t finish()
    {
        if (!settle()) [[unlikely]]
            throw_stopped(root_);
        return chosen_;
    }
    /// The same without throwing: false if the context ended first.
    bool settle() noexcept
    {
        if (state_ == state::parked)
            leave_park();
        return state_ != state::refused;
    }
    std::size_t chosen() const noexcept
    {
        return chosen_;
    }
    /// Whether start() had an answer, if only for a later turn.
    bool answered() const noexcept
    {
        return state_ == state::complete || state_ == state::refused;
    }

private:
    enum class state : unsigned char { fresh, complete, refused, parked };

    bool try_alone() noexcept;
    bool try_locked(wake_list& wakes) noexcept;
    std::size_t lock_all() noexcept;
    void unlock_all(std::size_t locks) noexcept;
    void unlink_all() noexcept;
    void refuse() noexcept;
    void leave_park() noexcept;
    void describe(inspect::task_info& into) const override;
    template <class Try>
    bool try_each(std::size_t candidates, Try attempt) noexcept;

    task_root& root_;
    select_slot* slots_;
    spinlock** locks_;
    std::size_t count_;
    std::size_t fallback_;
    std::size_t chosen_ = none;
    bool biased_;
    state state_ = state::fresh;
    spinlock alone_;  ///< the source of a select without any: keeps the task from overtaking suspend()
};

}  // namespace leat::detail
