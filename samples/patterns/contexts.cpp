// Contexts: values that go down, and cancellation that reaches everything below
//
// The problem: a customer changes his mind while his order is under way. Whatever works for it stops, and knows why; and
// each line of the log says which order it belongs to.
//
//     order 7 ──┬──▶ pack   ─╌ cancelled, with a cause
//               └──▶ label  ─╌ the same
//
// Every task has a context, which what it spawns and awaits inherits. with_value, with_deadline and with_cancel make one
// below another.
//
// Run it with   ./dev run patterns_contexts
// It prints
//
//     0.25 s  order 7: nobody goes on to label it: changed his mind
//     0.30 s  order 7: nobody goes on to pack it: changed his mind

#include "../common/say.hpp"

#include <leat/leat.hpp>

#include <stdexcept>
#include <string>

namespace {

using namespace std::chrono_literals;
inline constexpr leat::context_key<int> order{"order"};

leat::task<> work(std::string what, leat::clock::duration tidies_up, leat::clock::time_point begin)
{
    static_cast<void>(co_await leat::as_result(leat::sleep_for(1h)));
    const leat::context mine = leat::this_task::context();
    co_await leat::shield(1s, leat::sleep_for(tidies_up));
    try {
        std::rethrow_exception(mine.cause());
    } catch (const std::exception& cause) {
        common::say(begin, "order " + std::to_string(*mine.value(order)) + ": nobody goes on to " + what +
                               " it: " + cause.what());
    }
}

leat::task<> shop()
{
    const auto begin = leat::clock::now();
    const leat::context today = leat::with_value(leat::this_task::context(), order, 7);
    auto [in_time, give_up] = leat::with_deadline(today, begin + 8h);
    auto [mine, cancel] = leat::with_cancel(in_time);
    auto packing = leat::spawn(work("pack", 50ms, begin), {.context = mine});
    auto labelling = leat::spawn(work("label", 0ms, begin), {.context = mine});
    co_await leat::sleep_for(250ms);
    cancel(std::make_exception_ptr(std::runtime_error{"changed his mind"}));
    co_await packing;
    co_await labelling;
}

}  // namespace

int main()
{
    leat::run(shop());
}
