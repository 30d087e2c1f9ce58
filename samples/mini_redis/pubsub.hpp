// PUBLISH and SUBSCRIBE: who listens to which channel or pattern.
//
// A subscriber has a mailbox, a channel that a task of its connection empties onto the socket. Everything it is to be
// told goes there, confirmations too, under the broker's lock, so that the order is that of what happened. Nobody
// who publishes waits: whoever has more in his mailbox than he may have is dropped, by cancelling his context.
#pragma once

#include <leat/channel.hpp>
#include <leat/context.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mini_redis {

/// A reply, shared by all who get it.
using message = std::shared_ptr<const std::string>;

/// Whether a text is what a pattern of redis says: *, ?, [a-c], [^a], and \ before any of them.
bool matches(std::string_view pattern, std::string_view text) noexcept;

class broker;

class subscriber {
public:
    /// Cancels with `drop` when there are more bytes in the mailbox than that.
    subscriber(broker& of, const leat::canceller& drop, std::size_t max_queued)
        : of_{of}, drop_{drop}, max_queued_{max_queued}
    {
    }
    subscriber(const subscriber&) = delete;
    subscriber& operator=(const subscriber&) = delete;
    /// Without its subscriptions.
    ~subscriber();

    /// Puts a message into the mailbox, whatever else is there.
    void tell(message what);
    /// What has been received from the mailbox has been sent.
    void sent(const message& what) noexcept
    {
        queued_.fetch_sub(what->size(), std::memory_order_relaxed);
    }
    const leat::channel<message>& mailbox() const noexcept
    {
        return mailbox_;
    }

private:
    friend class broker;

    broker& of_;
    const leat::canceller& drop_;
    const std::size_t max_queued_;
    std::atomic<std::size_t> queued_{0};
    leat::channel<message> mailbox_{leat::unbounded};  // max_queued_ bounds it
    // Under the broker's lock.
    std::set<std::string, std::less<>> channels_;
    std::set<std::string, std::less<>> patterns_;
};

enum class topic { channel, pattern };

class broker {
public:
    /// Both confirm in the mailbox. Result: how many subscriptions there are now.
    std::size_t subscribe(subscriber& who, topic kind, std::string_view name);
    std::size_t unsubscribe(subscriber& who, topic kind, std::string_view name);
    /// All of a kind. If there are none, that is confirmed, too.
    std::size_t unsubscribe_all(subscriber& who, topic kind);
    /// Result: how many have got it.
    std::size_t publish(std::string_view channel, std::string_view what);
    /// Whoever goes without having unsubscribed.
    void forget(subscriber& who);

    /// How many channels and patterns have subscribers.
    std::pair<std::size_t, std::size_t> topics();

private:
    using topic_map = std::map<std::string, std::vector<subscriber*>, std::less<>>;

    bool remove(subscriber& who, topic kind, std::string_view name);

    std::mutex lock_;
    topic_map channels_;
    topic_map patterns_;
};

}  // namespace mini_redis
