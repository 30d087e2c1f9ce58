// What tests of connections share.
#pragma once

#include <leat/asio/net/types.hpp>
#include <leat/result.hpp>
#include <leat/runtime.hpp>
#include <leat/task.hpp>
#include <leat/this_task.hpp>

#include <asio/ip/address_v4.hpp>

#include <system_error>
#include <utility>

namespace test {

/// What an await threw, as a code.
template <class A>
leat::task<std::error_code> failure_of(A what)
{
    auto got = co_await leat::as_result(std::move(what));
    co_return got.error();
}

inline leat::runtime_options two_workers()
{
    leat::runtime_options options;
    options.workers = 2;
    return options;
}

inline leat::net::endpoint loopback(unsigned short port = 0)
{
    return {asio::ip::address_v4::loopback(), port};
}

inline leat::task<leat::net::socket> dial(const leat::net::endpoint& to)
{
    leat::net::socket made{leat::this_task::executor()};
    co_await made.async_connect(to);
    co_return made;
}

}  // namespace test
