// A hash table that is read without locks and written under one: a shard of concurrent_map.
//
// Entries are nodes that never change: to store a value is to put another node in the place of the old one. A table is an
// array of places, open addressing, linear probing:
//     empty     no hash yet. Looking for a key ends here.
//     used      has a hash, which stays, and a node, or none if the entry was erased. Used again for the same hash only.
// So within a table a key that is there keeps its place, and who looks for it finds it, whatever is written meanwhile;
// who does not find it has looked at its place at a moment when it was not there. When three quarters of the places are
// used, the nodes are put into a new table, and the old one does not change any more: who still reads it began before the
// new one was published, and has an answer from then.
//
// Writers hold lock. Nodes and tables that have been taken out wait in limbo until no reader can see them; see
// thread_slots.hpp. Those that were taken out lately are `open`; with a time they become `sealed`, of which there is one
// batch at a time. Nothing is destroyed under the lock: reclaim() gives what may go to its caller.
#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/frame_pool.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/detail/spinlock.hpp>
#include <leat/detail/thread_slots.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace leat::detail {

template <class K, class V>
class table_node {
public:
    template <class Key, class... Args>
    explicit table_node(Key&& k, Args&&... args)
        : key(std::forward<Key>(k)), value(std::forward<Args>(args)...)
    {
    }
    static void* operator new(std::size_t size)
    {
        if constexpr (pooled)
            return allocate_frame(size);
        else
            return ::operator new(size, std::align_val_t{alignof(table_node)});
    }
    static void operator delete(void* block, std::size_t size) noexcept
    {
        if constexpr (pooled)
            free_frame(block, size);
        else
            ::operator delete(block, std::align_val_t{alignof(table_node)});
    }

    const K key;
    const V value;
    table_node* next = nullptr;  ///< in limbo

private:
    static constexpr bool pooled = alignof(K) <= 16 && alignof(V) <= 16;
};

template <class K, class V, class Equal>
class flat_table {
public:
    using node = table_node<K, V>;

    class place {
    public:
        atomic<std::uint64_t> hash{0};  ///< zero: empty
        atomic<node*> entry{nullptr};
    };

private:
    class table {
    public:
        explicit table(std::size_t size) : mask{size - 1}, places{make_owned_array<place>(size)}
        {
        }
        std::size_t mask;
        atomic<bool> collided{false};  ///< two places have, or have had, the same hash
        owned<place[]> places;
        table* next = nullptr;  ///< in limbo
    };

public:
    /// What has been taken out, and is to be destroyed by whoever holds this, without locks.
    class garbage {
    public:
        garbage() noexcept = default;
        garbage(garbage&& other) noexcept
            : nodes{std::exchange(other.nodes, nullptr)}, tables{std::exchange(other.tables, nullptr)}
        {
        }
        garbage& operator=(garbage&& other) noexcept
        {
            std::swap(nodes, other.nodes);
            std::swap(tables, other.tables);
            return *this;
        }
        ~garbage()
        {
            while (nodes != nullptr)
                delete std::exchange(nodes, nodes->next);
            while (tables != nullptr)
                delete std::exchange(tables, tables->next);
        }
        bool empty() const noexcept
        {
            return nodes == nullptr && tables == nullptr;
        }
        void take(garbage& from) noexcept
        {
            append(nodes, std::exchange(from.nodes, nullptr));
            append(tables, std::exchange(from.tables, nullptr));
        }

        node* nodes = nullptr;
        table* tables = nullptr;

    private:
        template <class T>
        static void append(T*& to, T* chain) noexcept
        {
            T** end = &chain;
            while (*end != nullptr)
                end = &(*end)->next;
            *end = to;
            to = chain;
        }
    };

    flat_table() noexcept = default;
    flat_table(const flat_table&) = delete;
    flat_table& operator=(const flat_table&) = delete;
    ~flat_table()
    {
        take_all();
    }

    spinlock lock;

    std::size_t count() const noexcept
    {
        return count_.load(std::memory_order_relaxed);
    }

    // -- without the lock, pinned -------------------------------------------------------------------

    const node* find(const K& key, std::uint64_t hash, const Equal& equal) const
    {
        return look_up(key, hash, equal).second;
    }
    /// Calls see(node) for each entry until it says false; then false. Throws std::bad_alloc, if hashes collide.
    template <class See>
    bool for_each(See& see, const Equal& equal) const
    {
        const table* const in = table_.load(std::memory_order_seq_cst);
        for (std::size_t i = 0; in != nullptr && i <= in->mask; ++i) {
            // In this order: if the entry is in the second place of its hash, `collided` was set before.
            const node* const entry = in->places[i].entry.load(std::memory_order_seq_cst);
            if (in->collided.load(std::memory_order_relaxed)) [[unlikely]] {
                if (!for_each_of_hash(*in, i, see, equal))
                    return false;
            } else if (entry != nullptr && !see(*entry)) {
                return false;
            }
        }
        return true;
    }

    // -- with the lock ------------------------------------------------------------------------------

    /// The place of the key if it is there, else null.
    place* find_place(const K& key, std::uint64_t hash, const Equal& equal) const
    {
        return look_up(key, hash, equal).first;
    }
    /// Puts in a key that is not there.
    void insert(node& fresh, std::uint64_t hash)
    {
        table* in = table_.load(std::memory_order_relaxed);
        if (in == nullptr || (used_ + 1) * 4 > (in->mask + 1) * 3)
            in = grow(in);
        put(*in, fresh, hash);
        count_.store(count() + 1, std::memory_order_relaxed);
    }
    node& replace(place& at, node& fresh) noexcept
    {
        node* const old = at.entry.exchange(&fresh, std::memory_order_seq_cst);
        retire(*old);
        return *old;
    }
    node& erase(place& at) noexcept
    {
        node* const old = at.entry.exchange(nullptr, std::memory_order_seq_cst);
        count_.store(count() - 1, std::memory_order_relaxed);
        retire(*old);
        return *old;
    }
    void clear() noexcept
    {
        garbage all = take_table();
        open_.take(all);
        open_count_ += batch;
    }

    /// What can be destroyed, if it is time to look.
    garbage reclaim() noexcept
    {
        garbage freed;
        if (open_count_ < batch && (batch > 1 || sealed_.empty()))
            return freed;
        if (!sealed_.empty() && all_pinned_since(sealed_at_))
            freed.take(sealed_);
        if (sealed_.empty() && open_count_ != 0) {
            sealed_.take(open_);
            open_count_ = 0;
            sealed_at_ = retire_time();
            if (all_pinned_since(sealed_at_))
                freed.take(sealed_);
        }
        return freed;
    }

private:
    /// What costs something, or somebody waits for its end, goes as soon as it can; of the rest, many together.
    static constexpr std::size_t batch =
        std::is_trivially_destructible_v<K> && std::is_trivially_destructible_v<V> && sizeof(node) <= 256 ? 64
                                                                                                          : 1;
    static constexpr std::size_t fewest = 8;

    // The place and what was in it when it was looked at: a moment later another key of the same hash may be there.
    std::pair<place*, const node*> look_up(const K& key, std::uint64_t hash, const Equal& equal) const
    {
        const table* const in = table_.load(std::memory_order_seq_cst);
        if (in == nullptr)
            return {nullptr, nullptr};
        for (std::size_t i = hash & in->mask;; i = (i + 1) & in->mask) {
            place& at = in->places[i];
            const std::uint64_t seen = at.hash.load(std::memory_order_acquire);
            if (seen == 0)
                return {nullptr, nullptr};
            if (seen != hash)
                continue;
            const node* const entry = at.entry.load(std::memory_order_seq_cst);
            if (entry != nullptr && equal(entry->key, key))
                return {&at, entry};
        }
    }
    // A key that is taken out and put in again may have got another place of its hash, and another key of that hash its
    // old one. So whoever walks sees all keys of a hash together, when it comes to the first of their places, each once.
    template <class See>
    static bool for_each_of_hash(const table& in, std::size_t from, See& see, const Equal& equal)
    {
        const std::uint64_t hash = in.places[from].hash.load(std::memory_order_acquire);
        if (hash == 0)
            return true;
        for (std::size_t i = hash & in.mask; i != from; i = (i + 1) & in.mask)
            if (in.places[i].hash.load(std::memory_order_relaxed) == hash)
                return true;
        const node* first = nullptr;
        std::vector<const node*> others;
        for (std::size_t i = from;; i = (i + 1) & in.mask) {
            const std::uint64_t other = in.places[i].hash.load(std::memory_order_acquire);
            if (other == 0)
                return true;
            const node* const entry =
                other == hash ? in.places[i].entry.load(std::memory_order_seq_cst) : nullptr;
            bool known = entry == nullptr || (first != nullptr && equal(first->key, entry->key));
            for (const node* const before : others)
                known = known || equal(before->key, entry->key);
            if (known)
                continue;
            if (first == nullptr)
                first = entry;
            else
                others.push_back(entry);
            if (!see(*entry))
                return false;
        }
    }
    void retire(node& old) noexcept
    {
        old.next = open_.nodes;
        open_.nodes = &old;
        ++open_count_;
    }
    void put(table& in, node& entry, std::uint64_t hash) noexcept
    {
        bool alone = true;
        for (std::size_t i = hash & in.mask;; i = (i + 1) & in.mask) {
            place& at = in.places[i];
            const std::uint64_t seen = at.hash.load(std::memory_order_relaxed);
            if (seen == 0) {
                ++used_;
                if (!alone)
                    in.collided.store(true, std::memory_order_relaxed);
                at.entry.store(&entry, std::memory_order_release);
                at.hash.store(hash, std::memory_order_release);
                return;
            }
            if (seen == hash && at.entry.load(std::memory_order_relaxed) == nullptr) {
                at.entry.store(&entry, std::memory_order_release);
                return;
            }
            alone = alone && seen != hash;
        }
    }
    table* grow(table* from)
    {
        std::size_t size = fewest;
        while (size < (count() + 1) * 2)
            size *= 2;
        auto* const fresh = new table{size};
        used_ = 0;
        for (std::size_t i = 0; from != nullptr && i <= from->mask; ++i)
            if (node* const entry = from->places[i].entry.load(std::memory_order_relaxed))
                put(*fresh, *entry, from->places[i].hash.load(std::memory_order_relaxed));
        table_.store(fresh, std::memory_order_seq_cst);
        if (from != nullptr) {
            from->next = open_.tables;
            open_.tables = from;
            open_count_ += batch;
        }
        return fresh;
    }
    garbage take_table() noexcept
    {
        garbage all;
        all.tables = table_.load(std::memory_order_relaxed);
        for (std::size_t i = 0; all.tables != nullptr && i <= all.tables->mask; ++i)
            if (node* const entry = all.tables->places[i].entry.load(std::memory_order_relaxed)) {
                entry->next = all.nodes;
                all.nodes = entry;
            }
        table_.store(nullptr, std::memory_order_seq_cst);
        count_.store(0, std::memory_order_relaxed);
        used_ = 0;
        return all;
    }
    void take_all() noexcept
    {
        static_cast<void>(take_table());
    }

    std::size_t used_ = 0;
    std::size_t open_count_ = 0;
    garbage open_;
    garbage sealed_;
    std::uint64_t sealed_at_ = 0;
    atomic<std::size_t> count_{0};
    alignas(64) atomic<table*> table_{nullptr};  ///< apart from what writers write
};

}  // namespace leat::detail
