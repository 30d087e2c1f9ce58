#include "store.hpp"

#include "reply.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <functional>

namespace mini_redis {
namespace {

std::size_t index_of(std::string_view key) noexcept
{
    static_assert(store::shard_count == std::numeric_limits<access::shard_set>::digits);
    // The high bits: the tables of the shards use the low ones.
    return shard::hash{}(key) >> (std::numeric_limits<std::size_t>::digits - 5);
}

[[noreturn]] void throw_wrong_kind()
{
    throw command_error{"WRONGTYPE Operation against a key holding the wrong kind of value"};
}

}  // namespace

unix_time now_in_unix_time() noexcept
{
    using namespace std::chrono;
    return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

// ---- store -------------------------------------------------------------------------------------

store::totals store::count()
{
    totals all;
    for (shard& each : shards_) {
        const std::lock_guard hold{each.lock};
        all.keys += each.entries.size();
        all.with_expiry += each.expiries.size();
        all.expired += each.expired;
        all.waiting_keys += each.waiting.size();
    }
    return all;
}

void store::expire_some()
{
    constexpr int at_a_time = 256;
    const unix_time now = now_in_unix_time();
    for (shard& each : shards_) {
        std::vector<std::string> over;
        {
            const std::lock_guard hold{each.lock};
            for (const auto& [when, key] : each.expiries) {
                if (when > now || over.size() == at_a_time)
                    break;
                over.emplace_back(key);
            }
        }
        // Looking at a key removes it.
        for (const std::string& key : over)
            static_cast<void>(access{*this, key}.find(key));
    }
}

// ---- access: locking ---------------------------------------------------------------------------

access::access(store& of, std::string_view key) : store_{of}
{
    lock(shard_set{1} << index_of(key));
}

access::access(store& of, arguments words, std::size_t step) : store_{of}
{
    shard_set needed = 0;
    for (std::size_t i = 0; i < words.size(); i += step)
        needed |= shard_set{1} << index_of(words[i]);
    lock(needed);
}

access::access(store& of) : store_{of}
{
    lock(~shard_set{0});
}

// Always in the same order, so that two who need several do not wait for each other.
void access::lock(shard_set which)
{
    for (shard_set left = which; left != 0; left &= left - 1)
        store_.shards_[static_cast<std::size_t>(std::countr_zero(left))].lock.lock();
    locked_ = which;
}

access::~access()
{
    for (shard_set left = locked_; left != 0; left &= left - 1)
        store_.shards_[static_cast<std::size_t>(std::countr_zero(left))].lock.unlock();
}

shard& access::shard_of(std::string_view key) noexcept
{
    return store_.shards_[index_of(key)];
}

unix_time access::now() noexcept
{
    if (now_ == 0)
        now_ = now_in_unix_time();
    return now_;
}

// ---- access: keys ------------------------------------------------------------------------------

entry* access::find(std::string_view key)
{
    shard& in = shard_of(key);
    const auto at = in.entries.find(key);
    if (at == in.entries.end())
        return nullptr;
    if (at->second.expires == never || !store_.started_ || at->second.expires > now())
        return &at->second;
    log_now({"DEL", key});
    remove(in, at);
    ++in.expired;
    return nullptr;
}

blob access::find_text(std::string_view key)
{
    entry* const found = find(key);
    if (found == nullptr)
        return nullptr;
    if (found->is_list())
        throw_wrong_kind();
    return std::get<blob>(found->value);
}

list* access::find_list(std::string_view key)
{
    entry* const found = find(key);
    if (found == nullptr)
        return nullptr;
    if (!found->is_list())
        throw_wrong_kind();
    return std::get<std::unique_ptr<list>>(found->value).get();
}

void access::put(std::string_view key, blob value, std::optional<unix_time> expires)
{
    shard& in = shard_of(key);
    auto at = in.entries.find(key);
    if (at == in.entries.end())
        at = in.entries.emplace(std::string{key}, entry{}).first;
    at->second.value = std::move(value);
    if (expires)
        schedule(in, at, *expires);
}

bool access::erase(std::string_view key)
{
    if (find(key) == nullptr)
        return false;
    shard& in = shard_of(key);
    remove(in, in.entries.find(key));
    return true;
}

void access::expire(std::string_view key, unix_time when)
{
    shard& in = shard_of(key);
    schedule(in, in.entries.find(key), when);
}

void access::clear()
{
    for (shard& each : store_.shards_) {
        each.expiries.clear();
        each.entries.clear();
    }
}

void access::remove(shard& from, shard::map<entry>::iterator at)
{
    schedule(from, at, never);
    from.entries.erase(at);
}

void access::schedule(shard& in, shard::map<entry>::iterator at, unix_time when)
{
    if (at->second.expires != never)
        in.expiries.erase({at->second.expires, at->first});
    at->second.expires = when;
    if (when != never)
        in.expiries.emplace(when, at->first);
}

// ---- access: lists -----------------------------------------------------------------------------

std::size_t access::push(std::string_view key, list_end where, arguments values)
{
    list* into = find_list(key);
    if (into == nullptr) {
        auto made = std::make_unique<list>();
        into = made.get();
        shard_of(key).entries.emplace(std::string{key}, entry{std::move(made), never});
    }
    for (const std::string_view value : values) {
        if (where == list_end::left)
            into->emplace_front(value);
        else
            into->emplace_back(value);
    }
    return into->size();
}

std::optional<std::string> access::pop(std::string_view key, list_end where)
{
    list* const from = find_list(key);
    if (from == nullptr)
        return std::nullopt;
    std::string& last = where == list_end::left ? from->front() : from->back();
    std::string value = std::move(last);
    if (where == list_end::left)
        from->pop_front();
    else
        from->pop_back();
    if (from->empty())
        erase(key);
    return value;
}

void access::serve_waiting(std::string_view key)
{
    auto& waiting = shard_of(key).waiting;
    const auto queue = waiting.find(key);
    if (queue == waiting.end())
        return;
    while (!queue->second.empty() && find(key) != nullptr) {
        const std::shared_ptr<waiting_pop> next = std::move(queue->second.front());
        queue->second.pop_front();
        // One who waits for several lists may have been served by another.
        if (!next->claim())
            continue;
        next->key = key;
        next->value = pop(key, next->end);
        next->logged = log_now({next->end == list_end::left ? "LPOP" : "RPOP", key});
        next->served.set();
    }
    if (queue->second.empty())
        waiting.erase(queue);
}

void access::wait_for(std::string_view key, const std::shared_ptr<waiting_pop>& who)
{
    shard_of(key).waiting[std::string{key}].push_back(who);
}

void access::wait_no_more(std::string_view key, const std::shared_ptr<waiting_pop>& who)
{
    auto& waiting = shard_of(key).waiting;
    const auto queue = waiting.find(key);
    if (queue == waiting.end())
        return;
    std::erase(queue->second, who);
    if (queue->second.empty())
        waiting.erase(queue);
}

// ---- access: the journal -----------------------------------------------------------------------

journal::ticket access::log(std::string record)
{
    return store_.journal_ != nullptr ? store_.journal_->append(std::move(record)) : journal::ticket{};
}

journal::ticket access::log_now(std::initializer_list<std::string_view> words)
{
    return store_.is_logged() ? log(encode_request({words.begin(), words.size()})) : journal::ticket{};
}

}  // namespace mini_redis
