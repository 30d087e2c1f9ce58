// A completion handler that waits for something of leat's, and how it is called.
//
// For the library. Whoever starts an operation for a handler derives from handler_owner, one object for each
// operation. It holds the handler, the handler's executor and that executor's work, and ends in one of two ways:
//
//   completed  On the handler's executor: the slot is cleared, the answer and the handler are moved out, the object
//              is let go of, then the handler is called.
//   abandoned  The handler is destroyed without having been called: the operation was, or the function that was
//              posted to complete it.
//
// References: one is the operation's, and then the completion's; one is that of what lies in the cancellation slot.
// Signals are emitted, and the slot is cleared, on the handler's executor, as Asio expects of its own operations. The
// last reference frees the object; the operation's has gone by the time that the handler is called.
#pragma once

#include <leat/asio/use_task.hpp>

#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/dispatch.hpp>
#include <asio/execution/context.hpp>
#include <asio/execution/executor.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/is_executor.hpp>
#include <asio/post.hpp>
#include <asio/prefer.hpp>
#include <asio/query.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

namespace leat::detail {

/// Executors of both of Asio's models.
template <class E>
concept asio_executor = asio::execution::is_executor<E>::value || asio::is_executor<E>::value;

template <class E>
decltype(auto) context_of(const E& executor)
{
    if constexpr (asio::can_query<const E&, asio::execution::context_t>::value)
        return asio::query(executor, asio::execution::context);
    else
        return executor.context();
}
/// Work of an executor, as long as it lives. What asio::make_work_guard() does, but also for strands on executors that
/// have Asio's new model only, of which that takes a strand for one of the old.
template <class E>
class held_work {
public:
    explicit held_work(const E& of) : work_(start(of))
    {
    }

private:
    static auto start(const E& of)
    {
        if constexpr (asio::execution::is_executor<E>::value)
            return asio::prefer(of, asio::execution::outstanding_work.tracked);
        else
            return asio::make_work_guard(of);
    }

    decltype(start(std::declval<const E&>())) work_;
};

class handler_base {
public:
    handler_base(const handler_base&) = delete;
    handler_base& operator=(const handler_base&) = delete;

    void ref() noexcept
    {
        refs_.fetch_add(1, std::memory_order_relaxed);
    }
    void unref() noexcept
    {
        if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            destroy();
    }
    /// A signal has been emitted. On the handler's executor.
    virtual void cancel() noexcept = 0;

protected:
    handler_base() noexcept = default;
    ~handler_base() = default;

    virtual void destroy() noexcept = 0;

private:
    std::atomic<std::uint32_t> refs_{1};
};

/// What is put into a cancellation slot.
class slot_handler {
public:
    explicit slot_handler(handler_base& of) noexcept : of_{&of}
    {
        of.ref();
    }
    slot_handler(slot_handler&& other) noexcept : of_{std::exchange(other.of_, nullptr)}
    {
    }
    slot_handler& operator=(slot_handler&&) = delete;
    ~slot_handler()
    {
        if (of_ != nullptr)
            of_->unref();
    }
    void operator()(asio::cancellation_type type) noexcept
    {
        if (type != asio::cancellation_type::none)
            of_->cancel();
    }

private:
    handler_base* of_;
};

/// Self has release(), called when the operation is over, whichever way, and take_answer(), which moves what the
/// handler is to be given into a function object that gives it.
template <class Self, class Handler, class E>
class handler_owner : public handler_base {
protected:
    using handler_executor = asio::associated_executor_t<Handler, E>;
    using given_allocator = asio::associated_allocator_t<Handler>;
    /// Without one of the handler's own, the frame pool.
    using used_allocator = std::conditional_t<std::is_same_v<given_allocator, std::allocator<void>>,
                                              frame_allocator<void>, given_allocator>;

public:
    template <class... Args>
    static Self* make(Handler&& handler, const E& executor, Args&&... args)
    {
        using allocator = typename std::allocator_traits<used_allocator>::template rebind_alloc<Self>;
        allocator memory{allocator_of(handler)};
        Self* const space = std::allocator_traits<allocator>::allocate(memory, 1);
        try {
            return ::new (static_cast<void*>(space))
                Self(std::move(handler), executor, std::forward<Args>(args)...);
        } catch (...) {
            std::allocator_traits<allocator>::deallocate(memory, space, 1);
            throw;
        }
    }

    /// The handler is never called.
    void abandon() noexcept
    {
        self().release();
        handler_.reset();
        work_.reset();
        this->unref();
    }
    /// The operation is over; nothing runs here and now.
    void complete_later()
    {
        const handler_executor on = executor_;
        asio::post(on, completion{self()});
    }
    /// The same for one who runs on the default executor, and has nothing else to do there.
    void complete_here()
    {
        const handler_executor on = executor_;
        asio::dispatch(on, completion{self()});
    }

protected:
    handler_owner(Handler&& handler, const E& executor)
        : allocator_{allocator_of(handler)}, handler_{std::move(handler)},
          executor_{asio::get_associated_executor(*handler_, executor)}, work_{executor_}
    {
    }
    ~handler_owner() = default;

    /// Makes it heed the handler's slot, if there is one. Before the operation starts.
    bool connect_slot()
    {
        auto slot = asio::get_associated_cancellation_slot(*handler_);
        if (!slot.is_connected())
            return false;
        slot.assign(slot_handler{*this});
        return true;
    }
    const handler_executor& executor() const noexcept
    {
        return executor_;
    }

private:
    class completion {
    public:
        using allocator_type = used_allocator;

        explicit completion(Self& of) noexcept : of_{&of}
        {
        }
        completion(completion&& other) noexcept : of_{std::exchange(other.of_, nullptr)}
        {
        }
        completion& operator=(completion&&) = delete;
        ~completion()
        {
            if (of_ != nullptr)
                of_->abandon();
        }
        void operator()()
        {
            static_cast<handler_owner*>(std::exchange(of_, nullptr))->complete();
        }
        allocator_type get_allocator() const noexcept
        {
            return static_cast<handler_owner*>(of_)->allocator_;
        }

    private:
        Self* of_;
    };

    Self& self() noexcept
    {
        return static_cast<Self&>(*this);
    }
    static used_allocator allocator_of(const Handler& handler) noexcept
    {
        if constexpr (std::is_same_v<used_allocator, given_allocator>)
            return asio::get_associated_allocator(handler);
        else
            return static_cast<void>(handler), used_allocator{};
    }
    void destroy() noexcept override
    {
        using allocator = typename std::allocator_traits<used_allocator>::template rebind_alloc<Self>;
        allocator memory{allocator_};
        Self* const at = &self();
        std::destroy_at(at);
        std::allocator_traits<allocator>::deallocate(memory, at, 1);
    }
    void complete()
    {
        // Nobody is cancelled through it any more: it may be used for the next operation.
        auto slot = asio::get_associated_cancellation_slot(*handler_);
        if (slot.is_connected())
            slot.clear();
        self().release();
        [[maybe_unused]] const held_work<handler_executor> busy = std::move(*work_);
        Handler handler = std::move(*handler_);
        handler_.reset();
        auto answer = self().take_answer();
        this->unref();
        answer(std::move(handler));
    }

    used_allocator allocator_;
    std::optional<Handler> handler_;
    handler_executor executor_;
    std::optional<held_work<handler_executor>> work_;
};

}  // namespace leat::detail
