// Many readers or one writer.
#include "support/in_child.hpp"
#include "support/linearizable.hpp"
#include "support/rounds.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <leat/leat.hpp>

#include <atomic>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::task;

namespace {

static_assert(!std::is_copy_constructible_v<leat::shared_mutex::guard>);
static_assert(std::is_nothrow_move_constructible_v<leat::shared_mutex::shared_guard>);

/// Its readers count in slots, as if they had been in each other's way.
void spread(leat::shared_mutex& m)
{
    leat::shared_mutex::guard::core_of(m).spread_readers();
}

template <class Work>
task<> side_by_side(int count, Work work)
{
    co_await leat::with_group([&](leat::task_group& group) -> task<> {
        for (int i = 0; i < count; ++i)
            co_await group.spawn([&work, i]() -> task<> { co_await work(i); });
    });
}

}  // namespace

TEST_CASE("shared_mutex: readers share it, a writer has it alone")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::shared_mutex m{"index"};
        CHECK(std::string{m.name()} == "index");
        auto a = co_await m.lock_shared();
        auto b = co_await m.lock_shared();
        CHECK(m.try_lock_shared());
        CHECK_FALSE(m.try_lock());
        a.unlock();
        CHECK_FALSE(a);
        CHECK_FALSE(m.try_lock());
        auto moved = std::move(b);
        moved.unlock();
        moved.unlock();
        {
            const auto w = co_await m.lock();
            CHECK(w.owns_lock());
            CHECK_FALSE(m.try_lock());
            CHECK_FALSE(m.try_lock_shared());
        }
        CHECK(m.try_lock());
        CHECK(m.try_lock_shared());
    });
}

TEST_CASE("shared_mutex: who comes is served in that order; readers one after the other come in together")
{
    leat::sim::world world;
    std::string order;
    int reading = 0;
    int together = 0;
    world.run([&]() -> task<> {
        leat::shared_mutex m;
        auto held = co_await m.lock();
        co_await leat::with_group([&](leat::task_group& group) -> task<> {
            for (const char what : std::string{"rrwrrrwwr"}) {
                co_await group.spawn([&, what]() -> task<> {
                    if (what == 'w') {
                        const auto mine = co_await m.lock();
                        order += 'w';
                        CHECK(reading == 0);
                        co_await leat::sleep_for(1ms);
                    } else {
                        const auto mine = co_await m.lock_shared();
                        order += 'r';
                        together = std::max(together, ++reading);
                        co_await leat::sleep_for(1ms);
                        --reading;
                    }
                });
                co_await leat::sleep_for(1ms);
            }
            held.unlock();
        });
    });
    CHECK(order == "rrwrrrwwr");
    CHECK(together == 3);
}

TEST_CASE("shared_mutex: readers who keep coming do not starve a writer, nor writers a reader")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::shared_mutex m;
        bool stop = false;
        int reads = 0;
        std::vector<leat::join_handle<>> all;
        for (int i = 0; i < 2; ++i)
            all.push_back(leat::spawn([&, i]() -> task<> {
                co_await leat::sleep_for(i * 500us);
                while (!stop) {  // the two overlap, so that there is always a reader
                    const auto mine = co_await m.lock_shared();
                    ++reads;
                    co_await leat::sleep_for(1ms);
                }
            }));
        co_await leat::sleep_for(10ms);
        const auto asked = leat::clock::now();
        {
            const auto mine = co_await m.lock();
            CHECK(leat::clock::now() - asked <= 1ms);
        }
        const int before = reads;
        for (int i = 0; i < 100; ++i) {
            const auto mine = co_await m.lock();
            co_await leat::sleep_for(1ms);
        }
        CHECK(reads - before >= 2 * 50);
        stop = true;
        for (auto& each : all)
            co_await each;
    });
}

TEST_CASE("shared_mutex: a reader that comes while a writer waits waits, until that is cancelled")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::shared_mutex m;
        auto reads = co_await m.lock_shared();
        auto writer = leat::spawn([&]() -> task<> { const auto mine = co_await m.lock(); });
        co_await leat::sleep_for(1ms);
        bool let_in = false;
        auto reader = leat::spawn([&]() -> task<> {
            const auto mine = co_await m.lock_shared();
            let_in = true;
        });
        co_await leat::sleep_for(1ms);
        CHECK_FALSE(let_in);
        CHECK_FALSE(m.try_lock_shared());
        writer.cancel();
        co_await reader;
        CHECK(let_in);
        CHECK(m.try_lock_shared());
        co_await leat::sleep_for(1ms);
        CHECK(writer.done());
    });
}

TEST_CASE("shared_mutex: a writer that becomes a reader lets the readers in, and no writer between")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::shared_mutex m;
        std::string order;
        auto writes = co_await m.lock();
        auto second = leat::spawn([&]() -> task<> {
            const auto mine = co_await m.lock_shared();
            order += "reader ";
            co_await leat::sleep_for(1ms);
        });
        co_await leat::sleep_for(1ms);
        auto third = leat::spawn([&]() -> task<> {
            const auto mine = co_await m.lock();
            order += "writer ";
        });
        co_await leat::sleep_for(1ms);
        auto reads = writes.downgrade();
        CHECK_FALSE(writes);
        CHECK(reads);
        co_await leat::sleep_for(5ms);
        CHECK(order == "reader ");
        reads.unlock();
        co_await third;
        CHECK(order == "reader writer ");
        co_await second;
        leat::shared_mutex::guard nothing;
        CHECK_FALSE(nothing.downgrade());
        auto alone = co_await m.lock();
        auto now_reads = alone.downgrade();
        CHECK(m.try_lock_shared());
        CHECK_FALSE(m.try_lock());
    });
}

TEST_CASE("shared_mutex: a reader becomes the writer when the others have gone, before those who wait")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::shared_mutex m;
        std::string order;
        auto other = co_await m.lock_shared();
        auto upgrader = leat::spawn([&]() -> task<> {
            auto reads = co_await m.lock_shared();
            const auto mine = co_await reads.upgrade();
            CHECK(mine);
            CHECK_FALSE(reads);
            order += "upgraded ";
            co_await leat::sleep_for(1ms);
        });
        co_await leat::sleep_for(1ms);
        auto writer = leat::spawn([&]() -> task<> {
            const auto mine = co_await m.lock();
            order += "writer ";
        });
        co_await leat::sleep_for(1ms);
        CHECK_FALSE(m.try_lock_shared());
        CHECK(order == "");
        other.unlock();
        co_await upgrader;
        co_await writer;
        CHECK(order == "upgraded writer ");

        // Alone, at once; whoever waits to write does not hinder it.
        auto reads = co_await m.lock_shared();
        auto late = leat::spawn([&]() -> task<> { const auto mine = co_await m.lock(); });
        co_await leat::sleep_for(1ms);
        auto writes = reads.try_upgrade();
        CHECK(writes);
        CHECK_FALSE(reads);
        writes.unlock();
        co_await late;
        reads = co_await m.lock_shared();
        auto too = co_await m.lock_shared();
        CHECK_FALSE(reads.try_upgrade());
        CHECK(reads);
    });
}

TEST_CASE("shared_mutex: a second reader that wants to become the writer is refused, and still is a reader")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::shared_mutex m;
        auto mine = co_await m.lock_shared();
        bool upgraded = false;
        auto first = leat::spawn([&]() -> task<> {
            auto reads = co_await m.lock_shared();
            const auto writes = co_await reads.upgrade();
            upgraded = true;
        });
        co_await leat::sleep_for(1ms);
        const auto refused = co_await leat::as_result(mine.upgrade());
        CHECK(refused.error() == leat::errc::upgrade_refused);
        CHECK(refused.error() == std::errc::resource_deadlock_would_occur);
        CHECK(mine);
        CHECK_FALSE(mine.try_upgrade());
        CHECK_FALSE(upgraded);
        mine.unlock();
        co_await first;
        CHECK(upgraded);
        bool misused = false;
        try {
            static_cast<void>(mine.upgrade());
        } catch (const leat::usage_error&) {
            misused = true;
        }
        CHECK(misused);
    });
}

TEST_CASE("shared_mutex: an upgrade that is cancelled changes nothing, and lets those in who waited for it")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::shared_mutex m;
        auto other = co_await m.lock_shared();
        auto reads = co_await m.lock_shared();
        bool let_in = false;
        auto reader = leat::spawn([&]() -> task<> {
            co_await leat::sleep_for(1ms);
            const auto mine = co_await m.lock_shared();
            let_in = true;
        });
        const auto late = co_await leat::as_result(leat::timeout(10ms, reads.upgrade()));
        CHECK(late.error() == leat::errc::deadline_exceeded);
        CHECK(reads);
        CHECK_FALSE(let_in);
        co_await reader;
        CHECK(let_in);
        other.unlock();
        const auto writes = co_await reads.upgrade();
        CHECK(writes);
    });
}

TEST_CASE("shared_mutex: as cases of select, those that lose have had no effect")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::shared_mutex m;
        leat::channel<int> ch;
        auto writes = co_await m.lock();
        const auto late = co_await leat::select(m.lock(), m.lock_shared(), ch.recv(), leat::after(1s));
        CHECK(late.index == 3);
        writes.unlock();
        auto reads = co_await m.lock_shared();
        const auto got = co_await leat::select(m.lock(), leat::after(1s));
        CHECK(got.index == 1);
        CHECK(m.try_lock_shared());
        co_await leat::select(leat::on(reads.upgrade(), [](leat::shared_mutex::guard g) { CHECK(g); }),
                              leat::on(leat::after(1s), [] { CHECK(false); }));
        CHECK_FALSE(reads);
        CHECK(m.try_lock());
    });
}

TEST_CASE("shared_mutex: in every order of readers, a writer, an upgrade and a cancellation nobody is left")
{
    const leat::sim::explore_result all =
        leat::sim::explore({.schedules = 4000}, [](leat::sim::world& world) {
            leat::shared_mutex m;
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            int readers = 0;
            int writers = 0;
            auto read = [&]() -> task<> {
                const auto mine = co_await m.lock_shared();
                CHECK(writers == 0);
                ++readers;
                const auto yielded = co_await leat::as_result(leat::this_task::yield());
                --readers;
            };
            auto write = [&]() -> task<> {
                const auto mine = co_await m.lock();
                CHECK((++writers == 1 && readers == 0));
                const auto yielded = co_await leat::as_result(leat::this_task::yield());
                --writers;
            };
            auto upgrade = [&]() -> task<> {
                auto mine = co_await m.lock_shared();
                ++readers;
                const auto yielded = co_await leat::as_result(leat::this_task::yield());
                --readers;
                const auto alone = co_await mine.upgrade();
                CHECK((++writers == 1 && readers == 0));
                --writers;
            };
            world.spawn(read).detach();
            world.spawn(write, {.context = ctx}).detach();
            world.spawn(upgrade).detach();
            world.spawn([&, &stop = cancel] { stop(); }).detach();
            world.settle();
            CHECK(world.live_tasks() == 0);
            CHECK(m.try_lock());
        });
    MESSAGE(all.schedules << " schedules");
}

namespace {

struct shared_model {
    struct call {
        enum class kind { read, write, end_read, end_write, upgrade, downgrade } what;
    };
    int readers = 0;
    bool writer = false;

    bool apply(const call& c)
    {
        switch (c.what) {
        case call::kind::read: return readers++ >= 0 && !writer;
        case call::kind::write: return !std::exchange(writer, true) && readers == 0;
        case call::kind::end_read: return readers-- > 0;
        case call::kind::end_write: return std::exchange(writer, false);
        case call::kind::upgrade: return readers-- == 1 && !std::exchange(writer, true);
        case call::kind::downgrade: return readers++ == 0 && std::exchange(writer, false);
        }
        return false;
    }
    std::pair<int, bool> key() const
    {
        return {readers, writer};
    }
    static std::string words(const call& c)
    {
        static const char* const names[] = {"read", "write", "end_read", "end_write", "upgrade", "downgrade"};
        return names[static_cast<std::size_t>(c.what)];
    }
};

}  // namespace

TEST_CASE("shared_mutex: every history is that of a lock used by one after the other, upgrades included")
{
    const unsigned seed = std::random_device{}();
    MESSAGE("seed ", seed);
    std::mt19937 random{seed};
    leat::runtime pool{{.workers = 3}};
    using kind = shared_model::call::kind;
    for (int round = 0, most = test::rounds(400); round < most; ++round) {
        leat::shared_mutex m;
        if (round % 2 != 0)
            spread(m);
        test::call_log<shared_model::call> log{4};
        const auto start = static_cast<unsigned>(random());
        auto caller = [&](int who) -> task<> {
            std::minstd_rand dice{start + static_cast<unsigned>(who)};
            const auto lane = static_cast<std::size_t>(who);
            for (int i = 0; i < 4; ++i) {
                leat::shared_mutex::guard writes;
                leat::shared_mutex::shared_guard reads;
                auto began = log.begin();
                if (dice() % 3 == 0) {
                    writes = co_await m.lock();
                    log.end(lane, began, {kind::write});
                    if (dice() % 3 == 0) {
                        began = log.begin();
                        reads = writes.downgrade();
                        log.end(lane, began, {kind::downgrade});
                    }
                } else {
                    reads = co_await m.lock_shared();
                    log.end(lane, began, {kind::read});
                    if (dice() % 3 == 0) {
                        began = log.begin();
                        auto got = co_await leat::as_result(reads.upgrade());
                        if (got.has_value()) {
                            log.end(lane, began, {kind::upgrade});
                            writes = std::move(*got);
                        }
                    }
                }
                if (dice() % 4 == 0)
                    co_await leat::this_task::yield();
                began = log.begin();
                const bool wrote = writes.owns_lock();
                writes.unlock();
                reads.unlock();
                log.end(lane, began, {wrote ? kind::end_write : kind::end_read});
            }
        };
        pool.block_on(side_by_side(4, caller));
        REQUIRE(test::not_linearizable<shared_model>(log.calls()) == "");
        REQUIRE(m.try_lock());
    }
}

TEST_CASE("shared_mutex: hammered by readers and writers that give up, and by threads")
{
    leat::runtime pool{{.workers = 3}};
    leat::shared_mutex m;
    std::int64_t first = 0;
    std::int64_t second = 0;
    const int times = test::rounds(10'000);
    std::atomic<std::int64_t> writes{0};
    std::atomic<int> torn{0};
    auto work = [&](int who) -> task<> {
        std::minstd_rand random{static_cast<unsigned>(who + 1)};
        for (int k = 0; k < times; ++k) {
            const unsigned what = random() % 16;
            if (what < 3) {
                leat::shared_mutex::guard mine;
                if (what == 0) {
                    auto got = co_await leat::as_result(leat::timeout(1us, m.lock()));
                    if (got.has_value())
                        mine = std::move(*got);
                } else
                    mine = co_await m.lock();
                if (mine) {
                    ++first;
                    if (what == 2)
                        co_await leat::this_task::yield();
                    ++second;
                    ++writes;
                }
            } else {
                leat::shared_mutex::shared_guard mine;
                if (what == 3) {
                    auto got = co_await leat::as_result(leat::timeout(1us, m.lock_shared()));
                    if (got.has_value())
                        mine = std::move(*got);
                } else
                    mine = co_await m.lock_shared();
                if (mine && first != second)
                    ++torn;
                if (mine && what == 4) {
                    auto got = co_await leat::as_result(mine.upgrade());
                    if (got.has_value()) {
                        ++first;
                        ++second;
                        ++writes;
                    }
                }
            }
        }
    };
    std::thread outside{[&] {
        for (int k = 0; k < times / 4; ++k) {
            const auto mine = m.blocking_lock_shared();
            if (first != second)
                ++torn;
        }
        const auto mine = m.blocking_lock();
    }};
    pool.block_on(side_by_side(8, work));
    outside.join();
    CHECK(torn == 0);
    CHECK(first == second);
    CHECK(first == writes);
    CHECK(m.try_lock());
}

TEST_CASE("shared_mutex: it may go as soon as the last has unlocked it, whoever is still in unlock()")
{
    leat::runtime pool{{.workers = 3}};
    struct shared {
        leat::shared_mutex m;
        int left = 0;
    };
    const int times = test::rounds(10'000);
    pool.block_on([&]() -> task<> {
        for (int i = 0; i < times; ++i) {
            auto* const all = new shared;
            if (i % 2 != 0)
                spread(all->m);
            auto last_frees = [all]() -> task<> {
                {
                    const auto reads = co_await all->m.lock_shared();
                }
                auto held = co_await all->m.lock();
                const bool last = ++all->left == 3;
                held.unlock();
                if (last)
                    delete all;
            };
            auto a = leat::spawn(last_frees);
            auto b = leat::spawn(last_frees);
            auto c = leat::spawn(last_frees);
            co_await a;
            co_await b;
            co_await c;
        }
    });
}

TEST_CASE("shared_mutex: destroyed in use it says so and ends the program" *
          doctest::skip(test::under_sanitizer))
{
    for (const bool in_slots : {false, true}) {
        const test::child_end held = test::in_child([in_slots] {
            std::optional<leat::shared_mutex> m{std::in_place};
            if (in_slots)
                spread(*m);
            auto guard = m->try_lock_shared();
            m.reset();
            return 0;
        });
        CHECK(held.signal == SIGABRT);
    }
}

TEST_CASE("shared_mutex: a million readers are let in by one unlock")
{
    const std::size_t count = test::scaled(1'000'000);
    leat::runtime pool{{.workers = 2}};
    std::atomic<std::size_t> woken{0};
    pool.block_on([&]() -> task<> {
        leat::shared_mutex m;
        std::atomic<std::size_t> come{0};
        auto held = co_await m.lock();
        co_await leat::with_group([&](leat::task_group& group) -> task<> {
            for (std::size_t i = 0; i < count; ++i)
                co_await group.spawn([&]() -> task<> {
                    ++come;
                    const auto mine = co_await m.lock_shared();
                    ++woken;
                });
            while (come != count)
                co_await leat::this_task::yield();
            held.unlock();
        });
    });
    CHECK(woken == count);
}

namespace {

/// The same calls to a mutex whose readers count in slots and to one that has none must give the same answers.
class twin {
public:
    explicit twin(unsigned seed) : random_{seed}
    {
        spread(spread_);
    }
    bool step()
    {
        switch (random_() % 8) {
        case 0: return same(spread_.try_lock(), plain_.try_lock(), writes_);
        case 1:
        case 2:
        case 3: return same(spread_.try_lock_shared(), plain_.try_lock_shared(), reads_);
        case 4:
            if (!reads_.empty()) {
                auto& [mine, other] = reads_[random_() % reads_.size()];
                auto alone = mine.try_upgrade();
                auto also = other.try_upgrade();
                return same(std::move(alone), std::move(also), writes_);
            }
            return true;
        case 5:
            if (!writes_.empty()) {
                reads_.emplace_back(writes_.back().first.downgrade(), writes_.back().second.downgrade());
                writes_.clear();
            }
            return true;
        case 6: writes_.clear(); return true;
        default: break;
        }
        spread(spread_);
        std::erase_if(reads_, [](const auto& each) { return !each.first; });
        if (!reads_.empty())
            reads_.erase(reads_.begin() + static_cast<std::ptrdiff_t>(random_() % reads_.size()));
        return true;
    }

private:
    template <class Guard>
    static bool same(Guard mine, Guard other, std::vector<std::pair<Guard, Guard>>& held)
    {
        if (mine.owns_lock() != other.owns_lock())
            return false;
        if (mine)
            held.emplace_back(std::move(mine), std::move(other));
        return true;
    }

    std::minstd_rand random_;
    leat::shared_mutex spread_;
    leat::shared_mutex plain_;
    std::vector<std::pair<leat::shared_mutex::guard, leat::shared_mutex::guard>> writes_;
    std::vector<std::pair<leat::shared_mutex::shared_guard, leat::shared_mutex::shared_guard>> reads_;
};

}  // namespace

TEST_CASE("shared_mutex: with readers in slots it answers as without")
{
    const unsigned seed = std::random_device{}();
    MESSAGE("seed ", seed);
    for (unsigned round = 0; round < 50; ++round) {
        twin both{seed + round};
        bool same = true;
        for (int i = 0; i < 400 && same; ++i)
            same = both.step();
        REQUIRE(same);
    }
}

TEST_CASE("shared_mutex: a guard goes through another slot than the one through which it came")
{
    leat::shared_mutex m;
    spread(m);
    std::vector<leat::shared_mutex::shared_guard> held(100);
    for (auto& each : held)
        each = m.try_lock_shared();
    CHECK_FALSE(m.try_lock());
    spread(m);
    std::thread{[&] {
        for (auto& each : held) {
            CHECK_FALSE(m.try_lock());
            each.unlock();
        }
    }}.join();
    CHECK(m.try_lock());
    CHECK(m.try_lock_shared());
}

TEST_CASE("shared_mutex: a report names it, and who has it")
{
    if (!LEAT_REGISTRY)
        return;
    leat::shared_mutex m{"index"};
    leat::sim::world world;
    auto hold = [&]() -> task<> {
        const auto mine = co_await m.lock();
        co_await leat::sleep_for(1h);
    };
    auto reads = m.try_lock_shared();
    world.spawn(hold, {.name = "first"}).detach();
    world.settle();
    CHECK(world.report().find("waits for: shared_mutex \"index\", held by 1 reader\n") != std::string::npos);
    reads.unlock();
    world.settle();
    world.spawn(hold, {.name = "second"}).detach();
    world.settle();
    CHECK(world.report().find("waits for: shared_mutex \"index\", held by task 1 \"first\"") !=
          std::string::npos);
}
