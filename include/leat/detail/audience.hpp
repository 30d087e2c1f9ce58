// Who is subscribed, and how a message gets to all of them.
//
// An audience is a list of inboxes under the lock of what they are subscribed to. A publisher does not walk it: it takes
// a roster, a counted and immutable copy, which is made when the first message is published after a change, and lasts
// until the next. So publishing holds that lock for a moment, however many are subscribed; subscribing and leaving
// cost the same whatever their number; and a publisher may still be giving its message to an inbox whose subscription
// has gone, which the roster keeps and which refuses it.
#pragma once

#include <leat/detail/blocking_wait.hpp>
#include <leat/detail/carried.hpp>
#include <leat/detail/inbox.hpp>
#include <leat/detail/intrusive.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/result.hpp>
#include <leat/task.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace leat {

/// How much a subscription holds, and what happens when it is full.
struct subscribe_options {
    /// How many messages wait to be received. With zero, a message needs a receiver who waits for it. The place is
    /// allocated when the subscription is made.
    std::size_t capacity = 64;
    overflow_policy overflow = overflow_policy::block;
};

namespace detail {

struct seat;
struct membership;

template <class Inbox>
class roster;

/// Inboxes, in the order in which they came. Under the lock of its owner.
template <class Inbox>
class audience {
public:
    using roster_ref = counted_ref<roster<Inbox>>;

    /// Both give what is to be let go of once the lock has been.
    [[nodiscard]] roster_ref add(Inbox& who) noexcept
    {
        members.push_back(who);
        ++size;
        return changed();
    }
    [[nodiscard]] roster_ref remove(Inbox& who) noexcept
    {
        members.remove(who);
        --size;
        return changed();
    }
    [[nodiscard]] roster_ref changed() noexcept
    {
        ++version;
        return std::exchange(fresh, {});
    }

    linked_list<Inbox, seat> members;
    std::size_t size = 0;
    std::uint64_t version = 0;
    roster_ref fresh;  ///< of this version, or null
};

template <class Inbox>
class roster {
public:
    roster() noexcept = default;
    roster(roster&& other) noexcept : members_{std::move(other.members_)}
    {
        other.members_.clear();
    }
    ~roster()
    {
        for (Inbox* each : members_)
            each->unref();
    }

    void reserve(std::size_t room)
    {
        members_.reserve(room);
    }
    std::size_t room() const noexcept
    {
        return members_.capacity() - members_.size();
    }
    /// Under the lock. Precondition: room() is enough.
    void add(const audience<Inbox>& all) noexcept
    {
        for (Inbox* each = all.members.front(); each != nullptr; each = all.members.after(*each)) {
            each->ref();
            members_.push_back(each);
        }
    }
    /// Without the lock. If the predicate throws, the roster is still good for being destroyed.
    template <class Predicate>
    void keep_if(Predicate wanted)
    {
        std::size_t kept = 0;
        for (std::size_t i = 0; i < members_.size(); ++i)
            if (wanted(*members_[i]))
                std::swap(members_[kept++], members_[i]);
        while (members_.size() > kept) {
            members_.back()->unref();
            members_.pop_back();
        }
    }

    std::size_t size() const noexcept
    {
        return members_.size();
    }
    auto begin() const noexcept
    {
        return members_.begin();
    }
    auto end() const noexcept
    {
        return members_.end();
    }

private:
    std::vector<Inbox*> members_;
};

/// The roster of an audience, made if there is none; null if it was closed in that moment, which the lock is over too.
template <class Inbox>
counted_ref<roster<Inbox>> roster_of(audience<Inbox>& all, spinlock& lock, const bool& closed)
{
    roster<Inbox> made;
    std::uint64_t version = 0;
    for (std::size_t room = 0;;) {
        made.reserve(room);
        const spin_guard hold{lock};
        if (closed)
            return {};
        if (all.fresh)
            return all.fresh;
        if (all.size <= made.room()) {
            made.add(all);
            version = all.version;
            break;
        }
        room = all.size + all.size / 8;
    }
    auto shared = counted_ref<roster<Inbox>>::make(std::move(made));
    auto replaced = shared;
    const spin_guard hold{lock};
    if (all.version == version)
        std::swap(all.fresh, replaced);
    return shared;
}

/// A message on its way to a roster.
template <class Item>
class publication : public publication_core {
    using node = pending_message<Item>;

public:
    /// Whether the publisher is going to wait for those that have no room; if not, they lose the message.
    enum class patience : bool { none, waits };

    publication() noexcept = default;
    ~publication()
    {
        withdraw();
        while (nodes_ != nullptr)
            delete std::exchange(nodes_, nodes_->also);
    }

    /// `item_for(inbox)` is what that one gets. Throws std::bad_alloc: the inboxes behind the one that it was needed for
    /// have not been given the message.
    template <class Inbox, class ItemFor>
    void offer(const roster<Inbox>& to, ItemFor item_for, patience with)
    {
        wake_list wakes;
        const wake_at_end flush{wakes};
        for (Inbox* each : to) {
            std::optional<Item> victim;
            const Item& item = item_for(*each);
            offered answer = each->offer(item, wakes, victim);
            if (answer == offered::full) [[unlikely]] {
                if (with == patience::none) {
                    each->lose();
                    continue;
                }
                auto place = make_owned<node>(*each, item, *this);
                answer = each->offer(item, wakes, victim, place.get());
                if (answer == offered::pending) {
                    place->also = nodes_;
                    nodes_ = place.release();
                }
            }
            taken_ += answer == offered::taken;
        }
    }

    bool waits() const noexcept
    {
        return nodes_ != nullptr;
    }
    // Both after the wait, if there was one.

    /// How many have got it.
    std::size_t taken() const noexcept
    {
        return taken_ + count(node::state::taken);
    }
    /// Whether an inbox in which it was pending has ended.
    bool refused() const noexcept
    {
        return count(node::state::refused) != 0;
    }

    /// Whether the publisher's context had ended before one of them had room.
    bool given_up() const noexcept
    {
        return count(node::state::given_up) != 0;
    }

    /// Gives up where it is still pending. Whoever has settled the message elsewhere then has let go of this.
    void withdraw() noexcept
    {
        wake_list nobody;
        for (node* each = nodes_; each != nullptr; each = each->also)
            each->into.withdraw(*each, nobody);
    }

private:
    class wake_at_end {
    public:
        explicit wake_at_end(wake_list& of) noexcept : of_{of}
        {
        }
        wake_at_end(const wake_at_end&) = delete;
        wake_at_end& operator=(const wake_at_end&) = delete;
        ~wake_at_end()
        {
            of_.flush(current_turn());
        }

    private:
        wake_list& of_;
    };

    std::size_t count(typename node::state which) const noexcept
    {
        std::size_t sum = 0;
        for (node* each = nodes_; each != nullptr; each = each->also)
            sum += each->now == which;
        return sum;
    }
    std::size_t taken_ = 0;
    node* nodes_ = nullptr;
};

/// Counts as much as so many ready operations: a turn that has done enough ends. Deaf to cancellation.
class spend_turn {
public:
    explicit spend_turn(std::size_t operations) noexcept
        : cost_{static_cast<std::int32_t>(operations < 1000 ? operations : 1000)}
    {
    }

    class awaiter {
    public:
        awaiter(task_root& root, std::int32_t cost) noexcept : root_{root}, cost_{cost}
        {
        }
        bool await_ready() const noexcept
        {
            return (root_.now->budget -= cost_) > 0;
        }
        void await_suspend(std::coroutine_handle<> frame) const noexcept
        {
            root_.current = frame;
            yield_turn(root_);
        }
        void await_resume() const noexcept
        {
        }

    private:
        task_root& root_;
        std::int32_t cost_;
    };

    auto await_in(task_root& root) const noexcept
    {
        return awaiter{root, cost_};
    }

private:
    std::int32_t cost_;
};

/// Publishing: in a task, by blocking a thread, and without waiting. `offer(publication, patience)` offers the message to
/// all, answers to how many, and keeps their inboxes; offer.require_open() throws if they have ended with what they were
/// subscribed to.
template <class Item, class Offer>
task<std::size_t> publish_waiting(Offer offer)
{
    task_root& root = *co_await get_root{};
    if (root.stop_requested())
        throw_stopped(root);
    publication<Item> message;
    const std::size_t to = offer(message, publication<Item>::patience::waits);
    if (message.waits()) {
        publication_wait settled{message};
        const result<> waited = co_await as_result(settled);
        if (!waited)
            message.withdraw();
        // Who is cancelled in the moment in which the last one had room has published.
        if (message.given_up())
            throw_stopped(root);
        if (message.refused())
            offer.require_open();
    }
    co_await spend_turn{1 + to / 128};
    co_return message.taken();
}
template <class Item, class Offer>
std::size_t publish_blocking(Offer offer)
{
    // Before anybody has it.
    require_no_task();
    publication<Item> message;
    offer(message, publication<Item>::patience::waits);
    publication_wait settled{message};
    wait_blocking(settled);
    if (message.refused())
        offer.require_open();
    return message.taken();
}
template <class Item, class Offer>
std::size_t publish_now(Offer offer)
{
    publication<Item> message;
    offer(message, publication<Item>::patience::none);
    return message.taken();
}

/// What one subscribes to, as a subscription sees it.
template <class Inbox>
class fanout {
public:
    fanout() noexcept = default;
    fanout(const fanout&) = delete;
    fanout& operator=(const fanout&) = delete;

    /// Takes it out of the audience. The inbox is still the caller's.
    virtual void leave(Inbox& who) noexcept = 0;

protected:
    ~fanout() = default;
};

/// The publishing side of something: closes it when the last of them goes.
template <class Core>
class opening {
public:
    explicit opening(shared<Core> of) noexcept : core{std::move(of)}
    {
    }
    opening(const opening&) = delete;
    opening& operator=(const opening&) = delete;
    ~opening()
    {
        core->close();
    }

    const shared<Core> core;
};

/// What subscriptions of all kinds have in common.
///
/// Throws  usage_error: every member that does not say noexcept, if the subscription is empty.
template <class Inbox, class Unpack>
class subscription_handle {
public:
    using message_type = typename Unpack::message_type;
    using value_type = message_type;

    /// To nothing, as one that has been moved from.
    subscription_handle() noexcept = default;
    subscription_handle(subscription_handle&& other) noexcept
        : of_{std::move(other.of_)}, inbox_{std::exchange(other.inbox_, nullptr)}
    {
    }
    subscription_handle& operator=(subscription_handle&& other) noexcept
    {
        if (this != &other) {
            release();
            of_ = std::move(other.of_);
            inbox_ = std::exchange(other.inbox_, nullptr);
        }
        return *this;
    }
    /// Unsubscribes.
    ~subscription_handle()
    {
        release();
    }

    /// False if it has been moved from.
    explicit operator bool() const noexcept
    {
        return inbox_ != nullptr;
    }

    /// Receives the next message, suspending while there is none.
    ///
    /// Several tasks may receive from one subscription: each message goes to one of them, in the order in which they
    /// came.
    ///
    /// Result   the message, or nullopt once the subscription has ended and all that it had queued is received.
    /// Throws   cancelled_error, timed_out_error: the task's context ended first. What copying the message throws: it
    ///          has been taken, and is lost.
    /// Cancel   safe: a cancelled receive has taken nothing. A case for select.
    /// Life     refers to the subscription without keeping it: await it in the same expression.
    /// Threads  any thread, concurrently with every other member but moving and destroying.
    /// Cost     one short lock; no allocation.
    [[nodiscard]] inbox_recv<typename Inbox::item_type, Unpack> recv() const
    {
        return inbox_recv<typename Inbox::item_type, Unpack>{&box_(), Unpack{}};
    }
    /// Receives if that is possible without waiting.
    ///
    /// Result   the message, or an error of errc::channel_empty or errc::channel_closed.
    /// Throws   what copying the message throws: it has been taken, and is lost.
    /// Threads  any, also those of no runtime.
    result<message_type> try_recv() const
    {
        return take_now(recv());
    }
    /// recv() for a thread that is no worker: blocks the thread.
    ///
    /// Throws   usage_error in a task; what copying the message throws: it has been taken, and is lost.
    std::optional<message_type> blocking_recv() const
    {
        return wait_blocking(recv());
    }

    /// Ends it: nothing more is queued, what is queued is dropped, and whoever receives gets the end. Idempotent.
    void unsubscribe() noexcept
    {
        if (inbox_ != nullptr) {
            of_->leave(*inbox_);
            inbox_->abandon();
        }
    }

    /// Whether it has ended: nothing more will be queued.
    bool closed() const
    {
        return box_().closed();
    }
    /// How many messages are queued.
    std::size_t size() const
    {
        return box_().size();
    }
    bool empty() const
    {
        return size() == 0;
    }
    std::size_t capacity() const
    {
        return box_().capacity();
    }

    /// What has become of the messages for it. Threads: any.
    subscription_stats stats() const
    {
        return box_().stats();
    }
    std::uint64_t published() const
    {
        return stats().published;
    }
    std::uint64_t delivered() const
    {
        return stats().delivered;
    }
    std::uint64_t dropped() const
    {
        return stats().dropped;
    }

    // For the library.
    Inbox* box_pointer() const noexcept
    {
        return inbox_;
    }

protected:
    subscription_handle(shared<fanout<Inbox>> of, Inbox* adopted) noexcept
        : of_{std::move(of)}, inbox_{adopted}
    {
    }
    Inbox& box_() const
    {
        if (inbox_ == nullptr)
            throw_ended_subscription();
        return *inbox_;
    }
    template <class Op>
    static auto take_now(Op op) -> result<typename Op::value_type::value_type>
    {
        if (!complete_now(op))
            return errc::channel_empty;
        auto got = op.value();
        if (!got)
            return errc::channel_closed;
        return result<typename Op::value_type::value_type>{std::in_place, std::move(*got)};
    }

private:
    void release() noexcept
    {
        unsubscribe();
        if (inbox_ != nullptr)
            std::exchange(inbox_, nullptr)->unref();
    }

    shared<fanout<Inbox>> of_;
    Inbox* inbox_ = nullptr;
};

}  // namespace detail
}  // namespace leat
