// Permits, of which some number can be had at a time.
#include "support/bare_wait.hpp"
#include "support/in_child.hpp"
#include "support/linearizable.hpp"
#include "support/rounds.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <leat/leat.hpp>

#include <atomic>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using leat::task;

namespace {

static_assert(!std::is_copy_constructible_v<leat::semaphore_permit>);
static_assert(std::is_nothrow_move_constructible_v<leat::semaphore_permit>);

template <class Work>
task<> side_by_side(int count, Work work)
{
    co_await leat::with_group([&](leat::task_group& group) -> task<> {
        for (int i = 0; i < count; ++i)
            co_await group.spawn([&work, i]() -> task<> { co_await work(i); });
    });
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

}  // namespace

TEST_CASE("semaphore: a permit gives back what it holds, once")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::semaphore s{3, "slots"};
        CHECK(std::string{s.name()} == "slots");
        {
            auto one = co_await s.acquire();
            auto two = co_await s.acquire(2);
            CHECK(one.count() == 1);
            CHECK(two.count() == 2);
            CHECK(s.available() == 0);
            CHECK(s.capacity() == 3);
            CHECK_FALSE(s.try_acquire());
            leat::semaphore_permit moved = std::move(two);
            CHECK_FALSE(two);
            CHECK(two.count() == 0);
            moved.release();
            moved.release();
            CHECK(s.available() == 2);
            one = std::move(moved);
            CHECK(s.available() == 3);
        }
        CHECK(s.available() == 3);
        auto none = co_await s.acquire(0);
        CHECK(none);
        CHECK(none.count() == 0);
        CHECK(s.try_acquire(3).count() == 3);
        CHECK_FALSE(s.try_acquire(4));
        CHECK(s.available() == 3);
    });
}

TEST_CASE("semaphore: misuse is told")
{
    CHECK(misuse([] { leat::semaphore s{-1}; }) != "");
    leat::semaphore s{2};
    CHECK(misuse([&] { static_cast<void>(s.acquire(-1)); }) != "");
    CHECK(misuse([&] { static_cast<void>(s.try_acquire(-1)); }) != "");
    CHECK(misuse([&] { s.add(-1); }) != "");
    CHECK(misuse([&] { s.remove(-1); }) != "");
    CHECK(misuse([&] { s.remove(3); }) != "");
    CHECK(misuse([&] { s.add(std::numeric_limits<std::ptrdiff_t>::max()); }) != "");
    CHECK(s.capacity() == 2);
    CHECK(s.available() == 2);
}

TEST_CASE("semaphore: a request larger than the capacity fails at once, and says why")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::semaphore s{2};
        const auto got = co_await leat::as_result(s.acquire(3));
        CHECK(got.error() == leat::errc::exceeds_capacity);
        CHECK(got.error() == std::errc::invalid_argument);
        std::error_code thrown;
        try {
            static_cast<void>(co_await s.acquire(std::numeric_limits<std::ptrdiff_t>::max()));
        } catch (const std::system_error& error) {
            thrown = error.code();
        }
        CHECK(thrown == leat::errc::exceeds_capacity);
        CHECK(s.available() == 2);
        leat::semaphore empty{0};
        const auto one = co_await leat::as_result(empty.acquire());
        CHECK(one.error() == leat::errc::exceeds_capacity);
    });
}

TEST_CASE("semaphore: a large request is not overtaken by small ones that come after it")
{
    leat::sim::world world;
    std::string order;
    world.run([&]() -> task<> {
        leat::semaphore s{3};
        auto held = co_await s.acquire(2);
        co_await leat::with_group([&](leat::task_group& group) -> task<> {
            co_await group.spawn([&]() -> task<> {
                const auto all = co_await s.acquire(3);
                order += "large ";
                co_await leat::sleep_for(1ms);
            });
            co_await leat::sleep_for(1ms);
            CHECK_FALSE(s.try_acquire());
            for (int i = 0; i < 2; ++i)
                co_await group.spawn([&]() -> task<> {
                    const auto one = co_await s.acquire();
                    order += "small ";
                });
            co_await leat::sleep_for(1ms);
            CHECK(s.available() == 1);
            CHECK(order == "");
            held.release();
        });
        CHECK(s.available() == 3);
    });
    CHECK(order == "large small small ");
}

TEST_CASE("semaphore: a large request at the head that is cancelled lets the smaller ones behind it through")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        leat::semaphore s{4};
        auto held = co_await s.acquire(3);
        int small = 0;
        auto large = leat::spawn([&]() -> task<> { static_cast<void>(co_await s.acquire(4)); });
        co_await leat::sleep_for(1ms);
        auto one = leat::spawn([&]() -> task<> {
            const auto mine = co_await s.acquire(1);
            ++small;
        });
        co_await leat::sleep_for(1ms);
        CHECK(small == 0);
        large.cancel();
        co_await leat::sleep_for(1ms);
        CHECK(small == 1);
        CHECK(large.done());
        co_await one;
        held.release();
        CHECK(s.try_acquire(4));
    });
}

TEST_CASE("semaphore: of those who wait, a release serves as many as it suffices for")
{
    leat::sim::world world;
    std::string order;
    world.run([&]() -> task<> {
        leat::semaphore s{6};
        auto held = co_await s.acquire(6);
        co_await leat::with_group([&](leat::task_group& group) -> task<> {
            for (const int wanted : {1, 2, 4, 1}) {
                co_await group.spawn([&, wanted]() -> task<> {
                    const auto mine = co_await s.acquire(wanted);
                    order += std::to_string(wanted);
                    co_await leat::sleep_for(1ms);
                });
                co_await leat::sleep_for(1ms);
            }
            held.release();
            co_await leat::this_task::yield();
            CHECK(s.available() == 3);
        });
    });
    CHECK((order == "1241" || order == "2141" || order == "1214" || order == "2114"));
}

TEST_CASE("semaphore: permits are added, and taken away as they come back")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        leat::semaphore s{1};
        auto first = co_await s.acquire();
        int more = 0;
        auto waits = [&](std::ptrdiff_t wanted) -> task<std::error_code> {
            const auto got = co_await leat::as_result(s.acquire(wanted));
            more += got.has_value();
            co_return got.error();
        };
        auto second = leat::spawn(waits(1));
        co_await leat::sleep_for(1ms);
        CHECK(more == 0);
        s.add(2);
        co_await second;
        CHECK(more == 1);
        CHECK(s.capacity() == 3);
        CHECK(s.available() == 2);

        auto third = co_await s.acquire(2);
        s.remove(2);  // all of which are held
        CHECK(s.capacity() == 1);
        CHECK(s.available() == 0);
        third.release();
        CHECK(s.available() == 0);
        first.release();
        CHECK(s.available() == 1);

        // One that waits and can no longer be met fails; those behind it do not wait for it.
        s.add(2);
        auto held = co_await s.acquire(2);
        auto large = leat::spawn(waits(3));
        co_await leat::sleep_for(1ms);
        auto small = leat::spawn(waits(1));
        co_await leat::sleep_for(1ms);
        CHECK_FALSE(small.done());
        s.add(1);
        s.remove(2);
        const std::error_code why = co_await large;
        CHECK(why == leat::errc::exceeds_capacity);
        held.release();
        co_await small;
        CHECK(s.available() == 2);
    });
}

TEST_CASE("semaphore: as a case of select, one that lost has acquired nothing")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::semaphore s{2};
        leat::channel<int> ch{1};
        auto held = co_await s.acquire(2);
        const auto late = co_await leat::select(s.acquire(1), ch.recv(), leat::after(1s));
        CHECK(late.index == 2);
        held.release();
        CHECK(s.available() == 2);
        leat::semaphore_permit got;
        co_await leat::select(leat::on(ch.recv(), [] {}),
                              leat::on(s.acquire(2), [&](leat::semaphore_permit p) { got = std::move(p); }));
        CHECK(got.count() == 2);
        CHECK(s.available() == 0);
        // A large request that loses lets those behind it go on.
        int served = 0;
        got.release();
        auto one = co_await s.acquire(1);
        auto chooser = leat::spawn([&]() -> task<> {
            co_await leat::select(leat::on(s.acquire(2), [] {}), leat::on(ch.recv(), [] {}));
        });
        co_await leat::sleep_for(1ms);
        auto small = leat::spawn([&]() -> task<> {
            const auto mine = co_await s.acquire(1);
            ++served;
        });
        co_await leat::sleep_for(1ms);
        CHECK(served == 0);
        co_await ch.send(1);
        co_await small;
        CHECK(served == 1);
        co_await chooser;
    });
}

namespace {

/// The naive twin.
class plain_semaphore {
public:
    explicit plain_semaphore(int capacity) : capacity_{capacity}, free_{capacity}
    {
    }
    void request(int id, int wanted)
    {
        if (wanted > capacity_) {
            failed.push_back(id);
            return;
        }
        queue_.push_back({id, wanted});
        serve();
    }
    bool try_request(int wanted)
    {
        if (!queue_.empty() || wanted > free_)
            return false;
        free_ -= wanted;
        return true;
    }
    void leave(int id)
    {
        std::erase_if(queue_, [id](const auto& each) { return each.first == id; });
        serve();
    }
    void give(int count)
    {
        free_ += count;
        serve();
    }
    void add(int count)
    {
        capacity_ += count;
        give(count);
    }
    void remove(int count)
    {
        capacity_ -= count;
        free_ -= count;
        std::erase_if(queue_, [this](const auto& each) {
            if (each.second > capacity_)
                failed.push_back(each.first);
            return each.second > capacity_;
        });
        serve();
    }
    int capacity() const
    {
        return capacity_;
    }
    int available() const
    {
        return std::max(free_, 0);
    }
    std::vector<int> granted;
    std::vector<int> failed;

private:
    void serve()
    {
        while (!queue_.empty() && queue_.front().second <= free_) {
            free_ -= queue_.front().second;
            granted.push_back(queue_.front().first);
            queue_.pop_front();
        }
    }
    std::deque<std::pair<int, int>> queue_;
    int capacity_;
    int free_;
};

struct request {
    int wanted = 0;
    std::optional<leat::semaphore_permit> permit;
    std::error_code why;
    bool ended = false;
    leat::join_handle<> handle;
};

}  // namespace

TEST_CASE("semaphore: does what its naive twin does, whatever is asked of both")
{
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        CAPTURE(seed);
        leat::semaphore real{5};
        plain_semaphore twin{5};
        leat::sim::world world{seed};
        std::mt19937_64 random{seed};
        std::deque<request> all;
        const auto pick = [&](int below) {
            return static_cast<int>(random() % static_cast<unsigned>(below));
        };
        for (int step = 0; step < 300; ++step) {
            switch (pick(7)) {
            case 0:
            case 1: {
                request& mine = all.emplace_back();
                mine.wanted = pick(7);
                mine.handle = world.spawn([&]() -> task<> {
                    auto got = co_await leat::as_result(real.acquire(mine.wanted));
                    mine.ended = true;
                    if (got.has_value())
                        mine.permit = std::move(*got);
                    else
                        mine.why = got.error();
                });
                twin.request(static_cast<int>(all.size()) - 1, mine.wanted);
                break;
            }
            case 2: {
                request mine;
                const int wanted = pick(4);
                auto got = real.try_acquire(wanted);
                const bool also = twin.try_request(wanted);
                REQUIRE(static_cast<bool>(got) == also);
                if (also) {
                    got.release();
                    twin.give(wanted);
                }
                break;
            }
            case 3:
            case 4:
                for (request& each : all)
                    if (each.permit && pick(3) == 0) {
                        each.permit.reset();
                        twin.give(each.wanted);
                        break;
                    }
                break;
            case 5:
                if (!all.empty()) {
                    const int which = pick(static_cast<int>(all.size()));
                    request& chosen = all[static_cast<std::size_t>(which)];
                    if (!chosen.ended) {
                        chosen.handle.cancel();
                        twin.leave(which);
                    }
                }
                break;
            default: {
                const int count = pick(3);
                if (pick(2) == 0) {
                    real.add(count);
                    twin.add(count);
                } else if (count <= twin.capacity()) {
                    real.remove(count);
                    twin.remove(count);
                }
            }
            }
            world.settle();
            REQUIRE(real.available() == twin.available());
            REQUIRE(real.capacity() == twin.capacity());
            for (const int id : std::exchange(twin.granted, {}))
                REQUIRE(all[static_cast<std::size_t>(id)].permit.has_value());
            for (const int id : std::exchange(twin.failed, {}))
                REQUIRE(all[static_cast<std::size_t>(id)].why == leat::errc::exceeds_capacity);
        }
        // Everything ends, and everything is back.
        for (request& each : all)
            if (!each.ended)
                each.handle.cancel();
        world.settle();
        all.clear();
        CHECK(real.available() == real.capacity());
    }
}

TEST_CASE(
    "semaphore: in every order of requests of different sizes, a release and a cancellation nobody is left")
{
    leat::sim::explore({.schedules = 4000}, [](leat::sim::world& world) {
        leat::semaphore s{2};
        auto [ctx, cancel] = leat::with_cancel(leat::background());
        int most = 0;
        int inside = 0;
        auto use = [&](int wanted) -> task<> {
            const auto mine = co_await s.acquire(wanted);
            inside += wanted;
            most = std::max(most, inside);
            const auto yielded = co_await leat::as_result(leat::this_task::yield());
            inside -= wanted;
        };
        world.spawn([&] { return use(1); }).detach();
        world.spawn([&] { return use(2); }, {.context = ctx}).detach();
        world.spawn([&] { return use(1); }).detach();
        world.spawn([&, &stop = cancel] { stop(); }).detach();
        world.settle();
        CHECK(most <= 2);
        CHECK(world.live_tasks() == 0);
        CHECK(s.available() == 2);
    });
}

TEST_CASE(
    "semaphore: hammered on the pool, by tasks that give up and by threads, there are never too many inside")
{
    const int workers = 3;
    leat::runtime pool{{.workers = workers}};
    leat::semaphore s{4};
    std::atomic<int> inside{0};
    std::atomic<int> most{0};
    const int times = test::rounds(8000);
    auto work = [&](int who) -> task<> {
        std::minstd_rand random{static_cast<unsigned>(who + 1)};
        for (int k = 0; k < times; ++k) {
            const int wanted = 1 + static_cast<int>(random() % 4);
            leat::semaphore_permit got;
            if (random() % 8 == 0) {
                auto tried = co_await leat::as_result(leat::timeout(1us, s.acquire(wanted)));
                if (tried.has_value())
                    got = std::move(*tried);
            } else
                got = co_await s.acquire(wanted);
            if (!got)
                continue;
            const int now = inside += wanted;
            int before = most;
            while (now > before && !most.compare_exchange_weak(before, now)) {}
            if (random() % 4 == 0)
                co_await leat::this_task::yield();
            inside -= wanted;
        }
    };
    std::thread outside{[&] {
        for (int k = 0; k < times / 4; ++k) {
            const auto got = s.blocking_acquire(2);
            inside += 2;
            inside -= 2;
        }
    }};
    pool.block_on(side_by_side(8, work));
    outside.join();
    CHECK(most <= 4);
    CHECK(inside == 0);
    CHECK(s.available() == 4);
}

namespace {

struct permit_model {
    struct call {
        enum class kind { acquire, release, failed_try } what;
        int count;
    };
    int left = 3;

    bool apply(const call& c)
    {
        switch (c.what) {
        case call::kind::acquire: left -= c.count; return left >= 0;
        case call::kind::release: left += c.count; return true;
        case call::kind::failed_try: return true;  // somebody may have waited
        }
        return false;
    }
    int key() const
    {
        return left;
    }
    static std::string words(const call& c)
    {
        return (c.what == call::kind::acquire   ? "acquire "
                : c.what == call::kind::release ? "release "
                                                : "try_acquire fails ") +
               std::to_string(c.count);
    }
};

}  // namespace

TEST_CASE("semaphore: every history is that of a counter used by one after the other")
{
    const unsigned seed = std::random_device{}();
    MESSAGE("seed ", seed);
    std::mt19937 random{seed};
    leat::runtime pool{{.workers = 3}};
    using kind = permit_model::call::kind;
    for (int round = 0, most = test::rounds(400); round < most; ++round) {
        leat::semaphore s{3};
        test::call_log<permit_model::call> log{4};
        const auto start = static_cast<unsigned>(random());
        auto caller = [&](int who) -> task<> {
            std::minstd_rand dice{start + static_cast<unsigned>(who)};
            const auto lane = static_cast<std::size_t>(who);
            for (int i = 0; i < 5; ++i) {
                const int wanted = 1 + static_cast<int>(dice() % 3);
                leat::semaphore_permit got;
                const auto began = log.begin();
                if (dice() % 3 == 0) {
                    got = s.try_acquire(wanted);
                    if (!got) {
                        log.end(lane, began, {kind::failed_try, wanted});
                        continue;
                    }
                } else
                    got = co_await s.acquire(wanted);
                log.end(lane, began, {kind::acquire, wanted});
                if (dice() % 4 == 0)
                    co_await leat::this_task::yield();
                const auto releases = log.begin();
                got.release();
                log.end(lane, releases, {kind::release, wanted});
            }
        };
        pool.block_on(side_by_side(4, caller));
        REQUIRE(test::not_linearizable<permit_model>(log.calls()) == "");
    }
}

TEST_CASE("semaphore: it may go as soon as the last permit is back, whoever is still giving one back")
{
    leat::runtime pool{{.workers = 3}};
    const int times = test::rounds(20'000);
    pool.block_on([&]() -> task<> {
        for (int i = 0; i < times; ++i) {
            // What a parent waits for its children with.
            auto* const ended = new leat::semaphore{2};
            auto held_a = ended->try_acquire();
            auto held_b = ended->try_acquire();
            auto give = [](leat::semaphore_permit held) -> task<> {
                held.release();
                co_return;
            };
            auto a = leat::spawn(give(std::move(held_a)));
            auto b = leat::spawn(give(std::move(held_b)));
            {
                auto all = co_await ended->acquire(2);
            }
            delete ended;
            co_await a;
            co_await b;
        }
    });
}

TEST_CASE("semaphore: destroyed in use it says so and ends the program" *
          doctest::skip(test::under_sanitizer))
{
    const test::child_end held = test::in_child([] {
        std::optional<leat::semaphore> s{std::in_place, 1};
        auto permit = s->try_acquire();
        s.reset();
        return 0;
    });
    CHECK(held.signal == SIGABRT);
}

TEST_CASE("semaphore: a million waiters are served by one release")
{
    const std::size_t count = test::scaled(1'000'000);
    leat::runtime pool{{.workers = 2}};
    std::size_t left = count;
    std::atomic<std::size_t> woken{0};
    pool.block_on([&]() -> task<> {
        leat::semaphore s{static_cast<std::ptrdiff_t>(count)};
        std::atomic<std::size_t> come{0};
        auto held = co_await s.acquire(static_cast<std::ptrdiff_t>(count));
        co_await leat::with_group([&](leat::task_group& group) -> task<> {
            for (std::size_t i = 0; i < count; ++i)
                co_await group.spawn([&]() -> task<> {
                    ++come;
                    const auto mine = co_await s.acquire();
                    ++woken;
                });
            while (come != count)
                co_await leat::this_task::yield();
            held.release();
        });
    });
    CHECK(woken == left);
}

TEST_CASE("semaphore: what is destroyed after it has been given its permits gives them back")
{
    leat::semaphore s{3};
    leat::semaphore_permit held = s.try_acquire(2);
    const auto release = [&] { held.release(); };
    CHECK(test::given_to_await(s.acquire(3).as_operation(), release));
    CHECK(s.available() == 3);
    held = s.try_acquire(1);
    CHECK(test::given_to_case(s.acquire(3).as_operation(), release));
    CHECK(s.available() == 3);
}

TEST_CASE("semaphore: a report says how many it waits for")
{
    if (!LEAT_REGISTRY)
        return;
    leat::semaphore s{3, "slots"};
    leat::sim::world world;
    auto held = s.try_acquire(2);
    auto waiter = world.spawn([&]() -> task<> { const auto got = co_await s.acquire(2); });
    world.settle();
    CHECK(world.report().find("waits for: semaphore \"slots\", 2 of its 3 permits (1 free)") !=
          std::string::npos);
    held.release();
    world.settle();
}
