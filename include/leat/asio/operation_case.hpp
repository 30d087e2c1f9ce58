// Operations of Asio's as cases of a select. Included by use_task.hpp, whose second half this is.
#pragma once

#include <leat/asio/use_task.hpp>
#include <leat/detail/spinlock.hpp>
#include <leat/detail/started_operation.hpp>

#include <exception>
#include <system_error>
#include <type_traits>
#include <utility>

namespace leat::detail {

/// An operation of Asio's as the case of a select; see started_operation. Operation is a reference if it stays the
/// caller's. It refers to the asio_wait as an awaiter does, but is never told of the context's end itself: the select
/// sees to it.
template <class Operation>
class asio_case final : public started_operation {
    using type = std::remove_reference_t<Operation>;
    using signature = typename type::signature;
    using wait_type = typename signature::wait;
    static constexpr bool owned = !std::is_reference_v<Operation>;

public:
    using value_type = typename signature::value_type;

    explicit asio_case(Operation&& op) : op_(static_cast<Operation&&>(op))
    {
    }
    // Before it has begun.
    asio_case(asio_case&& other) : op_(static_cast<Operation&&>(other.op_))
    {
    }
    ~asio_case()
    {
        if (wait_ == nullptr)
            return;
        if constexpr (!owned)
            if (!taken_ && has_ended() && succeeded())
                op_.keep(*wait_);
        wait_->detach();
        wait_->unref();
    }

    /// At the time of the first look it has not begun.
    bool must_wait() const noexcept
    {
        return true;
    }
    void prepare(turn&) noexcept
    {
    }
    void begin() override
    {
        wait_ = op_.take_kept();
        if (wait_ != nullptr)
            return;
        wait_ = wait_type::make();
        typename signature::handler handler{*wait_};
        if constexpr (owned)
            op_.start(std::move(handler));
        else
            op_.start_again(std::move(handler));
    }
    bool begun() const noexcept override
    {
        return wait_ != nullptr;
    }
    void ask_to_end() noexcept override
    {
        wait_->request_cancel();
    }
    void link_instead(waiter& other) noexcept override
    {
        wait_->waiting = &other;
    }
    bool succeeded() const noexcept override
    {
        std::error_code why;
        std::exception_ptr thrown;
        return wait_->values && !signature::failed(*wait_, why, thrown);
    }
    spinlock& source() noexcept override
    {
        return wait_->lock;
    }
    bool try_complete(wake_list&) noexcept override
    {
        return wait_->done;
    }
    void link() noexcept override
    {
        wait_->waiting = this;
    }
    void unlink() noexcept override
    {
        wait_->waiting = nullptr;
    }
    const char* kind() const noexcept override
    {
        return "operation of Asio";
    }
    std::error_code error() const noexcept
    {
        std::error_code why;
        std::exception_ptr thrown;
        if (!wait_->values)
            why = make_error_code(errc::abandoned);
        else
            static_cast<void>(signature::failed(*wait_, why, thrown));
        return why;
    }
    value_type value()
    {
        std::error_code why;
        std::exception_ptr thrown;
        if (signature::failed(*wait_, why, thrown) && thrown)
            std::rethrow_exception(thrown);
        taken_ = true;
        return signature::take(*wait_);
    }

private:
    bool has_ended() const noexcept
    {
        const spin_guard hold{wait_->lock};
        return wait_->done;
    }

    Operation op_;
    wait_type* wait_ = nullptr;
    bool taken_ = false;
};

}  // namespace leat::detail
