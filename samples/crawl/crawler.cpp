#include "crawler.hpp"

#include "client.hpp"
#include "links.hpp"
#include "text.hpp"

#include <leat/flow/retry.hpp>

#include <algorithm>
#include <exception>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace crawl {
namespace {

using namespace std::chrono_literals;

/// The server says that it is its fault: it may do better next time.
class server_error : public std::runtime_error {
public:
    explicit server_error(int status) : std::runtime_error{"server error"}, status_{status}
    {
    }
    int status() const noexcept
    {
        return status_;
    }

private:
    int status_;
};

bool worth_another_try(const std::exception_ptr& failure)
{
    try {
        std::rethrow_exception(failure);
    } catch (const leat::circuit_open_error&) {
        return false;
    } catch (const protocol_error&) {
        return false;
    } catch (...) {
        return true;
    }
}

/// What robots.txt forbids to everybody.
std::vector<std::string> forbidden_by(const std::string& robots)
{
    std::vector<std::string> prefixes;
    std::istringstream lines{robots};
    bool for_all = false;
    for (std::string line; std::getline(lines, line);) {
        const std::string_view text = trimmed(std::string_view{line}.substr(0, line.find('#')));
        const std::size_t colon = std::min(text.find(':'), text.size());
        const std::string name = in_lower_case(text.substr(0, colon));
        const std::string_view value = trimmed(text.substr(std::min(colon + 1, text.size())));
        if (name == "user-agent")
            for_all = value == "*";
        else if (name == "disallow" && for_all && !value.empty())
            prefixes.emplace_back(value);
    }
    return prefixes;
}

}  // namespace

crawler::server::server(const limits& within)
    : circuit{{.trip = leat::trip_policy::consecutive(5),
               .open_for = within.timeout,
               .counts = worth_another_try}}
{
}

bool crawler::server::allows(const url& where) const
{
    return std::ranges::none_of(disallowed,
                                [&](const std::string& prefix) { return where.target.starts_with(prefix); });
}

crawler::crawler(const limits& within) : within_{within}, pace_{within.rate}
{
}

leat::task<> crawler::run(url start)
{
    add(start, "");
    co_await leat::with_group([&](leat::task_group& crew) -> leat::task<> {
        for (std::size_t i = 0; i < within_.workers; ++i)
            co_await crew.spawn(work());
    });
}

std::map<std::string, visit> crawler::visits() const
{
    std::map<std::string, visit> all;
    visited_.range([&](const std::string& where, const visit& what) {
        all.emplace(where, what);
        return true;
    });
    return all;
}

void crawler::add(const url& to, const std::string& from)
{
    if (!is_this_machine(to) || known_.load_or_store(to.text(), true).loaded)
        return;
    if (found_.fetch_add(1) >= within_.pages)
        return;
    ++pending_;
    static_cast<void>(frontier_.try_send(job{to, from}));
}

leat::task<> crawler::work()
{
    while (const std::optional<job> next = co_await frontier_.recv()) {
        visit seen = co_await look_at(*next);
        seen.linked_from = next->linked_from;
        visited_.store(next->where.text(), std::move(seen));
        // What this page leads to has been added.
        if (--pending_ == 0)
            frontier_.close();
    }
}

leat::task<visit> crawler::look_at(const job& one)
{
    visit seen;
    try {
        const server_pointer from = co_await server_of(one.where);
        if (!from->allows(one.where)) {
            seen.note = "robots.txt forbids it";
            co_return seen;
        }
        const response page = co_await get(one.where, *from);
        seen.status = page.status;
        seen.bytes = page.body.size();
        const std::string here = one.where.text();
        if (page.status / 100 == 3 && !page.location.empty()) {
            seen.note = "to " + page.location;
            if (const auto to = resolve(one.where, page.location))
                add(*to, here);
        } else if (page.status == 200 && page.type == "text/html") {
            for (const std::string& link : links_of(page.body))
                if (const auto to = resolve(one.where, link))
                    add(*to, here);
        }
    } catch (const leat::cancelled_error&) {
        throw;
    } catch (const server_error& problem) {
        seen.status = problem.status();
    } catch (const leat::circuit_open_error&) {
        seen.note = "its server has failed too often";
    } catch (const std::system_error& problem) {
        seen.note = problem.code().message();
    } catch (const std::runtime_error& problem) {
        seen.note = problem.what();
    }
    co_return seen;
}

// Again if it fails, but not if its server keeps failing; and each time when it is its turn.
leat::task<response> crawler::get(url where, server& from)
{
    auto ask = [&]() -> leat::task<response> {
        co_await pace_.wait(where.server());
        ++requests_;
        response got = co_await leat::timeout(within_.timeout, fetch(where));
        if (got.status >= 500 || got.status == 429)
            throw server_error{got.status};
        co_return got;
    };
    auto ask_if_it_answers = [&] { return from.circuit.run(ask); };
    const leat::retry_policy policy{
        .attempts = 3, .delay = 50ms, .factor = 3, .jitter = 0.5, .when = worth_another_try};
    co_return co_await leat::retry(policy, ask_if_it_answers);
}

// All workers come with pages of a server that nobody knows yet: one asks it for its rules, the others wait for that.
leat::task<crawler::server_pointer> crawler::server_of(url where)
{
    const std::optional<server_pointer> known = servers_.load(where.server());
    if (known)
        co_return *known;
    auto meet_it = [&] { return meet(where); };
    const auto met = co_await meetings_.run(where.server(), meet_it);
    co_return met.value;
}

leat::task<crawler::server_pointer> crawler::meet(url where)
{
    auto fresh = std::make_shared<server>(within_);
    url robots = where;
    robots.target = "/robots.txt";
    const auto rules = co_await leat::as_result(get(robots, *fresh));
    if (!rules && leat::this_task::context().cancelled())
        throw leat::cancelled_error{};
    if (rules && rules->status == 200)
        fresh->disallowed = forbidden_by(rules->body);
    // Who comes between the store and the end of this flight finds it here.
    servers_.store(where.server(), fresh);
    co_return fresh;
}

}  // namespace crawl
