// A table of exchange rates that many read and few change
//
// The problem: customers look rates up all the time, which takes a while and needs the table to stand still. Now and then
// the bank puts in new rates. Customers must not wait for each other; the bank must not wait for ever because there
// is always a customer; and whoever finds that a rate is stale renews it without letting go of what he has read.
//
//     customer ──┐ lock_shared()            ┌── lock() ── bank
//     customer ──┼──────────▶ rates ◀───────┤
//     customer ──┘                          └── upgrade() ── auditor, who reads first
//
// A leat::shared_mutex serves in the order of arrival: a customer who comes after the bank waits for it, so the
// bank is never starved; customers who stand one after the other come in together.
//
// Run it with   ./dev run readers_writers
//
//     0.027 s  customer 1 pays 1.00
//     0.034 s  customer 2 pays 1.00
//     0.034 s  the bank has put in 1.05
//     ...

#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>

namespace {

using namespace std::chrono_literals;
using seconds = std::chrono::duration<double>;

struct rates {
    leat::shared_mutex mutex{"rates"};
    double euro = 1.00;
    bool audited = false;
    leat::clock::time_point opened = leat::clock::now();

    double now() const
    {
        return seconds(leat::clock::now() - opened).count();
    }
};

leat::task<> customer(rates& table, int number)
{
    co_await leat::sleep_for(number * 5ms);  // on the way
    const auto reads = co_await table.mutex.lock_shared();
    const double found = table.euro;
    co_await leat::sleep_for(20ms + number * 2ms);  // reads the small print
    std::printf("%.3f s  customer %d pays %.2f%s\n", table.now(), number, found,
                found == table.euro ? "" : ", which has changed before his eyes");
}

leat::task<> bank(rates& table)
{
    co_await leat::sleep_for(13ms);
    const auto writes = co_await table.mutex.lock();
    table.euro = 1.05;
    std::printf("%.3f s  the bank has put in 1.05\n", table.now());
}

leat::task<> auditor(rates& table)
{
    co_await leat::sleep_for(18ms);
    auto reads = co_await table.mutex.lock_shared();
    const double found = table.euro;
    co_await leat::sleep_for(4ms);
    const auto writes = co_await reads.upgrade();  // nobody writes between
    table.audited = found == table.euro;
    std::printf("%.3f s  the auditor signs %.2f\n", table.now(), table.euro);
}

leat::task<> opening_hours()
{
    rates table;
    co_await leat::with_group([&](leat::task_group& people) -> leat::task<> {
        for (int number = 1; number <= 6; ++number)
            co_await people.spawn(customer(table, number));
        co_await people.spawn(bank(table));
        co_await people.spawn(auditor(table));
    });
    std::printf("%.3f s  closed, and %s\n", table.now(), table.audited ? "audited" : "not audited");
}

}  // namespace

int main()
{
    leat::run(opening_hours());
}
