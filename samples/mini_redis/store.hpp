// The data: keys with a string or a list each, in shards that are locked one by one.
//
// A command locks the shards of its keys (access), does its work, appends what it has done to the journal, and unlocks.
// That is short work on memory: nobody waits in it, a large string is not copied (strings are shared and never changed),
// and so a plain std::mutex is right, which blocks a thread for the moment. Who has to wait, for a list to be
// filled, does so outside, as a waiting_pop.
//
// As the journal is appended to under the locks, its order is the order of what happened to each key. A key whose time
// is up is removed, with a DEL in the journal, by whoever comes across it, or by expire_some().
#pragma once

#include "journal.hpp"
#include "resp.hpp"

#include <leat/sync/event.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace mini_redis {

using blob = std::shared_ptr<const std::string>;
using list = std::deque<std::string>;

enum class list_end { left, right };

/// Milliseconds since 1970, as in the journal: a time that survives a restart.
using unix_time = std::int64_t;
inline constexpr unix_time never = std::numeric_limits<unix_time>::max();
unix_time now_in_unix_time() noexcept;

/// What a command is refused for; the text is the reply.
class command_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

class entry {
public:
    std::variant<blob, std::unique_ptr<list>> value;
    unix_time expires = never;

    bool is_list() const noexcept
    {
        return value.index() == 1;
    }
};

/// A client that waits until one of some lists has something. It is in the queue of each of them. Whoever fills one
/// claims it and gives it the element: so it gets one, and nothing is taken from a list for nobody.
class waiting_pop {
public:
    explicit waiting_pop(list_end from) noexcept : end{from}
    {
    }
    /// True once.
    bool claim() noexcept
    {
        return !claimed_.exchange(true, std::memory_order_relaxed);
    }

    const list_end end;
    leat::event served;
    // Written under the lock of the key's shard by who has claimed it, and then served is set.
    std::string key;
    std::optional<std::string> value;
    journal::ticket logged;

private:
    std::atomic<bool> claimed_{false};
};

struct shard {
    struct hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view key) const noexcept
        {
            return std::hash<std::string_view>{}(key);
        }
    };
    template <class T>
    using map = std::unordered_map<std::string, T, hash, std::equal_to<>>;

    std::mutex lock;
    map<entry> entries;
    std::set<std::pair<unix_time, std::string_view>> expiries;  ///< the keys are those of `entries`
    map<std::deque<std::shared_ptr<waiting_pop>>> waiting;      ///< by key, who came first in front
    std::size_t expired = 0;
};

class access;

class store {
public:
    static constexpr std::size_t shard_count = 32;

    struct totals {
        std::size_t keys = 0;
        std::size_t with_expiry = 0;
        std::size_t expired = 0;
        std::size_t waiting_keys = 0;
    };
    /// Without a journal nothing is kept. Until start() nothing expires: what is replayed says itself what has.
    void start(journal* log) noexcept
    {
        journal_ = log;
        started_ = true;
    }
    bool is_logged() const noexcept
    {
        return journal_ != nullptr;
    }
    totals count();
    /// Removes what has expired, some of each shard.
    void expire_some();

private:
    friend class access;
    std::array<shard, shard_count> shards_;
    journal* journal_ = nullptr;
    bool started_ = false;
};

/// The shards of some keys, locked. Only these keys may be asked for.
class access {
public:
    access(store& of, std::string_view key);
    /// Every `step`th word is a key, beginning with the first.
    access(store& of, arguments words, std::size_t step = 1);
    /// All of them.
    explicit access(store& of);
    access(const access&) = delete;
    access& operator=(const access&) = delete;
    ~access();

    /// Null if there is none. Throws command_error for a key of the other kind.
    entry* find(std::string_view key);
    blob find_text(std::string_view key);
    list* find_list(std::string_view key);

    /// Keeps the time at which it expires, if that is not given.
    void put(std::string_view key, blob value, std::optional<unix_time> expires);
    bool erase(std::string_view key);
    /// Of a key that is there.
    void expire(std::string_view key, unix_time when);
    void clear();

    /// Makes the list if it is not there. Result: how many elements it has now.
    std::size_t push(std::string_view key, list_end where, arguments values);
    /// Removes the list with its last element.
    std::optional<std::string> pop(std::string_view key, list_end where);
    /// Gives what a list has to those who wait for it, first come, first served.
    void serve_waiting(std::string_view key);
    void wait_for(std::string_view key, const std::shared_ptr<waiting_pop>& who);
    void wait_no_more(std::string_view key, const std::shared_ptr<waiting_pop>& who);

    /// Appends to the journal what a command has done, encoded before the shards were locked. The ticket is to be
    /// waited for when they have been unlocked.
    journal::ticket log(std::string record);

    using shard_set = std::uint32_t;  ///< a bit for each

private:
    shard& shard_of(std::string_view key) noexcept;
    void lock(shard_set which);
    void remove(shard& from, shard::map<entry>::iterator at);
    void schedule(shard& in, shard::map<entry>::iterator at, unix_time when);
    journal::ticket log_now(std::initializer_list<std::string_view> words);
    unix_time now() noexcept;

    store& store_;
    shard_set locked_ = 0;
    unix_time now_ = 0;
};

}  // namespace mini_redis
