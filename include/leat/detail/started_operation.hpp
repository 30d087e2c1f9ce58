// Operations that have to be started before they can be waited for, and that select has to end if they lose.
//
// The road not taken is to publish them while the task is awake (`arming` in park.hpp): what is started leaves `done`
// behind if it ends before it has been linked, so it can be linked with all the others, under all the locks.
#pragma once

#include <leat/detail/operation.hpp>
#include <leat/detail/park.hpp>

#include <system_error>

namespace leat::detail {

/// An operation that has to be started before it can be waited for, and ended if it loses: Asio's.
class started_operation : public waiter {
public:
    /// By the task. Throws what starting it throws.
    virtual void begin() = 0;
    virtual bool begun() const noexcept = 0;
    /// Does not wait for it.
    virtual void ask_to_end() noexcept = 0;
    /// Under the source's lock: has another waiter woken when it has ended.
    virtual void link_instead(waiter& other) noexcept = 0;
    /// Having ended: whether there is a value.
    virtual bool succeeded() const noexcept = 0;

protected:
    ~started_operation() = default;
};

/// Waits, whatever happens, until one that has been started has ended.
class end_of_started final : public waiter {
public:
    using value_type = void;
    static constexpr bool shielded = true;

    explicit end_of_started(started_operation& of) noexcept : of_{of}
    {
    }
    void prepare(turn&) noexcept
    {
    }
    spinlock& source() noexcept override
    {
        return of_.source();
    }
    bool try_complete(wake_list& wakes) noexcept override
    {
        return of_.try_complete(wakes);
    }
    void link() noexcept override
    {
        of_.link_instead(*this);
    }
    void unlink() noexcept override
    {
        of_.unlink();
    }
    const char* kind() const noexcept override
    {
        return of_.kind();
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    void value() const noexcept
    {
    }

private:
    started_operation& of_;
};

}  // namespace leat::detail
