#pragma once

#include <utility>

namespace leat::detail {

/// What guards have in common: one of them at a time points to what is held, and gives it up at its end.
/// Guard::give_up(Owner&) does.
template <class Guard, class Owner>
class guard_base {
public:
    using owner_type = Owner;

    guard_base(guard_base&& other) noexcept : of_{other.let_go()}
    {
    }
    guard_base& operator=(guard_base&& other) noexcept
    {
        if (this != &other) {
            unlock();
            of_ = other.let_go();
        }
        return *this;
    }

    /// Gives up what it holds before its time. Does nothing if it holds nothing.
    ///
    /// Threads  any: it need not be unlocked where it was locked.
    /// Cost     one atomic operation; if others wait, a short lock, and who is next is woken. The caller goes on.
    void unlock() noexcept
    {
        if (of_ != nullptr)
            Guard::give_up(*let_go());
    }
    bool owns_lock() const noexcept
    {
        return of_ != nullptr;
    }
    explicit operator bool() const noexcept
    {
        return of_ != nullptr;
    }

    // For the library: parts from what it holds, and holds it again.
    Owner* let_go() noexcept
    {
        return std::exchange(of_, nullptr);
    }
    void hold_again(Owner& held) noexcept
    {
        of_ = &held;
    }
    /// What it holds, or null.
    Owner* held() const noexcept
    {
        return of_;
    }

protected:
    guard_base() noexcept = default;
    explicit guard_base(Owner& held) noexcept : of_{&held}
    {
    }
    ~guard_base()
    {
        unlock();
    }

private:
    Owner* of_ = nullptr;
};

}  // namespace leat::detail
