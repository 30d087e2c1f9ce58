#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

namespace leat {

/// What can go wrong, as codes of category `leat`. Codes with a relative in std::errc compare equal to it.
enum class errc {
    cancelled = 1,      ///< the task's context was cancelled (std::errc::operation_canceled)
    deadline_exceeded,  ///< the deadline of the task's context has passed (std::errc::timed_out)
    channel_closed,     ///< a send on a closed channel (std::errc::broken_pipe)
    channel_full,       ///< try_send: nobody takes the value now (std::errc::resource_unavailable_try_again)
    channel_empty,      ///< try_recv: there is no value now (std::errc::resource_unavailable_try_again)
    deadlock,           ///< every task waits for another (std::errc::resource_deadlock_would_occur)
    failed,             ///< an exception that carries no code of its own
    abandoned,          ///< a task was destroyed by the end of its runtime before it had a result
    exceeds_capacity,   ///< more permits than the semaphore has (std::errc::invalid_argument)
    upgrade_refused,  ///< another reader waits to become the writer (std::errc::resource_deadlock_would_occur)
    broken_promise,  ///< a oneshot_promise was destroyed without having given a value (std::errc::broken_pipe)
    rejected,        ///< refused under overload instead of queued (std::errc::resource_unavailable_try_again)
};

/// The category of leat's error codes; its name is "leat".
const std::error_category& error_category() noexcept;

inline std::error_code make_error_code(errc code) noexcept
{
    return {static_cast<int>(code), error_category()};
}

/// The task's context was cancelled before the operation took effect.
class cancelled_error : public std::system_error {
public:
    explicit cancelled_error(std::exception_ptr cause = {});

    /// Why, if whoever cancelled gave a reason; null otherwise.
    const std::exception_ptr& cause() const noexcept
    {
        return cause_;
    }

protected:
    cancelled_error(errc code, std::exception_ptr cause);

private:
    std::exception_ptr cause_;
};

/// The deadline of the task's context passed before the operation took effect. Not a cancelled_error:
/// running out of time is a failure, being cancelled is an order.
class timed_out_error : public std::system_error {
public:
    timed_out_error();
};

/// A send on a closed channel. The value is still the caller's.
class channel_closed_error : public std::system_error {
public:
    channel_closed_error();
};

/// A oneshot_promise was destroyed without having given a value.
class broken_promise_error : public std::system_error {
public:
    broken_promise_error();
};

/// Work was refused instead of queued, by a bulkhead or worker_pool that is full or a circuit_breaker that is open. It has
/// not begun.
class rejected_error : public std::system_error {
public:
    explicit rejected_error(const char* by = "");
};

/// Nothing can run any more, but tasks are waiting. what() lists each with its await chain.
class deadlock_error : public std::system_error {
public:
    explicit deadlock_error(const std::string& report);
    /// The report: every task, and what it waits for.
    const char* what() const noexcept override
    {
        return report_.what();
    }

private:
    std::runtime_error report_;  // a string that is copied without throwing
};

/// The library was used in a way its contract forbids; what() names what was wrong and what to do.
class usage_error : public std::logic_error {
public:
    using std::logic_error::logic_error;
};

/// The failures of a group that collects them all, in the order in which its tasks were spawned; a failure
/// of the group's body comes first.
class group_error : public std::runtime_error {
public:
    explicit group_error(std::vector<std::exception_ptr> errors);

    const std::vector<std::exception_ptr>& errors() const noexcept
    {
        return errors_;
    }

private:
    std::vector<std::exception_ptr> errors_;
};

namespace detail {

/// Throws the exception that belongs to a code.
[[noreturn]] void throw_error(std::error_code code);

/// The code of an exception: its own if it is a system_error, else errc::failed.
std::error_code code_of(const std::exception_ptr& thrown) noexcept;

/// "std::runtime_error: no such page", for reports.
std::string describe(const std::exception_ptr& thrown);

}  // namespace detail
}  // namespace leat

template <>
struct std::is_error_code_enum<leat::errc> : std::true_type {};
