// What <leat/leat.hpp> alone is enough for. Nothing else is included before these programs, not even a test framework.
#include <leat/leat.hpp>

using namespace std::chrono_literals;

namespace {

leat::task<> cook(leat::receiver<int> orders, leat::sender<int> counter)
{
    while (auto order = co_await orders.recv()) {
        co_await leat::sleep_for(1ms);
        co_await counter.send(*order);
    }
}

leat::task<> take_orders(leat::sender<int> orders)
{
    for (int i = 1; i <= 5; ++i)
        co_await orders.send(i);
    orders.close();
}

leat::task<int> kitchen()
{
    leat::channel<int> orders, counter;
    int delivered = 0;
    co_await leat::with_group([&](leat::task_group& staff) -> leat::task<> {
        co_await staff.spawn(take_orders(orders));
        co_await staff.spawn([&]() -> leat::task<> {
            co_await leat::with_group([&](leat::task_group& cooks) -> leat::task<> {
                for (int i = 0; i < 3; ++i)
                    co_await cooks.spawn(cook(orders, counter));
            });
            counter.close();
        });
        while (auto order = co_await counter.recv())
            delivered += *order;
    });
    co_return delivered;
}

leat::task<std::string> ask(leat::context ctx, leat::channel<std::string> replies,
                            leat::channel<std::string> outbox, std::string query)
{
    std::optional<std::string> got;
    std::string log;
    co_await leat::select(leat::on(replies.recv(), [&](std::optional<std::string> r) { got = std::move(r); }),
                          leat::on(outbox.send(query), [&] { log += "sent"; }),
                          leat::on(leat::after(1s), [&] { log += "slow"; }),
                          leat::on(ctx.done(), [&] { log += "given up"; }),
                          leat::otherwise([&] { log += "nothing ready"; }));
    co_return got ? *got : log;
}

leat::task<int> fetch(int n)
{
    co_await leat::this_task::yield();
    co_return n;
}

leat::task<int> both()
{
    auto [a, b] = co_await leat::when_all(fetch(1), fetch(2));
    auto first = co_await leat::when_any(fetch(3), fetch(3));
    const int sooner = first.index < 2 ? 3 : 0;
    const int limited = co_await leat::timeout(2s, fetch(4));
    const int under = co_await leat::with_context(leat::background(), fetch(5));
    co_return a + b + sooner + limited + under;
}

leat::task<int> digests(std::vector<std::string> paths)
{
    auto digest = [](std::string path) { return path.size(); };
    std::size_t sum = 0;
    auto print = [&](std::size_t length) { sum += length; };
    co_await (leat::from(paths) | leat::map(digest, {.workers = 8}) | leat::for_each(print));
    const std::vector<std::size_t> all =
        co_await (leat::from(paths) | leat::map(digest) | leat::batch(2) |
                  leat::flat_map([](std::vector<std::size_t> few) { return few; }) | leat::collect());
    co_return static_cast<int>(sum + all.size());
}

leat::task<int> patterns()
{
    leat::rate_limiter limiter{leat::rate::per(1000, 1s), 10};
    int calls = 0;
    co_await limiter.wait();
    co_await leat::retry({.attempts = 2}, [&] { ++calls; });
    co_return calls;
}

}  // namespace

#include <doctest/doctest.h>

TEST_CASE("programs of the first page need nothing but leat.hpp")
{
    CHECK(leat::run(kitchen()) == 15);
    CHECK(leat::run(ask(leat::background(), leat::channel<std::string>{}, leat::channel<std::string>{},
                        "what")) == "nothing ready");
    CHECK(leat::run(both()) == 15);
}

TEST_CASE("pipelines and the other patterns need nothing but leat.hpp")
{
    CHECK(leat::run(digests({"one", "three"})) == 10);
    CHECK(leat::run(patterns()) == 1);
}
