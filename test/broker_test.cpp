#include "support/counted.hpp"
#include "support/rounds.hpp"

#include <leat/flow/broker.hpp>
#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using leat::overflow_policy;
using leat::topic_pattern;
using text_broker = leat::broker<std::string, std::string>;

template <class Subscription>
auto drain(const Subscription& from)
{
    std::vector<typename Subscription::value_type> got;
    while (auto next = from.try_recv())
        got.push_back(std::move(*next));
    return got;
}
std::vector<std::string> drain_topics(const text_broker::subscription& from)
{
    std::vector<std::string> got;
    while (auto next = from.try_recv_from())
        got.push_back(next->topic + "=" + next->message);
    return got;
}
using strings = std::vector<std::string>;

TEST_CASE(
    "broker: a message reaches those who have subscribed to its topic by name, by pattern or by predicate")
{
    text_broker shop;
    auto created = shop.subscribe("order.created");
    auto orders = shop.subscribe(topic_pattern{"order.*"});
    auto all = shop.subscribe_all();
    auto brief = shop.subscribe_if([](const std::string& topic) { return topic.size() < 6; });
    CHECK(shop.subscribers("order.created") == 3);
    CHECK(shop.subscribers("stock") == 2);
    CHECK(shop.topics() == 1);

    CHECK(shop.try_publish("order.created", "1") == 3);
    CHECK(shop.try_publish("order.paid", "2") == 2);
    CHECK(shop.try_publish("stock", "3") == 2);
    CHECK(shop.try_publish("order.created", "4") == 3);
    CHECK(shop.topics() == 1);

    CHECK(drain_topics(created) == strings{"order.created=1", "order.created=4"});
    CHECK(drain_topics(orders) == strings{"order.created=1", "order.paid=2", "order.created=4"});
    CHECK(drain_topics(all) == strings{"order.created=1", "order.paid=2", "stock=3", "order.created=4"});
    CHECK(drain_topics(brief) == strings{"stock=3"});
    CHECK(orders.published() == 3);

    // Who comes and goes.
    all.unsubscribe();
    auto another = shop.subscribe("order.created");
    CHECK(shop.try_publish("order.created", "5") == 3);
    created = {};
    CHECK(shop.try_publish("order.created", "6") == 2);
    CHECK(drain(another) == strings{"5", "6"});
    another = {};
    CHECK(shop.topics() == 0);
    CHECK(shop.try_publish("order.created", "7") == 1);
}

TEST_CASE("broker: topics may be of any type that can be hashed and compared")
{
    enum class event { made, sold };
    leat::broker<event, int> events;
    auto made = events.subscribe(event::made);
    auto both = events.subscribe_all();
    events.try_publish(event::sold, 1);
    events.try_publish(event::made, 2);
    CHECK(drain(made) == std::vector{2});
    auto first = both.try_recv_from();
    CHECK((first->topic == event::sold && first->message == 1));

    struct same_for_all {
        std::size_t operator()(int) const noexcept
        {
            return 0;
        }
    };
    leat::broker<int, int, same_for_all> numbers;
    std::vector<leat::subscription<int, int>> readers;
    for (int i = 0; i < 200; ++i)
        readers.push_back(numbers.subscribe(i));
    CHECK(numbers.topics() == 200);
    for (int i = 0; i < 200; ++i)
        CHECK(numbers.try_publish(i, i) == 1);
    for (std::size_t i = 0; i < 200; ++i)
        CHECK(drain(readers[i]) == std::vector{static_cast<int>(i)});
    readers.clear();
    CHECK(numbers.topics() == 0);
}

TEST_CASE("broker: what is retained comes first to those who subscribe later, and can be forgotten")
{
    text_broker state{{.retain = true}};
    state.try_publish("lamp.hall", "on");
    state.try_publish("lamp.hall", "off");
    state.try_publish("lamp.attic", "on");
    state.try_publish("door", "shut");
    CHECK(state.topics() == 3);
    CHECK(state.retained("lamp.hall") == "off");
    CHECK(!state.retained("cellar").has_value());

    auto hall = state.subscribe("lamp.hall");
    auto lamps = state.subscribe(topic_pattern{"lamp.*"});
    state.try_publish("lamp.hall", "on");
    CHECK(drain(hall) == strings{"off", "on"});
    auto got = drain_topics(lamps);
    CHECK(got.size() == 3);
    CHECK(got.back() == "lamp.hall=on");
    CHECK(((got[0] == "lamp.hall=off" && got[1] == "lamp.attic=on") ||
           (got[1] == "lamp.hall=off" && got[0] == "lamp.attic=on")));

    // No more than there is room for.
    auto small = state.subscribe(topic_pattern{"lamp.*"}, {.capacity = 1});
    CHECK(small.size() == 1);
    CHECK(small.dropped() == 1);

    CHECK(state.forget("lamp.attic"));
    CHECK(!state.forget("lamp.attic"));
    CHECK(state.forget("lamp.hall"));
    CHECK(state.topics() == 2);
    CHECK(state.subscribe(topic_pattern{"lamp.*"}).size() == 0);
    hall = {};
    CHECK(state.topics() == 1);
    CHECK(state.retained("door") == "shut");

    text_broker forgetful;
    forgetful.try_publish("door", "shut");
    CHECK(!forgetful.retained("door").has_value());
    CHECK(forgetful.topics() == 0);
}

TEST_CASE("broker: a slow subscriber loses by its policy, and the others nothing")
{
    leat::sim::world world{3};
    world.run([&]() -> leat::task<> {
        leat::broker<std::string, int> desk;
        auto fast = desk.subscribe("returns", {.capacity = 1});
        auto slow = desk.subscribe("returns", {.capacity = 2, .overflow = overflow_policy::drop_oldest});
        std::vector<int> fast_got, slow_got;
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            co_await group.spawn([&]() -> leat::task<> {
                while (auto got = co_await fast.recv())
                    fast_got.push_back(*got);
                CHECK(world.now() == 1s);
            });
            co_await group.spawn([&]() -> leat::task<> {
                while (auto got = co_await slow.recv()) {
                    slow_got.push_back(*got);
                    co_await leat::sleep_for(350ms);
                }
            });
            for (int i = 1; i <= 10; ++i) {
                co_await leat::sleep_for(100ms);
                const std::size_t had = co_await desk.publish("returns", i);
                CHECK(had == 2);
                CHECK(world.now() == i * 100ms);
            }
            desk.close();
        });
        CHECK(fast_got.size() == 10);
        // Had at 100, 450, 800 ms, and so on: of those that waited then, the last two were kept.
        CHECK(slow_got == std::vector{1, 3, 7, 9, 10});
        CHECK(slow.dropped() == 5);
        CHECK(slow.published() == 10);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("broker: a publisher who waits for room in a pattern's subscription is woken by it, and by the end")
{
    leat::sim::world world{4};
    world.run([&]() -> leat::task<> {
        text_broker news;
        auto reader = news.subscribe(topic_pattern{"a.#"}, {.capacity = 1});
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            co_await group.spawn([&]() -> leat::task<> {
                static_cast<void>(co_await news.publish("a", "1"));
                static_cast<void>(co_await news.publish("a.b", "2"));
                CHECK(world.now() == 1s);
                auto refused = co_await leat::as_result(news.publish("a.c", "3"));
                CHECK(refused.error() == leat::errc::channel_closed);
                CHECK(world.now() == 2s);
            });
            co_await leat::sleep_for(1s);
            auto first = co_await reader.recv_from();
            CHECK(first->topic == "a");
            co_await leat::sleep_for(1s);
            news.close();
        });
        CHECK(drain_topics(reader) == strings{"a.b=2"});
        CHECK(reader.closed());
        CHECK(reader.dropped() == 1);
        CHECK_THROWS_AS(news.try_publish("a", "4"), leat::channel_closed_error);
        CHECK(news.subscribe("a").closed());
        CHECK(news.subscribe_all().closed());
    });
}

TEST_CASE("broker: nothing is kept of messages that nobody wants, or of subscriptions that have gone")
{
    const test::no_more_than_before before;
    leat::broker<std::string, test::counted> things;
    things.try_publish("a", test::counted{1});
    CHECK(before.excess() == 0);
    {
        auto by_name = things.subscribe("a");
        auto by_pattern = things.subscribe(topic_pattern{"#"});
        things.try_publish("a", test::counted{2});
        things.try_publish("b", test::counted{3});
        CHECK(before.excess() == 2);
    }
    CHECK(before.excess() == 0);
    CHECK(things.topics() == 0);

    // The reader outlives the broker.
    std::optional<leat::broker<std::string, test::counted>> gone{std::in_place};
    auto reader = gone->subscribe("a");
    gone->try_publish("a", test::counted{4});
    gone.reset();
    CHECK(reader.closed());
    CHECK(drain(reader).size() == 1);
}

/// A broker as one would write it without a thought for speed: who wants a topic is asked each time.
struct naive_reader {
    naive_reader(std::string w, leat::subscription<std::string, int> r)
        : wanted{std::move(w)}, real{std::move(r)}
    {
    }
    std::string wanted;  ///< a pattern, or a name
    leat::subscription<std::string, int> real;
    std::vector<std::pair<std::string, int>> queue;
};

TEST_CASE("broker: a topic that goes and comes back while a publisher asks the patterns is another")
{
    text_broker broker;
    text_broker::subscription first = broker.subscribe("t");
    text_broker::subscription second;
    bool swaps = false;
    const auto pattern = broker.subscribe_if([&](const std::string&) {
        if (std::exchange(swaps, false)) {
            first = {};
            second = broker.subscribe("t");
        }
        return true;
    });
    swaps = true;
    CHECK(broker.try_publish("t", "old") == 1);
    CHECK(broker.try_publish("t", "new") == 2);
    CHECK(drain(second) == std::vector<std::string>{"new"});
    CHECK(drain(pattern) == std::vector<std::string>{"old", "new"});
}

TEST_CASE("broker: a task that publishes by blocking is refused before anybody has the message")
{
    leat::sim::world world{1};
    world.run([]() -> leat::task<> {
        const text_broker broker;
        const auto sub = broker.subscribe("t");
        CHECK_THROWS_AS(broker.blocking_publish("t", "x"), leat::usage_error);
        CHECK(sub.stats().published == 0);
        co_return;
    });
}

TEST_CASE("broker: random use agrees with the naive twin")
{
    for (const bool retain : {false, true}) {
        CAPTURE(retain);
        std::mt19937 dice{retain ? 815U : 816U};
        leat::broker<std::string, int> real{{.retain = retain}};
        std::vector<naive_reader> readers;
        std::map<std::string, int> retained;
        const auto word = [&] { return std::string(1, static_cast<char>('a' + dice() % 3)); };
        for (int step = 0; step < test::rounds(60'000); ++step) {
            const auto what = dice() % 20;
            if (what < 2 && readers.size() < 20) {
                const bool by_pattern = dice() % 2 == 0;
                static const char* const wild[] = {"*", "#", "a", "b", "c"};
                const std::string wanted = by_pattern ? std::string{wild[dice() % 5]} + "." + wild[dice() % 5]
                                                      : word() + "." + word();
                const leat::subscribe_options room{.capacity = 4096};
                readers.emplace_back(wanted, by_pattern ? real.subscribe(topic_pattern{wanted}, room)
                                                        : real.subscribe(wanted, room));
                for (const auto& [topic, value] : retained)
                    if (topic_pattern{wanted}.matches(topic))
                        readers.back().queue.emplace_back(topic, value);
                // Those come in any order.
                std::map<std::string, int> first;
                for (std::size_t i = 0; i < readers.back().queue.size(); ++i) {
                    auto got = readers.back().real.try_recv_from();
                    REQUIRE(got.has_value());
                    first.emplace(got->topic, got->message);
                }
                REQUIRE(first.size() == readers.back().queue.size());
                for (const auto& each : readers.back().queue)
                    REQUIRE(first.at(each.first) == each.second);
                readers.back().queue.clear();
            } else if (what == 2 && !readers.empty()) {
                readers.erase(readers.begin() + static_cast<std::ptrdiff_t>(dice() % readers.size()));
            } else if (what == 3 && retain) {
                const std::string topic = word() + "." + word();
                REQUIRE(real.forget(topic) == (retained.erase(topic) == 1));
            } else if (what < 12) {
                const std::string topic = word() + "." + word();
                std::size_t expected = 0;
                for (naive_reader& each : readers)
                    if (topic_pattern{each.wanted}.matches(topic) && each.queue.size() < 4096) {
                        each.queue.emplace_back(topic, step);
                        ++expected;
                    }
                REQUIRE(real.try_publish(topic, step) == expected);
                if (retain)
                    retained[topic] = step;
            } else if (!readers.empty()) {
                naive_reader& each = readers[dice() % readers.size()];
                for (const auto& [topic, value] : each.queue) {
                    auto got = each.real.try_recv_from();
                    REQUIRE(got.has_value());
                    REQUIRE(got->topic == topic);
                    REQUIRE(got->message == value);
                }
                each.queue.clear();
                REQUIRE(each.real.try_recv().error() == leat::errc::channel_empty);
            }
        }
    }
}

TEST_CASE(
    "broker: with what is retained, a subscriber misses nothing and has nothing twice, whenever it comes")
{
    for (int round = 0; round < test::rounds(60); ++round) {
        leat::runtime pool{{.workers = 4}};
        std::atomic<int> wrong{0};
        pool.block_on([&]() -> leat::task<> {
            leat::broker<int, int> counter{{.retain = true}};
            co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
                co_await group.spawn([&]() -> leat::task<> {
                    for (int i = 1; i <= 200; ++i)
                        static_cast<void>(co_await counter.publish(i % 2, i));
                    counter.close();
                });
                for (int reader = 0; reader < 12; ++reader)
                    co_await group.spawn([&, reader]() -> leat::task<> {
                        for (int i = 0; i < reader; ++i)
                            co_await leat::this_task::yield();
                        auto mine = reader % 2 == 0 ? counter.subscribe(0, {.capacity = 3})
                                                    : counter.subscribe_all({.capacity = 3});
                        std::array<int, 2> last{};
                        while (auto got = co_await mine.recv_from()) {
                            int& before = last[static_cast<std::size_t>(got->topic)];
                            wrong += before != 0 && got->message != before + 2;
                            before = got->message;
                        }
                        const auto stats = mine.stats();
                        wrong += stats.published != stats.delivered + stats.dropped;
                        wrong += stats.dropped != 0;
                    });
            });
        });
        CHECK(wrong.load() == 0);
    }
}

TEST_CASE("broker: subscribe, publish, unsubscribe and close race; every subscription's sums are right")
{
    for (int round = 0; round < test::rounds(40); ++round) {
        CAPTURE(round);
        leat::runtime pool{{.workers = 4}};
        std::atomic<long> wrong_order{0};
        std::atomic<long> wrong_sum{0};
        std::atomic<long> wrong_topic{0};
        std::atomic<long> published{0};
        std::atomic<long> refused{0};
        std::atomic<int> publishing{3};
        const bool closed_early = round % 4 < 2;
        pool.block_on([&]() -> leat::task<> {
            leat::broker<std::string, std::pair<int, int>> news{{.retain = round % 2 == 0}};
            // Of each policy one who is there from before the first message until after the last.
            std::array<leat::subscription<std::string, std::pair<int, int>>, 5> witnesses;
            std::array<std::uint64_t, 5> witnessed{};
            for (std::size_t i = 0; i < witnesses.size(); ++i)
                witnesses[i] =
                    news.subscribe_all({.capacity = 2, .overflow = static_cast<overflow_policy>(i)});
            co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
                for (std::size_t i = 0; i < witnesses.size(); ++i)
                    co_await group.spawn([&, i]() -> leat::task<> {
                        while (auto got = co_await witnesses[i].recv())
                            ++witnessed[i];
                    });
                for (int publisher = 0; publisher < 3; ++publisher)
                    co_await group.spawn([&, publisher]() -> leat::task<> {
                        for (int i = 1; i <= 300; ++i) {
                            const std::string topic = "t." + std::to_string(i % 5);
                            const auto sent =
                                co_await leat::as_result(news.publish(topic, std::pair{publisher, i}));
                            if (!sent) {
                                ++refused;
                                break;
                            }
                            ++published;
                            if (i % 40 == 0)
                                static_cast<void>(news.forget(topic));
                        }
                        const bool last = --publishing == 0;
                        if (closed_early ? publisher == 0 : last)
                            news.close();
                    });
                for (int reader = 0; reader < 8; ++reader)
                    co_await group.spawn([&, reader]() -> leat::task<> {
                        const std::string name = "t." + std::to_string(reader % 5);
                        for (int life = 0; life < 20; ++life) {
                            const leat::subscribe_options how{
                                .capacity = static_cast<std::size_t>(reader % 4),
                                .overflow = static_cast<overflow_policy>(reader % 5)};
                            auto mine = life % 2 == 0 ? news.subscribe(name, how)
                                                      : news.subscribe(topic_pattern{"t.*"}, how);
                            std::array<std::array<int, 3>, 5> last{};
                            bool ended = false;
                            std::uint64_t received = 0;
                            for (int i = 0; i < 10 + 10 * reader; ++i) {
                                const auto got = co_await mine.recv_from();
                                if (!got) {
                                    ended = true;
                                    break;
                                }
                                ++received;
                                wrong_topic += life % 2 == 0 && got->topic != name;
                                const int topic = got->topic.back() - '0';
                                wrong_topic += got->message.second % 5 != topic;
                                // What was retained may be followed by what another has published before.
                                int& before = last[static_cast<std::size_t>(topic)]
                                                  [static_cast<std::size_t>(got->message.first)];
                                wrong_order += got->message.second <= before;
                                before = got->message.second;
                            }
                            mine.unsubscribe();
                            const leat::subscription_stats stats = mine.stats();
                            wrong_sum += stats.published != stats.delivered + stats.dropped ||
                                         stats.queued != 0 || stats.pending != 0 ||
                                         stats.delivered != received;
                            if (ended && news.closed())
                                break;
                        }
                    });
            });
            for (std::size_t i = 0; i < witnesses.size(); ++i) {
                const leat::subscription_stats stats = witnesses[i].stats();
                const auto policy = static_cast<overflow_policy>(i);
                CAPTURE(i);
                CHECK(stats.delivered == witnessed[i]);
                CHECK(stats.published == stats.delivered + stats.dropped);
                // Publishing and closing at the same time, a message may reach some and not others.
                const auto sure = static_cast<std::uint64_t>(published.load());
                CHECK(stats.published <= sure + static_cast<std::uint64_t>(refused.load()));
                if (policy != overflow_policy::disconnect && !closed_early)
                    CHECK(stats.published == sure);
                if (policy == overflow_policy::block && !closed_early)
                    CHECK(stats.dropped == 0);
            }
        });
        CHECK((closed_early || (published.load() == 900 && refused.load() == 0)));
        CHECK(wrong_order.load() == 0);
        CHECK(wrong_sum.load() == 0);
        CHECK(wrong_topic.load() == 0);
    }
}

}  // namespace
