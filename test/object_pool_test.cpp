#include <leat/leat.hpp>

#include "support/counted.hpp"
#include "support/rounds.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

TEST_CASE("object_pool: what goes back is had by the next")
{
    leat::object_pool<std::string> pool;
    const std::string* first = nullptr;
    {
        auto lent = pool.get();
        *lent = "used";
        first = lent.get();
    }
    auto again = pool.get();
    CHECK(again.get() == first);
    CHECK(*again == "used");
    auto other = pool.get();
    CHECK(other.get() != first);
    CHECK(other->empty());
}

TEST_CASE("object_pool: made by a function, and reset before the next has it")
{
    int made = 0;
    int resets = 0;
    leat::object_pool<std::string> pool{[&] {
                                            ++made;
                                            return std::string{"fresh"};
                                        },
                                        [&](std::string& each) {
                                            ++resets;
                                            each = "clean";
                                        }};
    {
        auto lent = pool.get();
        CHECK(*lent == "fresh");
        *lent = "dirty";
    }
    CHECK(resets == 1);
    CHECK(*pool.get() == "clean");
    CHECK(made == 1);
}

TEST_CASE("object_pool: a lease moves, is given back early, or kept for good")
{
    const test::no_more_than_before counts;
    {
        leat::object_pool<test::counted> pool;
        auto first = pool.get();
        auto second = std::move(first);
        CHECK_FALSE(first);
        CHECK(second);
        auto third = pool.get();
        third = std::move(second);
        CHECK(counts.excess() == 2);
        third.reset();
        CHECK_FALSE(third);
        third.reset();
        auto mine = pool.get();
        std::unique_ptr<test::counted> kept = mine.release();
        CHECK_FALSE(mine);
        CHECK(kept != nullptr);
        CHECK(counts.excess() == 2);
        kept.reset();
        CHECK(counts.excess() == 1);
        pool.put(std::make_unique<test::counted>(5));
        CHECK(counts.excess() == 2);
        CHECK(pool.get()->value == 5);
    }
    CHECK(counts.excess() == 0);
}

TEST_CASE("object_pool: keeps no more than its bound")
{
    const test::no_more_than_before counts;
    for (const std::size_t bound : {0U, 1U, 5U, 14U, 15U, 100U}) {
        CAPTURE(bound);
        leat::object_pool<test::counted> pool{leat::pool_options{.max_idle = bound}};
        for (int round = 0; round < 3; ++round) {
            std::vector<leat::object_pool<test::counted>::lease> lent;
            for (int i = 0; i < 200; ++i)
                lent.push_back(pool.get());
            CHECK(counts.excess() == 200);
            lent.clear();
            CHECK(counts.excess() == static_cast<int>(bound));
        }
    }
    CHECK(counts.excess() == 0);
}

TEST_CASE("object_pool: a reset that throws costs the object, a making that throws the caller")
{
    const test::no_more_than_before counts;
    bool fails = false;
    leat::object_pool<test::counted> pool{[&] {
                                              if (fails)
                                                  throw std::domain_error{"on purpose"};
                                              return test::counted{};
                                          },
                                          [](test::counted& each) {
                                              if (each.value == 13)
                                                  throw std::domain_error{"on purpose"};
                                          }};
    {
        auto lent = pool.get();
        lent->value = 13;
    }
    CHECK(counts.excess() == 0);
    fails = true;
    CHECK_THROWS_AS(static_cast<void>(pool.get()), std::domain_error);
    CHECK(counts.excess() == 0);
}

TEST_CASE("object_pool: of what can not be moved")
{
    struct fixed {
        fixed() = default;
        fixed(const fixed&) = delete;
        fixed& operator=(const fixed&) = delete;
        int value = 3;
    };
    leat::object_pool<fixed> pool{[] { return fixed(); }};
    CHECK(pool.get()->value == 3);
    leat::object_pool<std::unique_ptr<int>> owners;
    CHECK(*owners.get() == nullptr);
}

TEST_CASE("object_pool: agrees with a set, whatever is done to it")
{
    const unsigned seed = std::random_device{}();
    INFO("seed ", seed);
    std::mt19937 random{seed};
    for (const std::size_t bound : {3U, 20U, 1000U}) {
        const test::no_more_than_before counts;
        int made = 0;
        leat::object_pool<test::counted> pool{[&] { return test::counted{++made}; }, {.max_idle = bound}};
        std::vector<leat::object_pool<test::counted>::lease> lent;
        std::set<int> idle;  // the model: which lie there
        for (int step = 0; step < test::rounds(20'000); ++step) {
            if (random() % 2 == 0 || lent.empty()) {
                const int before = made;
                lent.push_back(pool.get());
                if (made == before)
                    CHECK(idle.erase(lent.back()->value) == 1);
                else
                    CHECK(idle.empty());
            } else {
                std::swap(lent[random() % lent.size()], lent.back());
                const int number = lent.back()->value;
                const int alive = counts.excess();
                lent.pop_back();
                if (counts.excess() == alive)
                    CHECK(idle.insert(number).second);
                else
                    CHECK(idle.size() == bound);
            }
            CHECK(counts.excess() == static_cast<int>(lent.size() + idle.size()));
        }
    }
}

TEST_CASE("object_pool: on several workers nobody has what another has, and the bound holds")
{
    const test::no_more_than_before counts;
    {
        struct guarded {
            test::counted count;
            std::atomic<bool> in_use{false};
        };
        std::atomic<int> made{0};
        std::atomic<int> wrong{0};
        leat::object_pool<guarded> objects{[&] {
                                               made.fetch_add(1);
                                               return guarded();
                                           },
                                           {.max_idle = 64}};
        leat::runtime_options options;
        options.workers = 3;
        leat::runtime pool{options};
        pool.block_on([&]() -> leat::task<> {
            leat::wait_group group;
            leat::channel<leat::object_pool<guarded>::lease> passed{4};
            for (int t = 0; t < 8; ++t) {
                auto user = [&, t]() -> leat::task<> {
                    for (int i = 0; i < test::rounds(5000); ++i) {
                        auto lent = objects.get();
                        wrong.fetch_add(lent->in_use.exchange(true) ? 1 : 0);
                        if (i % 16 == t)
                            co_await leat::this_task::yield();
                        lent->in_use.store(false);
                        if (i % 7 == 0)
                            static_cast<void>(passed.try_send(std::move(lent)));  // goes back elsewhere
                        if (i % 5 == 0)
                            static_cast<void>(passed.try_recv());
                    }
                };
                group.spawn(user);
            }
            co_await group.wait();
            passed.close();
            while (co_await passed.recv()) {}
        });
        CHECK(wrong.load() == 0);
        CHECK(counts.excess() <= 64);
    }
    CHECK(counts.excess() == 0);
}

TEST_CASE("object_pool: threads that end leave what they kept to those that come")
{
    leat::object_pool<int> pool{leat::pool_options{.max_idle = 32}};
    for (int round = 0; round < test::rounds(200); ++round) {
        std::vector<std::thread> threads;
        for (int t = 0; t < 4; ++t)
            threads.emplace_back([&] {
                auto first = pool.get();
                auto second = pool.get();
                *first = *second = 1;
            });
        for (auto& each : threads)
            each.join();
    }
}
