#pragma once

#include <leat/detail/audience.hpp>
#include <leat/detail/pointer.hpp>

#include <concepts>
#include <cstddef>
#include <optional>
#include <utility>

namespace leat {

namespace detail {

template <class T>
class unpack_broadcast {
public:
    using message_type = T;
    unpack_broadcast() noexcept
    {
    }
    T operator()(carried<T>& item) const
    {
        return unpack<T>(item);
    }
};

template <class T>
class broadcast_inbox final : public inbox<carried<T>>, public list_link<seat> {
public:
    using inbox<carried<T>>::inbox;
};

template <class T>
class broadcast_core final : public fanout<broadcast_inbox<T>> {
    using box = broadcast_inbox<T>;
    using item = carried<T>;

public:
    /// A closed one has no members, and what comes later has ended.
    void join(box& who) noexcept
    {
        typename audience<box>::roster_ref old;
        {
            const spin_guard hold{lock_};
            if (!closed_) {
                old = members_.add(who);
                return;
            }
        }
        who.end();
    }
    void leave(box& who) noexcept override
    {
        typename audience<box>::roster_ref old;
        const spin_guard hold{lock_};
        if (static_cast<list_link<seat>&>(who).linked())
            old = members_.remove(who);
    }
    void close() noexcept
    {
        {
            const spin_guard hold{lock_};
            closed_ = true;
        }
        for (;;) {
            box* next = nullptr;
            {
                typename audience<box>::roster_ref old;
                const spin_guard hold{lock_};
                next = members_.members.front();
                if (next == nullptr)
                    return;
                next->ref();
                old = members_.remove(*next);
            }
            next->end();
            next->unref();
        }
    }
    bool closed() const noexcept
    {
        const spin_guard hold{lock_};
        return closed_;
    }
    std::size_t size() const noexcept
    {
        const spin_guard hold{lock_};
        return members_.size;
    }

    /// One message for all. Keeps the core, but does not keep it open.
    class offering {
    public:
        template <class U>
        offering(shared<broadcast_core> of, U&& value)
            : core_{std::move(of)}, item_(carry<T>(std::forward<U>(value)))
        {
        }
        std::size_t operator()(publication<item>& message, typename publication<item>::patience with)
        {
            to_ = roster_of(core_->members_, core_->lock_, core_->closed_);
            if (!to_)
                throw_error(make_error_code(errc::channel_closed));
            message.offer(*to_, [this](const box&) -> const item& { return item_; }, with);
            return to_->size();
        }
        void require_open() const
        {
            if (core_->closed())
                throw_error(make_error_code(errc::channel_closed));
        }

    private:
        shared<broadcast_core> core_;
        item item_;
        typename audience<box>::roster_ref to_;
    };

private:
    mutable spinlock lock_;
    audience<box> members_;
    bool closed_ = false;
};

}  // namespace detail

/// The receiving side of a broadcast: its own queue of what has been sent since it subscribed. Dropping it unsubscribes.
template <class T>
class broadcast_subscription
    : public detail::subscription_handle<detail::broadcast_inbox<T>, detail::unpack_broadcast<T>> {
    using base = detail::subscription_handle<detail::broadcast_inbox<T>, detail::unpack_broadcast<T>>;

public:
    broadcast_subscription() noexcept = default;

    // For the library.
    broadcast_subscription(detail::shared<detail::fanout<detail::broadcast_inbox<T>>> of,
                           detail::broadcast_inbox<T>* adopted) noexcept
        : base{std::move(of), adopted}
    {
    }
};

/// Gives each value to everybody who is subscribed.
///
/// Each subscription has a queue of its own, and says what happens when that is full; see subscribe_options. By default
/// senders wait, and nothing is lost. However slow one subscriber is, the others have a value before anybody waits.
///
/// The values of one sender arrive everywhere in the order in which they were sent; those of several senders are
/// interleaved, and not everywhere alike.
///
/// A reference type: copies name the same broadcast. When the last of them goes it closes. Small trivial values are copied
/// into the queues; others are stored once, and each receiver gets a copy, the last one the value itself.
///
/// Threads  any, concurrently; also threads of no runtime, through the try_ and blocking_ forms.
template <class T>
class broadcast {
    static_assert(
        std::copy_constructible<T>,
        "leat: what is broadcast is given to many: for what can not be copied, take a std::shared_ptr to it");
    using core = detail::broadcast_core<T>;
    using item = detail::carried<T>;

public:
    using value_type = T;

    broadcast() : open_{detail::make_shared_object<detail::opening<core>>(detail::make_shared_object<core>())}
    {
    }

    /// From now on. Of a closed one, a subscription that has ended.
    ///
    /// Throws  usage_error: a capacity that does not fit into memory; std::bad_alloc.
    [[nodiscard]] broadcast_subscription<T> subscribe(const subscribe_options& options = {}) const
    {
        auto* const box = new detail::broadcast_inbox<T>{options.capacity, options.overflow};
        broadcast_subscription<T> made{open_->core, box};
        open_->core->join(*box);
        return made;
    }

    /// Gives a value to all who are subscribed, then waits until those who asked for that have had room.
    ///
    /// Result   how many have got it; not counted is who has dropped it at once, for want of room.
    /// Throws   channel_closed_error: it is closed, or was before all had room; cancelled_error, timed_out_error: the
    ///          task's context ended first; std::bad_alloc: some may have got it.
    /// Cancel   before it starts, nobody gets the value. While it waits for room, those that it waits for do not, and
    ///          count it as dropped; the others have it. Not a case for select: run it in a task and join that.
    /// Cost     a frame, and for each subscriber a short lock.
    [[nodiscard]] task<std::size_t> send(T value) const
    {
        return detail::publish_waiting<item>(offering{open_->core, std::move(value)});
    }
    /// The same without waiting: who has no room, and a policy to wait for it, drops the value.
    ///
    /// Throws   channel_closed_error; std::bad_alloc.
    /// Threads  any, also those of no runtime.
    std::size_t try_send(T value) const
    {
        return detail::publish_now<item>(offering{open_->core, std::move(value)});
    }
    /// send() for a thread that is no worker: blocks the thread. Throws usage_error in a task.
    std::size_t blocking_send(T value) const
    {
        return detail::publish_blocking<item>(offering{open_->core, std::move(value)});
    }

    /// Ends every subscription, after what it has queued. Senders who wait for room are woken with
    /// channel_closed_error. Idempotent.
    void close() const noexcept
    {
        open_->core->close();
    }
    bool closed() const noexcept
    {
        return open_->core->closed();
    }
    /// How many are subscribed.
    std::size_t subscribers() const noexcept
    {
        return open_->core->size();
    }

    friend bool operator==(const broadcast& a, const broadcast& b) noexcept
    {
        return a.open_ == b.open_;
    }

private:
    using offering = typename core::offering;

    detail::shared<detail::opening<core>> open_;
};

}  // namespace leat
