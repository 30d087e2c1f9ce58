// connect: to the first address of a host that answers (RFC 8305, "happy eyeballs").
//
//     leat::net::socket peer = co_await leat::net::connect("example.org", "443");
//
// The addresses are tried in an order in which the two families take turns. An attempt starts when the one before has
// failed, or has taken `attempt_delay`; those that have begun go on. The first success ends the others. The
// algorithm is race_to_connect(), which knows nothing of sockets, so that it can be tested in virtual time.
//
// What of the RFC is not here: names are looked up by the system's resolver, which asks for both families and
// answers once, sorted by RFC 6724; so there is no resolution delay, and no address that comes late.
#pragma once

#include <leat/asio/net/error.hpp>
#include <leat/asio/net/types.hpp>
#include <leat/channel.hpp>
#include <leat/context.hpp>
#include <leat/group.hpp>
#include <leat/result.hpp>
#include <leat/select.hpp>
#include <leat/task.hpp>
#include <leat/this_task.hpp>
#include <leat/time.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace leat::net {

struct connect_options {
    /// How long an attempt is left alone before the next begins.
    std::chrono::nanoseconds attempt_delay = std::chrono::milliseconds{250};
    /// How long one attempt may take; zero: as long as the system lets it.
    std::chrono::nanoseconds attempt_timeout{};
    /// How many attempts are made at most; the addresses beyond are not tried.
    std::size_t max_attempts = 16;
};

/// All attempts have failed. code() is why the first one did; what() tells of each.
class connect_error : public std::system_error {
public:
    connect_error(std::error_code first, const std::string& all);
    const char* what() const noexcept override
    {
        return all_.what();
    }

private:
    std::runtime_error all_;  // a string that is copied without throwing
};

namespace detail {

std::string describe(const endpoint& of);
[[noreturn]] void throw_connect_error(const std::vector<std::string>& names,
                                      const std::vector<std::error_code>& why);

template <class T>
class attempt_outcome {
public:
    attempt_outcome(std::size_t which, result<T> what) : index{which}, got{std::move(what)}
    {
    }
    std::size_t index;
    result<T> got;
};

template <class T, class Address, class Attempt>
task<> try_address(Attempt& attempt, const Address& to, std::size_t index, std::chrono::nanoseconds limit,
                   channel<attempt_outcome<T>>& outcomes)
{
    if (limit > std::chrono::nanoseconds::zero()) {
        auto got = co_await as_result(timeout(limit, attempt(to)));
        static_cast<void>(outcomes.try_send(attempt_outcome<T>{index, std::move(got)}));
    } else {
        auto got = co_await as_result(attempt(to));
        static_cast<void>(outcomes.try_send(attempt_outcome<T>{index, std::move(got)}));
    }
}

}  // namespace detail

/// Orders addresses for race_to_connect(): the families take turns, that of the first address beginning; within
/// a family the order stays.
std::vector<endpoint> interleave(const std::vector<endpoint>& addresses);

/// Tries addresses, in the order given, each with `attempt(address)`, a coroutine that gives a T.
///
/// Result   what the first successful attempt gave; the others have ended.
/// Throws   connect_error if all have failed; errc::no_address if there are none; cancelled_error, timed_out_error:
///          the task's context ended first; all attempts have ended then.
/// Cancel   safe: what a second success gave is destroyed.
/// Threads  any task; the attempts run on the task's executor, several at a time.
/// Life     has copies of the addresses and of the attempt, which several attempts use at a time.
template <class Address, class Attempt, class Name>
[[nodiscard]] auto race_to_connect(std::vector<Address> addresses, Attempt attempt, Name name,
                                   connect_options options)
    -> task<typename std::invoke_result_t<Attempt&, const Address&>::value_type>
{
    using value = typename std::invoke_result_t<Attempt&, const Address&>::value_type;
    const std::size_t count = std::min(addresses.size(), options.max_attempts);
    if (count == 0)
        throw std::system_error{errc::no_address};
    // With room for all, so that an attempt never waits to tell how it went.
    channel<detail::attempt_outcome<value>> outcomes{count};
    std::vector<std::string> names;
    std::vector<std::error_code> failures;
    std::optional<value> winner;

    auto body = [&](task_group& attempts) -> task<> {
        std::size_t begun = 0;
        std::size_t ended = 0;
        while (ended < count && !winner) {
            // Whatever has happened, slowness or a failure, is a reason to go on to the next.
            if (begun < count) {
                const std::size_t index = begun++;
                co_await attempts.spawn(detail::try_address<value>(attempt, addresses[index], index,
                                                                   options.attempt_timeout, outcomes));
            }
            std::optional<detail::attempt_outcome<value>> told;
            co_await select(
                on(outcomes.recv(),
                   [&](std::optional<detail::attempt_outcome<value>> got) { told = std::move(got); }),
                on_if(begun < count, after(options.attempt_delay), [] {}));
            if (!told)
                continue;
            if (told->got) {
                winner.emplace(std::move(*told->got));
            } else {
                ++ended;
                names.push_back(name(addresses[told->index]));
                failures.push_back(told->got.error());
            }
        }
        attempts.cancel();
    };
    co_await with_group([&](task_group& attempts) { return body(attempts); });
    if (!winner)
        detail::throw_connect_error(names, failures);
    co_return std::move(*winner);
}

/// Looks up the addresses of a host: a name or a number; the service is a name or a port.
///
/// Result   at least one address, as the system orders them.
/// Throws   std::system_error, with Asio's codes; cancelled_error, timed_out_error: the task's context ended first.
/// Cancel   at once, although the system goes on looking, on a thread of Asio's.
/// Threads  any task of a runtime; the lookup runs on `on`.
task<std::vector<endpoint>> lookup(executor on, std::string host, std::string service);

/// Connects a socket on `on` to the first of the host's addresses that answers.
///
/// Result   the socket, with TCP_NODELAY set.
/// Throws   as lookup(); connect_error; cancelled_error, timed_out_error: the task's context ended first. Put
///          timeout() around it for a limit.
/// Cancel   safe: sockets of attempts are closed.
/// Threads  any task of a runtime; the sockets' handlers run on `on`.
/// Life     nothing of the caller's is referred to; the execution context of `on` has to outlive the socket.
/// Cost     a lookup, unless the host is a number; a task, a socket and a handshake for each attempt.
task<socket> connect(executor on, std::string host, std::string service, connect_options options = {});
/// The same on the task's own executor: the socket must not outlive its runtime.
task<socket> connect(std::string host, std::string service, connect_options options = {});
/// The same to addresses that are known already, without a lookup; errc::no_address if there are none.
task<socket> connect(executor on, std::vector<endpoint> addresses, connect_options options = {});

}  // namespace leat::net
