#include <leat/leat.hpp>

#include "support/counted.hpp"
#include "support/linearizable.hpp"
#include "support/rounds.hpp"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

leat::runtime_options workers(int count)
{
    leat::runtime_options options;
    options.workers = count;
    return options;
}

/// Sends all keys to few hashes.
struct bad_hash {
    std::size_t operator()(int key) const noexcept
    {
        return static_cast<std::size_t>(key % 3);
    }
};

template <class Map>
void agrees_with_a_map(unsigned seed, int keys, int steps)
{
    std::mt19937 random{seed};
    Map map;
    std::map<int, int> model;
    for (int step = 0; step < steps; ++step) {
        const int key = static_cast<int>(random() % static_cast<unsigned>(keys));
        const int value = static_cast<int>(random() % 4);
        const int old = static_cast<int>(random() % 4);
        const auto at = model.find(key);
        const std::optional<int> there = at != model.end() ? std::optional{at->second} : std::nullopt;
        switch (random() % 12) {
        case 0:
        case 1:
            map.store(key, value);
            model[key] = value;
            break;
        case 2: CHECK(map.load(key) == there); break;
        case 3: {
            const auto got = map.load_or_store(key, value);
            CHECK(got.loaded == there.has_value());
            CHECK(got.value == there.value_or(value));
            model.emplace(key, value);
            break;
        }
        case 4:
            CHECK(map.load_and_delete(key) == there);
            model.erase(key);
            break;
        case 5:
            CHECK(map.erase(key) == there.has_value());
            model.erase(key);
            break;
        case 6:
            CHECK(map.swap(key, value) == there);
            model[key] = value;
            break;
        case 7: {
            const bool does = there == old;
            CHECK(map.compare_and_swap(key, old, value) == does);
            if (does)
                model[key] = value;
            break;
        }
        case 8: {
            const bool does = there == old;
            CHECK(map.compare_and_delete(key, old) == does);
            if (does)
                model.erase(key);
            break;
        }
        case 9: {
            CHECK(map.contains(key) == there.has_value());
            int seen = -1;
            CHECK(map.visit(key, [&](const int& v) { seen = v; }) == there.has_value());
            CHECK(seen == there.value_or(-1));
            break;
        }
        case 10: {
            std::map<int, int> seen;
            map.for_each([&](const int& k, const int& v) { CHECK(seen.emplace(k, v).second); });
            CHECK(seen == model);
            break;
        }
        default:
            if (random() % 200 == 0) {
                map.clear();
                model.clear();
            }
        }
        CHECK(map.size() == model.size());
    }
}

}  // namespace

TEST_CASE("concurrent_map: agrees with a map, whatever is done to it")
{
    const unsigned seed = std::random_device{}();
    INFO("seed ", seed);
    agrees_with_a_map<leat::concurrent_map<int, int>>(seed, 5, test::rounds(20'000));
    agrees_with_a_map<leat::concurrent_map<int, int>>(seed, 300, test::rounds(20'000));
    agrees_with_a_map<leat::concurrent_map<int, int, bad_hash>>(seed, 20, test::rounds(20'000));
}

TEST_CASE("concurrent_map: a hundred thousand keys come and go")
{
    leat::concurrent_map<int, std::string> map;
    const int keys = test::rounds(100'000);
    for (int i = 0; i < keys; ++i)
        map.store(i, std::to_string(i));
    CHECK(map.size() == static_cast<std::size_t>(keys));
    for (int i = 0; i < keys; ++i)
        if (map.load(i) != std::to_string(i))
            FAIL("lost ", i);
    for (int i = 0; i < keys; i += 2)
        CHECK(map.erase(i));
    CHECK(map.size() == static_cast<std::size_t>(keys / 2));
    CHECK_FALSE(map.load(0).has_value());
    CHECK(map.load(1) == "1");
}

TEST_CASE("concurrent_map: what is replaced, erased or cleared is destroyed, and the rest with the map")
{
    const test::no_more_than_before counts;
    {
        leat::concurrent_map<int, test::counted> map;
        for (int i = 0; i < 100; ++i)
            map.store(i, test::counted{i});
        CHECK(counts.excess() == 100);
        for (int i = 0; i < 50; ++i)
            map.store(i, test::counted{-i});
        CHECK(counts.excess() == 100);
        for (int i = 0; i < 20; ++i)
            map.erase(i);
        CHECK(counts.excess() == 80);
        for (int i = 20; i < 30; ++i)
            CHECK(map.load_and_delete(i)->value == -i);
        CHECK(counts.excess() == 70);
        CHECK(map.swap(99, test::counted{1})->value == 99);
        CHECK(counts.excess() == 70);
        map.clear();
        CHECK(counts.excess() == 0);
        map.store(1, test::counted{1});
    }
    CHECK(counts.excess() == 0);
}

TEST_CASE("concurrent_map: compare_and_swap and compare_and_delete of a key that is not there do nothing")
{
    leat::concurrent_map<std::string, int> map;
    CHECK_FALSE(map.compare_and_swap("key", 0, 42));
    CHECK_FALSE(map.compare_and_delete("key", 0));
    CHECK(map.empty());
}

TEST_CASE("concurrent_map: what walks over it may change it")
{
    leat::concurrent_map<int, int> map;
    for (int i = 0; i < 100; ++i)
        map.store(i, i);
    int seen = 0;
    map.range([&](const int& key, const int&) {
        map.store(key, -1);
        if (key < 1000)
            map.store(key + 1000, 1);
        map.range([&](const int& other, const int&) {
            map.erase(other + 5000);
            return false;
        });
        if (key % 2 == 0)
            map.erase(key);
        ++seen;
        return true;
    });
    CHECK(seen >= 100);
    for (int i = 0; i < 100; ++i)
        CHECK(map.contains(i) == (i % 2 == 1));
}

TEST_CASE(
    "concurrent_map: a walk sees every key that is there throughout, once, with a value that it has had")
{
    leat::concurrent_map<int, int> map;
    constexpr int fixed = 512;
    for (int key = 0; key < fixed; ++key)
        map.store(key, key);
    std::atomic<bool> stop{false};
    leat::runtime pool{workers(3)};
    pool.block_on([&]() -> leat::task<> {
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            for (int w = 0; w < 2; ++w) {
                auto writer = [&, w]() -> leat::task<> {
                    std::mt19937 random{static_cast<unsigned>(w)};
                    while (!stop.load()) {
                        for (int i = 0; i < 64; ++i) {
                            const int key = static_cast<int>(random() % (4 * fixed));
                            if (key < fixed)
                                map.store(key, key * static_cast<int>(random() % 100 + 1));
                            else if (random() % 2 == 0)
                                map.store(key, key);
                            else
                                map.erase(key);
                        }
                        co_await leat::this_task::yield();
                    }
                };
                static_cast<void>(co_await group.spawn(std::move(writer)));
            }
            for (int round = 0; round < test::rounds(400); ++round) {
                std::set<int> seen;
                int missed = fixed;
                bool twice = false;
                bool strange = false;
                map.range([&](const int& key, const int& value) {
                    twice = !seen.insert(key).second || twice;
                    strange = strange || (key != 0 && value % key != 0);
                    missed -= key < fixed ? 1 : 0;
                    return true;
                });
                CHECK(missed == 0);
                CHECK_FALSE(twice);
                CHECK_FALSE(strange);
                co_await leat::this_task::yield();
            }
            stop.store(true);
        });
    });
}

namespace {

struct map_call {
    enum class kind {
        load,
        store,
        load_or_store,
        load_and_delete,
        swap,
        compare_and_swap,
        compare_and_delete
    } what;
    int key;
    int value = 0;
    int old = 0;
    std::optional<int> got{};
    bool yes = false;
};

class map_model {
public:
    using call = map_call;

    bool apply(const map_call& c)
    {
        std::optional<int>& at = cells_[static_cast<std::size_t>(c.key)];
        const std::optional<int> before = at;
        using kind = map_call::kind;
        switch (c.what) {
        case kind::load: return c.got == before;
        case kind::store: at = c.value; return true;
        case kind::load_or_store:
            at = before.value_or(c.value);
            return c.yes == before.has_value() && c.got == at;
        case kind::load_and_delete: at.reset(); return c.got == before;
        case kind::swap: at = c.value; return c.got == before;
        case kind::compare_and_swap:
            if (before == c.old)
                at = c.value;
            return c.yes == (before == c.old);
        case kind::compare_and_delete:
            if (before == c.old)
                at.reset();
            return c.yes == (before == c.old);
        }
        return false;
    }
    auto key() const
    {
        return cells_;
    }
    static std::string words(const map_call& c)
    {
        static constexpr const char* names[] = {"load",
                                                "store",
                                                "load_or_store",
                                                "load_and_delete",
                                                "swap",
                                                "compare_and_swap",
                                                "compare_and_delete"};
        return std::string{names[static_cast<int>(c.what)]} + " key " + std::to_string(c.key) + " old " +
               std::to_string(c.old) + " value " + std::to_string(c.value) + " got " +
               (c.got ? std::to_string(*c.got) : "nothing") + (c.yes ? " yes" : " no");
    }

private:
    std::array<std::optional<int>, 2> cells_{};
};

/// One call of random kind, written down.
map_call call_at_random(leat::concurrent_map<int, int, bad_hash>& map, std::mt19937& random)
{
    using kind = map_call::kind;
    map_call c{static_cast<kind>(random() % 7), static_cast<int>(random() % 2),
               static_cast<int>(random() % 3), static_cast<int>(random() % 3)};
    switch (c.what) {
    case kind::load: c.got = map.load(c.key); break;
    case kind::store: map.store(c.key, c.value); break;
    case kind::load_or_store: {
        const auto got = map.load_or_store(c.key, c.value);
        c.got = got.value;
        c.yes = got.loaded;
        break;
    }
    case kind::load_and_delete: c.got = map.load_and_delete(c.key); break;
    case kind::swap: c.got = map.swap(c.key, c.value); break;
    case kind::compare_and_swap: c.yes = map.compare_and_swap(c.key, c.old, c.value); break;
    case kind::compare_and_delete: c.yes = map.compare_and_delete(c.key, c.old); break;
    }
    return c;
}

}  // namespace

TEST_CASE("concurrent_map: what tasks on several workers see can be explained by one order of their calls")
{
    const unsigned seed = std::random_device{}();
    INFO("seed ", seed);
    constexpr std::size_t callers = 3;
    leat::runtime pool{workers(3)};
    for (int round = 0; round < test::rounds(2000); ++round) {
        leat::concurrent_map<int, int, bad_hash> map;
        // Keys of the same hash, so that the table grows under the callers and places are used again.
        for (int other = 2; other < 2 + round % 8; ++other)
            map.store(other, 0);
        test::call_log<map_call> log{callers};
        std::atomic<std::size_t> ready{0};
        pool.block_on([&]() -> leat::task<> {
            co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
                for (std::size_t who = 0; who < callers; ++who) {
                    auto caller = [&, who,
                                   random = std::mt19937{seed + static_cast<unsigned>(round * 8) +
                                                         static_cast<unsigned>(who)}]() mutable {
                        ready.fetch_add(1);
                        for (int patience = 0; ready.load() < callers && patience < 1000; ++patience) {}
                        for (int i = 0; i < 6; ++i) {
                            const std::uint64_t began = log.begin();
                            log.end(who, began, call_at_random(map, random));
                            if (i == 3)
                                map.store(100 + static_cast<int>(who), 1);
                        }
                    };
                    static_cast<void>(co_await group.spawn(std::move(caller)));
                }
            });
        });
        const std::string complaint = test::not_linearizable<map_model>(log.calls());
        CHECK(complaint == "");
        if (!complaint.empty())
            break;
    }
}

TEST_CASE("concurrent_map: readers of values that are replaced and erased meanwhile find them whole")
{
    const test::no_more_than_before counts;
    {
        leat::concurrent_map<int, std::shared_ptr<test::counted>> map;
        constexpr int keys = 16;
        std::atomic<int> wrong{0};
        std::vector<std::thread> threads;
        for (unsigned t = 0; t < 4; ++t)
            threads.emplace_back([&, t] {
                std::mt19937 random{t};
                for (int i = 0; i < test::rounds(100'000); ++i) {
                    const int key = static_cast<int>(random() % keys);
                    if (t == 0 || random() % 10 == 0) {
                        if (random() % 4 == 0)
                            map.erase(key);
                        else if (random() % 100 == 0)
                            map.clear();
                        else
                            map.store(key, std::make_shared<test::counted>(key));
                    } else if (const auto got = map.load(key)) {
                        wrong.fetch_add((*got)->value == key ? 0 : 1);
                    }
                }
            });
        for (auto& each : threads)
            each.join();
        CHECK(wrong.load() == 0);
        CHECK(counts.excess() <= keys + 64);
    }
    CHECK(counts.excess() == 0);
}

TEST_CASE(
    "concurrent_map: a walk sees no key twice, though keys of one hash come and go in each other's places")
{
    struct one_hash {
        std::size_t operator()(int) const noexcept
        {
            return value;
        }
        std::size_t value = 0;
    };
    // What the walk's own steps do to the map, on keys that all have the same hash.
    for (unsigned seed = 1; seed <= 2000; ++seed) {
        CAPTURE(seed);
        std::mt19937 random{seed};
        leat::concurrent_map<int, int, one_hash> map{one_hash{random()}};
        const int keys = 2 + static_cast<int>(random() % 5);
        std::set<int> throughout;
        for (int key = 0; key < keys; ++key) {
            map.store(key, 0);
            throughout.insert(key);
        }
        for (int i = 0; i < 3; ++i) {  // the places in any order, and some left free
            const int key = static_cast<int>(random() % static_cast<unsigned>(keys));
            if (map.erase(key))
                throughout.erase(key);
        }
        std::map<int, int> seen;
        map.for_each([&](int key, int) {
            ++seen[key];
            for (auto i = random() % 6; i != 0; --i) {
                const int other = static_cast<int>(random() % static_cast<unsigned>(keys));
                if (random() % 2 == 0) {
                    map.erase(other);
                    throughout.erase(other);
                } else
                    map.store(other, static_cast<int>(i));
            }
        });
        for (const auto& [key, times] : seen)
            CHECK(times == 1);
        for (const int key : throughout)
            CHECK(seen.count(key) == 1);
    }
}

TEST_CASE("concurrent_map: load_or_compute computes once for all who ask, and keeps it")
{
    leat::sim::world world;
    leat::concurrent_map<std::string, int> map;
    int runs = 0;
    int sum = 0;
    auto compute = [&]() -> leat::task<int> {
        ++runs;
        co_await leat::sleep_for(1s);
        co_return 7;
    };
    auto caller = [&]() -> leat::task<> { sum += co_await map.load_or_compute("key", compute); };
    for (int i = 0; i < 5; ++i)
        world.spawn(caller).detach();
    world.advance(1s);
    CHECK(runs == 1);
    CHECK(sum == 35);
    CHECK(map.load("key") == 7);
    world.run(caller);
    CHECK(runs == 1);
    world.run([&]() -> leat::task<> {
        auto plain = [] { return 3; };
        const int got = co_await map.load_or_compute("other", plain);
        CHECK(got == 3);
    });
    CHECK(map.size() == 2);
}

TEST_CASE(
    "concurrent_map: as a case load_or_compute does not begin if its context has ended, nor if another is ready")
{
    leat::sim::world world;
    leat::concurrent_map<int, int> map;
    map.store(0, 5);
    int runs = 0;
    auto plain = [&] { return ++runs; };
    auto slow = [&]() -> leat::task<int> { co_return ++runs; };
    const auto [ctx, cancel] = leat::with_cancel(world.context());
    cancel();
    bool refused = false;
    world
        .spawn(
            [&]() -> leat::task<> {
                const auto picked = co_await leat::as_result(leat::select(
                    map.load_or_compute(1, plain), map.load_or_compute(2, slow), leat::after(1s)));
                refused = picked.error() == leat::errc::cancelled;
            },
            {.context = ctx})
        .detach();
    world.settle();
    CHECK(refused);
    CHECK(runs == 0);
    world.run([&]() -> leat::task<> {
        for (int i = 0; i < 20; ++i) {
            const auto picked = co_await leat::select(
                map.load_or_compute(1, plain), map.load_or_compute(0, slow), map.load_or_compute(2, slow));
            CHECK(picked.index == 1);
            CHECK(std::get<1>(picked.value) == 5);
        }
        CHECK(runs == 0);
        const auto first = co_await leat::select(map.load_or_compute(1, plain), leat::after(1h));
        CHECK(first.index == 0);
        const auto second = co_await leat::select(leat::after(1h), map.load_or_compute(2, slow));
        CHECK(second.index == 1);
    });
    CHECK(runs == 2);
    CHECK(map.size() == 3);
}

TEST_CASE("concurrent_map: what load_or_compute fails with is shared, and computed anew by the next")
{
    leat::sim::world world;
    leat::concurrent_map<int, int> map;
    int runs = 0;
    int failed = 0;
    auto compute = [&]() -> leat::task<int> {
        co_await leat::sleep_for(1s);
        if (++runs == 1)
            throw std::domain_error{"on purpose"};
        co_return runs;
    };
    auto caller = [&]() -> leat::task<> {
        const leat::result<int> got = co_await leat::as_result(map.load_or_compute(1, compute));
        failed += got ? 0 : 1;
    };
    for (int i = 0; i < 3; ++i)
        world.spawn(caller).detach();
    world.advance(1s);
    CHECK(failed == 3);
    CHECK(map.empty());
    world.run(caller);
    CHECK(map.load(1) == 2);
}

TEST_CASE("concurrent_map: a key that is stored while it is computed keeps what was stored")
{
    leat::sim::world world;
    leat::concurrent_map<int, int> map;
    int got = 0;
    auto compute = []() -> leat::task<int> {
        co_await leat::sleep_for(1s);
        co_return 1;
    };
    world.spawn([&]() -> leat::task<> { got = co_await map.load_or_compute(1, compute); }).detach();
    world.settle();
    map.store(1, 2);
    world.advance(1s);
    CHECK(got == 2);
    CHECK(map.load(1) == 2);
}

TEST_CASE("concurrent_map: in every order of two who compute and one who leaves, it is computed once")
{
    leat::sim::explore({.schedules = 4000}, [](leat::sim::world& world) {
        leat::concurrent_map<int, int> map;
        const auto [ctx, cancel] = leat::with_cancel(leat::background());
        int ended = 0;
        int sum = 0;
        auto compute = [&]() -> leat::task<int> {
            co_await leat::this_task::yield();
            ++ended;
            co_return 7;
        };
        auto caller = [&]() -> leat::task<> {
            const leat::result<int> got = co_await leat::as_result(map.load_or_compute(1, compute));
            sum += got ? *got : 0;
        };
        world.spawn(caller, {.context = ctx}).detach();
        world.spawn(caller).detach();
        world.spawn([&, &stop = cancel] { stop(); }).detach();
        world.settle();
        CHECK(sum >= 7);
        CHECK(ended == 1);
        CHECK(world.live_tasks() == 0);
    });
}

TEST_CASE("concurrent_map: destroyed while what nobody waits for any more is still being computed")
{
    const test::no_more_than_before counts;
    {
        leat::sim::world world;
        auto map = std::make_unique<leat::concurrent_map<int, test::counted>>();
        auto compute = []() -> leat::task<test::counted> {
            // Deaf, so it goes on.
            const leat::context deaf = leat::without_cancel(leat::this_task::context());
            co_await leat::with_context(deaf, leat::sleep_for(1s));
            co_return test::counted{1};
        };
        auto caller = [&]() -> leat::task<> {
            static_cast<void>(co_await leat::as_result(leat::timeout(1ms, map->load_or_compute(1, compute))));
        };
        world.run(caller);
        map.reset();
        world.advance(2s);
        CHECK(world.live_tasks() == 0);
    }
    CHECK(counts.excess() == 0);
}

TEST_CASE("concurrent_map: on the pool every key is computed once")
{
    leat::concurrent_map<int, int> map;
    constexpr int keys = 64;
    std::atomic<int> runs[keys]{};
    std::atomic<int> wrong{0};
    leat::runtime pool{workers(3)};
    for (int round = 0; round < test::rounds(200); ++round) {
        map.clear();
        for (auto& each : runs)
            each.store(0);
        pool.block_on([&]() -> leat::task<> {
            leat::wait_group group;
            for (int t = 0; t < 8; ++t) {
                auto caller = [&, t]() -> leat::task<> {
                    for (int i = 0; i < keys; ++i) {
                        const int key = (i * 5 + t) % keys;
                        auto compute = [&, key]() -> leat::task<int> {
                            runs[key].fetch_add(1);
                            if (key % 2 == 0)
                                co_await leat::this_task::yield();
                            co_return key * 3;
                        };
                        const int got = co_await map.load_or_compute(key, compute);
                        wrong.fetch_add(got == key * 3 ? 0 : 1);
                    }
                };
                group.spawn(caller);
            }
            co_await group.wait();
        });
        for (const auto& each : runs)
            wrong.fetch_add(each.load() == 1 ? 0 : 1);
    }
    CHECK(wrong.load() == 0);
}
