// The attempts that fly, by key: what single_flight and concurrent_map::load_or_compute share.
//
// A chained hash table whose nodes are the attempts themselves, under one lock. An attempt is in it from enter() to
// forget(), or to remove(), after which it flies on for those who wait, and nobody joins it any more.
// The keys are compared under the lock, after their hashes: user code, but for a few instructions, and without it each
// call would need a second look. The table grows outside of the lock, but for the moving of the links.
#pragma once

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
    keyed_attempt* next = nullptr;  ///< under the lock of the board, as all below
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
        return count_;
    }

    // For join_or_begin().
    mutable spinlock lock_;
    bool settled(const K&, std::size_t) const noexcept
    {
        return false;
    }
    node* current(const K& key, std::size_t hash) const
    {
        for (node* each = *bucket(hash); each != nullptr; each = each->next)
            if (each->hash == hash && equal_(each->key, key))
                return each;
        return nullptr;
    }
    node* make(const K& key, std::size_t hash)
    {
        grow();
        return new node{*this, key, hash};
    }
    void enter(node& what) noexcept
    {
        node** const first = bucket(what.hash);
        what.next = *first;
        *first = &what;
        what.known = true;
        ++count_;
    }

private:
    static constexpr std::size_t fewest = 8;

    node** bucket(std::size_t hash) const noexcept
    {
        // Fibonacci's hashing: std::hash of a number is the number.
        const std::size_t spread = hash * static_cast<std::size_t>(0x9e3779b97f4a7c15U);
        node** const all = more_ ? more_.get() : few_;
        return const_cast<node**>(all) + (spread >> (sizeof(std::size_t) * 4)) % buckets_;
    }
    void take_out(node& what) noexcept
    {
        node** at = bucket(what.hash);
        while (*at != &what)
            at = &(*at)->next;
        *at = what.next;
        what.known = false;
        --count_;
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
            if (count_ < buckets_)
                return;
            wanted = buckets_ * 4;
        }
        owned<node*[]> fresh{new node* [wanted] {}};
        const spin_guard hold{lock_};
        if (buckets_ >= wanted)
            return;
        const std::size_t before = buckets_;
        owned<node*[]> old = std::move(more_);
        node* few[fewest];
        for (std::size_t i = 0; i < fewest; ++i)
            few[i] = std::exchange(few_[i], nullptr);
        node* const* const all = old ? old.get() : few;
        more_ = std::move(fresh);
        buckets_ = wanted;
        for (std::size_t i = 0; i < before; ++i)
            for (node* each = all[i]; each != nullptr;) {
                node* const following = each->next;
                node** const first = bucket(each->hash);
                each->next = *first;
                *first = each;
                each = following;
            }
    }

    [[no_unique_address]] Hash hash_;
    [[no_unique_address]] Equal equal_;
    std::size_t count_ = 0;
    std::size_t buckets_ = fewest;
    mutable node* few_[fewest]{};
    owned<node*[]> more_;
};

}  // namespace leat::detail
