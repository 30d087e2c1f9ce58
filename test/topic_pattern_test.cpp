#include <leat/flow/topic_pattern.hpp>

#include <leat/error.hpp>

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using leat::topic_pattern;

TEST_CASE("topic_pattern: a star is one word, a hash any number of words, anything else itself")
{
    struct example {
        std::string_view pattern;
        std::string_view topic;
        bool matches;
    };
    const example table[] = {
        {"a", "a", true},
        {"a", "b", false},
        {"a", "a.b", false},
        {"a.b", "a.b", true},
        {"a.b", "a", false},
        {"*", "a", true},
        {"*", "", true},
        {"*", "a.b", false},
        {"a.*", "a.b", true},
        {"a.*", "a", false},
        {"a.*", "a.", true},
        {"a.*", "a.b.c", false},
        {"*.b", "a.b", true},
        {"a.*.c", "a.b.c", true},
        {"a.*.c", "a.c", false},
        {"#", "", true},
        {"#", "a.b.c", true},
        {"a.#", "a", true},
        {"a.#", "a.b", true},
        {"a.#", "a.b.c", true},
        {"a.#", "b.a", false},
        {"a.#", "ab", false},
        {"#.c", "c", true},
        {"#.c", "a.b.c", true},
        {"#.c", "a.c.b", false},
        {"a.#.c", "a.c", true},
        {"a.#.c", "a.b.b.c", true},
        {"a.#.c", "a.b.c.d", false},
        {"#.b.#", "a.b.c", true},
        {"#.b.#", "b", true},
        {"#.b.#", "a.c", false},
        {"#.*", "a", true},
        {"*.#", "a.b", true},
        {"#.a.#.b", "a.a.b.c.b", true},
        {"#.a.*.b", "a.a.b.a.c.b", true},
        {"", "", true},
        {"", "a", false},
    };
    for (const example& each : table) {
        CAPTURE(each.pattern);
        CAPTURE(each.topic);
        CHECK(topic_pattern{each.pattern}.matches(each.topic) == each.matches);
    }
}

TEST_CASE("topic_pattern: the separator is the user's, and wildcards are whole words")
{
    const topic_pattern pattern{"home/*/lamp", '/'};
    CHECK(pattern.matches("home/kitchen.old/lamp"));
    CHECK(!pattern.matches("home.kitchen.lamp"));
    CHECK(pattern.text() == "home/*/lamp");
    CHECK(pattern.separator() == '/');
    CHECK_THROWS_AS(topic_pattern{"a.b*"}, leat::usage_error);
    CHECK_THROWS_AS(topic_pattern{"##"}, leat::usage_error);
}

std::vector<std::string> split(const std::string& text)
{
    std::vector<std::string> words(1);
    for (const char c : text)
        if (c == '.')
            words.emplace_back();
        else
            words.back() += c;
    return words;
}

bool naive(const std::vector<std::string>& pattern, std::size_t p, const std::vector<std::string>& topic,
           std::size_t t)
{
    if (p == pattern.size())
        return t == topic.size();
    if (pattern[p] == "#")
        return naive(pattern, p + 1, topic, t) || (t < topic.size() && naive(pattern, p, topic, t + 1));
    return t < topic.size() && (pattern[p] == "*" || pattern[p] == topic[t]) &&
           naive(pattern, p + 1, topic, t + 1);
}

TEST_CASE("topic_pattern: agrees with the naive twin")
{
    std::mt19937 dice{4711};
    const auto draw = [&](const std::vector<std::string>& from) {
        std::string text;
        for (auto words = 1 + dice() % 6; words != 0; --words)
            text += from[dice() % from.size()] + (words == 1 ? "" : ".");
        return text;
    };
    for (int i = 0; i < 20'000; ++i) {
        const std::string pattern = draw({"a", "b", "*", "#", ""});
        const std::string topic = draw({"a", "b", "c", ""});
        CAPTURE(pattern);
        CAPTURE(topic);
        REQUIRE(topic_pattern{pattern}.matches(topic) == naive(split(pattern), 0, split(topic), 0));
    }
}

}  // namespace
