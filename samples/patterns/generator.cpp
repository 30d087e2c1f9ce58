// Generator: a task that yields an endless sequence, and stops when its reader does
//
// The problem: the Fibonacci numbers have no end, but somebody wants the first ten.
//
//     fibonacci ── 0, 1, 1, 2, 3 ... ──▶ take(10) ──▶ print
//         ▲                                │
//         └────── nobody reads any more ───┘
//
// The generator waits until the next number is wanted. When the last receiver goes it is cancelled: nothing is left
// behind, and nobody has to tell it.
//
// Run it with   ./dev run patterns_generator
// It prints
//
//     0 1 1 2 3 5 8 13 21 34
//     the generator has ended after 10 numbers

#include <leat/flow/fan.hpp>
#include <leat/flow/generate.hpp>
#include <leat/leat.hpp>

#include <cstdio>
#include <utility>

namespace {

leat::task<> fibonacci(leat::outlet<long>& out, int& sent)
{
    for (long now = 0, next = 1;; now = std::exchange(next, now + next)) {
        long copy = now;
        co_await out.send(std::move(copy));
        ++sent;
    }
}

leat::task<> numbers()
{
    int sent = 0;
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        auto all = leat::generate<long>(group, [&](leat::outlet<long>& out) { return fibonacci(out, sent); });
        const char* between = "";
        for (int i = 0; i < 10; ++i, between = " ") {
            const auto number = co_await all.recv();
            std::printf("%s%ld", between, *number);
        }
        std::printf("\n");
    });
    std::printf("the generator has ended after %d numbers\n", sent);
}

}  // namespace

int main()
{
    leat::run(numbers());
}
