// Streams, framing, limits and timeouts: in virtual time, over bytes that arrive by hand.
#include <leat/asio/net/framing.hpp>
#include <leat/asio/net/stream.hpp>
#include <leat/detail/frame_pool.hpp>
#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include "support/fake_stream.hpp"
#include "support/net.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
namespace net = leat::net;
using test::failure_of;
using test::fake_connection;
using fake = net::stream<test::fake_stream>;

net::stream_options with_limits(std::size_t max, std::chrono::nanoseconds read = {},
                                std::chrono::nanoseconds write = {}, std::chrono::nanoseconds idle = {})
{
    net::stream_options options;
    options.max_buffer = max;
    options.read_timeout = read;
    options.write_timeout = write;
    options.idle_timeout = idle;
    return options;
}

/// Something between a stream and the system, which counts how often a write is begun.
class layered : public test::fake_stream {
public:
    layered(test::fake_stream under, int& started) : fake_stream{std::move(under)}, started_{&started}
    {
    }
    fake_stream& next_layer()
    {
        return *this;
    }
    template <class Buffers, class Token>
    auto async_write_some(const Buffers& from, Token&& token)
    {
        ++*started_;
        return fake_stream::async_write_some(from, std::forward<Token>(token));
    }

private:
    int* started_;
};

// Beyond zero: so many more calls of operator new succeed, and the next fails.
thread_local std::size_t new_left = 0;

/// Lets one operator new of this thread fail.
class new_fails_after {
public:
    explicit new_fails_after(std::size_t calls)
    {
        new_left = calls + 1;
    }
    new_fails_after(const new_fails_after&) = delete;
    ~new_fails_after()
    {
        new_left = 0;
    }
    bool has_failed() const
    {
        return new_left == 0;
    }
};

}  // namespace

// ThreadSanitizer brings its own, and allows no other: there no call fails.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LEAT_TEST_UNDER_TSAN
#endif
#endif
#if !defined(__SANITIZE_THREAD__) && !defined(LEAT_TEST_UNDER_TSAN)
// Not inlined: g++ takes what it then sees for a mismatch.
// NOLINTBEGIN(misc-new-delete-overloads)
[[gnu::noinline]] void* operator new(std::size_t size)
{
    if (new_left != 0 && --new_left == 0)
        throw std::bad_alloc{};
    if (void* const got = std::malloc(size))
        return got;
    throw std::bad_alloc{};
}
[[gnu::noinline]] void operator delete(void* what) noexcept
{
    std::free(what);
}
[[gnu::noinline]] void operator delete(void* what, std::size_t) noexcept
{
    std::free(what);
}
// NOLINTEND(misc-new-delete-overloads)
#endif

TEST_SUITE("net stream")
{
    TEST_CASE("lines, however they are cut into pieces")
    {
        const std::string text = "one\r\ntwo\n\nfour \r five\n";
        for (std::size_t chunk = 1; chunk <= text.size(); ++chunk) {
            leat::sim::world world;
            fake_connection wire;
            wire.to_near->chunk = chunk;
            wire.arrive(text);
            wire.close();
            auto body = [&]() -> leat::task<std::vector<std::string>> {
                fake peer{wire.near()};
                std::vector<std::string> all;
                while (auto line = co_await peer.read_line())
                    all.push_back(std::move(*line));
                co_return all;
            };
            CHECK(world.run(body()) == std::vector<std::string>{"one", "two", "", "four \r five"});
        }
    }

    TEST_CASE("what is read in different ways comes in order")
    {
        leat::sim::world world;
        fake_connection wire;
        wire.to_near->chunk = 3;
        wire.arrive("abc--def123456789line\nrest");
        wire.close();
        auto body = [&]() -> leat::task<> {
            fake peer{wire.near()};
            auto piece = co_await peer.read_until("--");
            CHECK(*piece == "abc--");
            piece = co_await peer.read_until("f");
            CHECK(*piece == "def");
            const std::string exact = co_await peer.read_exactly(4);
            CHECK(exact == "1234");
            std::array<char, 5> five;
            co_await peer.read_exactly(asio::buffer(five));
            CHECK(std::string(five.data(), 5) == "56789");
            piece = co_await peer.read_line();
            CHECK(*piece == "line");
            std::string rest;
            for (;;) {
                const std::size_t count = co_await peer.read_some(asio::buffer(five));
                if (count == 0)
                    break;
                rest.append(five.data(), count);
            }
            CHECK(rest == "rest");
            piece = co_await peer.read_line();
            CHECK_FALSE(piece.has_value());
        };
        world.run(body());
    }

    TEST_CASE("a line or piece that is too long is refused, and memory stays bounded")
    {
        leat::sim::world world;
        fake_connection wire;
        wire.to_near->chunk = 7;
        wire.arrive(std::string(100, 'x') + "\n");
        auto body = [&]() -> leat::task<> {
            fake peer{wire.near(), with_limits(64)};
            auto why = co_await failure_of(peer.read_line());
            CHECK(why == net::errc::too_long);
            CHECK(why == std::errc::message_size);
            CHECK(peer.buffered() == 64);
            why = co_await failure_of(peer.read_line(10));
            CHECK(why == net::errc::too_long);
            why = co_await failure_of(peer.read_exactly(65));
            CHECK(why == net::errc::too_long);
            const std::string all = co_await peer.read_exactly(64);
            CHECK(all == std::string(64, 'x'));
            // Exactly as long as allowed, with its delimiter.
            auto rest = co_await peer.read_line(37);
            CHECK(rest->size() == 36);
        };
        world.run(body());
    }

    TEST_CASE("a peer that closes in the middle is noticed at every byte")
    {
        const std::string whole = std::string{"\0\0\0\x05", 4} + "hello";
        for (std::size_t cut = 0; cut < whole.size(); ++cut) {
            leat::sim::world world;
            fake_connection wire;
            wire.arrive(whole.substr(0, cut));
            wire.close();
            auto body = [&]() -> leat::task<> {
                fake peer{wire.near()};
                auto got = co_await leat::as_result(peer.read_frame());
                if (cut == 0)
                    CHECK((got && !*got));
                else
                    CHECK(got.error() == net::errc::truncated);
            };
            world.run(body());
        }
        for (const bool reset : {false, true}) {
            leat::sim::world world;
            fake_connection wire;
            wire.arrive("no newlin");
            wire.close();
            wire.to_near->reset = reset;
            auto body = [&]() -> leat::task<> {
                fake peer{wire.near()};
                const auto why = co_await failure_of(peer.read_line());
                if (reset)
                    CHECK(why == asio::error::connection_reset);
                else
                    CHECK(why == net::errc::truncated);
                CHECK(net::is_disconnect(why));
            };
            world.run(body());
        }
    }

    TEST_CASE("frames of every header and size go there and back")
    {
        for (const std::size_t header : {1U, 2U, 4U, 8U})
            for (const std::size_t chunk : {1U, 5U, 100000U}) {
                leat::sim::world world;
                fake_connection wire;
                wire.to_near = wire.from_near;  // what is written can be read
                wire.to_near->chunk = chunk;
                net::frame_format format;
                format.header = header;
                auto body = [&]() -> leat::task<> {
                    fake peer{wire.near(), with_limits(128)};
                    for (const std::size_t size : {0U, 1U, 127U, 128U, 255U}) {
                        const std::string payload(size, static_cast<char>('a' + size % 26));
                        co_await peer.write_frame(payload, format);
                        auto back = co_await peer.read_frame(format);
                        CHECK(*back == payload);
                    }
                    if (header > 1 && chunk > 1) {
                        const std::string payload(60000, 'z');
                        co_await peer.write_frame(payload, format);
                        auto back = co_await peer.read_frame(format);
                        CHECK((*back == payload));
                    } else if (header == 1) {
                        const auto why = co_await failure_of(peer.write_frame(std::string(256, 'x'), format));
                        CHECK(why == net::errc::too_long);
                    }
                };
                world.run(body());
            }
    }

    TEST_CASE("a frame that says it is too long is refused before it is read")
    {
        leat::sim::world world;
        fake_connection wire;
        wire.arrive("\xff\xff\xff\xff");
        auto body = [&]() -> leat::task<> {
            fake peer{wire.near()};
            auto why = co_await failure_of(peer.read_frame());
            CHECK(why == net::errc::too_long);
            net::frame_format odd;
            odd.header = 3;
            CHECK_THROWS_AS(static_cast<void>(net::detail::frame_header(odd, 1)), leat::usage_error);
        };
        world.run(body());
    }

    TEST_CASE("a read that is cancelled has lost nothing")
    {
        leat::sim::world world;
        fake_connection wire;
        auto body = [&]() -> leat::task<> {
            fake peer{wire.near()};
            std::size_t cancelled = 0;
            for (const char each : std::string{"slow but sure\n"}) {
                const auto why = co_await failure_of(leat::timeout(1ms, peer.read_line()));
                CHECK(why == leat::errc::deadline_exceeded);
                ++cancelled;
                wire.arrive(std::string(1, each));
            }
            auto line = co_await peer.read_line();
            CHECK(*line == "slow but sure");
            CHECK(cancelled == 14);
        };
        world.run(body());
    }

    TEST_CASE("two readers at a time are a mistake, and are told")
    {
        leat::sim::world world;
        fake_connection wire;
        auto body = [&]() -> leat::task<> {
            fake peer{wire.near()};
            auto first = leat::spawn([&]() -> leat::task<> { static_cast<void>(co_await peer.read_line()); });
            co_await leat::sleep_for(1ms);
            bool told = false;
            try {
                static_cast<void>(co_await peer.read_line());
            } catch (const leat::usage_error&) {
                told = true;
            }
            CHECK(told);
            wire.arrive("x\n");
            co_await first;
        };
        world.run(body());
    }

    TEST_CASE("a read timeout is not prolonged by a byte now and then")
    {
        leat::sim::world world;
        fake_connection wire;
        auto body = [&]() -> leat::task<> {
            fake peer{wire.near(), with_limits(1024, 100ms)};
            auto drip = leat::spawn([&]() -> leat::task<> {
                for (;;) {
                    co_await leat::sleep_for(30ms);
                    wire.arrive("x");
                }
            });
            const auto why = co_await failure_of(peer.read_line());
            CHECK(why == leat::errc::deadline_exceeded);
            drip.cancel();
            CHECK(peer.buffered() == 3);
        };
        world.run(body());
        CHECK(world.now() == 100ms);
    }

    TEST_CASE("an idle timeout is: by a byte in either direction")
    {
        leat::sim::world world;
        fake_connection wire;
        auto body = [&]() -> leat::task<> {
            fake peer{wire.near(), with_limits(1024, {}, {}, 100ms)};
            auto traffic = leat::spawn([&]() -> leat::task<> {
                co_await leat::sleep_for(60ms);
                wire.arrive("x");
                co_await leat::sleep_for(60ms);
                co_await peer.write("y");
                co_await leat::sleep_for(60ms);
                co_await peer.write("z");
            });
            const auto why = co_await failure_of(peer.read_line());
            CHECK(why == leat::errc::deadline_exceeded);
            CHECK(world.now() == 280ms);
            co_await traffic;
            // Time that passes between two waits does not count.
            co_await leat::sleep_for(1h);
            wire.arrive("\n");
            auto line = co_await peer.read_line();
            CHECK(*line == "x");
            co_await leat::sleep_for(1h);
            const auto again = co_await failure_of(peer.read_line());
            CHECK(again == leat::errc::deadline_exceeded);
        };
        world.run(body());
        CHECK(world.now() == 2h + 380ms);
    }

    TEST_CASE("the end of the task's context is not taken for a timeout")
    {
        leat::sim::world world;
        fake_connection wire;
        auto body = [&]() -> leat::task<> {
            fake peer{wire.near(), with_limits(1024, 1h, {}, 1h)};
            auto [ctx, cancel] = leat::with_cancel();
            auto reading = leat::spawn(failure_of(leat::with_context(ctx, peer.read_line())));
            co_await leat::sleep_for(1ms);
            cancel();
            const auto why = co_await reading;
            CHECK(why == leat::errc::cancelled);
        };
        world.run(body());
        CHECK(world.now() == 1ms);
    }

    TEST_CASE("what several tasks write does not mix, and comes in order")
    {
        leat::sim::world world;
        fake_connection wire;
        wire.from_near->chunk = 3;
        wire.from_near->room = 10;
        constexpr int writers = 10;
        constexpr int lines = 20;
        std::string all;
        auto body = [&]() -> leat::task<> {
            fake peer{wire.near()};
            auto reader = leat::spawn([&]() -> leat::task<> {
                for (;;) {
                    all += wire.take();
                    co_await leat::sleep_for(1ms);
                }
            });
            co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
                for (int w = 0; w < writers; ++w)
                    co_await group.spawn([&, w]() -> leat::task<> {
                        for (int i = 0; i < lines; ++i) {
                            const std::string line =
                                std::to_string(w) + ":" + std::to_string(i) + " ........\n";
                            co_await peer.write(line);
                        }
                    });
            });
            all += wire.take();
            reader.cancel();
        };
        world.run(body());
        std::array<int, writers> next{};
        std::size_t at = 0;
        while (at < all.size()) {
            const std::size_t end = all.find('\n', at);
            REQUIRE(end != std::string::npos);
            const std::string line = all.substr(at, end - at);
            const auto w = static_cast<std::size_t>(line[0] - '0');
            CHECK(line == std::to_string(w) + ":" + std::to_string(next[w]) + " ........");
            ++next[w];
            at = end + 1;
        }
        for (const int each : next)
            CHECK(each == lines);
    }

    TEST_CASE(
        "a slow reader: a write that is cut short breaks the stream, one that waits for its turn does not")
    {
        leat::sim::world world;
        fake_connection wire;
        wire.from_near->room = 4;
        auto body = [&]() -> leat::task<> {
            fake peer{wire.near(), with_limits(1024, {}, 100ms)};
            co_await peer.write("1234");
            // Nothing of it gets out: no harm is done.
            auto why = co_await failure_of(peer.write("5678"));
            CHECK(why == leat::errc::deadline_exceeded);
            CHECK(world.now() == 100ms);
            CHECK(wire.take() == "1234");
            auto long_one = leat::spawn(failure_of(peer.write("abcdefgh")));
            co_await leat::sleep_for(1ms);
            const auto in_turn = co_await failure_of(leat::timeout(10ms, peer.write("never")));
            CHECK(in_turn == leat::errc::deadline_exceeded);
            why = co_await long_one;
            CHECK(why == leat::errc::deadline_exceeded);
            CHECK(world.now() == 200ms);
            CHECK(wire.take() == "abcd");
            why = co_await failure_of(peer.write("later"));
            CHECK(why == net::errc::broken);
            CHECK(why == std::errc::broken_pipe);
            // It can still be read.
            wire.arrive("x\n");
            auto line = co_await peer.read_line();
            CHECK(*line == "x");
        };
        world.run(body());
        CHECK(wire.take().empty());
    }

    TEST_CASE("work is cancelled when the peer goes, and what it sends meanwhile is kept")
    {
        leat::sim::world world;
        fake_connection wire;
        auto body = [&]() -> leat::task<> {
            fake peer{wire.near()};
            auto helper = leat::spawn([&]() -> leat::task<> {
                co_await leat::sleep_for(10ms);
                wire.arrive("next\n");
            });
            auto work = [&]() -> leat::task<int> {
                co_await leat::sleep_for(50ms);
                co_await peer.write("done");
                co_return 42;
            };
            const int answer = co_await peer.while_connected(work());
            CHECK(answer == 42);
            CHECK(wire.take() == "done");
            auto line = co_await peer.read_line();
            CHECK(*line == "next");
            co_await helper;

            auto leaving = leat::spawn([&]() -> leat::task<> {
                co_await leat::sleep_for(10ms);
                wire.close();
            });
            bool told = false;
            auto longer = [&]() -> leat::task<> {
                auto slept = co_await leat::as_result(leat::sleep_for(1h));
                told = slept.error() == leat::errc::cancelled;
                slept.value();
            };
            const auto why = co_await failure_of(peer.while_connected(longer()));
            CHECK(why == net::errc::peer_gone);
            CHECK(told);
            co_await leaving;
        };
        world.run(body());
        CHECK(world.now() == 60ms);
        CHECK(world.live_tasks() == 0);
    }

    TEST_CASE("work that fails, or is cancelled from outside, ends the reading ahead, too")
    {
        leat::sim::world world;
        fake_connection wire;
        auto body = [&]() -> leat::task<> {
            fake peer{wire.near()};
            auto failing = []() -> leat::task<> {
                co_await leat::sleep_for(1ms);
                throw std::runtime_error{"no"};
            };
            bool thrown = false;
            try {
                co_await peer.while_connected(failing());
            } catch (const std::runtime_error&) {
                thrown = true;
            }
            CHECK(thrown);
            const auto why =
                co_await failure_of(leat::timeout(1ms, peer.while_connected(leat::sleep_for(1h))));
            CHECK(why == leat::errc::deadline_exceeded);
            wire.arrive("still there\n");
            auto line = co_await peer.read_line();
            CHECK(*line == "still there");
        };
        world.run(body());
    }

    TEST_CASE("an answer counts although the peer closes right after it")
    {
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
            leat::sim::world world{seed};
            fake_connection wire;
            auto body = [&]() -> leat::task<> {
                fake peer{wire.near()};
                auto heedless = [&]() -> leat::task<int> {
                    wire.close();
                    static_cast<void>(co_await leat::as_result(leat::sleep_for(1ms)));
                    co_return 42;
                };
                const int answer = co_await peer.while_connected(heedless());
                CHECK(answer == 42);

                fake_connection other;
                fake second{other.near()};
                auto nothing = [&]() -> leat::task<> {
                    other.close();
                    static_cast<void>(co_await leat::as_result(leat::sleep_for(1ms)));
                };
                const auto none = co_await failure_of(second.while_connected(nothing()));
                CHECK_FALSE(none);

                // Its own failure is told if it came first.
                fake_connection last;
                fake third{last.near()};
                auto failing = [&]() -> leat::task<> {
                    last.close();
                    throw std::system_error{std::make_error_code(std::errc::invalid_argument)};
                    co_return;
                };
                const auto why = co_await failure_of(third.while_connected(failing()));
                CHECK((why == std::errc::invalid_argument || why == net::errc::peer_gone));
            };
            world.run(body());
            CHECK(world.live_tasks() == 0);
        }
    }

    TEST_CASE("a write through a layer is not cancelled while the other direction is busy")
    {
        leat::sim::world world;
        fake_connection wire;
        wire.from_near->room = 4;
        int started = 0;
        auto body = [&]() -> leat::task<> {
            net::stream<layered> peer{layered{wire.near(), started}, with_limits(1024, {}, {}, 100ms)};
            auto reading = leat::spawn(failure_of(peer.read_line()));
            auto writing = leat::spawn(failure_of(peer.write("12345678")));
            for (int i = 0; i < 5; ++i) {
                co_await leat::sleep_for(60ms);
                wire.arrive("x");
            }
            CHECK_FALSE(writing.done());
            CHECK(wire.take() == "1234");
            auto why = co_await writing;
            CHECK_FALSE(why);
            CHECK(started == 2);
            CHECK(wire.take() == "5678");
            CHECK(world.now() == 300ms);

            // When nothing moves at all, it ends, and so does the writing.
            why = co_await failure_of(peer.write("abcdefgh"));
            CHECK(why == leat::errc::deadline_exceeded);
            CHECK(world.now() == 400ms);
            why = co_await failure_of(peer.write("more"));
            CHECK(why == net::errc::broken);
            static_cast<void>(co_await reading);

            // A shorter limit of its own, and an end from outside, are as without idleness.
            fake_connection deaf;
            deaf.from_near->room = 0;
            net::stream<layered> other{layered{deaf.near(), started}, with_limits(1024, {}, 30ms, 100ms)};
            why = co_await failure_of(other.write("x"));
            CHECK(why == leat::errc::deadline_exceeded);
            CHECK(world.now() == 430ms);
            net::stream<layered> last{layered{deaf.near(), started}, with_limits(1024, {}, {}, 100ms)};
            auto [ctx, cancel] = leat::with_cancel();
            auto cancelled = leat::spawn(failure_of(leat::with_context(ctx, last.write("x"))));
            co_await leat::sleep_for(10ms);
            cancel();
            why = co_await cancelled;
            CHECK(why == leat::errc::cancelled);
            CHECK(world.now() == 440ms);
        };
        world.run(body());
        CHECK(world.live_tasks() == 0);
    }

    TEST_CASE("an idle limit beyond the end of time is none")
    {
        leat::sim::world world;
        fake_connection wire;
        auto body = [&]() -> leat::task<> {
            fake peer{wire.near(), with_limits(1024, {}, {}, std::chrono::nanoseconds::max())};
            auto late = leat::spawn([&]() -> leat::task<> {
                co_await leat::sleep_for(24h);
                wire.arrive("x\n");
            });
            auto line = co_await peer.read_line();
            CHECK(*line == "x");
            co_await late;
        };
        world.run(body());
    }

    TEST_CASE("memory runs out at each point of a write: what is half out breaks the stream")
    {
        bool fell = true;
        bool broke = false;
        for (std::size_t nth = 0; fell; ++nth) {
            REQUIRE(nth < 200);
            CAPTURE(nth);
            leat::sim::world world;
            fake_connection wire;
            wire.from_near->chunk = 3;
            auto body = [&]() -> leat::task<> {
                fake peer{wire.near(), with_limits(1024, {}, 1h)};
                leat::detail::fail_next_frames(1, nth);
                bool thrown = false;
                try {
                    co_await peer.write("12345678");
                } catch (const std::bad_alloc&) {
                    thrown = true;
                }
                fell = leat::detail::fail_next_frames(0) == 0;
                const std::string out = wire.take();
                const auto after = co_await failure_of(peer.write("next"));
                if (thrown && !out.empty()) {
                    CHECK(out.size() < 8);
                    CHECK(after == net::errc::broken);
                    CHECK(wire.take().empty());
                    broke = true;
                } else {
                    // When Asio's own memory runs out, nobody knows how far it has come.
                    CHECK((!after || (thrown && after == net::errc::broken)));
                    CHECK(out == (thrown ? "" : "12345678"));
                }
            };
            world.run(body());
        }
        CHECK(broke);
    }

    TEST_CASE("memory runs out at each point of reading a frame: it is still there, or the stream is broken")
    {
        for (const std::size_t size : {std::size_t{100}, std::size_t{200 * 1024}}) {
            const std::string payload(size, 'p');
            bool fell = true;
            for (std::size_t nth = 0; fell; ++nth) {
                REQUIRE(nth < 500);
                CAPTURE(nth);
                leat::sim::world world;
                fake_connection wire;
                const auto length = static_cast<unsigned>(size);
                for (const unsigned shift : {24U, 16U, 8U, 0U})
                    wire.arrive(std::string(1, static_cast<char>(length >> shift & 0xffU)));
                wire.arrive(payload);
                wire.arrive("a line\n");
                auto body = [&]() -> leat::task<> {
                    // More is read ahead than the payload's first step takes.
                    fake peer{wire.near(), with_limits(150 * 1024)};
                    bool thrown = false;
                    std::optional<std::string> got;
                    {
                        const new_fails_after soon{nth};
                        try {
                            got = co_await peer.read_frame();
                        } catch (const std::bad_alloc&) {
                            thrown = true;
                        }
                        fell = soon.has_failed();
                    }
                    if (thrown) {
                        auto again = co_await leat::as_result(peer.read_frame());
                        if (!again) {
                            CHECK(again.error() == net::errc::broken);
                            CHECK(peer.buffered() == 0);
                            const auto why = co_await failure_of(peer.read_line());
                            CHECK(why == net::errc::broken);
                            co_return;
                        }
                        got = std::move(*again);
                    }
                    CHECK((got == payload));
                    auto line = co_await peer.read_line();
                    CHECK(*line == "a line");
                };
                world.run(body());
            }
        }
    }

    TEST_CASE("who stops receiving closes the receiver, and the pump ends without a failure")
    {
        leat::sim::world world;
        fake_connection wire;
        wire.arrive("one\ntwo\nthree\n");
        auto body = [&]() -> leat::task<> {
            fake peer{wire.near()};
            co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
                auto in = co_await net::lines(group, peer);
                auto first = co_await in.recv();
                CHECK(*first == "one");
                co_await leat::sleep_for(1ms);
                in.close();
            });
        };
        world.run(body());
        CHECK(world.live_tasks() == 0);
    }

    TEST_CASE("lines and frames as receivers")
    {
        leat::sim::world world;
        fake_connection wire;
        wire.arrive("a\nb\n");
        auto body = [&]() -> leat::task<> {
            fake peer{wire.near()};
            std::string got;
            co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
                auto in = co_await net::lines(group, peer);
                bool quiet = false;
                while (!quiet)
                    co_await leat::select(
                        leat::on(in.recv(), [&](std::optional<std::string> line) { got += *line; }),
                        leat::on(leat::after(1s), [&] { quiet = true; }));
                wire.close();
                const auto end = co_await in.recv();
                CHECK_FALSE(end.has_value());
            });
            CHECK(got == "ab");

            fake_connection framed;
            framed.arrive(std::string{"\0\0\0\x01x\0\0\0\x02yz\0\0", 13});
            framed.close();
            fake other{framed.near()};
            got.clear();
            auto reading = [&]() -> leat::task<> {
                co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
                    auto in = co_await net::frames(group, other);
                    while (auto frame = co_await in.recv())
                        got += *frame + ".";
                    got += "end";
                });
            };
            const auto why = co_await failure_of(reading());
            CHECK(why == net::errc::truncated);
            CHECK(got == "x.yz.");
        };
        world.run(body());
        CHECK(world.live_tasks() == 0);
    }

    TEST_CASE("closing waits for the peer, but not for ever")
    {
        leat::sim::world world;
        fake_connection wire;
        auto body = [&]() -> leat::task<> {
            {
                fake peer{wire.near()};
                co_await peer.write("bye");
                auto leaving = leat::spawn([&]() -> leat::task<> {
                    co_await leat::sleep_for(10ms);
                    wire.arrive("unread");
                    co_await leat::sleep_for(10ms);
                    wire.close();
                });
                co_await peer.close();
                CHECK(world.now() == 20ms);
                CHECK(wire.take() == "bye");
                co_await leaving;
            }
            fake_connection deaf;
            fake peer{deaf.near()};
            co_await peer.close(500ms);
            CHECK(world.now() == 520ms);
            CHECK(deaf.from_near->closed);
            fake_connection third;
            fake last{third.near()};
            const auto why = co_await failure_of(leat::timeout(1ms, last.close(1h)));
            CHECK(why == leat::errc::deadline_exceeded);
            CHECK(third.from_near->closed);
        };
        world.run(body());
    }
}
