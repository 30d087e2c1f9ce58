// A chain of tasks that grows by one for every prime it finds
//
// The problem: print the first primes, with nothing but tasks that pass numbers on (after Hoare and McIlroy;
// the sample that introduced Go). The generator sends 2, 3, 4, ... for ever. Each filter lets through what
// its prime does not divide. So the first number to come out of the chain is the next prime, and gets a
// filter of its own.
//
//     generate ─▶ not by 2 ─▶ not by 3 ─▶ not by 5 ─▶ ... ─▶ the next prime
//
// Nobody in the chain ever ends by itself: each waits for the one before it. cancel() ends them all, and
// with_group() returns when they have ended.
//
// Run it with   ./dev run prime_sieve
//
// It prints
//
//     2 3 5 7 11 13 17 19 23 29

#include <leat/leat.hpp>

#include <cstdio>

namespace {

leat::task<> generate(leat::sender<int> out)
{
    for (int number = 2;; ++number)
        co_await out.send(number);
}

leat::task<> filter(int prime, leat::receiver<int> in, leat::sender<int> out)
{
    while (auto number = co_await in.recv())
        if (*number % prime != 0)
            co_await out.send(*number);
}

leat::task<> sieve()
{
    co_await leat::with_group([](leat::task_group& chain) -> leat::task<> {
        leat::channel<int> numbers;
        co_await chain.spawn(generate(numbers));
        for (int found = 1; found <= 10; ++found) {
            const auto prime = co_await numbers.recv();
            std::printf("%d%c", *prime, found < 10 ? ' ' : '\n');
            leat::channel<int> left;
            co_await chain.spawn(filter(*prime, numbers, left));
            numbers = left;
        }
        chain.cancel();
    });
}

}  // namespace

int main()
{
    leat::run(sieve());
}
