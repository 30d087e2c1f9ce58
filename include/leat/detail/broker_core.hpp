// The heart of a broker: who has subscribed to which topic, or by a pattern to many, and what was last said there.
//
// One lock is over all of it. Under it topics are hashed to and compared, but patterns are not asked: they may be any
// code of the user's.
//   - A topic has an entry while somebody is subscribed to it by name, or something is retained for it. Topics that only
//     patterns have an interest in come and go without a trace, so that inventing names costs no memory.
//   - A publisher needs the roster of its topic: who is subscribed by name, and those patterns that match. It copies
//     both lists in one moment under the lock, which is the moment of publishing, then asks the patterns, then leaves
//     the roster with the entry for the next publisher, marked with the versions of both lists. An entry may have gone and
//     come back meanwhile: its versions go on above all that those before it had, so that none comes twice.
//   - What is retained changes in that moment too. So whoever subscribes gets the retained message and everything after
//     it, once: it is put into the inbox under the lock, before anybody else knows the inbox.
//   - Who subscribes by a pattern asks it about every topic that has something retained, without the lock; if such
//     topics have come or gone meanwhile it asks again.
// The lock is taken before that of an inbox.
#pragma once

#include <leat/detail/audience.hpp>
#include <leat/detail/callback.hpp>
#include <leat/detail/node_table.hpp>
#include <leat/detail/pointer.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace leat::detail {

/// What lies in an inbox. The topic only where it does not follow from the subscription.
template <class Topic, class Message>
class broker_note {
public:
    explicit broker_note(carried<Message> what) noexcept : message(std::move(what))
    {
    }
    broker_note(const broker_note& of, counted_ref<Topic> name) noexcept
        : message(of.message), topic{std::move(name)}
    {
    }
    carried<Message> message;
    counted_ref<Topic> topic;
};

template <class Topic, class Message>
class broker_topic;

template <class Topic, class Message>
class broker_inbox final : public inbox<broker_note<Topic, Message>>,
                           public list_link<seat>,
                           public list_link<membership> {
public:
    using predicate = callback<void(const Topic&, bool&)>;

    broker_inbox(const subscribe_options& options, predicate which)
        : inbox<broker_note<Topic, Message>>{options.capacity, options.overflow}, wanted{std::move(which)}
    {
    }
    bool by_pattern() const noexcept
    {
        return static_cast<bool>(wanted);
    }
    bool wants(const Topic& topic) const
    {
        bool answer = true;
        if (wanted)
            wanted(topic, answer);
        return answer;
    }

    const predicate wanted;
    counted_ref<Topic> name;                     ///< of what it is subscribed to; null if that is a pattern
    broker_topic<Topic, Message>* at = nullptr;  ///< under the broker's lock, while it has a seat there
};

template <class Topic, class Message>
class broker_topic {
    using box = broker_inbox<Topic, Message>;

public:
    broker_topic(const Topic& topic, std::size_t h) : name{counted_ref<Topic>::make(topic)}, hash{h}
    {
    }
    const counted_ref<Topic> name;
    const std::size_t hash;
    broker_topic* chained = nullptr;
    audience<box> by_name;
    std::optional<broker_note<Topic, Message>> retained;
    counted_ref<roster<box>> all;  ///< with those patterns that match, as of these versions; or null
    std::uint64_t version_by_name = 0;
    std::uint64_t version_by_pattern = 0;
};

template <class Topic, class Message, class Hash, class Equal>
class broker_core final : public fanout<broker_inbox<Topic, Message>> {
public:
    using note = broker_note<Topic, Message>;
    using box = broker_inbox<Topic, Message>;
    using entry = broker_topic<Topic, Message>;
    using roster_ref = counted_ref<roster<box>>;

    broker_core(bool retains, const Hash& hash, const Equal& equal)
        : retains_{retains}, hash_{hash}, equal_{equal}
    {
    }
    ~broker_core()
    {
        topics_.for_each([](entry& each) { delete &each; });
    }

    void join_topic(box& who, const Topic& topic)
    {
        new_entry spare;
        const std::size_t hash = hash_(topic);
        for (;;) {
            spare.provide(topic, hash);
            leftovers old;
            const spin_guard hold{lock_};
            if (closed_)
                break;
            entry* const at = find_or_insert(topic, hash, spare);
            if (at == nullptr)
                continue;
            who.at = at;
            who.name = at->name;
            if (at->retained)
                put(who, *at->retained);
            old.roster = at->by_name.add(who);
            old.all = std::exchange(at->all, {});
            everybody_.push_back(who);
            return;
        }
        who.name = counted_ref<Topic>::make(topic);
        who.end();
    }

    void join_pattern(box& who)
    {
        std::vector<std::pair<entry*, counted_ref<Topic>>> known;
        for (std::size_t room = 0;;) {
            known.clear();
            known.reserve(room);
            std::uint64_t version = 0;
            {
                const spin_guard hold{lock_};
                version = version_of_retained_;
                room = retained_;
                if (room <= known.capacity())
                    topics_.for_each([&](entry& each) {
                        if (each.retained)
                            known.emplace_back(&each, each.name);
                    });
            }
            if (room > known.capacity())
                continue;
            std::size_t kept = 0;
            for (auto& each : known)
                if (who.wants(*each.second))
                    std::swap(known[kept++], each);
            leftovers old;
            const spin_guard hold{lock_};
            if (closed_)
                break;
            if (version != version_of_retained_)
                continue;
            for (std::size_t i = 0; i < kept; ++i)
                put(who, note{*known[i].first->retained, known[i].second});
            old.roster = by_pattern_.add(who);
            everybody_.push_back(who);
            return;
        }
        who.end();
    }

    void leave(box& who) noexcept override
    {
        leftovers old;
        const spin_guard hold{lock_};
        remove(who, old);
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
                leftovers old;
                const spin_guard hold{lock_};
                next = everybody_.front();
                if (next == nullptr)
                    return;
                next->ref();
                remove(*next, old);
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

    std::optional<note> retained(const Topic& topic) const
    {
        const std::size_t hash = hash_(topic);
        const spin_guard hold{lock_};
        const entry* const at = find(topic, hash);
        return at != nullptr ? at->retained : std::nullopt;
    }
    bool forget(const Topic& topic)
    {
        const std::size_t hash = hash_(topic);
        leftovers old;
        const spin_guard hold{lock_};
        entry* const at = find(topic, hash);
        if (at == nullptr || !at->retained)
            return false;
        std::swap(old.retained, at->retained);
        --retained_;
        ++version_of_retained_;
        remove_if_idle(*at, old);
        return true;
    }
    std::size_t topics() const noexcept
    {
        const spin_guard hold{lock_};
        return topics_.size();
    }
    /// Who is to get a message of this topic; nobody if null. With a message, which is then retained if that is wanted,
    /// this is the moment of publishing; no answer if the broker was closed in it.
    std::optional<roster_ref> roster_of_topic(const Topic& topic, const note* published)
    {
        new_entry spare;
        const bool keeps = retains_ && published != nullptr;
        const std::size_t hash = hash_(topic);
        roster<box> made;
        std::uint64_t version_by_name = 0;
        std::uint64_t version_by_pattern = 0;
        for (std::size_t room = 0;;) {
            made.reserve(room);
            spare.provide(topic, hash);
            std::optional<note> before;
            const spin_guard hold{lock_};
            if (published != nullptr && closed_)
                return std::nullopt;
            entry* at = find(topic, hash);
            const bool known = at != nullptr && at->all && at->version_by_name == at->by_name.version &&
                               at->version_by_pattern == by_pattern_.version;
            room = known ? 0 : by_pattern_.size + (at != nullptr ? at->by_name.size : 0);
            if (room > made.room())
                continue;
            if (keeps) {
                // Last: what may throw in the next round would leave an entry that nobody needs.
                if (at == nullptr && (at = insert(spare)) == nullptr)
                    continue;
                before.swap(at->retained);
                at->retained = *published;
                if (!before) {
                    ++retained_;
                    ++version_of_retained_;
                }
            }
            if (known)
                return at->all;
            if (at != nullptr) {
                made.add(at->by_name);
                version_by_name = at->by_name.version;
            }
            made.add(by_pattern_);
            version_by_pattern = by_pattern_.version;
            break;
        }
        made.keep_if([&](const box& each) { return each.wants(topic); });
        if (made.size() == 0)
            return roster_ref{};
        auto shared = roster_ref::make(std::move(made));
        auto replaced = shared;
        const spin_guard hold{lock_};
        entry* const at = find(topic, hash);
        if (at != nullptr && at->by_name.version == version_by_name &&
            by_pattern_.version == version_by_pattern) {
            at->version_by_name = version_by_name;
            at->version_by_pattern = version_by_pattern;
            std::swap(at->all, replaced);
        }
        return shared;
    }

private:
    /// What was taken out under the lock, to be destroyed without it.
    struct leftovers {
        leftovers() noexcept
        {
        }
        roster_ref roster;
        roster_ref all;
        std::optional<note> retained;
        owned<entry> gone;
    };
    /// What it may take to add a topic: nothing is allocated under the lock.
    struct new_entry {
        new_entry() noexcept
        {
        }
        /// Without the lock.
        void provide(const Topic& topic, std::size_t hash)
        {
            if (wanted && !made)
                made = make_owned<entry>(topic, hash);
            if (places_wanted > places.count())
                places = typename node_table<entry>::places{places_wanted};
        }
        owned<entry> made;
        typename node_table<entry>::places places;
        bool wanted = false;
        std::size_t places_wanted = 0;
    };

    entry* find(const Topic& topic, std::size_t hash) const
    {
        return topics_.find(hash, [&](const entry& each) { return equal_(*each.name, topic); });
    }
    /// Null: let go of the lock, provide what is wanted, and ask again.
    entry* find_or_insert(const Topic& topic, std::size_t hash, new_entry& spare)
    {
        if (entry* const known = find(topic, hash))
            return known;
        return insert(spare);
    }
    entry* insert(new_entry& spare)
    {
        const std::size_t wanted = topics_.wanted();
        if (!spare.made || wanted > spare.places.count()) {
            spare.wanted = true;
            spare.places_wanted = wanted;
            return nullptr;
        }
        topics_.move_to(spare.places);
        spare.made->by_name.version = last_version_;
        topics_.insert(*spare.made);
        return spare.made.release();
    }
    /// Under the lock, to an inbox that nobody else knows yet.
    static void put(box& who, const note& what) noexcept
    {
        wake_list nobody;
        std::optional<note> victim;  // something retained, so there are other shares in it
        if (who.offer(what, nobody, victim) == offered::full)
            who.lose();
    }
    void remove(box& who, leftovers& old) noexcept
    {
        if (!static_cast<list_link<membership>&>(who).linked())
            return;
        everybody_.remove(who);
        if (who.by_pattern()) {
            old.roster = by_pattern_.remove(who);
            return;
        }
        entry& at = *who.at;
        old.roster = at.by_name.remove(who);
        old.all = std::exchange(at.all, {});
        remove_if_idle(at, old);
    }
    void remove_if_idle(entry& at, leftovers& old) noexcept
    {
        if (at.by_name.size == 0 && !at.retained) {
            topics_.remove(at);
            if (last_version_ < at.by_name.version)
                last_version_ = at.by_name.version;
            old.gone.reset(&at);
        }
    }

    const bool retains_;
    [[no_unique_address]] Hash hash_;
    [[no_unique_address]] Equal equal_;
    mutable spinlock lock_;
    bool closed_ = false;
    node_table<entry> topics_;
    std::uint64_t last_version_ = 0;  ///< the highest of a topic that has gone
    audience<box> by_pattern_;
    linked_list<box, membership> everybody_;
    std::size_t retained_ = 0;  ///< topics that have something retained
    std::uint64_t version_of_retained_ = 0;
};

}  // namespace leat::detail
