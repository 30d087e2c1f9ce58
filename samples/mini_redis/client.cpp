#include "client.hpp"

#include <leat/group.hpp>

#include <asio/buffer.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/socket_base.hpp>

#include <utility>

namespace mini_redis {

using namespace std::chrono_literals;
namespace net = leat::net;

namespace {

std::string address_of(const net::socket& of)
{
    std::error_code gone;
    const net::endpoint peer = of.remote_endpoint(gone);
    return gone ? "?:0" : peer.address().to_string() + ":" + std::to_string(peer.port());
}

net::socket with_options(net::socket accepted)
{
    std::error_code ignored;
    accepted.set_option(net::tcp::no_delay{true}, ignored);
    accepted.set_option(asio::socket_base::keep_alive{true}, ignored);  // who vanishes is noticed some day
    return accepted;
}

/// In the registry as one who waits.
class blocked_scope {
public:
    explicit blocked_scope(client_info& of) noexcept : of_{of}
    {
        of_.blocked = true;
    }
    blocked_scope(const blocked_scope&) = delete;
    ~blocked_scope()
    {
        of_.blocked = false;
    }

private:
    client_info& of_;
};

/// Result: whether it happened before the limit.
leat::task<bool> wait_for(leat::event& what, std::chrono::nanoseconds limit)
{
    if (limit == 0ns) {
        co_await what.wait();
        co_return true;
    }
    const auto choice = co_await leat::select(leat::on(what.wait()), leat::on(leat::after(limit)));
    co_return choice.index == 0;
}

}  // namespace

client::client(server& to, net::socket accepted, const leat::canceller& kill)
    : session{to}, peer_{with_options(std::move(accepted))}, parser_{to.options.limits}, kill_{kill}
{
    info = to.clients.enter(address_of(peer_.next_layer()), kill);
}

client::~client()
{
    of.clients.leave(*info);
}

leat::task<> client::serve()
{
    try {
        co_await serve_requests();
    } catch (const protocol_error& problem) {
        out.error(std::string{"ERR Protocol error: "} + problem.what());
        leaving = true;
    }
    co_await flush();
    co_await peer_.close();
}

leat::task<> client::serve_requests()
{
    for (;;) {
        co_await run_what_has_come();
        co_await flush();
        if (!goes_on())
            break;
        const std::span<char> room = parser_.room();
        // Only this wait is given up when the server drains: what has come is answered.
        const auto count =
            co_await leat::unless_draining(peer_.read_some(asio::buffer(room.data(), room.size())));
        if (!count || *count == 0) {
            leaving = true;
            break;
        }
        parser_.filled(*count);
    }
}

leat::task<> client::run_what_has_come()
{
    while (goes_on()) {
        const arguments words = parser_.next();
        if (words.empty())
            break;
        // Nobody else writes it.
        info->commands.store(info->commands.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        if (const command* const waits = run(words))
            co_await waits->wait(*this, words);
        // Neither replies nor what is to be written pile up behind a long pipeline.
        if (out.size() + logged_bytes >= of.options.flush_at)
            co_await flush();
    }
}

leat::task<> client::flush()
{
    if (!logged.is_due())
        co_await logged.wait();
    logged = {};
    logged_bytes = 0;
    if (out.size() == 0)
        co_return;
    // A subscriber's replies come in turn with its messages.
    if (subscriber_ != nullptr)
        subscriber_->tell(std::make_shared<const std::string>(out.take()));
    else
        co_await peer_.write(out.text());
    out.clear();
}

// ---- BLPOP and BRPOP ---------------------------------------------------------------------------

leat::task<> client::pop(arguments keys, list_end end, std::chrono::nanoseconds limit)
{
    if (pop_now(keys, end, nullptr))
        co_return;
    co_await flush();  // what was asked before does not wait with it
    const auto mine = std::make_shared<waiting_pop>(end);
    if (pop_now(keys, end, mine))
        co_return;
    const blocked_scope blocked{*info};
    // Ends with the element, the limit, the connection, or the server.
    const auto waited =
        co_await leat::as_result(leat::unless_draining(peer_.while_connected(wait_for(mine->served, limit))));
    wait_no_more(keys, mine);
    if (!waited) {
        give_back(*mine);
        waited.value();
    }
    if (mine->value) {
        out.array(2);
        out.bulk(mine->key);
        out.bulk(*mine->value);
        logged = mine->logged;
    } else if (*waited) {
        out.null_array();
    } else {
        leaving = true;  // without a reply: it has not been done
    }
}

/// Replies and returns true if one of the lists has something. Else `or_wait`, if there is one, is in the queues.
bool client::pop_now(arguments keys, list_end end, const std::shared_ptr<waiting_pop>& or_wait)
{
    access lists{of.data, keys};
    for (const std::string_view key : keys) {
        const std::optional<std::string> value = lists.pop(key, end);
        if (!value)
            continue;
        const std::string_view record[] = {end == list_end::left ? "LPOP" : "RPOP", key};
        log(lists, this->record(record));
        out.array(2);
        out.bulk(key);
        out.bulk(*value);
        return true;
    }
    if (or_wait)
        for (const std::string_view key : keys)
            lists.wait_for(key, or_wait);
    return false;
}

/// From now on nobody gives anything to it, and what has been given is there.
void client::wait_no_more(arguments keys, const std::shared_ptr<waiting_pop>& mine)
{
    access lists{of.data, keys};
    for (const std::string_view key : keys)
        lists.wait_no_more(key, mine);
}

/// The client has gone, and will not get it.
void client::give_back(waiting_pop& mine)
{
    if (!mine.value)
        return;
    const std::string_view words[] = {mine.end == list_end::left ? "LPUSH" : "RPUSH", mine.key, *mine.value};
    try {
        access lists{of.data, mine.key};
        lists.push(mine.key, mine.end, std::span{words}.subspan(2));
        log(lists, record(words));
        lists.serve_waiting(mine.key);
    } catch (const command_error&) {
        // Another has put something else there meanwhile: there is no list to return to.
    }
}

// ---- SUBSCRIBE ---------------------------------------------------------------------------------

/// A client that is a subscriber meanwhile.
class client::subscribed_scope {
public:
    subscribed_scope(client& which, subscriber& as) noexcept : which_{which}
    {
        which_.subscriber_ = &as;
        which_.subscribed = true;
    }
    subscribed_scope(const subscribed_scope&) = delete;
    ~subscribed_scope()
    {
        which_.subscriber_ = nullptr;
        which_.subscribed = false;
    }

private:
    client& which_;
};

leat::task<> client::subscribe(topic kind, arguments names)
{
    const auto add = [&] {
        for (const std::string_view name : names)
            subscriptions_ = of.topics.subscribe(*subscriber_, kind, name);
    };
    co_await flush();
    if (subscribed) {
        add();
        co_return;
    }
    subscriber me{of.topics, kill_, of.options.max_queued};
    const subscribed_scope mode{*this, me};
    add();
    auto both = [&](leat::task_group& group) -> leat::task<> {
        co_await group.spawn(deliver(me), {.name = "mailbox"});
        co_await serve_requests();
        me.mailbox().close();
    };
    co_await leat::with_group(both);
}

leat::task<> client::unsubscribe(topic kind, arguments names)
{
    co_await flush();
    if (subscribed && names.empty())
        subscriptions_ = of.topics.unsubscribe_all(*subscriber_, kind);
    for (const std::string_view name : names) {
        if (subscribed)
            subscriptions_ = of.topics.unsubscribe(*subscriber_, kind, name);
        else
            out.confirm("unsubscribe", kind == topic::pattern, &name, 0);
    }
    if (!subscribed && names.empty())
        out.confirm("unsubscribe", kind == topic::pattern, nullptr, 0);
}

leat::task<> client::deliver(subscriber& me)
{
    while (const auto next = co_await me.mailbox().recv()) {
        co_await peer_.write(**next);
        me.sent(*next);
    }
}

}  // namespace mini_redis
