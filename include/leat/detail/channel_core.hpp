// The heart of a channel: a buffer and two queues of waiters under one lock.
//
// Always, under the lock:
//   - if there are values in the buffer, no receiver that can still be won is queued;
//   - if a sender that can still be won is queued, the buffer is full (or has no room at all);
//   - after close, nobody is queued who can still be won, and the buffer only shrinks.
// So a value goes straight from a sender to a receiver that waits, else into the buffer; and when a receiver
// takes from a full buffer, the first waiting sender's value takes the free place: first in, first out, for
// values and for waiters.
//
// A sender's value stays where its owner keeps it, and is moved exactly once: by whoever completes the send,
// under the lock, after the send has become certain. The move is noexcept: values whose move may throw are
// boxed by the sender before it takes the lock (and unboxed by the receiver after it has let go).
//
// Looking without the lock. Whoever only wants to know whether there is anything to be had (try_recv() and the like,
// a select) looks at count_ or, if there is no buffer, at the other side's queue, and then at closed_. By the first
// two invariants the one word decides, and closed_ is never reset: so if the first look finds nothing and the second
// finds the channel open, there was nothing at the moment of the first. count_ changes once in a critical section: a
// value that takes the place of another leaves it as it is.
//   Such a look is not ordered by the lock, so it must not be overtaken by what its thread did before: two who
// each send to one channel and then look at the other's must not both find nothing. Looks are sequentially consistent,
// and so is every store that makes a channel ready which was not (count_ leaves zero or the capacity; close). Other
// stores make no difference to anybody. A waiter that is queued makes a channel ready as well, but its task does
// nothing more until it has been claimed; see waiter_list.
//
// Life. Handles are counted in refs_. Waiters that are linked, or that have been dropped because somebody
// else won their task, are counted in waiting_: their tasks will yet take the lock. The core is freed by
// whoever makes both zero. When the last handle goes, nobody can ever complete the operations that still
// wait, so the channel closes. Who pins the core counts as one that waits.
#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/memory.hpp>
#include <leat/detail/park.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/detail/pooled.hpp>

#include <cstddef>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace leat::detail {

template <class T>
struct channel_item {
    static constexpr bool boxed = !std::is_nothrow_move_constructible_v<T>;
    using type = std::conditional_t<boxed, owned<T>, T>;
};
template <>
struct channel_item<void> {
    static constexpr bool boxed = false;
    using type = std::monostate;
};

/// What does not depend on T.
class channel_base {
public:
    static constexpr std::size_t unbounded = static_cast<std::size_t>(-1);

    channel_base(const channel_base&) = delete;
    channel_base& operator=(const channel_base&) = delete;

    void ref() noexcept
    {
        refs_.fetch_add(1, std::memory_order_relaxed);
    }
    void unref() noexcept
    {
        if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            last_handle_gone();
    }

    void close() noexcept;
    bool closed() const noexcept
    {
        return closed_.look();
    }
    std::size_t size() const noexcept
    {
        return count_.look();
    }
    std::size_t capacity() const noexcept
    {
        return capacity_;
    }

    /// Whether there is nothing to receive, and no end either. Without the lock.
    bool nothing_to_receive() const noexcept
    {
        return (capacity_ == 0 ? senders.looks_empty() : count_.look() == 0) && !closed_.look();
    }
    /// Whether there is no room, and no end either. Without the lock.
    bool no_room() const noexcept
    {
        return (capacity_ == 0 ? receivers.looks_empty() : count_.look() == capacity_) && !closed_.look();
    }

    // -- by waiters, under the lock ----------------------------------------------------------------

    bool is_closed() const noexcept
    {
        return closed_.get();
    }
    // What decides whether an operation parks, apart from what it does otherwise, so that it is inlined.

    bool recv_waits() const noexcept
    {
        return count_.get() == 0 && senders.empty() && !is_closed();
    }
    bool send_waits() const noexcept
    {
        return count_.get() == capacity_ && receivers.empty() && !is_closed();
    }
    void attach(waiter_list& queue, waiter& node) noexcept
    {
        ++waiting_;
        queue.push_back(node);
    }
    /// A waiter that was attached has been won through this channel.
    void detach_won() noexcept
    {
        --waiting_;
    }
    /// A waiter that was attached was not. True if its owner has to free the core once it has let go of the
    /// lock.
    [[nodiscard]] bool detach(waiter_list& queue, waiter& node) noexcept
    {
        queue.remove(node);
        return --waiting_ == 0 && orphaned_;
    }
    /// Keeps the core, but not the channel open: for a sender who is to end when nobody can receive any more.
    void pin() noexcept
    {
        const spin_guard hold{lock};
        ++waiting_;
    }
    void unpin() noexcept;
    virtual void destroy() noexcept = 0;

    mutable spinlock lock;
    waiter_list senders;
    waiter_list receivers;
    waiter_list watchers;  ///< wait for the end

protected:
    explicit channel_base(std::size_t capacity) noexcept : capacity_{capacity}
    {
    }
    ~channel_base() = default;

    void one_more() noexcept
    {
        const std::size_t count = count_.get();
        if (count == 0)
            count_.show(1);
        else
            count_.set(count + 1);
    }
    void one_less() noexcept
    {
        const std::size_t count = count_.get();
        if (count == capacity_)
            count_.show(count - 1);
        else
            count_.set(count - 1);
    }
    /// Of a channel in which nobody waits.
    void mark_closed() noexcept
    {
        closed_.show(true);
    }

    std::size_t capacity_;
    published<std::size_t> count_{0};

private:
    void last_handle_gone() noexcept;

    atomic<std::uint32_t> refs_{1};
    std::uint32_t waiting_ = 0;
    published<bool> closed_{false};
    bool orphaned_ = false;
};

/// What both kinds of waiters are made of.
class channel_waiter : public waiter {
public:
    /// Set by whoever completes the operation.
    enum class outcome : unsigned char { none, moved, closed };
    /// In which queue it waits.
    enum class side : unsigned char { receives, sends, watches };

    spinlock& source() noexcept final
    {
        return channel_->lock;
    }
    void link() noexcept final
    {
        attached = true;
        channel_->attach(queue(), *this);
    }
    void unlink() noexcept final
    {
        if (std::exchange(attached, false))
            frees_channel_ = channel_->detach(queue(), *this);
    }
    void unlinked() noexcept final
    {
        if (frees_channel_)
            channel_->destroy();
    }

    outcome result = outcome::none;
    bool attached = false;

protected:
    channel_waiter(channel_base* of, side on) noexcept : side_{on}, channel_{of}
    {
    }
    ~channel_waiter() = default;

private:
    waiter_list& queue() const noexcept
    {
        switch (side_) {
        case side::receives: return channel_->receivers;
        case side::sends: return channel_->senders;
        case side::watches: break;
        }
        return channel_->watchers;
    }

    bool frees_channel_ = false;
    side side_;

protected:
    channel_base* channel_;
};

/// A place for a value in an unbounded channel. The sender brings it and the receiver takes it away, so that
/// nothing is allocated or freed under the lock.
template <class Item>
class channel_node : public pooled<alignof(Item)> {
public:
    channel_node() noexcept
    {
    }
    channel_node* next = nullptr;
    alignas(Item) std::byte space[sizeof(Item)];
};

template <class Item>
class channel_sender : public channel_waiter {
public:
    explicit channel_sender(channel_base* to) noexcept : channel_waiter{to, side::sends}
    {
    }
    Item* item = nullptr;
};

template <class Item>
class channel_receiver : public channel_waiter {
public:
    explicit channel_receiver(channel_base* from) noexcept : channel_waiter{from, side::receives}
    {
    }
    ~channel_receiver()
    {
        delete spent;
    }
    std::optional<Item> slot;
    channel_node<Item>* spent = nullptr;  ///< where the value was
};

[[noreturn]] void throw_bad_capacity();

template <class Item>
class channel_core : public channel_base {
public:
    using sender = channel_sender<Item>;
    using receiver = channel_receiver<Item>;

    using node = channel_node<Item>;

    explicit channel_core(std::size_t capacity) : channel_base{capacity}
    {
        if (capacity != 0 && capacity != unbounded) {
            if (capacity > (static_cast<std::size_t>(-1) >> 1) / sizeof(Item))
                throw_bad_capacity();
            ring_ = std::allocator<Item>{}.allocate(capacity);
        }
    }
    virtual ~channel_core()
    {
        for (std::size_t left = count_.get(); left != 0; --left)
            delete pop([](Item&&) noexcept {});
        if (ring_ != nullptr)
            std::allocator<Item>{}.deallocate(ring_, capacity_);
    }
    void destroy() noexcept override
    {
        delete this;
    }

    bool is_unbounded() const noexcept
    {
        return capacity_ == unbounded;
    }

    /// Under the lock: sends if that is possible now, or finds the channel closed. `place` is where the value
    /// goes if the channel is unbounded; taken if it is used.
    bool try_send(sender& from, node*& place, wake_list& wakes) noexcept
    {
        if (is_closed()) [[unlikely]] {
            from.result = channel_waiter::outcome::closed;
            return true;
        }
        if (receiver* const to = win<receiver>(receivers, wakes)) {
            to->slot.emplace(std::move(*from.item));
            to->result = channel_waiter::outcome::moved;
        } else if (is_unbounded()) {
            push(*from.item, *std::exchange(place, nullptr));
            one_more();
        } else if (count_.get() < capacity_) {
            push(*from.item, count_.get());
            one_more();
        } else {
            return false;
        }
        from.result = channel_waiter::outcome::moved;
        return true;
    }

    /// Under the lock: receives if that is possible now, or finds the channel closed and drained.
    bool try_recv(receiver& to, wake_list& wakes) noexcept
    {
        if (count_.get() != 0) {
            to.spent = pop([&](Item&& value) noexcept { to.slot.emplace(std::move(value)); });
            if (sender* const next = win<sender>(senders, wakes)) {
                push(*next->item, count_.get() - 1);
                next->result = channel_waiter::outcome::moved;
            } else {
                one_less();
            }
        } else if (sender* const from = win<sender>(senders, wakes)) {
            to.slot.emplace(std::move(*from->item));
            from->result = channel_waiter::outcome::moved;
        } else if (is_closed()) {
            to.result = channel_waiter::outcome::closed;
            return true;
        } else {
            return false;
        }
        to.result = channel_waiter::outcome::moved;
        return true;
    }

protected:
    template <class W>
    W* win(waiter_list& queue, wake_list& wakes) noexcept
    {
        if (queue.empty())
            return nullptr;
        W* const won = static_cast<W*>(queue.win_front(wakes));
        if (won != nullptr) {
            won->attached = false;
            detach_won();
        }
        return won;
    }

    /// Behind the first `count` values.
    void push(Item& value, std::size_t count) noexcept
    {
        std::size_t at = head_ + count;
        if (at >= capacity_)
            at -= capacity_;
        std::construct_at(ring_ + at, std::move(value));
    }
    void push(Item& value, node& place) noexcept
    {
        ::new (static_cast<void*>(place.space)) Item(std::move(value));
        place.next = nullptr;
        (last_ != nullptr ? last_->next : first_) = &place;
        last_ = &place;
    }
    /// Takes the first value out; returns its node, for the caller to free, if it had one.
    template <class Into>
    [[nodiscard]] node* pop(Into into) noexcept
    {
        if (is_unbounded()) {
            node* const place = first_;
            first_ = place->next;
            if (first_ == nullptr)
                last_ = nullptr;
            Item& value = *std::launder(reinterpret_cast<Item*>(place->space));
            into(std::move(value));
            std::destroy_at(&value);
            return place;
        }
        Item& value = ring_[head_];
        into(std::move(value));
        std::destroy_at(&value);
        if (++head_ == capacity_)
            head_ = 0;
        return nullptr;
    }

    /// Of a channel that is closed and empty.
    void free_buffer() noexcept
    {
        Item* old = nullptr;
        {
            const spin_guard hold{lock};
            old = std::exchange(ring_, nullptr);
        }
        if (old != nullptr)
            std::allocator<Item>{}.deallocate(old, capacity_);
    }

private:
    Item* ring_ = nullptr;
    std::size_t head_ = 0;
    node* first_ = nullptr;
    node* last_ = nullptr;
};

}  // namespace leat::detail
