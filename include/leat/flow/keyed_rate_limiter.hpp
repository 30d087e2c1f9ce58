#pragma once

#include <leat/detail/node_table.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/detail/spinlock.hpp>
#include <leat/flow/rate_limiter.hpp>
#include <leat/time.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>  // std::hash
#include <utility>

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
          expire_after_{options.expire_after.count()}
    {
    }
    keyed_rate_limiter(const keyed_rate_limiter&) = delete;
    keyed_rate_limiter& operator=(const keyed_rate_limiter&) = delete;
    ~keyed_rate_limiter()
    {
        table_.for_each([](entry& each) { delete &each; });
    }

    /// The limiter of a key. While this handle is kept, the key is not forgotten.
    [[nodiscard]] rate_limiter of(const K& key)
    {
        const std::int64_t now = clock::now().time_since_epoch().count();
        const std::size_t hash = Hash{}(key);
        detail::owned<entry> made;
        typename detail::node_table<entry>::places larger;
        forgotten_keys forgotten;
        for (std::size_t room = 0;;) {
            // Nothing is allocated, or freed, under the lock.
            if (room != 0) {
                if (!made)
                    made = detail::make_owned<entry>(key, hash, rate_limiter{rate_, burst_});
                if (room > 1)
                    larger = typename detail::node_table<entry>::places{room};
            }
            const detail::spin_guard hold{lock_};
            if (entry* const known = table_.find(hash, [&](const entry& each) { return each.key == key; })) {
                known->used = now;
                return known->limiter;
            }
            for (int i = 0; i < 2; ++i)
                forget_in(hand_++ % table_.breadth(), now, forgotten);
            const std::size_t wanted = table_.wanted();
            if (made && wanted <= larger.count()) {
                table_.move_to(larger);
                made->used = now;
                table_.insert(*made);
                return made.release()->limiter;
            }
            room = wanted != 0 ? wanted : 1;
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
    [[nodiscard]] rate_limiter::wait_operation wait(const K& key, std::int64_t n = 1)
    {
        return of(key).wait(n);
    }

    /// How many keys are remembered.
    std::size_t size() const noexcept
    {
        const detail::spin_guard hold{lock_};
        return table_.size();
    }
    /// Forgets at once every key whose time has come.
    void expire()
    {
        const std::int64_t now = clock::now().time_since_epoch().count();
        forgotten_keys forgotten;
        const detail::spin_guard hold{lock_};
        for (std::size_t place = 0; place < table_.breadth(); ++place)
            forget_in(place, now, forgotten);
    }

private:
    struct entry {
        entry(const K& k, std::size_t h, rate_limiter of) : key{k}, hash{h}, limiter{std::move(of)}
        {
        }
        K key;
        std::size_t hash;
        std::int64_t used = 0;
        rate_limiter limiter;
        entry* chained = nullptr;
    };
    /// What was taken out under the lock, to be destroyed without it.
    struct forgotten_keys {
        forgotten_keys() noexcept
        {
        }
        ~forgotten_keys()
        {
            while (first != nullptr)
                delete std::exchange(first, first->chained);
        }
        entry* first = nullptr;
    };

    void forget_in(std::size_t place, std::int64_t now, forgotten_keys& to) noexcept
    {
        table_.take_out(
            place,
            [&](const entry& each) { return now - each.used >= expire_after_ && each.limiter.idle(now); },
            to.first);
    }

    const leat::rate rate_;
    const std::int64_t burst_;
    const std::int64_t expire_after_;
    mutable detail::spinlock lock_;
    detail::node_table<entry> table_;
    std::size_t hand_ = 0;
};

}  // namespace leat
