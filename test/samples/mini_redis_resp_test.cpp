// The parser of mini_redis: whatever is cut where, garbage, limits.
#include "../../samples/mini_redis/reply.hpp"
#include "../../samples/mini_redis/resp.hpp"

#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

using namespace mini_redis;

namespace {

using request = std::vector<std::string>;

/// Puts bytes into a parser, in pieces of at most so many, and adds what comes out to `got`.
void feed(request_parser& parser, std::string_view bytes, std::size_t piece, std::vector<request>& got)
{
    while (!bytes.empty()) {
        const std::span<char> room = parser.room();
        REQUIRE(!room.empty());
        const std::size_t count = std::min({piece, room.size(), bytes.size()});
        std::copy_n(bytes.begin(), count, room.begin());
        parser.filled(count);
        bytes.remove_prefix(count);
        for (arguments words = parser.next(); !words.empty(); words = parser.next())
            got.emplace_back(words.begin(), words.end());
    }
}

std::vector<request> parse(std::string_view bytes, std::size_t piece = 1 << 20)
{
    request_parser parser;
    std::vector<request> got;
    feed(parser, bytes, piece, got);
    CHECK_FALSE(parser.in_the_middle());
    CHECK(parser.consumed() == bytes.size());
    return got;
}

std::string complaint_about(std::string_view bytes, const request_limits& limits = {})
{
    request_parser parser{limits};
    std::vector<request> got;
    try {
        feed(parser, bytes, 1000, got);
    } catch (const protocol_error& problem) {
        return problem.what();
    }
    return parser.in_the_middle() ? "incomplete" : "";
}

std::string encode(const request& words)
{
    const std::vector<std::string_view> views{words.begin(), words.end()};
    return encode_request(views);
}

unsigned seed()
{
    const char* const given = std::getenv("LEAT_SEED");
    return given != nullptr ? static_cast<unsigned>(std::atoi(given)) : std::random_device{}();
}

}  // namespace

TEST_CASE("resp: requests come out as they were sent, wherever they are cut")
{
    const std::vector<request> sent{{"PING"},
                                    {"SET", "key", std::string("a\0\r\n*1", 6)},
                                    {"SET", "", ""},
                                    {"GET", std::string(300, 'x')}};
    std::string bytes;
    for (const request& each : sent)
        bytes += encode(each);
    for (std::size_t piece = 1; piece <= bytes.size(); ++piece)
        CHECK(parse(bytes, piece) == sent);
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        request_parser parser;
        std::vector<request> got;
        feed(parser, std::string_view{bytes}.substr(0, cut), bytes.size(), got);
        feed(parser, std::string_view{bytes}.substr(cut), bytes.size(), got);
        CHECK(got == sent);
    }
}

TEST_CASE("resp: a line is a request, too")
{
    CHECK(parse("PING\r\n") == std::vector<request>{{"PING"}});
    CHECK(parse("  set  k\t\"a \\x41\\n\\\"\" \r\n\r\n\nGET k\n") ==
          std::vector<request>{{"set", "k", "a A\n\""}, {"GET", "k"}});
    CHECK(parse("ECHO 'it\\'s \\n'\n") == std::vector<request>{{"ECHO", "it's \\n"}});
    CHECK(parse("SET k \"\"\n") == std::vector<request>{{"SET", "k", ""}});
    CHECK(parse("PING\r\n*1\r\n$4\r\nPING\r\nPING\r\n", 1) ==
          std::vector<request>{{"PING"}, {"PING"}, {"PING"}});
    CHECK(complaint_about("SET k \"open\r\n") == "unbalanced quotes in request");
    CHECK(complaint_about("SET k \"closed\"x\r\n") == "unbalanced quotes in request");
    CHECK(complaint_about("SET k 'open\\'\r\n") == "unbalanced quotes in request");
}

TEST_CASE("resp: empty arrays are skipped")
{
    CHECK(parse("*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n") == std::vector<request>{{"PING"}});
}

TEST_CASE("resp: what is no request is refused")
{
    CHECK(complaint_about("*x\r\n") == "invalid multibulk length");
    CHECK(complaint_about("*1048577\r\n") == "invalid multibulk length");
    CHECK(complaint_about("*99999999999999999999\r\n") == "invalid multibulk length");
    CHECK(complaint_about("*1\r\nPING\r\n") == "expected '$', got 'P'");
    CHECK(complaint_about("*1\r\n$-1\r\n") == "invalid bulk length");
    CHECK(complaint_about("*1\r\n$ 4\r\n") == "invalid bulk length");
    CHECK(complaint_about("*1\r\n$67108865\r\n") == "invalid bulk length");
    CHECK(complaint_about("*1\r\n$4\r\nPINGxx") == "expected a line's end behind a bulk string");
    CHECK(complaint_about("*1" + std::string(70000, '1')) == "too big mbulk count string");
    CHECK(complaint_about("*1\r\n$" + std::string(70000, '1')) == "too big bulk count string");
    CHECK(complaint_about(std::string(70000, 'x')) == "too big inline request");
}

TEST_CASE("resp: limits hold, and stop a request before it has arrived")
{
    request_limits small;
    small.max_arguments = 3;
    small.max_bulk = 10;
    small.max_request = 60;
    small.max_inline = 20;
    CHECK(complaint_about(encode({"a", "b", "c"}), small) == "");
    CHECK(complaint_about("*4\r\n", small) == "invalid multibulk length");
    CHECK(complaint_about("*1\r\n$11\r\n", small) == "invalid bulk length");
    CHECK(complaint_about(encode({std::string(10, 'x'), "y"}), small) == "");
    CHECK(complaint_about("*3\r\n$10\r\n" + std::string(10, 'x') + "\r\n$10\r\n" + std::string(10, 'x') +
                              "\r\n$1\r\n",
                          small) == "too big request");
    CHECK(complaint_about(std::string(19, 'x') + "\n", small) == "");
    CHECK(complaint_about(std::string(20, 'x'), small) == "too big inline request");
}

TEST_CASE("resp: memory grows with what has arrived, and shrinks again")
{
    request_parser parser;
    std::vector<request> got;
    feed(parser, "*2\r\n$4\r\nECHO\r\n$60000000\r\n", 1000, got);
    CHECK(parser.room().size() < 64 * 1024);
    request_parser large;
    feed(large, encode({"ECHO", std::string(1 << 20, 'x')}), 1 << 16, got);
    REQUIRE(got.size() == 1);
    CHECK(got[0][1].size() == 1 << 20);
    CHECK(large.room().size() < 64 * 1024);
}

TEST_CASE("resp: a request of a hundred thousand arguments in small pieces is understood in one pass")
{
    request words;
    for (int i = 0; i < 100'000; ++i)
        words.push_back(std::to_string(i));
    const std::string bytes = encode(words);
    CHECK(parse(bytes, 7) == std::vector<request>{words});
}

TEST_CASE("resp: garbage is refused or understood, but never anything else")
{
    const unsigned start = seed();
    CAPTURE(start);
    std::mt19937 random{start};
    const std::string alphabet = "*$0123456789-\r\n\"'\\ xPING";
    const std::size_t rounds = test::scaled(20'000);
    for (std::size_t round = 0; round < rounds; ++round) {
        std::string bytes = encode({"SET", std::string(random() % 20, 'k'), std::string(random() % 50, 'v')});
        for (unsigned changes = static_cast<unsigned>(random() % 6); changes > 0; --changes) {
            const std::size_t at = random() % bytes.size();
            switch (random() % 3) {
            case 0: bytes[at] = alphabet[random() % alphabet.size()]; break;
            case 1: bytes.erase(at, 1 + random() % 4); break;
            default: bytes.insert(at, 1, static_cast<char>(random())); break;
            }
            if (bytes.empty())
                bytes = "\n";
        }
        // The same, however it is cut.
        const auto outcome = [&](std::size_t piece) {
            request_parser parser;
            std::vector<request> got;
            try {
                feed(parser, bytes, piece, got);
            } catch (const protocol_error& problem) {
                got.push_back({"error", problem.what()});
            }
            return got;
        };
        const std::vector<request> whole = outcome(bytes.size());
        REQUIRE(outcome(1) == whole);
        REQUIRE(outcome(1 + random() % bytes.size()) == whole);
    }
}

TEST_CASE("resp: replies")
{
    reply_writer out;
    out.simple("OK");
    out.error("ERR a\r\nb");
    out.integer(-12);
    out.bulk(std::string_view("a\0b", 3));
    out.null();
    out.null_array();
    out.array(2);
    using namespace std::string_literals;
    CHECK(out.text() == "+OK\r\n-ERR a  b\r\n:-12\r\n$3\r\na\0b\r\n$-1\r\n*-1\r\n*2\r\n"s);
}

TEST_CASE("resp: integers")
{
    std::int64_t value = 0;
    CHECK(parse_integer("9223372036854775807", value));
    CHECK(value == 9223372036854775807);
    CHECK(parse_integer("-9223372036854775808", value));
    CHECK(parse_integer("0", value));
    for (const char* wrong :
         {"", "-", "+1", " 1", "1 ", "01", "-0", "-01", "9223372036854775808", "1e3", "0x1"})
        CHECK_FALSE(parse_integer(wrong, value));
}
