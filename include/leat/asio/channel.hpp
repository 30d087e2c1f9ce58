// async_send() and async_recv() of channels, for code of Asio's: including this file is all that is needed.
//
// A pending operation is a waiter like any other, on the queue of its channel; its root (park.hpp) stands for the
// handler instead of a task: being scheduled means that the handler is posted to its executor.
//
//   at once   Under the channel's lock the operation completes, and is posted.
//   parked    Else the root parks and the waiter is linked, before the lock is released, and the operation is on the
//             list of its handler's execution context. Then it is won by one of:
//   a peer      which has unlinked it. ready() takes it off the list, and posts.
//   a signal    cancel() has claimed the root; it unlinks the waiter, takes it off the list, and posts.
//   the end     of the handler's context, which may go before the channel: it claims, unlinks, and abandons. What a
//               peer has just won there it waits for (leaving_), so that nobody posts to an executor that has gone.
//
// The list, under its lock, is a service's of the context. Locks: that of the list, then a channel's.
#pragma once

#include <leat/asio/handler.hpp>
#include <leat/channel.hpp>
#include <leat/detail/park.hpp>

#include <asio/async_result.hpp>
#include <asio/error.hpp>
#include <asio/execution_context.hpp>
#include <asio/system_executor.hpp>

#include <memory>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

namespace leat::detail {

class async_wait_service;

/// An operation that waits with a handler. The task_root is what the peer claims; its link is that of the service's
/// list, as it is enrolled with no context.
class async_wait_root : public task_root {
public:
    /// Throws std::bad_alloc.
    explicit async_wait_root(asio::execution_context& of);

protected:
    ~async_wait_root() override = default;

    /// Waits; false if the operation completes at once.
    bool start(waiter& op) noexcept;
    /// True if it was still waiting: it has had no effect, and will have none.
    bool withdraw() noexcept;

private:
    friend class async_wait_service;
    friend class async_wait_scheduler;

    void finished(turn&) noexcept final
    {
    }
    void abandoned() noexcept final
    {
    }
    bool try_now() noexcept;
    void unlink() noexcept;
    /// A peer has completed it: to be posted.
    virtual void won() = 0;
    /// Its handler's context ends.
    virtual void lost() noexcept = 0;

    async_wait_service& service_;
    waiter* op_ = nullptr;
};

template <class Op, class Handler, class E>
class async_channel_operation final
    : public handler_owner<async_channel_operation<Op, Handler, E>, Handler, E>,
      private async_wait_root {
    using owner = handler_owner<async_channel_operation, Handler, E>;
    using value_type = typename Op::value_type;

public:
    template <class... Args>
    async_channel_operation(Handler&& handler, const E& executor, Args&&... args)
        : owner{std::move(handler), executor}, async_wait_root{context_of(this->executor())},
          op_{std::forward<Args>(args)...}
    {
    }

    /// Afterwards this may have gone.
    void launch()
    {
        this->connect_slot();
        turn nowhere;
        op_.prepare(nowhere);
        op_.root = this;
        if (!start(op_))
            this->complete_later();
    }
    void cancel() noexcept override
    {
        if (!withdraw())
            return;
        cancelled_ = true;
        this->complete_later();
    }

private:
    friend owner;

    class answer {
    public:
        answer(std::error_code why, Op& op) : why_{why}
        {
            if constexpr (!std::is_void_v<value_type>)
                if (!why)
                    value_.emplace(op.value());
        }
        void operator()(Handler&& handler)
        {
            if constexpr (std::is_void_v<value_type>)
                std::move(handler)(why_);
            else if (value_)
                std::move(handler)(why_, std::move(*value_));
            else
                std::move(handler)(why_, value_type{});
        }

    private:
        std::error_code why_;
        std::optional<std::conditional_t<std::is_void_v<value_type>, std::monostate, value_type>> value_;
    };

    void release() noexcept
    {
    }
    answer take_answer()
    {
        return answer{cancelled_ ? std::error_code{asio::error::operation_aborted} : op_.error(), op_};
    }
    void won() override
    {
        this->complete_later();
    }
    void lost() noexcept override
    {
        this->abandon();
    }

    Op op_;
    bool cancelled_ = false;
};

/// Starts an operation on a channel for a handler. Keeps the channel until then.
template <class Op, class Handle>
class initiate_on_channel {
public:
    explicit initiate_on_channel(const Handle& channel) : channel_{channel}
    {
    }
    template <class Handler, class... Args>
    void operator()(Handler&& handler, Args&&... args) const
    {
        using operation = async_channel_operation<Op, std::decay_t<Handler>, asio::system_executor>;
        operation* const started =
            operation::make(std::decay_t<Handler>(std::forward<Handler>(handler)), asio::system_executor{},
                            channel_access::core(channel_), std::forward<Args>(args)...);
        try {
            started->launch();
        } catch (...) {
            started->abandon();
            throw;
        }
    }

private:
    Handle channel_;
};

template <class Dependent>
struct asio_channel {
    template <class T, class Handle, class Token>
    static auto recv(const Handle& from, Token&& token)
    {
        using initiation = initiate_on_channel<recv_operation<T>, Handle>;
        return asio::async_initiate<Token, void(std::error_code, received<T>)>(initiation{from}, token);
    }
    template <class T, class Handle, class V, class Token>
    static auto send(const Handle& to, V&& value, Token&& token)
    {
        using initiation = initiate_on_channel<send_operation<T, true>, Handle>;
        return asio::async_initiate<Token, void(std::error_code)>(initiation{to}, token,
                                                                  std::forward<V>(value));
    }
    template <class T, class Handle, class Token>
    static auto send_from(const Handle& to, T& value, Token&& token)
    {
        using initiation = initiate_on_channel<send_operation<T, false>, Handle>;
        return asio::async_initiate<Token, void(std::error_code)>(initiation{to}, token,
                                                                  std::addressof(value));
    }
};

}  // namespace leat::detail
