// Tasks as guests of executors that are not leat's. There is no runtime of leat's here but where a test says so.
#include <leat/asio/spawn.hpp>
#include <leat/leat.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/bind_allocator.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/experimental/deferred.hpp>
#include <asio/io_context.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/system_executor.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include "support/rounds.hpp"
#include "support/scale.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <memory_resource>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using leat::use_task;

leat::task<int> answer(int n)
{
    co_await leat::this_task::yield();
    co_return n;
}

leat::task<int> fail(std::string why)
{
    co_await leat::this_task::yield();
    throw std::runtime_error{why};
}

leat::task<> wait_for_ever()
{
    leat::channel<int> never;
    static_cast<void>(co_await never.recv());
}

/// Runs a context on several threads until it has no more work.
void run_on(asio::io_context& io, int threads)
{
    std::vector<std::thread> others;
    for (int i = 1; i < threads; ++i)
        others.emplace_back([&io] { io.run(); });
    io.run();
    for (std::thread& each : others)
        each.join();
}

std::string what_of(const std::exception_ptr& thrown)
{
    try {
        if (thrown)
            std::rethrow_exception(thrown);
    } catch (const std::exception& e) {
        return e.what();
    }
    return "nothing";
}

/// Is destroyed with the frame that has it.
class witness {
public:
    explicit witness(std::atomic<int>& count) : count_{&count}
    {
        ++*count_;
    }
    witness(witness&& other) noexcept : count_{std::exchange(other.count_, nullptr)}
    {
    }
    ~witness()
    {
        if (count_ != nullptr)
            --*count_;
    }

private:
    std::atomic<int>* count_;
};

}  // namespace

TEST_SUITE("embed spawn")
{
    TEST_CASE("a callback is given the result, on the thread that runs the context, outside of every task")
    {
        asio::io_context io;
        int got = 0;
        bool in_task = true;
        leat::spawn(io.get_executor(), answer(42), [&](std::exception_ptr thrown, int value) {
            CHECK_FALSE(thrown);
            got = value;
            in_task = leat::this_task::running();
        });
        CHECK(got == 0);
        io.run();
        CHECK(got == 42);
        CHECK_FALSE(in_task);
    }

    TEST_CASE("nothing runs inside spawn(), and the handler not inside the task's last step")
    {
        asio::io_context io;
        std::string order;
        asio::post(io, [&] {
            leat::spawn(
                io,
                [&]() -> leat::task<> {
                    order += 'b';
                    co_return;
                },
                [&](std::exception_ptr) { order += 'c'; });
            order += 'a';
        });
        io.run();
        CHECK(order == "abc");
    }

    TEST_CASE("a failure, a task without a value, and a plain callable")
    {
        asio::io_context io;
        std::string failed;
        leat::spawn(io, fail("no such page"), [&](std::exception_ptr thrown, int value) {
            failed = what_of(thrown) + std::to_string(value);
        });
        io.run();
        CHECK(failed == "no such page0");
        bool ended = false;
        int plain = 0;
        leat::spawn(io, [] { return 5; }, [&](std::exception_ptr, int value) { plain = value; });
        leat::spawn(
            io, []() -> leat::task<> { co_await leat::this_task::yield(); },
            [&](std::exception_ptr thrown) { ended = !thrown; });
        io.restart();
        io.run();
        CHECK(ended);
        CHECK(plain == 5);
    }

    TEST_CASE("a callable is kept, with what it has captured, until the task has ended")
    {
        asio::io_context io;
        auto owned = std::make_unique<int>(7);
        const int* const at = owned.get();
        const int* seen = nullptr;
        leat::spawn(
            io,
            [owned = std::move(owned)]() -> leat::task<const int*> {
                for (int i = 0; i < 10; ++i)
                    co_await leat::this_task::yield();
                co_return owned.get();
            },
            [&](std::exception_ptr, const int* value) { seen = value; });
        io.run();
        CHECK(seen == at);
    }

    TEST_CASE("every kind of token")
    {
        asio::thread_pool pool{1};
        CHECK(leat::spawn(pool, answer(1), asio::use_future).get() == 1);
        {
            // Joined before the exception is looked at: libstdc++ counts its holders where ThreadSanitizer can not see it.
            asio::thread_pool other{1};
            auto failed = leat::spawn(other, fail("x"), asio::use_future);
            other.join();
            CHECK_THROWS_AS(failed.get(), std::runtime_error);
        }

        asio::io_context io;
        int sum = 0;
        auto coroutine = [&]() -> asio::awaitable<void> {
            auto strand = asio::make_strand(io);
            sum += co_await leat::spawn(strand, answer(2), asio::use_awaitable);
            sum += co_await leat::spawn(pool.get_executor(), answer(3), asio::use_awaitable);
            bool caught = false;
            try {
                co_await leat::spawn(io, fail("y"), asio::use_awaitable);
            } catch (const std::runtime_error&) {
                caught = true;
            }
            CHECK(caught);
        };
        asio::co_spawn(io, coroutine, asio::detached);
        auto later = leat::spawn(io, answer(4), asio::experimental::deferred);
        std::move(later)([&](std::exception_ptr, int value) { sum += value; });
        leat::spawn(
            io,
            [&]() -> leat::task<> {
                auto strand = asio::make_strand(io);
                const int n = co_await leat::spawn(strand, answer(5), use_task);
                sum += n;
            },
            asio::detached);
        io.run();
        CHECK(sum == 14);
        pool.join();
    }

    TEST_CASE("every kind of executor")
    {
        asio::io_context io;
        asio::thread_pool pool{2};
        int wanted = 0;
        std::atomic<int> got{0};
        const auto start = [&](const auto& on) {
            ++wanted;
            leat::spawn(on, answer(1), [&](std::exception_ptr, int value) { got += value; });
        };
        {
            leat::runtime leats_own;
            start(leats_own.get_executor());
            start(asio::any_io_executor{leats_own.get_executor()});
            start(asio::make_strand(leats_own.get_executor()));
            while (got < wanted)
                std::this_thread::yield();
        }
        start(io.get_executor());
        start(asio::any_io_executor{io.get_executor()});
        start(asio::make_strand(io));
        start(asio::any_io_executor{asio::make_strand(io)});
        start(asio::make_strand(asio::any_io_executor{io.get_executor()}));
        start(asio::io_context::strand{io});
        start(asio::prefer(io.get_executor(), asio::execution::outstanding_work.tracked));
        start(pool.get_executor());
        start(asio::any_io_executor{pool.get_executor()});
        start(asio::make_strand(pool));
        io.run();
        pool.join();
        CHECK(got == wanted);
        CHECK(leat::spawn(asio::system_executor{}, answer(2), asio::use_future).get() == 2);
    }

    TEST_CASE("the handler runs on its own executor, and its allocator is used")
    {
        asio::io_context io;
        asio::io_context others;
        bool called = false;
        leat::spawn(io, answer(1),
                    asio::bind_executor(others, [&](std::exception_ptr, int) { called = true; }));
        io.run();
        CHECK_FALSE(called);
        others.run();
        CHECK(called);

        static std::atomic<int> blocks;
        blocks = 0;
        static std::atomic<int> ever;
        ever = 0;
        auto memory = [] {
            class resource final : public std::pmr::memory_resource {
                void* do_allocate(std::size_t size, std::size_t align) override
                {
                    ++blocks;
                    ++ever;
                    return std::pmr::new_delete_resource()->allocate(size, align);
                }
                void do_deallocate(void* block, std::size_t size, std::size_t align) override
                {
                    --blocks;
                    std::pmr::new_delete_resource()->deallocate(block, size, align);
                }
                bool do_is_equal(const memory_resource& other) const noexcept override
                {
                    return this == &other;
                }
            };
            return resource{};
        }();
        int held_in_handler = -1;
        leat::spawn(io, answer(1),
                    asio::bind_allocator(std::pmr::polymorphic_allocator<std::byte>{&memory},
                                         [&](std::exception_ptr, int) { held_in_handler = blocks; }));
        io.restart();
        io.run();
        CHECK(ever > 0);
        CHECK(held_in_handler == 0);
        CHECK(blocks == 0);
    }

    TEST_CASE("what a handler throws comes out of run(), and the other tasks go on")
    {
        asio::io_context io;
        int ended = 0;
        leat::spawn(io, answer(1), [](std::exception_ptr, int) { throw std::runtime_error{"handler"}; });
        for (int i = 0; i < 3; ++i)
            leat::spawn(io, answer(1), [&](std::exception_ptr, int) { ++ended; });
        std::string caught;
        for (bool over = false; !over;)
            try {
                io.run();
                over = true;
            } catch (const std::runtime_error& e) {
                caught += e.what();
            }
        CHECK(caught == "handler");
        CHECK(ended == 3);
    }

    TEST_CASE("a detached task that fails is not overlooked, and being cancelled is no failure")
    {
        asio::io_context io;
        std::string told;
        int times = 0;
        leat::set_on_unhandled(io, [&](const leat::unhandled_failure& f) {
            told = what_of(f.thrown);
            ++times;
        });
        leat::spawn(io, fail("one"), asio::detached);
        io.run();
        CHECK(told == "one");
        io.restart();
        leat::spawn(io, fail("two"), asio::bind_executor(asio::make_strand(io), asio::detached));
        io.run();
        CHECK(told == "two");
        io.restart();
        leat::spawn(
            io,
            []() -> leat::task<> {
                leat::spawn(fail("three")).detach();
                co_return;
            },
            asio::detached);
        io.run();
        CHECK(told == "three");
        CHECK(times == 3);
        io.restart();
        leat::spawn(io, fail("seen"), [](std::exception_ptr, int) {});
        const auto [ctx, cancel] = leat::with_cancel(leat::background());
        leat::spawn(io, wait_for_ever(), asio::detached, {.context = ctx});
        cancel();
        io.run();
        CHECK(times == 3);
    }

    TEST_CASE("options: name and context, which a deferred spawn keeps")
    {
        asio::io_context io;
        std::string name;
        auto op = [&] {
            const std::string mine = "a name that is too long to be kept in place";
            const leat::context with = leat::with_value(leat::background(), 9);
            return leat::spawn(io,
                               [&]() -> leat::task<int> {
                                   name = leat::this_task::name();
                                   co_return *leat::this_task::context().value<int>();
                               },
                               asio::experimental::deferred, {.name = mine, .context = with});
        }();
        int value = 0;
        std::move(op)([&](std::exception_ptr, int v) { value = v; });
        io.run();
        CHECK(name == "a name that is too long to be kept in place");
        CHECK(value == 9);
    }
}

TEST_SUITE("embed tasks")
{
    TEST_CASE("channels, selects, groups, timers, contexts and blocking calls, on one thread")
    {
        asio::io_context io;
        std::string log;
        auto body = [&]() -> leat::task<> {
            leat::channel<int> ch;
            int sum = 0;
            co_await leat::with_group([&](leat::task_group& all) -> leat::task<> {
                co_await all.spawn([&]() -> leat::task<> {
                    for (int i = 1; i <= 100; ++i)
                        co_await ch.send(i);
                    ch.close();
                });
                while (const auto got = co_await ch.recv())
                    sum += *got;
            });
            CHECK(sum == 5050);
            const auto began = std::chrono::steady_clock::now();
            co_await leat::sleep_for(2ms);
            CHECK(std::chrono::steady_clock::now() - began >= 2ms);
            leat::channel<int> never;
            const std::size_t chosen =
                co_await leat::select(leat::on(never.recv(), [](auto) {}), leat::on(leat::after(1ms), [] {}));
            CHECK(chosen == 1);
            const auto late = co_await leat::as_result(leat::timeout(1ms, never.recv()));
            CHECK(late.error() == leat::errc::deadline_exceeded);
            leat::timer once{1ms};
            co_await once.wait();
            leat::ticker often{1ms};
            co_await often.tick();
            co_await often.tick();
            auto call = [] { return std::this_thread::get_id(); };
            const auto elsewhere = co_await leat::blocking(call);
            CHECK(elsewhere != std::this_thread::get_id());
            const auto [a, b] = co_await leat::when_all(answer(1), answer(2));
            CHECK(a + b == 3);
            const auto first = co_await leat::when_any(answer(1), answer(2));
            CHECK(first.index < 2);
            bool after = false;
            auto [ctx, cancel] = leat::with_cancel();
            leat::after_func(ctx, [&] { after = true; });
            cancel();
            co_await leat::this_task::yield();
            co_await leat::this_task::yield();
            CHECK(after);
            log = "done";
        };
        leat::spawn(io, body, asio::detached);
        io.run();
        CHECK(log == "done");
    }

    TEST_CASE("run() returns when the last task has ended, though a deadline is far away")
    {
        asio::io_context io;
        leat::context kept;
        std::optional<leat::canceller> right;
        leat::spawn(
            io,
            [&]() -> leat::task<> {
                auto limited = leat::with_timeout(1h);
                kept = limited.first;
                right.emplace(std::move(limited.second));
                const auto slept = co_await leat::as_result(leat::with_context(kept, leat::sleep_for(1ms)));
                CHECK(slept);
            },
            asio::detached);
        io.run();
        // And the wheel goes on when there are tasks again.
        io.restart();
        bool slept = false;
        leat::spawn(
            io,
            [&]() -> leat::task<> {
                co_await leat::sleep_for(1ms);
                slept = true;
            },
            asio::detached);
        io.run();
        CHECK(slept);
    }

    TEST_CASE("what a task spawns stays on its executor, which it can learn")
    {
        asio::io_context io;
        auto strand = asio::make_strand(io);
        std::vector<bool> inside;
        auto child = [&]() -> leat::task<> {
            inside.push_back(strand.running_in_this_thread());
            co_await leat::sleep_for(1ms);
            inside.push_back(strand.running_in_this_thread());
            CHECK(leat::this_task::asio_executor() == asio::any_io_executor{strand});
        };
        auto body = [&]() -> leat::task<> {
            const leat::executor mine = leat::this_task::executor();
            auto one = leat::spawn(child);
            co_await one;
            co_await leat::with_group(
                [&](leat::task_group& all) -> leat::task<> { co_await all.spawn(child); });
            co_await leat::when_all(child(), child());
            CHECK(leat::this_task::executor() == mine);
        };
        leat::spawn(strand, body, asio::detached);
        run_on(io, 2);
        CHECK(inside.size() == 8);
        CHECK(std::find(inside.begin(), inside.end(), false) == inside.end());
    }

    TEST_CASE("this_task::executor() of an io_context's task is an executor of Asio's")
    {
        asio::io_context io;
        bool expired = false;
        leat::spawn(
            io,
            [&]() -> leat::task<> {
                asio::steady_timer timer{leat::this_task::executor(), 1ms};
                co_await timer.async_wait(use_task);
                expired = true;
            },
            asio::detached);
        io.run();
        CHECK(expired);
    }

    TEST_CASE("sockets")
    {
        asio::io_context io;
        asio::local::stream_protocol::socket near{io};
        asio::local::stream_protocol::socket far{io};
        asio::local::connect_pair(near, far);
        std::string got;
        leat::spawn(
            io,
            [&]() -> leat::task<> {
                std::array<char, 16> data;
                const std::size_t n = co_await near.async_read_some(asio::buffer(data), use_task);
                got.assign(data.data(), n);
                const auto late = co_await leat::as_result(
                    leat::timeout(1ms, near.async_read_some(asio::buffer(data), use_task)));
                CHECK(late.error() == leat::errc::deadline_exceeded);
            },
            asio::detached);
        leat::spawn(
            io,
            [&]() -> leat::task<> { co_await asio::async_write(far, asio::buffer("hello", 5), use_task); },
            asio::detached);
        io.run();
        CHECK(got == "hello");
    }

    TEST_CASE("channels join tasks of different executors, and each resumes on its own")
    {
        asio::io_context one;
        asio::thread_pool two{1};
        leat::runtime three;
        auto strand = asio::make_strand(two);
        const int count = test::rounds(2000);
        leat::channel<int> down;
        leat::channel<int> across;
        leat::channel<int> back;
        const auto relay = [&](leat::channel<int> from, leat::channel<int> to) -> leat::task<bool> {
            const leat::executor mine = leat::this_task::executor();
            bool at_home = true;
            while (const auto got = co_await from.recv()) {
                at_home = at_home && leat::this_task::executor() == mine;
                co_await to.send(*got + 1);
            }
            to.close();
            co_return at_home;
        };
        std::atomic<int> good{0};
        leat::spawn(strand, relay(down, across), [&](std::exception_ptr, bool at_home) { good += at_home; });
        auto third = three.spawn(relay(across, back));
        long sum = 0;
        leat::spawn(
            one,
            [&]() -> leat::task<> {
                const auto thread = std::this_thread::get_id();
                for (int i = 0; i < count; ++i) {
                    co_await down.send(i);
                    const auto got = co_await back.recv();
                    sum += *got - i;
                    if (std::this_thread::get_id() != thread)
                        FAIL_CHECK("resumed on another thread");
                }
                down.close();
                static_cast<void>(co_await back.recv());
                const bool at_home = co_await third;
                good += at_home;
            },
            asio::detached);
        one.run();
        two.join();
        CHECK(sum == 2L * count);
        CHECK(good == 2);
    }

    TEST_CASE("resume_on goes from executor to executor and back")
    {
        asio::io_context io;
        asio::thread_pool pool{2};
        leat::runtime leats_own;
        auto strand = asio::make_strand(pool);
        std::string way;
        bool ended = false;
        auto body = [&]() -> leat::task<> {
            const auto home = std::this_thread::get_id();
            const leat::executor first = leat::this_task::executor();
            co_await leat::this_task::resume_on(strand);
            CHECK(strand.running_in_this_thread());
            co_await leat::sleep_for(1ms);
            CHECK(strand.running_in_this_thread());
            // Where it is already.
            co_await leat::this_task::resume_on(asio::any_io_executor{strand});
            co_await leat::this_task::resume_on(leats_own.get_executor());
            CHECK(leat::this_task::executor() == leats_own.get_executor());
            co_await leat::this_task::resume_on(asio::any_io_executor{leats_own.get_executor()});
            CHECK(leat::this_task::executor() == leats_own.get_executor());
            auto hop = co_await leat::as_result(leat::this_task::resume_on(pool.get_executor()));
            CHECK(hop);
            CHECK_FALSE(strand.running_in_this_thread());
            co_await leat::this_task::resume_on(io.get_executor());
            CHECK(leat::this_task::executor() == first);
            CHECK(std::this_thread::get_id() == home);
            co_await leat::this_task::resume_on(strand);
        };
        leat::spawn(io, body, [&](std::exception_ptr thrown) {
            CHECK(what_of(thrown) == "nothing");
            ended = true;
        });
        // Nothing but the handler's work keeps it going while the task is away.
        io.run();
        CHECK(ended);
        pool.join();
    }

    TEST_CASE("many strands, one after the other and at once, leave nothing behind")
    {
        asio::io_context io;
        auto guard = asio::make_work_guard(io);
        std::atomic<int> ended{0};
        const int count = test::rounds(2000);
        for (int i = 0; i < count; ++i) {
            leat::spawn(
                asio::make_strand(io),
                [&]() -> leat::task<> {
                    auto child = leat::spawn(answer(1));
                    static_cast<void>(co_await child);
                    if (ended % 16 == 0)
                        co_await leat::sleep_for(100us);
                    ++ended;
                },
                asio::detached);
            if (i % 100 == 0)
                io.poll();
        }
        guard.reset();
        run_on(io, 2);
        CHECK(ended == count);
    }
}

TEST_SUITE("embed threads")
{
    TEST_CASE("on an io_context of many threads the turns of one task never overlap, and no wake-up is lost")
    {
        asio::io_context io;
        const int count = test::rounds(20000);
        constexpr int pairs = 8;
        std::atomic<int> overlaps{0};
        std::atomic<long> received{0};
        struct guard {
            explicit guard(std::atomic<int>& o, std::atomic<bool>& i) : overlaps{o}, inside{i}
            {
                if (inside.exchange(true))
                    ++overlaps;
            }
            ~guard()
            {
                inside = false;
            }
            std::atomic<int>& overlaps;
            std::atomic<bool>& inside;
        };
        for (int p = 0; p < pairs; ++p) {
            leat::channel<int> ch{p % 3};
            auto sender = [&, ch]() -> leat::task<> {
                std::atomic<bool> inside{false};
                for (int i = 0; i < count / pairs; ++i) {
                    {
                        const guard g{overlaps, inside};
                    }
                    co_await ch.send(1);
                }
                ch.close();
            };
            auto receiver = [&, ch]() -> leat::task<> {
                std::atomic<bool> inside{false};
                for (bool open = true; open;) {
                    {
                        const guard g{overlaps, inside};
                    }
                    const auto got = co_await ch.recv();
                    open = got.has_value();
                    received += open;
                }
            };
            leat::spawn(io, sender, asio::detached);
            leat::spawn(io, receiver, asio::detached);
        }
        run_on(io, 4);
        CHECK(overlaps == 0);
        CHECK(received == count / pairs * pairs);
    }

    TEST_CASE("a strand keeps its tasks apart, and they run in order")
    {
        asio::thread_pool pool{4};
        auto strand = asio::make_strand(pool);
        const int count = test::rounds(2000);
        int unguarded = 0;
        std::vector<int> order;
        for (int i = 0; i < count; ++i)
            leat::spawn(
                strand,
                [&, i]() -> leat::task<> {
                    order.push_back(i);
                    ++unguarded;
                    co_await leat::this_task::yield();
                    ++unguarded;
                },
                asio::detached);
        pool.join();
        CHECK(unguarded == 2 * count);
        CHECK(std::is_sorted(order.begin(), order.end()));
    }

    TEST_CASE("timers, cancellation and children on many threads")
    {
        asio::io_context io;
        std::atomic<int> cancelled{0};
        const int rounds = test::rounds(400);
        leat::spawn(
            io,
            [&]() -> leat::task<> {
                for (int i = 0; i < rounds; ++i) {
                    auto [ctx, cancel] = leat::with_cancel();
                    std::vector<leat::join_handle<>> all;
                    for (int k = 0; k < 8; ++k)
                        all.push_back(leat::spawn(
                            [k]() -> leat::task<> { co_await leat::sleep_for(k % 2 == 0 ? 1h : 50us); },
                            {.context = ctx}));
                    co_await leat::this_task::yield();
                    cancel();
                    for (auto& each : all) {
                        const auto got = co_await leat::as_result(each);
                        cancelled += got.error() == leat::errc::cancelled;
                    }
                }
            },
            asio::detached);
        run_on(io, 3);
        CHECK(cancelled >= rounds * 4);
    }

    TEST_CASE("tasks are woken from threads that know nothing of leat")
    {
        asio::io_context io;
        const int count = test::rounds(10000);
        leat::channel<int> ch{4};
        long sum = 0;
        leat::spawn(
            io,
            [&]() -> leat::task<> {
                while (const auto got = co_await ch.recv())
                    sum += *got;
            },
            asio::detached);
        std::thread other{[&] {
            for (int i = 0; i < count; ++i)
                ch.blocking_send(1);
            ch.close();
        }};
        io.run();
        other.join();
        CHECK(sum == count);
    }
}

TEST_SUITE("embed cancellation")
{
    TEST_CASE("the token's slot cancels the task and what it has started")
    {
        asio::io_context io;
        asio::cancellation_signal signal;
        std::string outcome;
        bool child_cancelled = false;
        auto body = [&]() -> leat::task<> {
            auto child = leat::spawn([&]() -> leat::task<> {
                try {
                    co_await leat::sleep_for(1h);
                } catch (const leat::cancelled_error&) {
                    child_cancelled = true;
                    throw;
                }
            });
            co_await child;
        };
        leat::spawn(io, body, asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr thrown) {
                        outcome = what_of(thrown);
                    }));
        asio::post(io, [&] { asio::post(io, [&] { signal.emit(asio::cancellation_type::terminal); }); });
        io.run();
        CHECK(outcome != "nothing");
        CHECK(child_cancelled);
        // The operation is over: what is emitted now concerns nobody.
        CHECK_FALSE(signal.slot().has_handler());
        signal.emit(asio::cancellation_type::all);
    }

    TEST_CASE("an asio::awaitable that is cancelled cancels the task it waits for")
    {
        asio::io_context io;
        asio::cancellation_signal signal;
        bool cancelled = false;
        bool thrown = false;
        auto body = [&]() -> leat::task<> {
            try {
                co_await leat::sleep_for(1h);
            } catch (const leat::cancelled_error&) {
                cancelled = true;
                throw;
            }
        };
        auto coroutine = [&]() -> asio::awaitable<void> {
            try {
                co_await leat::spawn(asio::make_strand(io), body, asio::use_awaitable);
            } catch (const leat::cancelled_error&) {
                thrown = true;
            }
        };
        asio::co_spawn(io, coroutine, asio::bind_cancellation_slot(signal.slot(), asio::detached));
        asio::steady_timer timer{io, 2ms};
        timer.async_wait([&](std::error_code) { signal.emit(asio::cancellation_type::terminal); });
        io.run();
        CHECK(cancelled);
        CHECK(thrown);
    }

    TEST_CASE("a leat task that is cancelled cancels the one it has spawned elsewhere")
    {
        asio::io_context io;
        asio::thread_pool pool{1};
        bool cancelled = false;
        leat::spawn(
            io,
            [&]() -> leat::task<> {
                const auto got = co_await leat::as_result(
                    leat::timeout(2ms, leat::spawn(pool, wait_for_ever(), use_task)));
                cancelled = got.error() == leat::errc::deadline_exceeded;
            },
            asio::detached);
        io.run();
        CHECK(cancelled);
        pool.join();
    }

    TEST_CASE("a signal that races with the end of the task is one or the other")
    {
        asio::io_context io;
        const int rounds = test::rounds(2000);
        int done = 0;
        int cancelled = 0;
        asio::thread_pool elsewhere{2};
        std::function<void(int)> next = [&](int left) {
            if (left == 0)
                return;
            auto strand = asio::make_strand(io);
            auto signal = std::make_shared<asio::cancellation_signal>();
            leat::spawn(elsewhere, answer(left),
                        asio::bind_cancellation_slot(
                            signal->slot(),
                            asio::bind_executor(strand, [&, signal, left](std::exception_ptr e, int v) {
                                ++(e ? cancelled : done);
                                CHECK((e || v == left));
                                asio::post(io, [&, left] { next(left - 1); });
                            })));
            asio::post(strand, [signal] { signal->emit(asio::cancellation_type::terminal); });
        };
        next(rounds);
        auto guard = asio::make_work_guard(io);
        asio::post(io, [&] { guard.reset(); });
        run_on(io, 2);
        CHECK(done + cancelled == rounds);
        elsewhere.join();
    }
}

TEST_SUITE("embed ends")
{
    TEST_CASE("a context that is never run leaks nothing")
    {
        std::atomic<int> frames{0};
        bool called = false;
        {
            asio::io_context io;
            auto body = [](witness) -> leat::task<> { co_return; };
            leat::spawn(io, body(witness{frames}),
                        [&, w = std::make_shared<witness>(frames)](std::exception_ptr) { called = true; });
            leat::spawn(asio::make_strand(io), body(witness{frames}), asio::detached);
            CHECK(frames == 3);
        }
        CHECK(frames == 0);
        CHECK_FALSE(called);
    }

    TEST_CASE(
        "a context that is destroyed destroys the frames of its tasks, innermost first, and their children before")
    {
        std::vector<std::string> order;
        struct noted {
            noted(std::vector<std::string>& to, std::string n) : into{&to}, name{std::move(n)}
            {
            }
            noted(const noted&) = delete;
            ~noted()
            {
                into->push_back(name);
            }
            std::vector<std::string>* into;
            std::string name;
        };
        leat::channel<int> outlives;
        {
            asio::io_context io;
            auto inner = [&]() -> leat::task<> {
                noted n{order, "inner"};
                static_cast<void>(co_await outlives.recv());
            };
            auto outer = [&]() -> leat::task<> {
                noted n{order, "outer"};
                co_await leat::with_group([&](leat::task_group& all) -> leat::task<> {
                    co_await all.spawn([&]() -> leat::task<> {
                        noted c{order, "child"};
                        co_await leat::sleep_for(1h);
                    });
                    co_await inner();
                });
            };
            leat::spawn(io, outer, asio::detached);
            io.poll();
            CHECK(order.empty());
        }
        CHECK(order == std::vector<std::string>{"child", "inner", "outer"});
        CHECK_FALSE(outlives.try_send(1));
    }

    TEST_CASE("suspended in everything there is, with partners elsewhere, when the context goes")
    {
        std::atomic<int> frames{0};
        leat::channel<int> shared;
        leat::runtime pool;
        auto [ctx, cancel] = leat::with_cancel(leat::background());
        {
            asio::io_context io;
            asio::steady_timer timer{io, 1h};
            asio::local::stream_protocol::socket near{io};
            asio::local::stream_protocol::socket far{io};
            asio::local::connect_pair(near, far);
            std::array<char, 4> data;
            const auto start = [&](auto make) {
                leat::spawn(
                    io,
                    [&, make]() -> leat::task<> {
                        const witness here{frames};
                        co_await make();
                    },
                    asio::detached);
            };
            start([&]() -> leat::task<> { static_cast<void>(co_await shared.recv()); });
            start([&]() -> leat::task<> { co_await leat::sleep_for(1h); });
            start([&]() -> leat::task<> { co_await timer.async_wait(use_task); });
            start([&]() -> leat::task<> {
                static_cast<void>(co_await near.async_read_some(asio::buffer(data), use_task));
            });
            start([&]() -> leat::task<> {
                asio::local::stream_protocol::socket mine{io};
                asio::local::stream_protocol::socket other{io};
                asio::local::connect_pair(mine, other);
                co_await mine.async_wait(asio::socket_base::wait_read, use_task);
            });
            start([&, &c = ctx]() -> leat::task<> { co_await c.done(); });
            start([&]() -> leat::task<> {
                static_cast<void>(co_await leat::select(leat::on(shared.recv(), [](auto) {}),
                                                        leat::on(leat::after(1h), [] {})));
            });
            start([&]() -> leat::task<> {
                co_await leat::spawn(asio::make_strand(io), wait_for_ever(), use_task);
            });
            start(
                [&]() -> leat::task<> { co_await leat::with_context(leat::background(), wait_for_ever()); });
            io.poll();
            CHECK(frames >= 8);
        }
        CHECK(frames == 0);
        // Whoever is left can go on using what they shared.
        auto body = [&]() -> leat::task<int> {
            auto sender = leat::spawn([&]() -> leat::task<> { co_await shared.send(3); });
            const auto got = co_await shared.recv();
            co_return *got;
        };
        CHECK(pool.block_on(body()) == 3);
    }

    TEST_CASE("stop() leaves tasks as they are, and restart() goes on with them")
    {
        asio::io_context io;
        int steps = 0;
        leat::spawn(
            io,
            [&]() -> leat::task<> {
                ++steps;
                io.stop();
                co_await leat::this_task::yield();
                co_await leat::sleep_for(1ms);
                ++steps;
            },
            asio::detached);
        io.run();
        CHECK(steps == 1);
        io.restart();
        io.run();
        CHECK(steps == 2);
    }

    TEST_CASE("a thread_pool that is stopped destroys what is left")
    {
        std::atomic<int> frames{0};
        {
            asio::thread_pool pool{2};
            std::promise<void> up;
            leat::spawn(
                pool,
                [&]() -> leat::task<> {
                    const witness here{frames};
                    up.set_value();
                    co_await leat::sleep_for(1h);
                },
                asio::detached);
            up.get_future().get();
            pool.stop();
        }
        CHECK(frames == 0);
    }

    TEST_CASE("a context that goes while others wake its tasks")
    {
        const int rounds = test::rounds(400);
        for (int i = 0; i < rounds; ++i) {
            leat::channel<int> ch;
            std::atomic<int> frames{0};
            std::optional<asio::io_context> io{std::in_place};
            for (int k = 0; k < 4; ++k)
                leat::spawn(
                    *io,
                    [&]() -> leat::task<> {
                        const witness here{frames};
                        while (const auto got = co_await ch.recv()) {}
                    },
                    asio::detached);
            io->poll();
            std::thread other{[&] {
                for (int k = 0; k < 8; ++k)
                    static_cast<void>(ch.try_send(1));
            }};
            io.reset();
            CHECK(frames == 0);
            other.join();
        }
    }

    TEST_CASE("a handle outlives the context")
    {
        leat::join_handle<int> handle;
        {
            asio::io_context io;
            leat::spawn(
                asio::make_strand(io),
                [&]() -> leat::task<> {
                    handle = leat::spawn([]() -> leat::task<int> {
                        co_await leat::sleep_for(1h);
                        co_return 1;
                    });
                    co_return;
                },
                asio::detached);
            io.poll();
        }
        CHECK(handle.done());
        handle.cancel();
        leat::runtime pool;
        auto body = [&]() -> leat::task<std::error_code> {
            const auto got = co_await leat::as_result(handle);
            co_return got.error();
        };
        CHECK(pool.block_on(body()) == leat::errc::abandoned);
    }

    TEST_CASE("a blocking call that has begun is waited for")
    {
        std::atomic<bool> begun{false};
        std::atomic<bool> ended{false};
        {
            asio::io_context io;
            leat::spawn(
                io,
                [&]() -> leat::task<> {
                    auto slow = [&] {
                        begun = true;
                        std::this_thread::sleep_for(5ms);
                        ended = true;
                    };
                    co_await leat::blocking(slow);
                },
                asio::detached);
            io.poll();
            while (!begun)
                std::this_thread::yield();
        }
        CHECK(ended);
    }
}
