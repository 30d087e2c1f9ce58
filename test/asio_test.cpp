// The pool as an executor of Asio's, and Asio's operations awaited in tasks. Sockets and threads are real here, so
// nothing depends on how long something takes: where time passes, it only has to pass.
#include <leat/asio/executor.hpp>
#include <leat/asio/use_task.hpp>
#include <leat/leat.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/bind_executor.hpp>
#include <asio/co_spawn.hpp>
#include <asio/defer.hpp>
#include <asio/detached.hpp>
#include <asio/dispatch.hpp>
#include <asio/executor_work_guard.hpp>
#if __has_include(<asio/as_tuple.hpp>)
#include <asio/as_tuple.hpp>
namespace with_tuple = asio;
#else
#include <asio/experimental/as_tuple.hpp>
namespace with_tuple = asio::experimental;
#endif
#include <asio/ip/tcp.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/read.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include "support/rounds.hpp"
#include "support/scale.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using asio::ip::tcp;
using leat::use_task;

[[gnu::noinline]] std::thread::id this_thread() noexcept
{
    asm volatile("");
    return std::this_thread::get_id();
}

leat::runtime_options one_worker()
{
    leat::runtime_options options;
    options.workers = 1;
    return options;
}

leat::runtime_options two_workers()
{
    leat::runtime_options options;
    options.workers = 2;
    return options;
}

tcp::endpoint loopback()
{
    return {asio::ip::address_v4::loopback(), 0};
}

struct socket_pair {
    explicit socket_pair(const asio::any_io_executor& on) : near{on}, far{on}
    {
        asio::local::connect_pair(near, far);
    }
    asio::local::stream_protocol::socket near;
    asio::local::stream_protocol::socket far;
};

/// An operation that ends when the test says so, with the signature void(error_code, int).
class manual {
public:
    struct pending {
        virtual ~pending() = default;
        virtual void complete(std::error_code why, int value) = 0;
    };

    explicit manual(asio::any_io_executor on) : on_{std::move(on)}
    {
    }
    /// What is done when the operation is started, and when it is told to end.
    std::function<void(manual&)> on_start = [](manual&) {};
    std::function<void(manual&)> on_cancel = [](manual& self) {
        self.complete(asio::error::operation_aborted);
    };

    std::atomic<int> started{0};
    std::atomic<int> cancelled{0};

    template <class Token>
    auto async_wait(Token&& token)
    {
        return asio::async_initiate<Token, void(std::error_code, int)>(
            [this](auto handler) {
                using handler_type = decltype(handler);
                struct holder final : pending {
                    explicit holder(handler_type&& h) : held{std::move(h)}
                    {
                    }
                    void complete(std::error_code why, int value) override
                    {
                        std::move(held)(why, value);
                    }
                    handler_type held;
                };
                // As operations do, to learn where to run.
                static_cast<void>(asio::get_associated_executor(handler, on_));
                auto slot = asio::get_associated_cancellation_slot(handler);
                {
                    const std::lock_guard hold{mutex_};
                    pending_ = std::make_unique<holder>(std::move(handler));
                }
                if (slot.is_connected())
                    slot.assign([this](asio::cancellation_type type) {
                        CHECK(type == asio::cancellation_type::terminal);
                        ++cancelled;
                        on_cancel(*this);
                    });
                ++started;
                on_start(*this);
            },
            token);
    }

    /// False if there was nothing to complete.
    bool complete(std::error_code why, int value = 0)
    {
        std::unique_ptr<pending> ended = take();
        if (!ended)
            return false;
        ended->complete(why, value);
        return true;
    }
    std::unique_ptr<pending> take()
    {
        const std::lock_guard hold{mutex_};
        return std::move(pending_);
    }
    const asio::any_io_executor& executor() const
    {
        return on_;
    }

private:
    asio::any_io_executor on_;
    std::mutex mutex_;
    std::unique_ptr<pending> pending_;
};

/// An io_context with a thread of its own.
class foreign {
public:
    explicit foreign(int threads = 1)
    {
        for (int i = 0; i < threads; ++i)
            threads_.emplace_back([this] { io.run(); });
    }
    ~foreign()
    {
        guard_.reset();
        io.stop();
        for (std::thread& each : threads_)
            each.join();
    }
    std::thread::id thread() const
    {
        return threads_.front().get_id();
    }
    asio::io_context io;

private:
    asio::executor_work_guard<asio::io_context::executor_type> guard_{io.get_executor()};
    std::vector<std::thread> threads_;
};

void wait_until(const std::atomic<int>& counter, int value)
{
    while (counter.load() < value)
        std::this_thread::yield();
}

template <class F>
std::error_code code_of(F&& f)
{
    try {
        f();
    } catch (const std::system_error& e) {
        return e.code();
    }
    return {};
}

}  // namespace

// ---- What Asio itself asks of an executor --------------------------------------------------------

static_assert(asio::execution::is_executor<leat::executor>::value);
static_assert(asio::can_query<leat::executor, asio::execution::context_t>::value);
static_assert(
    std::is_same_v<decltype(asio::query(std::declval<const leat::executor&>(), asio::execution::context)),
                   asio::execution_context&>);
static_assert(
    asio::can_query<leat::executor, asio::execution::context_as_t<asio::execution_context&>>::value);
static_assert(asio::can_query<leat::executor, asio::execution::mapping_t>::value);
static_assert(asio::can_query<leat::executor, asio::execution::blocking_t>::value);
static_assert(asio::can_query<leat::executor, asio::execution::relationship_t>::value);
static_assert(asio::can_query<leat::executor, asio::execution::outstanding_work_t>::value);
static_assert(asio::can_query<leat::executor, asio::execution::allocator_t<void>>::value);
static_assert(asio::can_require<leat::executor, asio::execution::blocking_t::never_t>::value);
static_assert(asio::can_require<leat::executor, asio::execution::blocking_t::possibly_t>::value);
static_assert(asio::can_require<leat::executor, asio::execution::allocator_t<std::allocator<int>>>::value);
static_assert(!asio::can_require<leat::executor, asio::execution::blocking_t::always_t>::value);
static_assert(asio::can_prefer<leat::executor, asio::execution::outstanding_work_t::tracked_t>::value);
static_assert(asio::can_prefer<leat::executor, asio::execution::outstanding_work_t::untracked_t>::value);
static_assert(asio::can_prefer<leat::executor, asio::execution::relationship_t::fork_t>::value);
static_assert(asio::can_prefer<leat::executor, asio::execution::relationship_t::continuation_t>::value);
static_assert(std::is_convertible_v<leat::executor, asio::any_io_executor>);
static_assert(asio::execution::is_executor<asio::strand<leat::executor>>::value);
static_assert(std::is_nothrow_copy_constructible_v<leat::executor>);

TEST_SUITE("asio executor")
{
    TEST_CASE("functions that are posted, dispatched and deferred run on a worker, outside of every task")
    {
        leat::runtime pool{one_worker()};
        const auto ex = pool.get_executor();
        const auto worker = pool.block_on([]() -> leat::task<std::thread::id> { co_return this_thread(); });
        std::promise<std::thread::id> posted;
        std::promise<std::thread::id> dispatched;
        std::promise<std::thread::id> deferred;
        std::promise<bool> in_task;
        asio::post(ex, [&] { posted.set_value(this_thread()); });
        asio::dispatch(ex, [&] { dispatched.set_value(this_thread()); });
        asio::defer(ex, [&] { deferred.set_value(this_thread()); });
        asio::post(ex, [&] { in_task.set_value(leat::this_task::running()); });
        CHECK(posted.get_future().get() == worker);
        CHECK(dispatched.get_future().get() == worker);
        CHECK(deferred.get_future().get() == worker);
        CHECK_FALSE(in_task.get_future().get());
    }

    TEST_CASE("dispatch in a handler of the pool runs at once, post does not")
    {
        leat::runtime pool{two_workers()};
        const auto ex = pool.get_executor();
        std::promise<std::string> order;
        asio::post(ex, [&, ex] {
            auto text = std::make_shared<std::string>();
            asio::post(ex, [&, text] { order.set_value(*text + "c"); });
            asio::dispatch(ex, [text] { *text += "a"; });
            *text += "b";
        });
        CHECK(order.get_future().get() == "abc");
    }

    TEST_CASE("the executor answers what Asio asks")
    {
        leat::runtime pool{one_worker()};
        leat::runtime other{one_worker()};
        const auto ex = pool.get_executor();
        asio::execution_context& context = asio::query(ex, asio::execution::context);
        const asio::any_io_executor any = ex;
        CHECK(&any.context() == &context);
        CHECK(any == asio::any_io_executor{pool.get_executor()});
        CHECK(any != asio::any_io_executor{other.get_executor()});
        CHECK(any.target<leat::executor>() != nullptr);
        CHECK(asio::query(ex, asio::execution::blocking) == asio::execution::blocking.possibly);
        CHECK(asio::query(asio::require(ex, asio::execution::blocking.never), asio::execution::blocking) ==
              asio::execution::blocking.never);
        CHECK(asio::query(asio::prefer(ex, asio::execution::outstanding_work.tracked),
                          asio::execution::outstanding_work) == asio::execution::outstanding_work.tracked);
        CHECK(asio::query(ex, asio::execution::mapping) == asio::execution::mapping.thread);
    }

    TEST_CASE("a simulated world has no I/O, and says so")
    {
        leat::sim::world world;
        auto body = []() -> leat::task<> {
            CHECK_THROWS_AS(asio::steady_timer{leat::this_task::executor()}, leat::usage_error);
            co_return;
        };
        world.run(body());
    }

    TEST_CASE("strands keep mutual exclusion and order")
    {
        leat::runtime pool{two_workers()};
        auto strand = asio::make_strand(pool.get_executor());
        constexpr int count = 1000;
        int unguarded = 0;
        std::promise<void> done;
        for (int i = 0; i < count; ++i)
            asio::post(strand, [&, i] {
                if (i != unguarded)
                    FAIL_CHECK("out of order");
                if (++unguarded == count)
                    done.set_value();
            });
        done.get_future().get();
        CHECK(unguarded == count);
    }

    TEST_CASE("coroutines of Asio's run on it")
    {
        leat::runtime pool{two_workers()};
        const auto ex = pool.get_executor();
        auto body = [](int n) -> asio::awaitable<int> {
            asio::steady_timer t{co_await asio::this_coro::executor, 1ms};
            co_await t.async_wait(asio::use_awaitable);
            co_return n + 1;
        };
        CHECK(asio::co_spawn(ex, body(41), asio::use_future).get() == 42);
        // Awaited in a task as any other operation.
        auto task = [&]() -> leat::task<int> {
            const int n = co_await asio::co_spawn(ex, body(1), use_task);
            co_return n;
        };
        CHECK(pool.block_on(task()) == 2);
    }

    TEST_CASE("a handler that goes on posting itself starves neither tasks nor their timers")
    {
        leat::runtime pool{one_worker()};
        const auto ex = pool.get_executor();
        std::atomic<bool> enough{false};
        std::atomic<int> posted{0};
        std::function<void()> again = [&] {
            ++posted;
            if (!enough)
                asio::post(ex, again);
        };
        asio::post(ex, again);
        auto body = []() -> leat::task<> {
            for (int i = 0; i < 100; ++i)
                co_await leat::this_task::yield();
            co_await leat::sleep_for(1ms);
        };
        pool.block_on(body());
        enough = true;
        CHECK(posted > 0);
        std::promise<void> drained;
        asio::post(ex, [&] { drained.set_value(); });
        drained.get_future().get();
    }

    TEST_CASE("what was posted and never ran is destroyed with the pool")
    {
        auto counted = std::make_shared<int>(0);
        {
            leat::runtime pool{one_worker()};
            const auto ex = pool.get_executor();
            auto timer = std::make_shared<asio::steady_timer>(ex, 1h);
            timer->async_wait([timer, counted](std::error_code) {});
        }
        CHECK(counted.use_count() == 1);
    }
}

TEST_SUITE("asio use_task")
{
    TEST_CASE("a value, none, several, without an error, and with an exception")
    {
        leat::runtime pool{one_worker()};
        const auto ex = pool.get_executor();
        const auto start = []<class Signature>(std::type_identity<Signature>, auto... values) {
            return asio::async_initiate<const leat::use_task_t, Signature>(
                [](auto handler, auto... given) { std::move(handler)(std::move(given)...); }, use_task,
                std::move(values)...);
        };
        auto body = [&]() -> leat::task<> {
            asio::steady_timer t{ex, 0ms};
            static_assert(std::is_void_v<decltype(t.async_wait(use_task))::value_type>);
            co_await t.async_wait(use_task);
            co_await asio::post(ex, use_task);

            manual op{ex};
            op.on_start = [](manual& self) { self.complete({}, 7); };
            const int seven = co_await op.async_wait(use_task);
            CHECK(seven == 7);

            using several = void(std::error_code, std::string, std::unique_ptr<int>);
            auto [text, number] = co_await start(std::type_identity<several>{}, std::error_code{},
                                                 std::string{"x"}, std::make_unique<int>(3));
            CHECK(text == "x");
            CHECK(*number == 3);

            const int plain = co_await start(std::type_identity<void(int)>{}, 5);
            CHECK(plain == 5);
            const auto two = co_await start(std::type_identity<void(int, long)>{}, 5, 6L);
            CHECK(two == std::tuple{5, 6L});

            const auto thrown = std::make_exception_ptr(std::out_of_range{"far"});
            using may_throw = void(std::exception_ptr, int);
            bool caught = false;
            try {
                co_await start(std::type_identity<may_throw>{}, thrown, 1);
            } catch (const std::out_of_range&) {
                caught = true;
            }
            CHECK(caught);
            const int good = co_await start(std::type_identity<may_throw>{}, std::exception_ptr{}, 2);
            CHECK(good == 2);
        };
        pool.block_on(body());
    }

    TEST_CASE("a failure is thrown with Asio's code, or is the error of a result")
    {
        leat::runtime pool{one_worker()};
        const auto ex = pool.get_executor();
        auto body = [&]() -> leat::task<> {
            tcp::acceptor closed_soon{ex, loopback()};
            const tcp::endpoint nobody = closed_soon.local_endpoint();
            closed_soon.close();
            tcp::socket socket{ex};
            std::error_code why;
            try {
                co_await socket.async_connect(nobody, use_task);
            } catch (const std::system_error& e) {
                why = e.code();
            }
            CHECK(why == asio::error::connection_refused);
            tcp::socket second{ex};
            const leat::result<> got = co_await leat::as_result(second.async_connect(nobody, use_task));
            CHECK(got.error() == asio::error::connection_refused);

            manual op{ex};
            op.on_start = [](manual& self) { self.complete({}, 9); };
            leat::result<int> nine = co_await leat::as_result(op.async_wait(use_task));
            CHECK(nine.value() == 9);
        };
        pool.block_on(body());
    }

    TEST_CASE("as_tuple around it gives the error as a value")
    {
        leat::runtime pool{one_worker()};
        auto body = [&]() -> leat::task<> {
            manual op{pool.get_executor()};
            op.on_start = [](manual& self) { self.complete(asio::error::eof, 9); };
            auto [why, value] = co_await op.async_wait(with_tuple::as_tuple(use_task));
            CHECK(why == asio::error::eof);
            CHECK(value == 9);
        };
        pool.block_on(body());
    }

    TEST_CASE("it can be the default token of an object")
    {
        leat::runtime pool{one_worker()};
        auto body = [&]() -> leat::task<> {
            using timer = leat::use_task_t::as_default_on_t<asio::steady_timer>;
            timer t{pool.get_executor(), 0ms};
            co_await t.async_wait();
            auto socket = leat::use_task_t::as_default_on(tcp::socket{pool.get_executor()});
            using type = decltype(socket);
            static_assert(
                std::is_same_v<type::executor_type::default_completion_token_type, leat::use_task_t>);
        };
        pool.block_on(body());
    }

    TEST_CASE("nothing happens before the await")
    {
        leat::runtime pool{one_worker()};
        auto body = [&]() -> leat::task<> {
            manual op{pool.get_executor()};
            op.on_start = [](manual& self) { self.complete({}, 1); };
            auto lazy = op.async_wait(use_task);
            CHECK(op.started == 0);
            co_await leat::this_task::yield();
            CHECK(op.started == 0);
            const int one = co_await std::move(lazy);
            CHECK(one == 1);
            CHECK(op.started == 1);
        };
        pool.block_on(body());
    }

    TEST_CASE("what the initiation throws is thrown by the await")
    {
        leat::runtime pool{one_worker()};
        auto body = [&]() -> leat::task<> {
            manual op{pool.get_executor()};
            op.on_start = [](manual&) { throw std::out_of_range{"no"}; };
            bool caught = false;
            try {
                co_await op.async_wait(use_task);
            } catch (const std::out_of_range&) {
                caught = true;
            }
            CHECK(caught);
            CHECK(op.take() != nullptr);
            co_await leat::sleep_for(0ms);
        };
        pool.block_on(body());
    }

    TEST_CASE("completions inside the initiation do not keep others from running")
    {
        leat::runtime pool{one_worker()};
        auto body = [&]() -> leat::task<> {
            bool other_ran = false;
            auto other = leat::spawn([&] { other_ran = true; });
            manual op{pool.get_executor()};
            op.on_start = [](manual& self) { self.complete({}, 1); };
            int sum = 0;
            for (int i = 0; i < 100000; ++i)
                sum += co_await op.async_wait(use_task);
            CHECK(sum == 100000);
            CHECK(other_ran);
            co_await other;
        };
        pool.block_on(body());
    }

    TEST_CASE("a completion on another thread before the initiation returns is not lost")
    {
        leat::runtime pool{two_workers()};
        auto body = [&]() -> leat::task<> {
            manual op{pool.get_executor()};
            op.on_start = [](manual& self) { std::thread{[&] { self.complete({}, 4); }}.join(); };
            const int four = co_await op.async_wait(use_task);
            CHECK(four == 4);
        };
        pool.block_on(body());
    }

    TEST_CASE("the task resumes on its own executor, wherever the operation runs")
    {
        foreign elsewhere;
        leat::runtime pool{one_worker()};
        auto body = [&]() -> leat::task<> {
            const auto worker = this_thread();
            std::thread::id handled{};
            manual op{elsewhere.io.get_executor()};
            op.on_start = [&](manual& self) {
                asio::post(elsewhere.io, [&] {
                    handled = this_thread();
                    self.complete({}, 1);
                });
            };
            co_await op.async_wait(use_task);
            CHECK(handled == elsewhere.thread());
            CHECK(this_thread() == worker);
            CHECK(leat::this_task::executor() == pool.get_executor());

            op.on_start = [&](manual& self) {
                asio::post(elsewhere.io, [&] { self.complete(asio::error::eof); });
            };
            static_cast<void>(co_await leat::as_result(op.async_wait(use_task)));
            CHECK(this_thread() == worker);

            asio::steady_timer t{elsewhere.io, 1h};
            auto cancelled = co_await leat::as_result(leat::timeout(1ms, t.async_wait(use_task)));
            CHECK(cancelled.error() == leat::errc::deadline_exceeded);
            CHECK(this_thread() == worker);
        };
        pool.block_on(body());
    }

    TEST_CASE("completion and resumption need no thread hop, and no second turn")
    {
        leat::runtime pool{one_worker()};
        auto body = [&]() -> leat::task<> {
            socket_pair pair{pool.get_executor()};
            std::thread::id handler{};
            const auto worker = this_thread();
            char c = 0;
            asio::post(pool.get_executor(), [&] {
                handler = this_thread();
                asio::write(pair.far, asio::buffer("x", 1));
            });
            const std::uint64_t before = pool.metrics().turns;
            const std::size_t n = co_await pair.near.async_read_some(asio::buffer(&c, 1), use_task);
            CHECK(pool.metrics().turns == before + 1);
            CHECK(n == 1);
            CHECK(handler == worker);
            CHECK(this_thread() == worker);
        };
        pool.block_on(body());
    }

    TEST_CASE("an echo over TCP")
    {
        for (const auto& options : {one_worker(), two_workers()}) {
            leat::runtime pool{options};
            const auto ex = pool.get_executor();
            auto session = [](tcp::socket peer) -> leat::task<> {
                std::array<char, 512> data;
                for (;;) {
                    auto got = co_await leat::as_result(peer.async_read_some(asio::buffer(data), use_task));
                    if (!got)
                        break;
                    co_await asio::async_write(peer, asio::buffer(data.data(), *got), use_task);
                }
            };
            auto body = [&]() -> leat::task<> {
                tcp::acceptor acceptor{ex, loopback()};
                constexpr int clients = 8;
                co_await leat::with_group([&](leat::task_group& all) -> leat::task<> {
                    co_await all.spawn([&]() -> leat::task<> {
                        for (int i = 0; i < clients; ++i) {
                            tcp::socket peer = co_await acceptor.async_accept(use_task);
                            co_await all.spawn(session(std::move(peer)));
                        }
                    });
                    for (int i = 0; i < clients; ++i)
                        co_await all.spawn([&, i]() -> leat::task<> {
                            tcp::socket socket{ex};
                            co_await socket.async_connect(acceptor.local_endpoint(), use_task);
                            const std::string sent(10000, static_cast<char>('a' + i));
                            std::string back(sent.size(), ' ');
                            for (int round = 0; round < 20; ++round) {
                                co_await asio::async_write(socket, asio::buffer(sent), use_task);
                                const std::size_t n =
                                    co_await asio::async_read(socket, asio::buffer(back), use_task);
                                CHECK(n == sent.size());
                                CHECK(back == sent);
                            }
                        });
                });
            };
            pool.block_on(body());
        }
    }

    TEST_CASE("two tasks that play ping-pong on one worker do not starve a socket")
    {
        leat::runtime pool{one_worker()};
        const auto ex = pool.get_executor();
        auto body = [&]() -> leat::task<> {
            socket_pair pair{ex};
            leat::channel<int> there;
            leat::channel<int> back;
            bool over = false;
            co_await leat::with_group([&](leat::task_group& all) -> leat::task<> {
                co_await all.spawn([&]() -> leat::task<> {
                    while (auto ball = co_await there.recv())
                        co_await back.send(*ball + 1);
                    back.close();
                });
                co_await all.spawn([&]() -> leat::task<> {
                    int ball = 0;
                    while (!over) {
                        co_await there.send(ball);
                        ball = (co_await back.recv()).value();
                    }
                    there.close();
                });
                co_await all.spawn([&]() -> leat::task<> {
                    char c = 0;
                    for (int i = 0; i < 100; ++i)
                        co_await asio::async_read(pair.near, asio::buffer(&c, 1), use_task);
                    over = true;
                });
                co_await all.spawn([&]() -> leat::task<> {
                    for (int i = 0; i < 100; ++i)
                        co_await asio::async_write(pair.far, asio::buffer("x", 1), use_task);
                });
            });
            CHECK(over);
        };
        pool.block_on(body());
    }

    TEST_CASE(
        "I/O does not wait for the end of a long turn on the worker that waited for it, if others are idle")
    {
        for (const int workers : {2, 4}) {
            leat::runtime_options options;
            options.workers = workers;
            leat::runtime pool{options};
            const auto ex = pool.get_executor();
            const int missed = pool.block_on([&]() -> leat::task<int> {
                int late = 0;
                for (int round = 0; round < 10; ++round) {
                    std::atomic<bool> done{false};
                    auto other = leat::spawn([&]() -> leat::task<> {
                        asio::steady_timer later{ex, 10ms};
                        co_await later.async_wait(use_task);
                        done = true;
                    });
                    asio::steady_timer first{ex, 3ms};
                    co_await first.async_wait(use_task);
                    const auto deadline = std::chrono::steady_clock::now() + 20s;
                    while (!done && std::chrono::steady_clock::now() < deadline) {}
                    late += !done;
                    co_await other;
                }
                co_return late;
            });
            CHECK(missed == 0);
        }
    }

    TEST_CASE("a handler destroyed without being called ends the await with an error")
    {
        leat::runtime pool{one_worker()};
        auto body = [&]() -> leat::task<> {
            manual op{pool.get_executor()};
            // Inside the initiation, and later.
            op.on_start = [](manual& self) { self.take().reset(); };
            auto got = co_await leat::as_result(op.async_wait(use_task));
            CHECK(got.error() == leat::errc::abandoned);
            op.on_start = [&](manual& self) {
                asio::post(pool.get_executor(), [&] { self.take().reset(); });
            };
            std::error_code why;
            try {
                co_await op.async_wait(use_task);
            } catch (const std::system_error& e) {
                why = e.code();
            }
            CHECK(why == leat::errc::abandoned);
        };
        pool.block_on(body());
    }

    TEST_CASE("the end of a foreign io_context ends the awaits of its operations")
    {
        leat::runtime pool{two_workers()};
        auto io = std::make_unique<asio::io_context>();
        auto strand = std::make_unique<asio::strand<asio::io_context::executor_type>>(asio::make_strand(*io));
        // No local of a task may outlive the context.
        auto on_timer = [&]() -> leat::task<std::error_code> {
            auto timer = std::make_unique<asio::steady_timer>(*io, 1h);
            asio::steady_timer& t = *timer;
            asio::post(*io, [kept = std::move(timer)] {});
            auto got = co_await leat::as_result(t.async_wait(use_task));
            co_return got.error();
        };
        auto on_context = [&]() -> leat::task<std::error_code> {
            auto got = co_await leat::as_result(asio::post(*io, use_task));
            co_return got.error();
        };
        auto on_strand = [&]() -> leat::task<std::error_code> {
            auto got = co_await leat::as_result(asio::post(*strand, use_task));
            co_return got.error();
        };
        auto body = [&]() -> leat::task<std::vector<std::error_code>> {
            auto a = leat::spawn(on_timer());
            auto b = leat::spawn(on_context());
            auto c = leat::spawn(on_strand());
            std::vector<std::error_code> all;
            all.push_back(co_await a);
            all.push_back(co_await b);
            all.push_back(co_await c);
            co_return all;
        };
        auto ended = std::async(std::launch::async, [&] { return pool.block_on(body()); });
        // These three, and the one that joins them.
        const auto parked = [&] {
            const auto tasks = leat::inspect::tasks(pool.get_executor());
            return std::count_if(tasks.begin(), tasks.end(), [](const auto& task) { return task.parked; });
        };
        while (parked() != 4)
            std::this_thread::yield();
        strand.reset();
        io.reset();
        for (const std::error_code& why : ended.get())
            CHECK(why == leat::errc::abandoned);
    }
}

TEST_SUITE("asio cancellation")
{
    TEST_CASE("if the context has ended already, the operation is not started")
    {
        leat::runtime pool{one_worker()};
        auto body = [&]() -> leat::task<> {
            manual op{pool.get_executor()};
            auto [ctx, cancel] = leat::with_cancel();
            cancel();
            auto got = co_await leat::as_result(leat::with_context(ctx, op.async_wait(use_task)));
            CHECK(got.error() == leat::errc::cancelled);
            CHECK(op.started == 0);
            auto late = co_await leat::as_result(leat::timeout(-1s, op.async_wait(use_task)));
            CHECK(late.error() == leat::errc::deadline_exceeded);
            CHECK(op.started == 0);
        };
        pool.block_on(body());
    }

    TEST_CASE("the end of the context ends the operation, and is what is thrown")
    {
        leat::runtime pool{two_workers()};
        const auto ex = pool.get_executor();
        auto body = [&]() -> leat::task<> {
            socket_pair pair{ex};
            tcp::acceptor acceptor{ex, loopback()};
            asio::steady_timer timer{ex, 1h};
            std::array<char, 8> data;
            const auto expect = [](auto op) -> leat::task<> {
                auto kept = std::move(op);
                std::string what;
                try {
                    static_cast<void>(co_await leat::timeout(1ms, std::move(kept)));
                } catch (const leat::timed_out_error&) {
                    what = "timed out";
                } catch (const std::exception& e) {
                    what = e.what();
                }
                CHECK(what == "timed out");
            };
            co_await expect(timer.async_wait(use_task));
            co_await expect(pair.near.async_read_some(asio::buffer(data), use_task));
            co_await expect(asio::async_read(pair.near, asio::buffer(data), use_task));
            co_await expect(pair.near.async_wait(asio::socket_base::wait_read, use_task));
            auto accepted = co_await leat::as_result(leat::timeout(1ms, acceptor.async_accept(use_task)));
            CHECK(accepted.error() == leat::errc::deadline_exceeded);

            auto child = leat::spawn([&]() -> leat::task<> { co_await timer.async_wait(use_task); });
            co_await leat::sleep_for(1ms);
            child.cancel();
            bool cancelled = false;
            try {
                co_await child;
            } catch (const leat::cancelled_error&) {
                cancelled = true;
            }
            CHECK(cancelled);
            // Everything still works afterwards.
            asio::write(pair.far, asio::buffer("hello"));
            const std::size_t n = co_await pair.near.async_read_some(asio::buffer(data), use_task);
            CHECK(n == 6);
        };
        pool.block_on(body());
    }

    TEST_CASE("a cancel by Asio itself is Asio's error")
    {
        leat::runtime pool{one_worker()};
        auto body = [&]() -> leat::task<> {
            asio::steady_timer timer{pool.get_executor(), 1h};
            asio::post(pool.get_executor(), [&] { timer.cancel(); });
            auto got = co_await leat::as_result(timer.async_wait(use_task));
            CHECK(got.error() == asio::error::operation_aborted);
        };
        pool.block_on(body());
    }

    TEST_CASE("the await returns when the operation has ended, and a success counts")
    {
        leat::runtime pool{two_workers()};
        const auto ex = pool.get_executor();
        auto body = [&]() -> leat::task<> {
            manual op{ex};
            // On a busy machine the time may be up before the operation has been started.
            const auto too_late = [](manual& of) -> leat::task<leat::result<int>> {
                const int before = of.started;
                for (;;) {
                    auto got = co_await leat::as_result(leat::timeout(1ms, of.async_wait(use_task)));
                    if (of.started != before)
                        co_return got;
                }
            };
            std::atomic<bool> ended{false};
            op.on_cancel = [&](manual& self) {
                asio::post(ex, [&] {
                    ended = true;
                    self.complete({}, 11);
                });
            };
            auto got = co_await too_late(op);
            const int eleven = got.value();
            CHECK(ended);
            CHECK(eleven == 11);
            CHECK(op.cancelled == 1);
            // Completes inside the emission.
            op.on_cancel = [](manual& self) { self.complete({}, 12); };
            got = co_await too_late(op);
            const int twelve = got.value();
            CHECK(twelve == 12);
            // Fails in its own way, because it was cancelled or by chance: the context's end is what counts.
            op.on_cancel = [](manual& self) { self.complete(asio::error::eof); };
            got = co_await too_late(op);
            CHECK(got.error() == leat::errc::deadline_exceeded);
            // Destroys the handler.
            op.on_cancel = [](manual& self) { self.take().reset(); };
            got = co_await too_late(op);
            CHECK(got.error() == leat::errc::deadline_exceeded);
        };
        pool.block_on(body());
    }

    TEST_CASE("the signal is emitted on the operation's own executor")
    {
        foreign elsewhere{2};
        leat::runtime pool{two_workers()};
        auto strand = asio::make_strand(elsewhere.io);
        auto other = asio::make_strand(elsewhere.io);
        auto body = [&]() -> leat::task<> {
            std::atomic<bool> inside{false};
            manual op{strand};
            op.on_cancel = [&](manual& self) {
                inside = strand.running_in_this_thread();
                self.complete(asio::error::operation_aborted);
            };
            // On a busy machine the time may be up before the operation has been started.
            while (op.started == 0)
                static_cast<void>(co_await leat::as_result(leat::timeout(1ms, op.async_wait(use_task))));
            CHECK(inside);
            // One that is given with the token is the handler's, and so the operation's.
            inside = false;
            op.on_cancel = [&](manual& self) {
                inside = other.running_in_this_thread();
                self.complete(asio::error::operation_aborted);
            };
            while (op.started == 1) {
                auto bound = op.async_wait(asio::bind_executor(other, use_task));
                auto got = co_await leat::as_result(leat::timeout(1ms, std::move(bound)));
                CHECK(got.error() == leat::errc::deadline_exceeded);
            }
            CHECK(inside);
        };
        pool.block_on(body());
    }

    TEST_CASE("a cancellation that races with the completion loses nothing and doubles nothing")
    {
        foreign elsewhere{2};
        leat::runtime pool{two_workers()};
        const int rounds = test::rounds(10000);
        auto body = [&](asio::any_io_executor on) -> leat::task<> {
            int given = 0;
            int taken = 0;
            for (int i = 0; i < rounds; ++i) {
                manual op{on};
                std::atomic<int> completions{0};
                op.on_cancel = [&](manual& self) { self.complete(asio::error::operation_aborted); };
                op.on_start = [&](manual& self) {
                    asio::post(elsewhere.io, [&] {
                        if (self.complete({}, 1))
                            ++given;
                        ++completions;
                    });
                };
                auto [ctx, cancel] = leat::with_cancel();
                auto canceller = leat::spawn([&the_cancel = cancel] { the_cancel(); });
                auto got = co_await leat::as_result(leat::with_context(ctx, op.async_wait(use_task)));
                if (got)
                    taken += *got;
                else
                    CHECK(got.error() == leat::errc::cancelled);
                co_await canceller;
                // The operation refers to the locals: it may not have been started at all.
                while (completions < op.started)
                    co_await leat::this_task::yield();
            }
            MESSAGE("succeeded ", taken, " of ", rounds);
            CHECK(given == taken);
        };
        pool.block_on(body(pool.get_executor()));
        pool.block_on(body(asio::make_strand(elsewhere.io)));
    }

    TEST_CASE("bytes that arrive while a read is cancelled are not lost")
    {
        leat::runtime pool{two_workers()};
        const int total = test::rounds(10000);
        auto body = [&]() -> leat::task<> {
            socket_pair pair{pool.get_executor()};
            int received = 0;
            bool in_order = true;
            int cancelled = 0;
            co_await leat::with_group([&](leat::task_group& all) -> leat::task<> {
                co_await all.spawn([&]() -> leat::task<> {
                    for (int i = 0; i < total; ++i) {
                        const auto byte = static_cast<unsigned char>(i % 251);
                        co_await asio::async_write(pair.far, asio::buffer(&byte, 1), use_task);
                        if (i % 3 == 0)
                            co_await leat::this_task::yield();
                    }
                    pair.far.close();
                });
                for (bool open = true; open;) {
                    unsigned char byte = 0;
                    auto [ctx, cancel] = leat::with_cancel();
                    auto canceller = leat::spawn([&the_cancel = cancel] { the_cancel(); });
                    auto got = co_await leat::as_result(
                        leat::with_context(ctx, pair.near.async_read_some(asio::buffer(&byte, 1), use_task)));
                    co_await canceller;
                    if (got)
                        in_order = in_order && byte == static_cast<unsigned char>(received++ % 251);
                    else if (got.error() == leat::errc::cancelled)
                        ++cancelled;
                    else
                        open = false;
                    if (cancelled % 4 == 3)
                        co_await leat::this_task::yield();
                    // So that the end is seen, too.
                    if (received == total)
                        open = false;
                }
            });
            CHECK(received == total);
            CHECK(in_order);
            MESSAGE("cancelled ", cancelled, " reads of ", total, " bytes");
        };
        pool.block_on(body());
    }

    TEST_CASE("a million timer waits are cancelled")
    {
        leat::runtime pool{two_workers()};
        constexpr std::size_t batch = 1000;
        const std::size_t batches = static_cast<std::size_t>(test::rounds(1000000)) / batch / 4 + 1;
        auto wait = [&]() -> leat::task<> {
            asio::steady_timer timer{pool.get_executor(), 1h};
            co_await timer.async_wait(use_task);
        };
        auto body = [&]() -> leat::task<> {
            std::size_t ended = 0;
            for (std::size_t i = 0; i < batches; ++i) {
                auto [ctx, cancel] = leat::with_cancel();
                std::vector<leat::join_handle<>> all;
                for (std::size_t k = 0; k < batch; ++k)
                    all.push_back(leat::spawn(wait(), {.name = {}, .context = ctx}));
                co_await leat::this_task::yield();
                cancel();
                for (auto& each : all) {
                    auto got = co_await leat::as_result(each);
                    ended += got.error() == leat::errc::cancelled ? 1U : 0U;
                }
            }
            CHECK(ended == batches * batch);
        };
        pool.block_on(body());
    }
}

TEST_SUITE("asio and the runtime")
{
    TEST_CASE("a pending operation is no deadlock")
    {
        leat::runtime pool{one_worker()};
        auto body = [&]() -> leat::task<int> {
            leat::channel<int> ch;
            auto sender = leat::spawn([&]() -> leat::task<> {
                asio::steady_timer timer{pool.get_executor(), 100ms};
                co_await timer.async_wait(use_task);
                co_await ch.send(5);
            });
            const auto got = co_await ch.recv();
            co_await sender;
            co_return *got;
        };
        CHECK(pool.block_on(body()) == 5);
    }

    TEST_CASE("tracked work is no deadlock, and none is one")
    {
        leat::runtime pool{one_worker()};
        auto guard = asio::make_work_guard(pool.get_executor());
        std::atomic<bool> released{false};
        // Another thread of the process's would prevent the report by itself, so a timer ends the work.
        auto body = [&]() -> leat::task<> {
            asio::steady_timer timer{pool.get_executor(), 100ms};
            timer.async_wait([&](std::error_code) {
                released = true;
                guard.reset();
            });
            leat::channel<int> never;
            static_cast<void>(co_await never.recv());
        };
        CHECK(code_of([&] { pool.block_on(body()); }) == leat::errc::deadlock);
        CHECK(released);
    }

    TEST_CASE("when the last operation has ended, a deadlock is one")
    {
        leat::runtime pool{one_worker()};
        auto body = [&]() -> leat::task<> {
            leat::channel<int> never;
            asio::steady_timer timer{pool.get_executor(), 1ms};
            co_await timer.async_wait(use_task);
            static_cast<void>(co_await never.recv());
        };
        CHECK(code_of([&] { pool.block_on(body()); }) == leat::errc::deadlock);
    }

    TEST_CASE("the end of the runtime cancels what is pending")
    {
        std::atomic<int> cancelled{0};
        std::atomic<int> waiting{0};
        {
            leat::runtime pool{two_workers()};
            for (int i = 0; i < 100; ++i)
                pool.spawn([&]() -> leat::task<> {
                    asio::steady_timer timer{leat::this_task::executor(), 1h};
                    ++waiting;
                    try {
                        co_await timer.async_wait(use_task);
                    } catch (const leat::cancelled_error&) {
                        ++cancelled;
                    }
                });
            wait_until(waiting, 100);
        }
        CHECK(cancelled == 100);
    }

    TEST_CASE("an operation that ignores cancellation outlives its frame without harm")
    {
        foreign elsewhere;
        auto op = std::make_unique<manual>(elsewhere.io.get_executor());
        op->on_cancel = [](manual&) {};
        std::string stuck;
        auto kept = std::make_shared<int>(0);
        {
            leat::runtime_options options = one_worker();
            options.grace = 10ms;
            options.on_stuck = [&](const std::string& report) { stuck = report; };
            leat::runtime pool{options};
            auto body = [&](std::shared_ptr<int> local) -> leat::task<> {
                static_cast<void>(co_await op->async_wait(use_task));
                ++*local;
            };
            pool.spawn(body(kept));
            wait_until(op->started, 1);
            auto on_pool = [&](std::shared_ptr<int> local) -> leat::task<> {
                manual mine{leat::this_task::executor()};
                mine.on_cancel = [](manual&) {};
                static_cast<void>(co_await mine.async_wait(use_task));
                ++*local;
            };
            pool.spawn(on_pool(kept));
        }
#if LEAT_REGISTRY
        CHECK(stuck.find("operation of Asio") != std::string::npos);
#else
        CHECK_FALSE(stuck.empty());
#endif
        CHECK(kept.use_count() == 1);
        CHECK(*kept == 0);
        // Much later the operation ends, one way or the other.
        CHECK(op->complete({}, 1));
    }

#if LEAT_REGISTRY
    TEST_CASE("the wait chain of a pending operation can be inspected")
    {
        leat::runtime pool{one_worker()};
        auto waiter = [&]() -> leat::task<> {
            asio::steady_timer timer{leat::this_task::executor(), 1h};
            co_await timer.async_wait(use_task);
        };
        auto body = [&]() -> leat::task<std::string> {
            auto handle = leat::spawn(waiter(), {.name = "sleeper"});
            co_await leat::sleep_for(1ms);
            std::string report = leat::inspect::report(pool.get_executor());
            handle.cancel();
            co_return report;
        };
        const std::string report = pool.block_on(body());
        CHECK(report.find("\"sleeper\" waits for: operation of Asio") != std::string::npos);
    }
#endif
}
