#pragma once

#include <leat/detail/audience.hpp>
#include <leat/detail/broker_core.hpp>
#include <leat/detail/hash.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/flow/topic_pattern.hpp>

#include <concepts>
#include <cstddef>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

namespace leat {

/// A message, and the topic under which it was published.
template <class Topic, class Message>
class delivery {
public:
    delivery(Topic t, Message m) : topic(std::move(t)), message(std::move(m))
    {
    }

    Topic topic;
    Message message;
};

namespace detail {

template <class Topic, class Message>
class unpack_note {
public:
    using message_type = Message;
    unpack_note() noexcept
    {
    }
    Message operator()(broker_note<Topic, Message>& item) const
    {
        return unpack<Message>(item.message);
    }
};

template <class Topic, class Message>
class unpack_delivery {
public:
    explicit unpack_delivery(const counted_ref<Topic>& name) noexcept : name_{&name}
    {
    }
    delivery<Topic, Message> operator()(broker_note<Topic, Message>& item) const
    {
        return {item.topic ? *item.topic : **name_, unpack<Message>(item.message)};
    }

private:
    const counted_ref<Topic>* name_;
};

}  // namespace detail

/// What has been published under some topics since it subscribed, in a queue of its own. Dropping it unsubscribes.
template <class Topic, class Message>
class subscription : public detail::subscription_handle<detail::broker_inbox<Topic, Message>,
                                                        detail::unpack_note<Topic, Message>> {
    using box = detail::broker_inbox<Topic, Message>;
    using base = detail::subscription_handle<box, detail::unpack_note<Topic, Message>>;
    using with_topic = detail::unpack_delivery<Topic, Message>;

public:
    subscription() noexcept = default;

    /// As recv(), with the topic: `.topic` and `.message`. Also throws what copying the topic does.
    [[nodiscard]] detail::inbox_recv<detail::broker_note<Topic, Message>, with_topic> recv_from() const
    {
        return detail::inbox_recv<detail::broker_note<Topic, Message>, with_topic>{
            &this->box_(), with_topic{this->box_().name}};
    }
    /// As try_recv(), with the topic.
    result<delivery<Topic, Message>> try_recv_from() const
    {
        return base::take_now(recv_from());
    }

    // For the library.
    subscription(detail::shared<detail::fanout<box>> of, box* adopted) noexcept : base{std::move(of), adopted}
    {
    }
};

struct broker_options {
    /// Keeps the last message of every topic, and gives it to those who subscribe later, as their first. Memory then
    /// grows with the number of topics, until they are forgotten.
    bool retain = false;
};

/// Publishers and subscribers who need not know each other: whoever publishes under a topic reaches all who have
/// subscribed to it, by name or by a pattern.
///
/// Each subscription has a queue of its own, and says what happens when that is full; see subscribe_options. By default
/// publishers wait, and nothing is lost. However slow one subscriber is, the others have a message before anybody waits.
/// Each subscription counts what it was sent, had, and lost.
///
/// The messages of one publisher arrive everywhere in the order in which they were published, whatever their topics;
/// those of several publishers are interleaved, and not everywhere alike. Nothing is kept for those who subscribe later,
/// unless the broker retains.
///
/// A reference type: copies name the same broker. When the last of them goes it closes. Small trivial messages are copied
/// into the queues; others are stored once, and each receiver gets a copy, the last one the message itself.
///
/// Threads  any, concurrently; also threads of no runtime, through the try_ and blocking_ forms. Topics are hashed without
///          a lock and compared under a short one: comparing them must not wait, or use the broker.
template <class Topic, class Message, class Hash = std::hash<Topic>, class Equal = std::equal_to<Topic>>
class broker {
    static_assert(
        std::copy_constructible<Message>,
        "leat: a message is given to many: for what can not be copied, take a std::shared_ptr to it");
    using core = detail::broker_core<Topic, Message, Hash, Equal>;
    using box = typename core::box;
    using note = typename core::note;

public:
    using topic_type = Topic;
    using message_type = Message;
    using subscription = leat::subscription<Topic, Message>;

    explicit broker(const broker_options& options = {}, const Hash& hash = Hash{},
                    const Equal& equal = Equal{})
        : open_{detail::make_shared_object<detail::opening<core>>(
              detail::make_shared_object<core>(options.retain, hash, equal))}
    {
    }

    /// Subscribes to one topic. To a closed broker: a subscription that has ended.
    ///
    /// A name is taken as it is: "orders.*" is the topic of just that name. For all that it matches there is
    /// topic_pattern{"orders.*"}.
    ///
    /// If the broker has retained a message of the topic, that is the first in the queue.
    ///
    /// Throws  usage_error: a capacity that does not fit into memory; std::bad_alloc; what copying the topic throws.
    [[nodiscard]] subscription subscribe(const Topic& topic, const subscribe_options& options = {}) const
    {
        subscription made = make(options, {});
        open_->core->join_topic(*made.box_pointer(), topic);
        return made;
    }
    /// Subscribes to all topics that match a pattern, those that are not known yet included.
    ///
    /// Retained messages of those topics are the first in the queue, in any order; for those that it has no room for the
    /// overflow policy holds, and if that is to block they are dropped.
    ///
    /// Throws  usage_error: a capacity that does not fit into memory; std::bad_alloc.
    [[nodiscard]] subscription subscribe(topic_pattern pattern, const subscribe_options& options = {}) const
        requires std::convertible_to<const Topic&, std::string_view>
    {
        return subscribe_if([p = std::move(pattern)](const Topic& topic) { return p.matches(topic); },
                            options);
    }
    /// The same for all topics that satisfy a predicate. It is called by publishers and subscribers, concurrently, without
    /// locks, and not for every message: it must always give the same answer for a topic, and not throw.
    ///
    /// Throws  usage_error: a capacity that does not fit into memory; std::bad_alloc; what moving the predicate throws.
    /// Life    the broker may keep the predicate after the subscription has gone: for each topic that somebody has
    ///         subscribed to by name, or that something is retained for, until the next message of that topic.
    template <std::predicate<const Topic&> F>
    [[nodiscard]] subscription subscribe_if(F predicate, const subscribe_options& options = {}) const
    {
        subscription made = make(
            options, [p = std::move(predicate)](const Topic& topic, bool& answer) { answer = p(topic); });
        open_->core->join_pattern(*made.box_pointer());
        return made;
    }
    /// The same for every topic, and throws the same.
    [[nodiscard]] subscription subscribe_all(const subscribe_options& options = {}) const
    {
        return subscribe_if([](const Topic&) { return true; }, options);
    }

    /// Gives a message to all who are subscribed to the topic, then waits until those who asked for that have had room.
    ///
    /// Result   how many have got it; not counted is who has dropped it at once, for want of room.
    /// Throws   channel_closed_error: the broker is closed, or was before all had room; cancelled_error, timed_out_error:
    ///          the task's context ended first; std::bad_alloc: some may have got it.
    /// Cancel   before it starts, nobody gets the message. While it waits for room, those that it waits for do not, and
    ///          count it as dropped; the others have it. Not a case for select: run it in a task and join that.
    /// Cost     a frame, a hash, and for each subscriber a short lock; the first time after a change among those who are
    ///          subscribed to the topic or by patterns, also a list of them. Topics that nobody has subscribed to by name
    ///          are matched with every pattern each time.
    [[nodiscard]] task<std::size_t> publish(Topic topic, Message message) const
    {
        return detail::publish_waiting<note>(offering{open_->core, std::move(topic), std::move(message)});
    }
    /// The same without waiting: who has no room, and a policy to wait for it, drops the message.
    ///
    /// Throws   channel_closed_error; std::bad_alloc.
    /// Threads  any, also those of no runtime.
    std::size_t try_publish(Topic topic, Message message) const
    {
        return detail::publish_now<note>(offering{open_->core, std::move(topic), std::move(message)});
    }
    /// publish() for a thread that is no worker: blocks the thread. Throws usage_error in a task.
    std::size_t blocking_publish(Topic topic, Message message) const
    {
        return detail::publish_blocking<note>(offering{open_->core, std::move(topic), std::move(message)});
    }

    /// The last message of a topic, if the broker retains and there has been one.
    ///
    /// Throws  what hashing and comparing topics, and copying the message throws.
    std::optional<Message> retained(const Topic& topic) const
    {
        auto found = open_->core->retained(topic);
        if (!found)
            return std::nullopt;
        return std::optional<Message>{std::in_place, detail::peek<Message>(found->message)};
    }
    /// Drops what is retained of a topic. Whether there was anything. Throws what hashing and comparing topics throws.
    bool forget(const Topic& topic) const
    {
        return open_->core->forget(topic);
    }

    /// Ends every subscription, after what it has queued. Publishers who wait for room are woken with
    /// channel_closed_error. Idempotent.
    void close() const noexcept
    {
        open_->core->close();
    }
    bool closed() const noexcept
    {
        return open_->core->closed();
    }
    /// How many would get a message of this topic.
    ///
    /// Throws  std::bad_alloc; what hashing and comparing topics throws.
    std::size_t subscribers(const Topic& topic) const
    {
        const auto found = open_->core->roster_of_topic(topic, nullptr);
        return *found ? (*found)->size() : 0;
    }
    /// How many topics are subscribed to by name, or have something retained.
    std::size_t topics() const noexcept
    {
        return open_->core->topics();
    }

    friend bool operator==(const broker& a, const broker& b) noexcept
    {
        return a.open_ == b.open_;
    }

private:
    /// One message for all. Keeps the core, but does not keep it open.
    class offering {
    public:
        offering(detail::shared<core> of, Topic&& topic, Message&& message)
            : core_{std::move(of)}, topic_(std::move(topic)),
              note_{detail::carry<Message>(std::move(message))}
        {
        }
        std::size_t operator()(detail::publication<note>& message,
                               typename detail::publication<note>::patience with)
        {
            auto answer = core_->roster_of_topic(topic_, &note_);
            if (!answer)
                detail::throw_error(make_error_code(errc::channel_closed));
            to_ = std::move(*answer);
            if (!to_)
                return 0;
            std::optional<note> with_topic;
            const auto choose = [&](const box& each) -> const note& {
                if (!each.by_pattern())
                    return note_;
                if (!with_topic)
                    with_topic.emplace(note_, detail::counted_ref<Topic>::make(topic_));
                return *with_topic;
            };
            message.offer(*to_, choose, with);
            return to_->size();
        }
        void require_open() const
        {
            if (core_->closed())
                detail::throw_error(make_error_code(errc::channel_closed));
        }

    private:
        detail::shared<core> core_;
        Topic topic_;
        note note_;
        typename core::roster_ref to_;
    };

    subscription make(const subscribe_options& options, typename box::predicate which) const
    {
        return subscription{open_->core, new box{options, std::move(which)}};
    }

    detail::shared<detail::opening<core>> open_;
};

}  // namespace leat
