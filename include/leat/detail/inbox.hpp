// Where the messages for one subscriber wait: a channel whose sender decides, message by message, what happens when it is
// full. And the sender's side, a publication: one message on its way to many inboxes.
//
// An inbox is a channel_core, with its buffer, its queue of receivers, its end and its lifetime. It is filled by offer(),
// never by a send. Besides what holds for a channel, always, under the lock:
//   - published = delivered + dropped + buffered + pending. A message counts as published from when it is offered to an
//     inbox that is open; as delivered, once a receiver has it.
//   - A message that has to wait for room is pending: a node that the publisher brings is linked into pending_. Whoever
//     takes from the buffer puts the first pending message into the free place. So they are served in the order in which
//     they came, and nobody who is offering meanwhile overtakes them.
//   - If there is a pending message the buffer is full, and no receiver waits.
//
// A publisher offers its message to every inbox before it waits for any of those that were full, and is pending in all
// of these at once: however slow one subscriber is, the others have the message. What it waits for is a count, that of
// its messages still pending, under the publication's lock. That lock is taken inside an inbox's by whoever settles a
// pending message, and alone by the publisher.
//   - A publication must outlive its nodes. When the publisher goes on, for whatever reason, it takes the lock of every
//     inbox that it was pending in (withdraw()); those who settled its messages have let go of both locks by then.
//   - A node is written by its publisher before it is linked and after it has been settled, and in between under the
//     lock of its inbox.
// (The road not taken is to wait for one full inbox after the other, as sends: then a subscriber that had been full for
// a moment gets the message only when those before it have it.)
#pragma once

#include <leat/detail/channel_core.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/pooled.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

namespace leat {

/// What becomes of a message for which a subscription has no room.
enum class overflow_policy : unsigned char {
    block,        ///< the publisher waits until there is room; nothing is lost
    drop_oldest,  ///< the oldest message in the queue makes room
    drop_newest,  ///< the message is not queued
    latest,       ///< only the last message is kept, whatever the capacity
    disconnect,   ///< the subscription ends, after what it has queued
};

/// What has become of the messages that were published to a subscription while it was open.
/// published == delivered + dropped + queued + pending.
struct subscription_stats {
    std::uint64_t published = 0;
    std::uint64_t delivered = 0;  ///< received
    std::uint64_t dropped = 0;    ///< lost by the overflow policy, by a publisher who gave up, or at the end
    std::size_t queued = 0;       ///< in the queue
    std::size_t pending = 0;      ///< their publishers wait for room
    bool disconnected = false;    ///< it has been ended by overflow_policy::disconnect
};

namespace detail {

[[noreturn]] void throw_ended_subscription();

/// One message on its way to many: how many inboxes it is pending in, and who waits for that to be none.
class publication_core {
public:
    publication_core() noexcept = default;
    publication_core(const publication_core&) = delete;
    publication_core& operator=(const publication_core&) = delete;

    /// A message became pending. By the publisher, under the lock of its inbox.
    void one_more() noexcept
    {
        const spin_guard hold{lock};
        ++pending;
    }
    /// One is no longer. By whoever took it, under the lock of its inbox.
    void one_less(wake_list& wakes) noexcept
    {
        const spin_guard hold{lock};
        if (--pending == 0 && !publisher.empty())
            static_cast<void>(publisher.win_front(wakes));
    }

    /// Whether the publisher waits, and his context has ended, though he may not have noticed yet. Under the lock of an
    /// inbox that the message is pending in. A waiter's task stays where it is as long as the waiter is linked.
    bool told_to_give_up() noexcept
    {
        const spin_guard hold{lock};
        return !publisher.empty() && publisher.front()->root->stop_requested();
    }

    spinlock lock;
    std::size_t pending = 0;
    waiter_list publisher;
};

/// Waits until a message is pending nowhere.
class publication_wait final : public waiter {
public:
    using value_type = void;

    explicit publication_wait(publication_core& of) noexcept : of_{of}
    {
    }
    void prepare(turn&) noexcept
    {
    }
    spinlock& source() noexcept override
    {
        return of_.lock;
    }
    bool try_complete(wake_list&) noexcept override
    {
        return of_.pending == 0;
    }
    void link() noexcept override
    {
        of_.publisher.push_back(*this);
    }
    void unlink() noexcept override
    {
        of_.publisher.remove(*this);
    }
    const char* kind() const noexcept override
    {
        return "room in a subscription";
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    void value() const noexcept
    {
    }

private:
    publication_core& of_;
};

template <class Item>
class inbox;

/// A message that waits for room in an inbox.
template <class Item>
class pending_message : public pooled<alignof(Item)> {
public:
    enum class state : unsigned char { pending, taken, refused, given_up };

    pending_message(inbox<Item>& to, const Item& what, publication_core& by) noexcept
        : item(what), into{to}, of{by}
    {
    }
    Item item;
    inbox<Item>& into;
    publication_core& of;
    pending_message* before = nullptr;  ///< in the inbox
    pending_message* behind = nullptr;
    pending_message* also = nullptr;  ///< in the publication
    state now = state::pending;
};

enum class [[nodiscard]] offered : unsigned char {
    taken,
    dropped,
    full,   ///< and its policy is to block: to be offered again, with a node
    ended,  ///< the subscription is over; the message does not count
    pending,
};

template <class Item>
class inbox : public channel_core<Item> {
    using base = channel_core<Item>;
    using node = pending_message<Item>;
    static_assert(std::is_nothrow_copy_constructible_v<Item>);

public:
    using item_type = Item;

    inbox(std::size_t capacity, overflow_policy policy)
        : base{policy == overflow_policy::latest ? 1 : capacity}, policy_{policy}
    {
        if (this->is_unbounded())
            throw_bad_capacity();
    }

    /// Gives it a message. What that displaces goes to `victim`, to be destroyed without the lock. `place` is for a
    /// message that has to wait; without one, the answer is `full` and nothing has happened.
    offered offer(const Item& item, wake_list& wakes, std::optional<Item>& victim,
                  node* place = nullptr) noexcept
    {
        const spin_guard hold{this->lock};
        if (this->is_closed())
            return offered::ended;
        if (auto* const to = this->template win<channel_receiver<Item>>(this->receivers, wakes)) {
            to->slot.emplace(item);
            to->result = channel_waiter::outcome::moved;
            ++published_;
            ++delivered_;
            return offered::taken;
        }
        if (this->count_.get() < this->capacity_) {
            append(item);
            ++published_;
            return offered::taken;
        }
        return overflow(item, victim, place);
    }

    /// Under the lock: receives if that is possible now, or finds that it is over.
    bool take(channel_receiver<Item>& to, wake_list& wakes) noexcept
    {
        if (this->count_.get() != 0) {
            static_cast<void>(this->pop([&](Item&& value) noexcept { to.slot.emplace(std::move(value)); }));
            if (node* const next = next_pending(wakes))
                this->push(settle(*next, node::state::taken, wakes), this->count_.get() - 1);
            else
                this->one_less();
        } else if (node* const next = next_pending(wakes)) {
            to.slot.emplace(std::move(settle(*next, node::state::taken, wakes)));
        } else if (this->is_closed()) {
            to.result = channel_waiter::outcome::closed;
            return true;
        } else {
            return false;
        }
        ++delivered_;
        to.result = channel_waiter::outcome::moved;
        return true;
    }

    /// A publisher who does not wait had no room here.
    void lose() noexcept
    {
        const spin_guard hold{this->lock};
        if (!this->is_closed()) {
            ++published_;
            ++dropped_;
        }
    }

    /// A publisher goes on. If its message is still pending it is dropped.
    void withdraw(node& what, wake_list& wakes) noexcept
    {
        const spin_guard hold{this->lock};
        if (what.now == node::state::pending)
            drop(what, node::state::given_up, wakes);
    }

    /// Nothing more can be published; what is queued can still be received. Idempotent.
    void end() noexcept
    {
        base::close();
        bool more = true;
        while (more) {
            wake_list wakes;
            {
                const spin_guard hold{this->lock};
                for (int i = 0; i < 32 && first_pending_ != nullptr; ++i)
                    drop(*first_pending_, node::state::refused, wakes);
                more = first_pending_ != nullptr;
            }
            wakes.flush(current_turn());
        }
    }

    /// The same, and what is queued is dropped.
    void abandon() noexcept
    {
        end();
        for (bool more = true; more;) {
            std::optional<Item> victim;
            const spin_guard hold{this->lock};
            more = drop_first(victim);
        }
        this->free_buffer();
    }

    subscription_stats stats() const noexcept
    {
        const spin_guard hold{this->lock};
        return {published_, delivered_, dropped_, this->count_.get(), pending_, disconnected_};
    }

private:
    offered overflow(const Item& item, std::optional<Item>& victim, node* place) noexcept
    {
        switch (policy_) {
        case overflow_policy::block:
            if (place == nullptr)
                return offered::full;
            link(*place);
            ++published_;
            return offered::pending;
        case overflow_policy::latest:
        case overflow_policy::drop_oldest:
            ++published_;
            // Without a buffer, nothing is older than this one.
            if (drop_first(victim)) {
                append(item);
                return offered::taken;
            }
            break;
        case overflow_policy::drop_newest: ++published_; break;
        case overflow_policy::disconnect:
            ++published_;
            // No receiver waits, or it would have got the message.
            this->mark_closed();
            disconnected_ = true;
            break;
        }
        ++dropped_;
        return offered::dropped;
    }
    void append(const Item& item) noexcept
    {
        Item copy(item);
        this->push(copy, this->count_.get());
        this->one_more();
    }
    bool drop_first(std::optional<Item>& victim) noexcept
    {
        if (this->count_.get() == 0)
            return false;
        static_cast<void>(this->pop([&](Item&& value) noexcept { victim.emplace(std::move(value)); }));
        this->one_less();
        ++dropped_;
        return true;
    }

    void link(node& what) noexcept
    {
        what.of.one_more();
        what.before = last_pending_;
        (last_pending_ != nullptr ? last_pending_->behind : first_pending_) = &what;
        last_pending_ = &what;
        ++pending_;
    }
    /// The first whose publisher has not been told to give up.
    node* next_pending(wake_list& wakes) noexcept
    {
        while (first_pending_ != nullptr && first_pending_->of.told_to_give_up())
            drop(*first_pending_, node::state::given_up, wakes);
        return first_pending_;
    }
    void drop(node& what, typename node::state why, wake_list& wakes) noexcept
    {
        static_cast<void>(settle(what, why, wakes));
        ++dropped_;
    }
    /// What its publisher waited for has happened. The item stays in the node, whose publisher may free it as soon as
    /// the lock has been let go.
    Item& settle(node& what, typename node::state to, wake_list& wakes) noexcept
    {
        (what.before != nullptr ? what.before->behind : first_pending_) = what.behind;
        (what.behind != nullptr ? what.behind->before : last_pending_) = what.before;
        --pending_;
        what.now = to;
        what.of.one_less(wakes);
        return what.item;
    }

    const overflow_policy policy_;
    bool disconnected_ = false;
    std::uint64_t published_ = 0;
    std::uint64_t delivered_ = 0;
    std::uint64_t dropped_ = 0;
    std::size_t pending_ = 0;
    node* first_pending_ = nullptr;
    node* last_pending_ = nullptr;
};

/// Receives from an inbox; Unpack says what the receiver is given of an item.
template <class Item, class Unpack>
class inbox_recv final : public channel_receiver<Item> {
public:
    using value_type = std::optional<std::invoke_result_t<const Unpack&, Item&>>;

    inbox_recv(inbox<Item>* from, Unpack how) noexcept : channel_receiver<Item>{from}, unpack_(std::move(how))
    {
    }
    inbox_recv(const inbox_recv& other) noexcept
        : channel_receiver<Item>{other.channel_}, unpack_(other.unpack_)
    {
    }

    void prepare(turn&) noexcept
    {
        // Of an operation that is awaited again.
        this->slot.reset();
    }
    bool try_complete(wake_list& wakes) noexcept override
    {
        return static_cast<inbox<Item>*>(this->channel_)->take(*this, wakes);
    }
    bool must_wait() const noexcept
    {
        // Without a buffer there may be a pending message, which only the lock shows.
        return this->channel_->capacity() != 0 && this->channel_->nothing_to_receive();
    }
    const char* kind() const noexcept override
    {
        return "receive from a subscription";
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    value_type value()
    {
        if (!this->slot)
            return std::nullopt;
        return value_type{std::in_place, unpack_(*this->slot)};
    }

private:
    [[no_unique_address]] Unpack unpack_;
};

}  // namespace detail
}  // namespace leat
