// Contexts: values that go down, cancellation that reaches everything, and cleanup that it does not
//
// The problem: a customer changes his mind while his order is under way. Whatever works for it stops, its shelf is told,
// and he gets his money back, all the same; and each line of the log says which order it belongs to.
//
//     order 7 ──┬──▶ pack   ─╌ cancelled, with a cause ╌─┐
//               └──▶ label  ─╌ cancelled ╌───────────────┤
//                                                        └──▶ refund, not to be interrupted
//
// Every task has a context, which what it spawns and awaits inherits. with_value, with_deadline and with_cancel make one
// below another; after_func runs when one has ended; without_cancel has the values, but not the end.
//
// Run it with   ./dev run patterns_contexts
// It prints
//
//     0.25 s  order 7: stopped to pack it: changed his mind
//     0.25 s  the shelf is free
//     0.35 s  order 7: refunded

#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

namespace {
using namespace std::chrono_literals;
inline constexpr leat::context_key<int> order{"order"};

void say(leat::clock::time_point begin, const std::string& what)
{
    const int* const number = leat::this_task::context().value(order);
    const std::string whose = number != nullptr ? "order " + std::to_string(*number) + ": " : "";
    std::printf("%.2f s  %s%s\n", std::chrono::duration<double>(leat::clock::now() - begin).count(),
                whose.c_str(), what.c_str());
}

leat::task<> refund(leat::clock::time_point begin)
{
    co_await leat::sleep_for(100ms);
    say(begin, "refunded");
}

leat::task<> pack(leat::clock::time_point begin)
{
    std::string why;
    try {
        co_await leat::sleep_for(1h);
    } catch (const leat::cancelled_error&) {
        try {
            std::rethrow_exception(leat::this_task::context().cause());
        } catch (const std::exception& cause) {
            why = cause.what();
        }
    }
    say(begin, "stopped to pack it: " + why);
    const leat::context deaf = leat::without_cancel(leat::this_task::context());
    co_await leat::with_context(deaf, refund(begin));
}

leat::task<> shop()
{
    const auto begin = leat::clock::now();
    const leat::context today = leat::with_value(leat::this_task::context(), order, 7);
    auto [in_time, give_up] = leat::with_deadline(today, begin + 1h);
    auto [mine, cancel] = leat::with_cancel(in_time);
    leat::event free;
    leat::after_func(mine, [&free] { free.set(); });
    auto packing = leat::spawn(pack(begin), {.context = mine});
    co_await leat::sleep_for(250ms);
    cancel(std::make_exception_ptr(std::runtime_error{"changed his mind"}));
    co_await free.wait();
    co_await leat::sleep_for(1ms);  // for the order of these lines
    say(begin, "the shelf is free");
    co_await packing;
}
}  // namespace

int main()
{
    leat::run(shop());
}
