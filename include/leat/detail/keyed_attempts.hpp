// The attempts that fly, by key: what single_flight and concurrent_map::load_or_compute share.
//
// A chained hash table whose nodes are the attempts themselves, under one lock. An attempt is in it from enter() to
// forget(), or to remove(), after which it flies on for those who wait, and nobody joins it any more.
// The keys are compared under the lock, after their hashes: user code, but for a few instructions, and without it each
// call would need a second look. The table grows outside of the lock, but for the moving of the links.
#pragma once

#include <leat/detail/node_table.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/detail/shared_attempt.hpp>
#include <leat/detail/spinlock.hpp>

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace leat::detail {

template <class K, class T>
class keyed_attempt final : public attempt<T> {
public:
    keyed_attempt(attempt_owner& of, const K& of_key, std::size_t hash_of_key)
        : attempt<T>{of}, key(of_key), hash{hash_of_key}
    {
    }
    const K key;
    const std::size_t hash;
    keyed_attempt* chained = nullptr;  ///< under the lock of the board, as all below
    bool known = false;
};

template <class K, class T, class Hash, class Equal>
class keyed_attempts final : private attempt_owner {
public:
    using node = keyed_attempt<K, T>;

    keyed_attempts(const Hash& hash, const Equal& equal) : hash_{hash}, equal_{equal}
    {
    }
    keyed_attempts(const keyed_attempts&) = delete;
    keyed_attempts& operator=(const keyed_attempts&) = delete;
    ~keyed_attempts()
    {
        // Whoever has been let go may destroy it while forget() still holds the lock.
        lock_.lock();
        lock_.unlock();
    }

    std::size_t hash_of(const K& key) const
    {
        return hash_(key);
    }
    /// False if there was none.
    bool remove(const K& key)
    {
        const std::size_t hash = hash_(key);
        const spin_guard hold{lock_};
        node* const found = current(key, hash);
        if (found != nullptr)
            take_out(*found);
        return found != nullptr;
    }
    std::size_t size() const noexcept
    {
        const spin_guard hold{lock_};
        return table_.size();
    }

    // For join_or_begin().
    mutable spinlock lock_;
    bool settled(const K&, std::size_t) const noexcept
    {
        return false;
    }
    node* current(const K& key, std::size_t hash) const
    {
        return table_.find(hash, [&](const node& each) { return equal_(each.key, key); });
    }
    node* make(const K& key, std::size_t hash)
    {
        grow();
        return new node{*this, key, hash};
    }
    void enter(node& what) noexcept
    {
        table_.insert(what);
        what.known = true;
    }

private:
    void take_out(node& what) noexcept
    {
        table_.remove(what);
        what.known = false;
    }
    void forget(attempt_base& what, bool) noexcept override
    {
        const spin_guard hold{lock_};
        node& mine = static_cast<node&>(what);
        if (mine.known)
            take_out(mine);
    }
    void grow()
    {
        std::size_t wanted = 0;
        {
            const spin_guard hold{lock_};
            wanted = table_.wanted();
            if (wanted == 0)
                return;
        }
        typename node_table<node>::places fresh{wanted};
        const spin_guard hold{lock_};
        table_.move_to(fresh);
    }

    [[no_unique_address]] Hash hash_;
    [[no_unique_address]] Equal equal_;
    node_table<node> table_;
};

}  // namespace leat::detail
