#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

using namespace std::chrono_literals;
using leat::from;
using leat::task;

namespace {

/// A terminal, and what has been written to it.
class terminal {
public:
    terminal() : master_{posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK)}
    {
        REQUIRE(master_ >= 0);
        REQUIRE(grantpt(master_) == 0);
        REQUIRE(unlockpt(master_) == 0);
        const int slave = open(ptsname(master_), O_RDWR | O_NOCTTY);
        REQUIRE(slave >= 0);
        termios as_it_is{};
        REQUIRE(tcgetattr(slave, &as_it_is) == 0);
        as_it_is.c_oflag &= ~static_cast<tcflag_t>(OPOST);
        REQUIRE(tcsetattr(slave, TCSANOW, &as_it_is) == 0);
        file_ = fdopen(slave, "w");
        REQUIRE(file_ != nullptr);
    }
    terminal(const terminal&) = delete;
    terminal& operator=(const terminal&) = delete;
    ~terminal()
    {
        std::fclose(file_);
        close(master_);
    }
    std::FILE* file() const
    {
        return file_;
    }
    std::string read_all() const
    {
        std::string all;
        char part[4096];
        for (ssize_t n = 0; (n = read(master_, part, sizeof part)) > 0;)
            all.append(part, static_cast<std::size_t>(n));
        return all;
    }

private:
    int master_;
    std::FILE* file_ = nullptr;
};

/// Four items, one each second.
auto each_second()
{
    return [n = 0]() mutable -> task<std::optional<int>> {
        std::optional<int> item;
        if (n < 4) {
            co_await leat::sleep_for(1s);
            item = ++n;
        }
        co_return item;
    };
}

std::string line(const char* text)
{
    return "\r" + std::string{text} + "\033[K";
}

}  // namespace

TEST_CASE("progress: a line that is drawn over itself, at its own pace, and stays at the end")
{
    const terminal screen;
    leat::sim::world world;
    const int sum = world.run([&]() -> task<int> {
        return (from(each_second()) | leat::map([](int n) { return 10 * n; }) |
                leat::progress({.every = 1700ms, .to = screen.file(), .label = "digest"}) |
                leat::fold(0, [](int a, int b) { return a + b; }))
            .run();
    });
    CHECK(sum == 100);
    CHECK(world.now() == 4s);
    CHECK(world.live_tasks() == 0);
    CHECK(screen.read_all() == line("digest 0 items  0.0 s") + line("digest 1 items  0.6/s  1.7 s") +
                                   line("digest 3 items  0.9/s  3.4 s") +
                                   line("digest 4 items  1.0/s  4.0 s") + "\n");
}

TEST_CASE("progress: a bar, if it is known how many there will be")
{
    const terminal screen;
    leat::sim::world world;
    world.run([&]() -> task<> {
        co_await (from(each_second()) | leat::map([](int n) { return n; }, {.workers = 2}) |
                  leat::progress({.total = 4, .every = 2500ms, .to = screen.file()}) |
                  leat::for_each([](int) {}));
    });
    CHECK(screen.read_all() == line("0 % [                        ] 0/4  0.0 s") +
                                   line("50 % [############            ] 2/4  0.8/s  2.5 s") +
                                   line("100 % [########################] 4/4  1.0/s  4.0 s") + "\n");
}

TEST_CASE("progress: ended from below, cancelled, failed: the last line says how far it came")
{
    for (int how = 0; how < 3; ++how) {
        CAPTURE(how);
        const terminal screen;
        leat::sim::world world;
        world.run([&]() -> task<> {
            auto shown = from(each_second()) | leat::progress({.every = 1h, .to = screen.file()});
            auto fail = [](int n) {
                if (n == 2)
                    throw std::domain_error{"two"};
            };
            if (how == 0) {
                co_await (std::move(shown) | leat::map([](int n) { return n; }, {.workers = 1}) |
                          leat::take(2) | leat::collect);
            } else if (how == 1) {
                const auto late = co_await leat::as_result(
                    leat::timeout(2s + 1ms, (std::move(shown) | leat::for_each([](int) {})).run()));
                CHECK(late.error() == leat::errc::deadline_exceeded);
            } else {
                const auto failed = co_await leat::as_result(std::move(shown) | leat::for_each(fail));
                CHECK(!failed);
            }
        });
        CHECK(world.live_tasks() == 0);
        CHECK(screen.read_all() == line("0 items  0.0 s") + line("2 items  1.0/s  2.0 s") + "\n");
    }
}

TEST_CASE("progress: to a file nothing is written, and no task is started")
{
    std::FILE* const file = std::tmpfile();
    REQUIRE(file != nullptr);
    leat::sim::world world;
    world.run([&]() -> task<> {
        auto line =
            from(each_second()) | leat::progress({.every = 1ms, .to = file}) | leat::for_each([](int) {});
        CHECK(line.describe() == "from -> progress -> for_each");
        co_await line;
    });
    CHECK(std::ftell(file) == 0);
    std::fclose(file);
    CHECK_THROWS_AS(static_cast<void>(leat::progress({.every = 0ms})), leat::usage_error);
}

TEST_CASE("progress: on the pool")
{
    for (int round = 0; round < 20; ++round) {
        const terminal screen;
        const auto made = leat::run(
            [&]() -> task<std::vector<int>> {
                return (from([n = 0]() mutable { return n++; }) |
                        leat::map([](int n) { return n; }, {.workers = 2}) |
                        leat::progress({.every = 1s, .to = screen.file()}) | leat::take(100) | leat::collect)
                    .run();
            },
            {.workers = 2});
        CHECK(made.size() == 100);
        const std::string shown = screen.read_all();
        CHECK(shown.find("\r100 items") != std::string::npos);
        CHECK(shown.back() == '\n');
    }
}
