// A client: one connection, and the task that serves it.
//
//     read ──▶ parse ──▶ run ──▶ ... the same for all that has arrived ... ──▶ wait for the journal ──▶ reply ──▶ read
//
// There is no queue anywhere in this: who does not read his replies is not read from either (back-pressure), and what he
// can make the server keep is one request, some replies, and what he has stored.
//
// Only a subscriber has two tasks: one reads its requests, another delivers what its mailbox gets.
#pragma once

#include "commands.hpp"
#include "pubsub.hpp"
#include "resp.hpp"
#include "server.hpp"
#include "store.hpp"

#include <leat/asio/net.hpp>
#include <leat/context.hpp>
#include <leat/task.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>

namespace mini_redis {

class client final : public session {
public:
    /// `kill` ends the context in which serve() runs.
    client(server& to, leat::net::socket accepted, const leat::canceller& kill);
    client(const client&) = delete;
    client& operator=(const client&) = delete;
    ~client();

    /// Until the client leaves, or has had its last reply when the server drains.
    leat::task<> serve();

    // For commands that wait.

    /// Replies with what it takes from the first of the lists that has something, when one has. Zero: for ever.
    leat::task<> pop(arguments keys, list_end end, std::chrono::nanoseconds limit);
    /// Goes on until the last subscription has been given up.
    leat::task<> subscribe(topic kind, arguments names);
    leat::task<> unsubscribe(topic kind, arguments names);

private:
    using stream = leat::net::stream<leat::net::socket>;
    class subscribed_scope;

    bool goes_on() const noexcept
    {
        return !leaving && (!subscribed || subscriptions_ != 0);
    }
    leat::task<> serve_requests();
    leat::task<> run_what_has_come();
    /// Sends the replies, as soon as what they promise is true.
    leat::task<> flush();

    bool pop_now(arguments keys, list_end end, const std::shared_ptr<waiting_pop>& or_wait);
    void wait_no_more(arguments keys, const std::shared_ptr<waiting_pop>& mine);
    void give_back(waiting_pop& mine);

    leat::task<> deliver(subscriber& me);

    stream peer_;
    request_parser parser_;
    const leat::canceller& kill_;
    subscriber* subscriber_ = nullptr;
    std::size_t subscriptions_ = 0;
};

}  // namespace mini_redis
