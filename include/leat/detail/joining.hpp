// What is joined once: a spawned task, a job. It has
//     using value_type = ...;
//     spinlock join_lock;              under which its end is made known to
//     waiter_stack joiners;
//     bool done() const;               true once `result` is there
//     outcome<value_type> result;
//     bool taken;                      with observe(), by whoever has the handle
//     void observe();                  somebody has been given the result
//     void cancel(), drop_handle();
//     joined_as, asked_twice           what it is called in reports
#pragma once

#include <leat/detail/operation.hpp>
#include <leat/detail/outcome.hpp>

#include <utility>

namespace leat::detail {

[[noreturn]] void throw_empty_handle();

/// Awaits its end.
template <class Joined>
class joining final : public waiter {
public:
    using value_type = typename Joined::value_type;

    explicit joining(Joined* joined) noexcept : joined_{joined}
    {
    }
    joining(const joining& other) noexcept : joined_{other.joined_}
    {
    }

    void prepare(turn&) noexcept
    {
    }
    spinlock& source() noexcept override
    {
        return joined_->join_lock;
    }
    bool try_complete(wake_list&) noexcept override
    {
        return joined_->done();
    }
    void link() noexcept override
    {
        joined_->joiners.push(*this);
    }
    void unlink() noexcept override
    {
        joined_->joiners.remove(*this);
    }
    const char* kind() const noexcept override
    {
        return Joined::joined_as;
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    value_type value()
    {
        require();
        return joined_->result.take();
    }
    result<value_type> take_result()
    {
        require();
        return joined_->result.take_result();
    }

private:
    void require()
    {
        if (std::exchange(joined_->taken, true))
            throw usage_error{Joined::asked_twice};
        joined_->observe();
    }
    Joined* joined_;
};

/// The handle of it, or of nothing. Dropping it detaches.
template <class Joined>
class joinable_handle {
public:
    using value_type = typename Joined::value_type;

    joinable_handle() noexcept = default;
    joinable_handle(joinable_handle&& other) noexcept : joined_{std::exchange(other.joined_, nullptr)}
    {
    }
    joinable_handle& operator=(joinable_handle&& other) noexcept
    {
        if (this != &other) {
            detach();
            joined_ = std::exchange(other.joined_, nullptr);
        }
        return *this;
    }
    ~joinable_handle()
    {
        detach();
    }

    explicit operator bool() const noexcept
    {
        return joined_ != nullptr;
    }

    /// Cancels it, and what it has started under its context. Does not wait. Idempotent.
    void cancel() noexcept
    {
        if (joined_ != nullptr)
            joined_->cancel();
    }

    /// Lets it go on alone. Being cancelled then is no failure; any other that nobody has seen goes where the
    /// description of the handle says.
    void detach() noexcept
    {
        if (joined_ != nullptr)
            std::exchange(joined_, nullptr)->drop_handle();
    }

    /// Whether it has ended.
    bool done() const noexcept
    {
        return joined_ != nullptr && joined_->done();
    }

    /// The wait for its end, as an operation: for select. Awaiting the handle itself means the same. It does
    /// not keep what it waits for: the handle has to stay until it has been awaited.
    [[nodiscard]] joining<Joined> join() const
    {
        require();
        return joining<Joined>{joined_};
    }

    // For the library.
    explicit joinable_handle(Joined* adopted) noexcept : joined_{adopted}
    {
    }
    Joined* joined() const noexcept
    {
        return joined_;
    }
    auto await_in(task_root& root) const
    {
        require();
        return owning_awaiter<joining<Joined>, true>{root, joined_};
    }
    auto await_result_in(task_root& root) const
    {
        require();
        return owning_awaiter<joining<Joined>, false>{root, joined_};
    }

private:
    void require() const
    {
        if (joined_ == nullptr)
            throw_empty_handle();
    }

    Joined* joined_ = nullptr;
};

}  // namespace leat::detail
