// Error handling: results and errors travel through the same channel, and the first error stops the rest
//
// The problem: several tasks weigh parcels. One that can not be weighed must not get lost, and ends it for all.
//
//     parcels ──┬──▶ scales ──┐
//               └──▶ scales ──┴── result<int> ──▶ clerk: adds up, or stops everybody
//
// A result<T> is a value, or why there is none. Its reader decides: look at the error, or have it thrown.
//
// Run it with   ./dev run patterns_error_handling
// It prints
//
//     2 kg
//     3 kg
//     parcel 3 is on fire
//     all scales have stopped

#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <stdexcept>

namespace {

using namespace std::chrono_literals;

leat::task<> scales(int first, leat::sender<leat::result<int>> out)
{
    for (int parcel = first;; parcel += 2) {
        co_await leat::sleep_for(parcel * 10ms);
        if (parcel == 3)
            co_await out.send(std::make_exception_ptr(std::runtime_error{"parcel 3 is on fire"}));
        else
            co_await out.send(parcel + 1);
    }
}

leat::task<> post_office()
{
    leat::channel<leat::result<int>> weights;
    try {
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            for (int first = 1; first <= 2; ++first)
                co_await group.spawn(scales(first, weights));
            while (auto weight = co_await weights.recv())
                std::printf("%d kg\n", weight->value());  // throws the reason
        });
    } catch (const std::runtime_error& reason) {
        std::printf("%s\n", reason.what());
    }
    std::printf("all scales have stopped\n");
}

}  // namespace

int main()
{
    leat::run(post_office());
}
