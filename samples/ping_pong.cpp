// Two players, one ball, and a referee who takes it away
//
// The problem: two tasks take turns without sharing anything (after Sameer Ajmani's "Advanced Go Concurrency
// Patterns"). The ball is a value: whoever has received it owns it.
//
//     ping ◀──── table ────▶ pong
//                  ▲
//               referee
//
// The table is an unbuffered channel, and its receivers are served in the order in which they came.
//
// Run it with   ./dev run ping_pong
// It prints
//
//     ping 1
//     pong 2
//     ...
//     time: the ball has been hit 6 times

#include <leat/leat.hpp>

#include <cstdio>

namespace {

using namespace std::chrono_literals;

struct ball {
    int hits = 0;
};

leat::task<> player(const char* name, leat::channel<ball> table)
{
    while (auto coming = co_await table.recv()) {
        std::printf("%s %d\n", name, ++coming->hits);
        co_await leat::sleep_for(100ms);
        co_await table.send(*coming);
    }
}

leat::task<> match()
{
    leat::channel<ball> table;
    co_await leat::with_group([&](leat::task_group& players) -> leat::task<> {
        co_await players.spawn(player("ping", table));
        co_await leat::sleep_for(10ms);  // so that ping is the first in the line
        co_await players.spawn(player("pong", table));
        co_await leat::sleep_for(10ms);

        const ball fresh;
        co_await table.send(fresh);
        co_await leat::sleep_for(450ms);
        const auto taken = co_await table.recv();
        table.close();  // both players wait for a ball: this sends them home
        std::printf("time: the ball has been hit %d times\n", taken->hits);
    });
}

}  // namespace

int main()
{
    leat::run(match());
}
