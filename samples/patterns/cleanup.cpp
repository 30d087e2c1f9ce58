// Cleanup: what has to be done although, and because, everything has been cancelled
//
// The problem: a customer changes his mind. Whoever works for his order stops; but he gets his money back, and the shelf
// that was reserved is told.
//
//     order ──▶ pack ─╌ cancelled ╌─▶ refund            without_cancel: not to be interrupted
//       └──────────────────────────▶ the shelf is free   after_func: when the context has ended
//
// A context that has ended stays so: what is done under it ends at once. without_cancel has its values, but not its end.
//
// Run it with   ./dev run patterns_cleanup
// It prints
//
//     0.25 s  stops to pack
//     0.35 s  has refunded; the shelf is free

#include "../common/say.hpp"

#include <leat/leat.hpp>

#include <string>

namespace {

using namespace std::chrono_literals;

leat::task<> refund(leat::clock::time_point begin, const leat::event& free)
{
    co_await leat::sleep_for(100ms);
    common::say(begin, std::string{"has refunded; the shelf is "} + (free.is_set() ? "free" : "reserved"));
}

leat::task<> pack(leat::clock::time_point begin, const leat::event& free)
{
    const auto packed = co_await leat::as_result(leat::sleep_for(1h));
    if (packed)
        co_return;
    common::say(begin, "stops to pack");
    co_await leat::with_context(leat::without_cancel(leat::this_task::context()), refund(begin, free));
}

leat::task<> shop()
{
    const auto begin = leat::clock::now();
    leat::event free;
    auto [order, cancel] = leat::with_cancel();
    leat::after_func(order, [&free] { free.set(); });
    auto packing = leat::spawn(pack(begin, free), {.context = order});
    co_await leat::sleep_for(250ms);
    cancel();
    co_await packing;
}

}  // namespace

int main()
{
    leat::run(shop());
}
