#pragma once

#include "response.hpp"
#include "url.hpp"

#include <leat/flow/circuit_breaker.hpp>
#include <leat/flow/keyed_rate_limiter.hpp>
#include <leat/leat.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace crawl {

struct limits {
    std::size_t workers = 8;  ///< pages that are fetched at a time
    std::size_t pages = 1000;
    double rate = 100;  ///< requests to one server in a second
    leat::clock::duration timeout = std::chrono::seconds{5};
};

/// What has become of a page.
struct visit {
    int status = 0;  ///< zero: there was no answer
    std::size_t bytes = 0;
    std::string note;         ///< why there was none, or where it sends its readers to
    std::string linked_from;  ///< the page on which it was found first
};

class crawler {
public:
    explicit crawler(const limits& within);

    /// Visits a page, and all of this machine that it leads to.
    leat::task<> run(url start);

    // At any time.
    std::size_t requests() const noexcept
    {
        return requests_;
    }
    std::size_t to_go() const noexcept
    {
        return pending_;
    }
    std::size_t visited() const noexcept
    {
        return visited_.size();
    }
    /// Once run() has ended, however.
    std::map<std::string, visit> visits() const;

private:
    struct job {
        url where;
        std::string linked_from;
    };
    /// What is known of a server: whether it answers, and what it does not want to be asked for.
    struct server {
        leat::circuit_breaker circuit;
        std::vector<std::string> disallowed;

        explicit server(const limits& within);
        bool allows(const url& where) const;
    };
    using server_pointer = std::shared_ptr<server>;

    void add(const url& to, const std::string& from);
    leat::task<> work();
    leat::task<visit> look_at(const job& one);
    leat::task<response> get(url where, server& from);
    leat::task<server_pointer> server_of(url where);
    leat::task<server_pointer> meet(url where);

    const limits within_;
    leat::channel<job> frontier_{leat::unbounded};  // bounded by the number of pages
    std::atomic<std::size_t> pending_{0};           // in the frontier, or being visited
    std::atomic<std::size_t> found_{0};
    std::atomic<std::size_t> requests_{0};
    leat::concurrent_map<std::string, bool> known_;
    leat::concurrent_map<std::string, visit> visited_;
    leat::concurrent_map<std::string, server_pointer> servers_;
    leat::single_flight<std::string, server_pointer> meetings_;
    leat::keyed_rate_limiter<std::string> pace_;
};

}  // namespace crawl
