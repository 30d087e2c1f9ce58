#pragma once

#include <leat/detail/spinlock.hpp>

#include <cstdint>
#include <exception>
#include <utility>

namespace leat::detail {

/// What the end of a child means for the others.
enum class scope_policy : unsigned char {
    fail_fast,    ///< the first failure cancels them and is the scope's
    collect_all,  ///< nothing; the failures are collected
    race,         ///< the first to end cancels them, however it ended
};

/// What the ends of the children of a scope amount to. Under lock_, which is the scope's.
class scope_verdict {
public:
    scope_verdict(const scope_verdict&) = delete;
    scope_verdict& operator=(const scope_verdict&) = delete;

    /// In a race: the index of the child that ended first.
    std::uint32_t winner() const noexcept
    {
        return winner_;
    }

protected:
    explicit scope_verdict(scope_policy policy) noexcept : policy_{policy}
    {
    }
    ~scope_verdict()
    {
        if (failures_ != nullptr) [[unlikely]]
            drop_failures();
    }

    /// Whether the end of a child has to be noted at all.
    bool matters(const std::exception_ptr& thrown) const noexcept
    {
        return thrown != nullptr || policy_ == scope_policy::race;
    }
    /// Notes how a child has ended; `stopped` says that its context had. True if it cancels the others: it is for
    /// the caller to do that, before the child counts as ended, for then the scope may be gone.
    [[nodiscard]] bool note_child(std::uint32_t index, const std::exception_ptr& thrown,
                                  bool stopped) noexcept;
    /// The same for what the owner does itself.
    [[nodiscard]] bool note_body(const std::exception_ptr& thrown, bool stopped) noexcept;

    bool all_well() const noexcept
    {
        return failures_ == nullptr && !first_ && !stopped_;
    }
    /// After the end: throws what the scope has to throw. `from_above`: somebody else than the scope itself has
    /// cancelled the children.
    void rethrow(bool from_above);

    mutable spinlock lock_;
    const scope_policy policy_;

private:
    /// A failure that is collected. Allocated before the lock is taken.
    class failure {
    public:
        failure(std::uint32_t i, std::exception_ptr what) noexcept : index{i}, thrown{std::move(what)}
        {
        }
        std::uint32_t index;
        std::exception_ptr thrown;
        failure* before = nullptr;
    };
    static failure* make_failure(std::uint32_t index, const std::exception_ptr& thrown) noexcept;
    void keep_failure(failure* made, const std::exception_ptr& thrown) noexcept;
    void drop_failures() noexcept;

    bool decided_ = false;
    std::uint32_t winner_ = 0;
    std::exception_ptr first_;    ///< the failure that counts
    std::exception_ptr stopped_;  ///< how the first child ended that was told to
    failure* failures_ = nullptr;
};

/// Whether this is how a task ends whose context has.
bool is_stop(const std::exception_ptr& thrown) noexcept;

}  // namespace leat::detail
