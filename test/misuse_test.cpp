// What the contracts forbid, and memory that runs out: each has a defined outcome and leaks nothing.
#include <leat/detail/frame_pool.hpp>
#include <leat/leat.hpp>

#include "support/counted.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <new>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::task;
using test::counted;

namespace {

task<int> give(counted kept)
{
    co_return kept.value;
}

task<> wait_for_nothing(counted)
{
    leat::channel<int> never;
    static_cast<void>(co_await never.recv());
}

/// The usage_error that f throws, or nothing.
template <class F>
std::string misuse(F f)
{
    try {
        f();
    } catch (const leat::usage_error& error) {
        return error.what();
    }
    return {};
}

/// Runs `scenario` again and again, letting the first, the second, the third... allocation of a frame fail, until
/// it gets by without that failure. Every run has to end with a value or with bad_alloc, and leave nothing.
int fail_each_allocation(const std::function<task<>()>& scenario)
{
    for (std::size_t nth = 0;; ++nth) {
        REQUIRE(nth < 200);
        CAPTURE(nth);
        const test::no_more_than_before lives;
        bool failed = false;
        bool reached = false;
        {
            leat::sim::world world{nth + 1};
            // The frames of run() itself are none of the scenario's.
            world.run([&]() -> task<> {
                std::vector<void*> held;
                leat::detail::fail_after_frames(nth);
                try {
                    co_await scenario();
                } catch (const std::bad_alloc&) {
                    failed = true;
                }
                reached = !leat::detail::frames_failed();
            });
            CHECK(world.live_tasks() == 0);
        }
        CHECK(lives.excess() == 0);
        if (!failed && reached)
            return static_cast<int>(nth);
    }
}

}  // namespace
