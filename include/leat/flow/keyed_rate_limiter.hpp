#pragma once

#include <leat/detail/pointer.hpp>
#include <leat/detail/spinlock.hpp>
#include <leat/flow/rate_limiter.hpp>
#include <leat/time.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>  // std::hash
#include <utility>
#include <vector>

namespace leat {

struct keyed_rate_limiter_options {
    /// A key that has not been used for so long is forgotten, once its bucket is full.
    clock::duration expire_after = clock::duration{600'000'000'000};
};

/// A rate_limiter for each key: for each client, say, or host. All have the same rate and burst.
///
/// Keys are forgotten when they have not been used for a while and their buckets are full again, so that forgetting
/// one admits nothing that would not have been; memory is bounded by the keys in use.
///
/// Keys are compared under a short lock: that must neither wait nor use the limiter.
///
/// Threads  any, concurrently.
/// Cost     a hash, two short locks and a look at the clock. A new key is allocated, and two others are looked at to
///          see whether they can be forgotten.
template <class K, class Hash = std::hash<K>>
class keyed_rate_limiter {
public:
    /// Throws  usage_error: as rate_limiter does.
    explicit keyed_rate_limiter(leat::rate events, std::int64_t burst = 1,
                                keyed_rate_limiter_options options = {})
        : rate_{events}, burst_{rate_limiter{events, burst}.burst()},
          expire_after_{options.expire_after.count()}, table_(first_size)
    {
    }
    keyed_rate_limiter(const keyed_rate_limiter&) = delete;
    keyed_rate_limiter& operator=(const keyed_rate_limiter&) = delete;

    /// The limiter of a key. While this handle is kept, the key is not forgotten.
    [[nodiscard]] rate_limiter of(const K& key)
    {
        const std::int64_t now = clock::now().time_since_epoch().count();
        const std::size_t hash = Hash{}(key);
        chain made;
        chain forgotten;
        std::vector<chain> larger;
        for (std::size_t room = 0;;) {
            // Nothing is allocated, or freed, under the lock.
            if (room != 0) {
                if (!made)
                    made = detail::make_owned<entry>(key, hash, rate_limiter{rate_, burst_});
                if (room > 1)
                    larger = std::vector<chain>(room);
            }
            const detail::spin_guard hold{lock_};
            if (entry* const known = find(key, hash)) {
                known->used = now;
                return known->limiter;
            }
            sweep(now, forgotten);
            const bool crowded = size_ >= table_.size();
            if (made && !(crowded && larger.size() <= size_)) {
                if (crowded)
                    move_to(larger);
                made->used = now;
                ++size_;
                return insert(std::move(made)).limiter;
            }
            room = crowded ? 2 * size_ : 1;
        }
    }

    /// As the members of rate_limiter, for one key.
    bool allow(const K& key, std::int64_t n = 1)
    {
        return of(key).allow(n);
    }
    [[nodiscard]] reservation reserve(const K& key, std::int64_t n = 1)
    {
        return of(key).reserve(n);
    }
    [[nodiscard]] detail::limiter_wait wait(const K& key, std::int64_t n = 1)
    {
        return of(key).wait(n);
    }

    /// How many keys are remembered.
    std::size_t size() const noexcept
    {
        const detail::spin_guard hold{lock_};
        return size_;
    }
    /// Forgets at once every key whose time has come.
    void expire()
    {
        const std::int64_t now = clock::now().time_since_epoch().count();
        chain forgotten;
        const detail::spin_guard hold{lock_};
        for (chain& at : table_)
            forget_in(at, now, forgotten);
    }

private:
    static constexpr std::size_t first_size = 16;

    struct entry;
    using chain = detail::owned<entry>;
    struct entry {
        entry(const K& k, std::size_t h, rate_limiter of) : key{k}, hash{h}, limiter{std::move(of)}
        {
        }
        ~entry()
        {
            // One by one: a long chain must not recurse.
            while (next)
                next = std::exchange(next->next, nullptr);
        }
        K key;
        std::size_t hash;
        std::int64_t used = 0;
        rate_limiter limiter;
        chain next;
    };

    entry* find(const K& key, std::size_t hash) const
    {
        for (entry* at = table_[hash % table_.size()].get(); at != nullptr; at = at->next.get())
            if (at->hash == hash && at->key == key)
                return at;
        return nullptr;
    }
    entry& insert(chain made) noexcept
    {
        chain& head = table_[made->hash % table_.size()];
        made->next = std::move(head);
        head = std::move(made);
        return *head;
    }
    void move_to(std::vector<chain>& larger) noexcept
    {
        table_.swap(larger);
        for (chain& from : larger)
            while (from) {
                chain rest = std::move(from->next);
                insert(std::move(from));
                from = std::move(rest);
            }
    }
    /// Looks at two places of the table, in turn.
    void sweep(std::int64_t now, chain& forgotten) noexcept
    {
        for (int i = 0; i < 2; ++i)
            forget_in(table_[hand_++ % table_.size()], now, forgotten);
    }
    void forget_in(chain& first, std::int64_t now, chain& forgotten) noexcept
    {
        for (chain* at = &first; *at;) {
            if (now - (*at)->used < expire_after_ || !(*at)->limiter.idle(now)) {
                at = &(*at)->next;
                continue;
            }
            chain gone = std::move(*at);
            *at = std::move(gone->next);
            gone->next = std::move(forgotten);
            forgotten = std::move(gone);
            --size_;
        }
    }

    const leat::rate rate_;
    const std::int64_t burst_;
    const std::int64_t expire_after_;
    mutable detail::spinlock lock_;
    std::vector<chain> table_;
    std::size_t size_ = 0;
    std::size_t hand_ = 0;
};

}  // namespace leat
