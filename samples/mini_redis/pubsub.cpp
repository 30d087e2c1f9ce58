#include "pubsub.hpp"

#include "reply.hpp"

#include <leat/error.hpp>

#include <algorithm>
#include <stdexcept>

namespace mini_redis {
namespace {

/// Reads a set such as [^a-z]; `at` is behind the bracket, and behind the closing one afterwards.
bool in_set(std::string_view pattern, std::size_t& at, char c) noexcept
{
    const bool inverted = at < pattern.size() && pattern[at] == '^';
    if (inverted)
        ++at;
    bool found = false;
    while (at < pattern.size() && pattern[at] != ']') {
        if (pattern[at] == '\\' && at + 1 < pattern.size())
            ++at;
        char first = pattern[at++];
        char last = first;
        if (at + 1 < pattern.size() && pattern[at] == '-' && pattern[at + 1] != ']') {
            last = pattern[at + 1];
            at += 2;
        }
        if (last < first)
            std::swap(first, last);
        found = found || (c >= first && c <= last);
    }
    if (at < pattern.size())
        ++at;
    return found != inverted;
}

message make_message(std::initializer_list<std::string_view> words)
{
    reply_writer out;
    out.array(words.size());
    for (const std::string_view word : words)
        out.bulk(word);
    return std::make_shared<const std::string>(out.take());
}

message make_confirmation(const char* verb, topic kind, const std::string_view* name, std::size_t count)
{
    reply_writer out;
    out.confirm(verb, kind == topic::pattern, name, count);
    return std::make_shared<const std::string>(out.take());
}

}  // namespace

// A star takes as little as possible; when what follows does not match, the last one takes one more. The stars before
// it need not be tried again: so the time is at most the product of the two lengths, whatever the pattern.
bool matches(std::string_view pattern, std::string_view text) noexcept
{
    constexpr std::size_t none = std::string_view::npos;
    std::size_t p = 0;
    std::size_t t = 0;
    std::size_t star = none;
    std::size_t star_ends = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            star_ends = t;
            continue;
        }
        bool fits = false;
        if (p < pattern.size()) {
            if (pattern[p] == '?') {
                ++p;
                fits = true;
            } else if (pattern[p] == '[') {
                ++p;
                fits = in_set(pattern, p, text[t]);
            } else {
                if (pattern[p] == '\\' && p + 1 < pattern.size())
                    ++p;
                fits = pattern[p++] == text[t];
            }
        }
        if (fits) {
            ++t;
        } else {
            if (star == none)
                return false;
            p = star + 1;
            t = ++star_ends;
        }
    }
    while (p < pattern.size() && pattern[p] == '*')
        ++p;
    return p == pattern.size();
}

subscriber::~subscriber()
{
    of_.forget(*this);
}

void subscriber::tell(message what)
{
    // A confirmation is small, and is only asked for by the subscriber itself: it counts like the rest.
    if (queued_.fetch_add(what->size(), std::memory_order_relaxed) + what->size() > max_queued_)
        drop_(std::make_exception_ptr(std::runtime_error{"a subscriber that does not read"}));
    else
        static_cast<void>(mailbox_.try_send(std::move(what)));
}

std::size_t broker::subscribe(subscriber& who, topic kind, std::string_view name)
{
    const std::lock_guard hold{lock_};
    auto& own = kind == topic::channel ? who.channels_ : who.patterns_;
    if (own.emplace(name).second)
        (kind == topic::channel ? channels_ : patterns_)[std::string{name}].push_back(&who);
    const std::size_t count = who.channels_.size() + who.patterns_.size();
    who.tell(make_confirmation("subscribe", kind, &name, count));
    return count;
}

std::size_t broker::unsubscribe(subscriber& who, topic kind, std::string_view name)
{
    const std::lock_guard hold{lock_};
    remove(who, kind, name);
    const std::size_t count = who.channels_.size() + who.patterns_.size();
    who.tell(make_confirmation("unsubscribe", kind, &name, count));
    return count;
}

std::size_t broker::unsubscribe_all(subscriber& who, topic kind)
{
    const std::lock_guard hold{lock_};
    auto& own = kind == topic::channel ? who.channels_ : who.patterns_;
    if (own.empty())
        who.tell(
            make_confirmation("unsubscribe", kind, nullptr, who.channels_.size() + who.patterns_.size()));
    while (!own.empty()) {
        const std::string name = *own.begin();
        const std::string_view named = name;
        remove(who, kind, named);
        who.tell(make_confirmation("unsubscribe", kind, &named, who.channels_.size() + who.patterns_.size()));
    }
    return who.channels_.size() + who.patterns_.size();
}

bool broker::remove(subscriber& who, topic kind, std::string_view name)
{
    auto& own = kind == topic::channel ? who.channels_ : who.patterns_;
    const auto at = own.find(name);
    if (at == own.end())
        return false;
    own.erase(at);
    topic_map& all = kind == topic::channel ? channels_ : patterns_;
    const auto entry = all.find(name);
    std::erase(entry->second, &who);
    if (entry->second.empty())
        all.erase(entry);
    return true;
}

std::size_t broker::publish(std::string_view channel, std::string_view what)
{
    const std::lock_guard hold{lock_};
    std::size_t count = 0;
    if (const auto entry = channels_.find(channel); entry != channels_.end()) {
        const message told = make_message({"message", channel, what});
        for (subscriber* const each : entry->second)
            each->tell(told);
        count += entry->second.size();
    }
    for (const auto& [pattern, subscribers] : patterns_) {
        if (!matches(pattern, channel))
            continue;
        const message told = make_message({"pmessage", pattern, channel, what});
        for (subscriber* const each : subscribers)
            each->tell(told);
        count += subscribers.size();
    }
    return count;
}

void broker::forget(subscriber& who)
{
    const std::lock_guard hold{lock_};
    while (!who.channels_.empty())
        remove(who, topic::channel, std::string{*who.channels_.begin()});
    while (!who.patterns_.empty())
        remove(who, topic::pattern, std::string{*who.patterns_.begin()});
}

std::pair<std::size_t, std::size_t> broker::topics()
{
    const std::lock_guard hold{lock_};
    return {channels_.size(), patterns_.size()};
}

}  // namespace mini_redis
