// leat beside asio::awaitable: either awaits the other, on one io_context
//
// The program is written in coroutines of Asio's already. From them it asks tasks of leat's for what Asio has not: a
// group that gives up as a whole, and channels. And a task awaits a coroutine of Asio's as if it were a task.
//
// Run it with   ./dev run embed_awaitables
#include <leat/asio/awaitable.hpp>
#include <leat/asio/channel.hpp>
#include <leat/asio/spawn.hpp>
#include <leat/leat.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <chrono>
#include <cstdio>
#include <optional>
#include <string>

using namespace std::chrono_literals;

namespace {

/// What the program had: a query that takes its time.
asio::awaitable<int> query(int shard)
{
    asio::steady_timer work{co_await asio::this_coro::executor, 2ms * shard};
    co_await work.async_wait(asio::use_awaitable);
    co_return shard* shard;
}

/// All shards side by side, within a limit; what is found goes to a channel, in whatever order.
leat::task<int> query_all(int shards, leat::sender<std::string> log)
{
    int sum = 0;
    co_await leat::timeout(10s, leat::with_group([&](leat::task_group& all) -> leat::task<> {
                               for (int shard = 1; shard <= shards; ++shard)
                                   co_await all.spawn([&, shard]() -> leat::task<> {
                                       const int found = co_await query(shard);
                                       sum += found;
                                       std::string line =
                                           "shard " + std::to_string(shard) + ": " + std::to_string(found);
                                       co_await log.send(std::move(line));
                                   });
                           }));
    log.close();
    co_return sum;
}

asio::awaitable<void> report(leat::receiver<std::string> log)
{
    while (const std::optional<std::string> line = co_await log.async_recv(asio::use_awaitable))
        std::printf("%s\n", line->c_str());
}

asio::awaitable<void> program(int& sum)
{
    const auto here = co_await asio::this_coro::executor;
    const leat::channel<std::string> log;
    asio::co_spawn(here, report(log), asio::detached);
    sum = co_await leat::spawn(here, query_all(4, log), asio::use_awaitable);
}

}  // namespace

int main()
{
    asio::io_context io;
    int sum = 0;
    asio::co_spawn(io, program(sum), asio::detached);
    io.run();
    std::printf("sum %d\n", sum);
    return sum == 30 ? 0 : 1;
}
