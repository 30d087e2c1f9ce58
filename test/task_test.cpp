#include <leat/leat.hpp>

#include "support/counted.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::task;
using test::counted;

static_assert(!std::is_copy_constructible_v<task<int>>);
static_assert(std::is_nothrow_move_constructible_v<task<int>>);
static_assert(std::is_nothrow_move_assignable_v<task<int>>);
static_assert(sizeof(task<std::string>) == sizeof(void*));

namespace {

class no_default {
public:
    explicit no_default(int v) noexcept : value{v}
    {
    }
    no_default(no_default&&) noexcept = default;
    no_default& operator=(no_default&&) = delete;
    int value;
};

class alignas(128) wide {
public:
    wide(int v) noexcept : value{v}
    {
    }
    bool aligned() const noexcept
    {
        return reinterpret_cast<std::uintptr_t>(this) % alignof(wide) == 0;
    }
    int value;
};

/// Throws when it is moved for the n-th time.
class fragile {
public:
    explicit fragile(int moves) noexcept : moves_left{moves}
    {
    }
    fragile(fragile&& other) : moves_left{other.moves_left - 1}
    {
        if (moves_left < 0)
            throw std::domain_error{"moved too often"};
    }
    int moves_left;
};

template <class T>
task<T> give(T value)
{
    co_return std::move(value);
}

task<int> fail(const char* why)
{
    [[maybe_unused]] const counted local;
    throw std::runtime_error{why};
    co_return 0;
}

struct report {
    static void take(const char* function, const char* file, unsigned line) noexcept
    {
        ++count;
        last_function = function;
        last_file = file;
        last_line = line;
    }
    static inline std::atomic<int> count{0};
    static inline std::string last_function;
    static inline std::string last_file;
    static inline unsigned last_line = 0;
};

/// Counts never-awaited tasks instead of printing them.
class never_awaited_reports {
public:
    never_awaited_reports() noexcept : before_{leat::set_never_awaited_handler(report::take)}
    {
        report::count = 0;
    }
    ~never_awaited_reports()
    {
        leat::set_never_awaited_handler(before_);
    }
    int count() const noexcept
    {
        return report::count;
    }

private:
    leat::never_awaited_handler before_;
};

}  // namespace

TEST_CASE("task: nothing runs before it is awaited")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        bool ran = false;
        auto body = [&]() -> task<int> {
            ran = true;
            co_return 7;
        };
        task<int> t = body();
        CHECK(!ran);
        CHECK(static_cast<bool>(t));
        const int got = co_await std::move(t);
        CHECK(got == 7);
        CHECK(ran);
        CHECK(!static_cast<bool>(t));
    });
}

TEST_CASE("task: void, values, move-only values and values without a default constructor")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        co_await []() -> task<> { co_return; }();
        const int number = co_await give(3);
        CHECK(number == 3);
        const std::string words = co_await give(std::string{"a string that is too long to be kept in place"});
        CHECK(words.size() == 45);
        const std::unique_ptr<int> owner = co_await give(std::make_unique<int>(4));
        CHECK(*owner == 4);
        const no_default made = co_await give(no_default{5});
        CHECK(made.value == 5);
    });
}

TEST_CASE("task: a reference is the very object")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        int original = 1;
        auto refer = [&]() -> task<int&> { co_return original; };
        int& got = co_await refer();
        CHECK(&got == &original);
        got = 2;
        auto refer_const = [&]() -> task<const int&> { co_return original; };
        const int& seen = co_await refer_const();
        CHECK(&seen == &original);
        auto failing = [&]() -> task<int&> {
            throw std::runtime_error{"none"};
            co_return original;
        };
        leat::result<int&> none = co_await leat::as_result(failing());
        CHECK(!none.has_value());
        leat::result<int&> some = co_await leat::as_result(refer());
        REQUIRE(some.has_value());
        CHECK(&some.value() == &original);
    });
}

TEST_CASE("task: run gives the very object, too")
{
    int original = 1;
    auto refer = [&]() -> task<int&> { co_return original; };
    leat::sim::world world;
    CHECK(&world.run(refer()) == &original);
    CHECK(&leat::run(refer()) == &original);
    leat::runtime pool{{.workers = 1}};
    CHECK(&pool.block_on(refer()) == &original);
}

TEST_CASE("task: a code as a value is no failure")
{
    auto give_code = []() -> task<std::error_code> { co_return make_error_code(leat::errc::cancelled); };
    leat::sim::world world;
    CHECK(world.run(give_code()) == leat::errc::cancelled);
    CHECK(leat::run(give_code()) == leat::errc::cancelled);
    world.run([&]() -> task<> {
        leat::result<std::error_code> got = co_await leat::as_result(give_code());
        REQUIRE(got.has_value());
        CHECK(*got == leat::errc::cancelled);
        auto [settled] = co_await leat::when_all_settled(give_code());
        CHECK(settled.has_value());
        leat::channel<std::exception_ptr> ways_to_fail{1};
        CHECK(ways_to_fail.try_send(std::make_exception_ptr(1)).has_value());
        CHECK(ways_to_fail.try_recv().has_value());
    });
}

TEST_CASE("task: over-aligned values arrive aligned, from a task and from a spawned one")
{
    leat::sim::world world;
    const auto make = []() -> task<wide> { co_return 1; };
    const wide awaited = world.run(make());
    CHECK(awaited.aligned());
    CHECK(awaited.value == 1);
    const wide from_pool = leat::run(make());
    CHECK(from_pool.aligned());
#ifdef __clang__
    // GCC does not align the temporaries of coroutines.
    const auto pass_on = [&]() -> task<wide> { co_return co_await leat::spawn(make); };
    const wide passed_on = world.run(pass_on());
    CHECK(passed_on.aligned());
    CHECK(passed_on.value == 1);
#endif
    leat::detail::outcome<wide> kept;
    kept.emplace(2);
    const leat::result<wide> result = kept.take_result();
    CHECK(result->aligned());
}

TEST_CASE("task: a value is not copied on its way, however deep")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    const int copies = counted::copies();
    world.run([]() -> task<> {
        struct deep {
            static task<counted> down(int n)
            {
                if (n == 0)
                    co_return counted{9};
                counted got = co_await down(n - 1);
                co_return got;
            }
        };
        const counted got = co_await deep::down(20);
        CHECK(got.value == 9);
        auto handle = leat::spawn(deep::down(3));
        const counted joined = co_await handle;
        CHECK(joined.value == 9);
    });
    CHECK(counted::copies() == copies);
    CHECK(lives.excess() == 0);
}

TEST_CASE("task: what is thrown comes out of the await, and locals have been destroyed")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    world.run([]() -> task<> {
        bool caught = false;
        try {
            static_cast<void>(co_await fail("broken"));
        } catch (const std::runtime_error& error) {
            caught = true;
            CHECK(std::string{error.what()} == "broken");
        }
        CHECK(caught);
    });
    CHECK(lives.excess() == 0);
    CHECK_THROWS_WITH_AS(static_cast<void>(world.run(fail("through run"))), "through run",
                         std::runtime_error);
    CHECK_THROWS_AS(world.run([]() -> task<> {
        throw 7;
        co_return;
    }),
                    int);
}

TEST_CASE("task: an exception crosses a thousand frames and every local of theirs is destroyed")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    struct deep {
        static task<int> down(int n)
        {
            const counted local;
            if (n == 0)
                throw std::runtime_error{"bottom"};
            const int below = co_await down(n - 1);
            co_return below + 1;
        }
    };
    CHECK_THROWS_WITH_AS(static_cast<void>(world.run(deep::down(1000))), "bottom", std::runtime_error);
    CHECK(lives.excess() == 0);
}

TEST_CASE("task: a value that throws when it is moved makes the await throw that, and nothing leaks")
{
    for (int moves = 0; moves < 8; ++moves) {
        CAPTURE(moves);
        leat::sim::world world;
        int outcomes = 0;
        world.run([&]() -> task<> {
            auto body = [&]() -> task<fragile> { co_return fragile{moves}; };
            try {
                const fragile got = co_await body();
                ++outcomes;
                CHECK(got.moves_left >= 0);
            } catch (const std::domain_error&) {
                ++outcomes;
            }
            try {
                auto handle = leat::spawn(body());
                const fragile got = co_await handle;
                ++outcomes;
                CHECK(got.moves_left >= 0);
            } catch (const std::domain_error&) {
                ++outcomes;
            }
        });
        CHECK(outcomes == 2);
    }
}

TEST_CASE("task: as_result turns a task's failure into a value")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::result<int> good = co_await leat::as_result(give(1));
        REQUIRE(good.has_value());
        CHECK(*good == 1);
        leat::result<int> bad = co_await leat::as_result(fail("kept"));
        CHECK(bad.error() == leat::errc::failed);
        CHECK_THROWS_WITH_AS(static_cast<void>(bad.value()), "kept", std::runtime_error);
        leat::result<> nothing = co_await leat::as_result([]() -> task<> { co_return; }());
        CHECK(nothing.has_value());
        leat::result<std::unique_ptr<int>> owner = co_await leat::as_result(give(std::make_unique<int>(3)));
        REQUIRE(owner.has_value());
        CHECK(**owner == 3);
    });
}

TEST_CASE("task: as_result gives an operation's cancellation and timeout as codes")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto [ctx, cancel] = leat::with_cancel();
        auto sleeping = [&]() -> task<std::error_code> {
            leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
            co_return slept.error();
        };
        auto under = leat::spawn(leat::with_context(ctx, sleeping()));
        co_await leat::sleep_for(1s);
        cancel();
        const std::error_code why = co_await under;
        CHECK(why == leat::errc::cancelled);
        leat::result<> late = co_await leat::as_result(leat::timeout(2s, leat::sleep_for(1h)));
        CHECK(late.error() == leat::errc::deadline_exceeded);
        leat::channel<int> none;
        none.close();
        leat::result<> sent = co_await leat::as_result(none.send(1));
        CHECK(sent.error() == leat::errc::channel_closed);
    });
    CHECK(world.now() == 3s);
}

TEST_CASE("task: one that is never awaited is reported with its place, once, and its arguments are destroyed")
{
    const never_awaited_reports reports;
    const test::no_more_than_before lives;
    {
        const auto forgotten = give(counted{1});
        CHECK(lives.excess() == 1);
        CHECK(reports.count() == 0);
    }
    CHECK(reports.count() == 1);
    CHECK(lives.excess() == 0);
#if LEAT_REGISTRY
    CHECK(report::last_file.find("task_test.cpp") != std::string::npos);
    CHECK(report::last_function.find("give") != std::string::npos);
    CHECK(report::last_line > 0);
#endif
}

TEST_CASE("task: assigning over a task that was never awaited reports it")
{
    const never_awaited_reports reports;
    task<int> t = give(1);
    t = give(2);
    CHECK(reports.count() == 1);
    t = task<int>{};
    CHECK(reports.count() == 2);
    CHECK(!static_cast<bool>(t));
}

TEST_CASE("task: moved, discarded, empty and awaited tasks are not reported")
{
    const never_awaited_reports reports;
    const test::no_more_than_before lives;
    {
        task<counted> t = give(counted{1});
        task<counted> moved = std::move(t);
        CHECK(!static_cast<bool>(t));
        moved.discard();
        CHECK(!static_cast<bool>(moved));
        CHECK(lives.excess() == 0);
        moved.discard();
        [[maybe_unused]] const task<> empty;
    }
    leat::sim::world world;
    world.run([]() -> task<> { static_cast<void>(co_await give(1)); });
    CHECK(reports.count() == 0);
}

TEST_CASE("task: one that is destroyed while an exception unwinds is not reported")
{
    const never_awaited_reports reports;
    const test::no_more_than_before lives;
    try {
        [[maybe_unused]] const task<counted> t = give(counted{1});
        throw std::runtime_error{"something else went wrong"};
    } catch (const std::runtime_error&) {
    }
    CHECK(reports.count() == 0);
    CHECK(lives.excess() == 0);
}

TEST_CASE("task: the handler for forgotten tasks is exchanged, and null restores the default")
{
    const leat::never_awaited_handler original = leat::set_never_awaited_handler(report::take);
    const bool mine = leat::set_never_awaited_handler(nullptr) == report::take;
    CHECK(mine);
    const bool none = leat::set_never_awaited_handler(original) == nullptr;
    CHECK(none);
}

TEST_CASE("task: one made inside a task but awaited by another runs where it is awaited")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::channel<task<std::uint64_t>> handed{1};
        auto whoami = []() -> task<std::uint64_t> { co_return leat::this_task::id(); };
        co_await handed.send(whoami());
        std::uint64_t receiver_id = 0;
        auto other = leat::spawn([&]() -> task<std::uint64_t> {
            receiver_id = leat::this_task::id();
            auto got = co_await handed.recv();
            const std::uint64_t id = co_await std::move(*got);
            co_return id;
        });
        const std::uint64_t seen = co_await other;
        CHECK(seen == receiver_id);
        CHECK(seen != leat::this_task::id());
    });
}

TEST_CASE("task: a coroutine member function keeps its object by reference")
{
    class account {
    public:
        task<int> add(int n)
        {
            co_await leat::this_task::yield();
            total_ += n;
            co_return total_;
        }

    private:
        int total_ = 0;
    };
    leat::sim::world world;
    world.run([]() -> task<> {
        account mine;
        const int one = co_await mine.add(1);
        const int three = co_await mine.add(2);
        CHECK(one == 1);
        CHECK(three == 3);
    });
}

TEST_CASE("task: parameters and locals are destroyed when the awaiting expression ends")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    world.run([&]() -> task<> {
        auto body = [](counted argument) -> task<int> {
            const counted local{2};
            co_return argument.value + local.value;
        };
        const int sum = co_await body(counted{1});
        CHECK(sum == 3);
        CHECK(lives.excess() == 0);
    });
}
