// The children of a group, and whoever waits for them.
//
// Under lock_ are the number of places taken under the limit, the failures, who waits for a place and who for the
// end. A child that ends hands its place to the first that waits for one. The scope outlives its children: its
// owner leaves only through join(), which is deaf to cancellation, because leaving early would leave them behind.
// If the owner is destroyed at the end of its runtime, the children there have gone before it, being younger; for
// those that have moved to another runtime the destructor waits.
//
// The end. state_ holds the number of children that have not ended, and whether somebody has to be found when they
// end. A start adds to the count, by somebody who keeps the scope alive: the body, or a child that has not ended.
//
//   open      A child's end is a compare-and-swap, which fails if the scope has become watched. Nobody waits; the
//             owner will see the count when it does. Afterwards the child touches the scope no more.
//   watched   The owner has found children, and parks. Without a limit the same goes for every end but the last. The
//             last is counted under lock_, where it claims the owner: reports and the end of the runtime may be at
//             the owner's park word. If there is a limit each end is, and hands on a place.
//
// open becomes watched under lock_, by the owner, in the same stretch under the lock in which it links its waiter; with
// a limit the scope is watched from the start. It never becomes open again. So whoever sees zero in an open scope knows
// that nobody is in it any more; in a watched one, whoever has the lock. Release by each end and acquire by who
// sees zero hand what the children did to the owner; each change is a read-modify-write, so none breaks the chain.
//
// A child starts where the task runs that spawns it. The executor of the owner is the owner's own: it may move
// while children spawn, so they do not look at it.
//
// The children run under a context of the scope's own. It is cancelled by the first failure (or, in a race,
// by the first child to end), by cancel(), and at the end.
#pragma once

#include <leat/context.hpp>
#include <leat/detail/atomic.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/scope_verdict.hpp>
#include <leat/spawn.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

namespace leat::detail {

class join_scope final : public join_scope_base, public scope_verdict {
public:
    join_scope(task_root& owner, scope_policy policy, std::size_t limit,
               const leat::context* parent = nullptr);
    join_scope(const join_scope&) = delete;
    join_scope& operator=(const join_scope&) = delete;
    ~join_scope();

    const leat::context& context() const noexcept
    {
        return below_;
    }
    void cancel(std::exception_ptr cause = nullptr) noexcept
    {
        if (!below_.cancelled())
            ended_itself_.store(true, std::memory_order_relaxed);
        cancel_.cancel(std::move(cause));
    }
    std::size_t live() const noexcept;

    spawn_site site(turn* by, std::string_view name, location place,
                    const leat::context* instead) const noexcept;

    /// Takes a place, if there is one without waiting.
    bool try_take_place() noexcept;
    /// Gives back a place for which no child was started.
    void give_place_back() noexcept;
    /// Starts a child for which a place has been taken.
    void start(joinable_root& child, turn* by, bool with_handle) noexcept;

    /// The owner's own part has failed; also ends the others, unless failures are collected.
    void body_failed(std::exception_ptr thrown) noexcept;
    /// After the end: throws what the scope has to throw.
    void rethrow();

    void child_ended(joinable_root& child, std::exception_ptr thrown, bool stopped,
                     turn* by) noexcept override;

    /// Waits until every child has ended.
    class join_operation final : public waiter {
    public:
        using value_type = void;
        static constexpr bool shielded = true;

        explicit join_operation(join_scope& of) noexcept : of_{of}
        {
        }
        void prepare(turn&) noexcept
        {
        }
        spinlock& source() noexcept override
        {
            return of_.lock_;
        }
        bool try_quick() noexcept
        {
            return of_.left_alone();
        }
        bool try_complete(wake_list&) noexcept override
        {
            return of_.watch() == 0;
        }
        void link() noexcept override
        {
            of_.owner_waits_.push_back(*this);
        }
        void unlink() noexcept override
        {
            of_.owner_waits_.remove(*this);
        }
        const char* kind() const noexcept override
        {
            return "group's end";
        }
        std::error_code error() const noexcept
        {
            return {};
        }
        void value() const noexcept
        {
        }

    private:
        join_scope& of_;
    };
    join_operation join() noexcept
    {
        return join_operation{*this};
    }

    /// Waits for a place under the limit.
    class place_waiter : public waiter {
    public:
        explicit place_waiter(join_scope& of) noexcept : of_{of}
        {
        }
        void prepare(turn&) noexcept
        {
        }
        spinlock& source() noexcept override
        {
            return of_.lock_;
        }
        bool try_quick() noexcept
        {
            return of_.limit_ == 0;
        }
        bool try_complete(wake_list&) noexcept override
        {
            return of_.take_place_locked();
        }
        void link() noexcept override
        {
            of_.place_waits_.push_back(*this);
        }
        void unlink() noexcept override
        {
            of_.place_waits_.remove(*this);
        }
        const char* kind() const noexcept override
        {
            return "place in a group";
        }
        std::error_code error() const noexcept
        {
            return {};
        }

    protected:
        join_scope& of_;
    };

private:
    join_scope(task_root& owner, scope_policy policy, std::size_t limit, cancellable_context own);
    void wait_for_the_absent() noexcept;
    bool take_place_locked() noexcept;
    void leave(turn* by) noexcept;
    /// No child is left, nor in the scope.
    bool left_alone() const noexcept
    {
        return state_.load(std::memory_order_acquire) == 0;
    }
    /// Under the lock, by the owner, who will link its waiter unless this is zero: how many children have not ended.
    std::size_t watch() noexcept;

    static constexpr std::size_t watched = 1;
    static constexpr std::size_t one = 2;  ///< child

    atomic<std::size_t> state_;
    const std::size_t limit_;           ///< zero: none
    atomic<std::uint32_t> started_{0};  ///< counted if failures are to be put into order
    waiter_list owner_waits_;
    waiter_list place_waits_;
    std::size_t places_ = 0;  ///< with a limit
    task_root& owner_;
    scheduler& home_;                        ///< where the scope was made
    std::atomic<bool> ended_itself_{false};  ///< cancel() came before the end of a context above
    leat::context below_;
    canceller cancel_;
};

}  // namespace leat::detail
