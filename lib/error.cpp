#include <leat/error.hpp>
#include <leat/result.hpp>

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <typeinfo>

namespace leat {
namespace {

class category final : public std::error_category {
public:
    const char* name() const noexcept override
    {
        return "leat";
    }
    std::string message(int code) const override
    {
        switch (static_cast<errc>(code)) {
        case errc::cancelled: return "cancelled";
        case errc::deadline_exceeded: return "deadline exceeded";
        case errc::channel_closed: return "send on a closed channel";
        case errc::channel_full: return "channel full";
        case errc::channel_empty: return "channel empty";
        case errc::deadlock: return "deadlock: every task waits for another";
        case errc::failed: return "task failed";
        case errc::abandoned: return "task destroyed at the end of its runtime";
        case errc::exceeds_capacity: return "more permits than the semaphore has";
        case errc::upgrade_refused: return "another reader already waits to become the writer";
        case errc::broken_promise: return "promise destroyed without having given a value";
        case errc::rejected: return "rejected under overload";
        }
        return "unknown leat error " + std::to_string(code);
    }
    std::error_condition default_error_condition(int code) const noexcept override
    {
        switch (static_cast<errc>(code)) {
        case errc::cancelled: return std::errc::operation_canceled;
        case errc::deadline_exceeded: return std::errc::timed_out;
        case errc::channel_closed:
        case errc::broken_promise: return std::errc::broken_pipe;
        case errc::channel_full:
        case errc::rejected:
        case errc::channel_empty: return std::errc::resource_unavailable_try_again;
        case errc::deadlock:
        case errc::upgrade_refused: return std::errc::resource_deadlock_would_occur;
        case errc::exceeds_capacity: return std::errc::invalid_argument;
        case errc::failed:
        case errc::abandoned: break;
        }
        return {code, *this};
    }
};

std::string demangled(const std::type_info& type)
{
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> name{
        abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), &std::free};
    return status == 0 ? name.get() : type.name();
}

std::string summary(const std::vector<std::exception_ptr>& errors)
{
    std::string text = std::to_string(errors.size()) + " of the group's tasks failed";
    for (const std::exception_ptr& each : errors)
        text += "\n  " + detail::describe(each);
    return text;
}

}  // namespace

const std::error_category& error_category() noexcept
{
    // Never destroyed: codes may be compared while static objects are.
    static union holder {
        holder() noexcept : it{}
        {
        }
        ~holder()
        {
        }
        category it;
    } kept;
    return kept.it;
}

cancelled_error::cancelled_error(std::exception_ptr cause)
    : cancelled_error{errc::cancelled, std::move(cause)}
{
}

cancelled_error::cancelled_error(errc code, std::exception_ptr cause)
    : std::system_error{make_error_code(code)}, cause_{std::move(cause)}
{
}

timed_out_error::timed_out_error() : std::system_error{make_error_code(errc::deadline_exceeded)}
{
}

channel_closed_error::channel_closed_error() : std::system_error{make_error_code(errc::channel_closed)}
{
}

broken_promise_error::broken_promise_error() : std::system_error{make_error_code(errc::broken_promise)}
{
}

rejected_error::rejected_error(const char* by) : std::system_error{make_error_code(errc::rejected), by}
{
}

deadlock_error::deadlock_error(const std::string& report)
    : std::system_error{make_error_code(errc::deadlock)}, report_{"leat: deadlock: " + report}
{
}

group_error::group_error(std::vector<std::exception_ptr> errors)
    : std::runtime_error{summary(errors)}, errors_{std::move(errors)}
{
}

namespace detail {

const failure& lost_in_assignment() noexcept
{
    static const failure lost{make_error_code(errc::abandoned), nullptr};
    return lost;
}

void failure::rethrow() const
{
    if (thrown)
        std::rethrow_exception(thrown);
    throw_error(code);
}

void throw_error(std::error_code code)
{
    if (code.category() == error_category())
        switch (static_cast<errc>(code.value())) {
        case errc::cancelled: throw cancelled_error{};
        case errc::deadline_exceeded: throw timed_out_error{};
        case errc::channel_closed: throw channel_closed_error{};
        case errc::rejected: throw rejected_error{};
        case errc::broken_promise: throw broken_promise_error{};
        default: break;
        }
    throw std::system_error{code};
}

std::error_code code_of(const std::exception_ptr& thrown) noexcept
{
    try {
        if (thrown)
            std::rethrow_exception(thrown);
    } catch (const std::system_error& error) {
        return error.code();
    } catch (...) {
    }
    return make_error_code(errc::failed);
}

std::string describe(const std::exception_ptr& thrown)
{
    try {
        if (thrown)
            std::rethrow_exception(thrown);
        return "nothing";
    } catch (const std::exception& error) {
        return demangled(typeid(error)) + ": " + error.what();
    } catch (...) {
        const std::type_info* const type = abi::__cxa_current_exception_type();
        return type != nullptr ? "an exception of type " + demangled(*type) : std::string{"an exception"};
    }
}

}  // namespace detail
}  // namespace leat
