// Context: an operation that takes two seconds, under a deadline of one, ends after one
//
// The problem: a customer waits for a page for no longer than a second. What the page is made of must not go on when
// the customer has gone.
//
//     request ── deadline 1 s ──┬──▶ database   2.0 s ─╌ ends at 1 s
//                               └──▶ picture    0.5 s ── in time
//
// Every task has a context, and what it starts inherits it. The deadline is set once, at the top; nobody below has to
// hand it on, or can forget to.
//
// Run it with   ./dev run patterns_deadline
// It prints
//
//     0.5 s  the picture is there
//     1.0 s  the database was interrupted
//     1.0 s  the request has failed: deadline exceeded

#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

namespace {

using namespace std::chrono_literals;

void say(leat::clock::time_point begin, const std::string& what)
{
    std::printf("%.1f s  the %s\n", std::chrono::duration<double>(leat::clock::now() - begin).count(),
                what.c_str());
}

leat::task<> part(std::string name, std::chrono::milliseconds takes, leat::clock::time_point begin)
{
    try {
        co_await leat::sleep_for(takes);
    } catch (...) {
        say(begin, name + " was interrupted");
        throw;
    }
    say(begin, name + " is there");
}

leat::task<> request()
{
    const auto begin = leat::clock::now();
    auto page = leat::when_all(part("database", 2s, begin), part("picture", 500ms, begin));
    const auto answer = co_await leat::as_result(leat::timeout(1s, std::move(page)));
    say(begin, answer ? "page is complete" : "request has failed: " + answer.error().message());
}

}  // namespace

int main()
{
    leat::run(request());
}
