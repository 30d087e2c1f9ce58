// Every awaitable of the public headers, in one table, for what has to be true of all of them. Whoever adds an
// awaitable adds a line to awaitables() at the end; cancellation_test.cpp does the rest.
//
// A case owns what it waits for. Unless it happens by itself, it does not happen before make(), and what make()
// made is had by exactly one successful wait.
#pragma once

#include "awaitable_case.hpp"
#include "net_awaitables.hpp"
#include "parcel.hpp"

#include <leat/flow/broadcast.hpp>
#include <leat/flow/broker.hpp>
#include <leat/flow/bulkhead.hpp>
#include <leat/flow/rate_limiter.hpp>
#include <leat/flow/watch.hpp>
#include <leat/flow/worker_pool.hpp>
#include <leat/leat.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace test {

using namespace std::chrono_literals;

namespace cases {

class recv : public awaitable_case {
public:
    explicit recv(leat::channel<int> of = leat::channel<int>{1}) : ch{std::move(of)}
    {
    }
    leat::task<> wait() override
    {
        const std::optional<int> got = co_await ch.recv();
        expect(got.has_value() && *got == 7, "recv gave something else");
    }
    bool make() override
    {
        return ch.try_send(7).has_value();
    }
    int left() const override
    {
        return static_cast<int>(ch.size());
    }
    leat::channel<int> ch;
};

class recv_rendezvous final : public recv {
public:
    recv_rendezvous() : recv{leat::channel<int>{}}
    {
    }
};

class recv_unbounded final : public recv {
public:
    recv_unbounded() : recv{leat::channel<int>{leat::unbounded}}
    {
    }
};

class recv_void final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        const bool open = co_await ch.recv();
        expect(open, "recv gave the end");
    }
    bool make() override
    {
        return ch.try_send().has_value();
    }
    int left() const override
    {
        return static_cast<int>(ch.size());
    }
    leat::channel<void> ch{1};
};

class recv_result final : public recv {
public:
    leat::task<> wait() override
    {
        leat::result<std::optional<int>> got = co_await leat::as_result(ch.recv());
        const std::optional<int> value = std::move(got).value();
        expect(value.has_value() && *value == 7, "as_result(recv) gave something else");
    }
};

/// On a full channel: what is made is a free place.
class send_rvalue : public awaitable_case {
public:
    send_rvalue()
    {
        static_cast<void>(ch.try_send(parcel{0}));
    }
    leat::task<> wait() override
    {
        parcel mine{7};
        try {
            co_await ch.send(std::move(mine));
        } catch (...) {
            kept_ = mine.full() && mine.value() == 7;
            throw;
        }
    }
    bool make() override
    {
        leat::result<parcel> got = ch.try_recv();
        return got.has_value() && got.value().value() == 0;
    }
    int left() const override
    {
        return static_cast<int>(ch.capacity() - ch.size());
    }
    bool intact() const override
    {
        return kept_;
    }
    leat::channel<parcel> ch{1};

protected:
    bool kept_ = false;
};

class send_rendezvous final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        parcel mine{7};
        try {
            co_await ch.send(std::move(mine));
        } catch (...) {
            kept_ = mine.full() && mine.value() == 7;
            throw;
        }
        expect(!mine.full(), "a value that was sent is still here");
    }
    bool make() override
    {
        leat::result<parcel> got = ch.try_recv();
        return got.has_value() && got.value().value() == 7;
    }
    bool intact() const override
    {
        return kept_;
    }
    leat::channel<parcel> ch;

private:
    bool kept_ = false;
};

class send_lvalue final : public awaitable_case {
public:
    send_lvalue()
    {
        static_cast<void>(ch.try_send(std::string{"first"}));
    }
    leat::task<> wait() override
    {
        const std::string mine = "a value that is too long to be kept in place";
        co_await ch.send(mine);
    }
    bool make() override
    {
        const leat::result<std::string> got = ch.try_recv();
        return got.has_value();
    }
    int left() const override
    {
        return static_cast<int>(ch.capacity() - ch.size());
    }
    leat::channel<std::string> ch{1};
};

/// A value whose move may throw is boxed on its way.
class send_boxed final : public awaitable_case {
    struct awkward {
        explicit awkward(int v) : value{v}
        {
        }
        awkward(awkward&& other) noexcept(false) : value{std::exchange(other.value, -1)}
        {
        }
        awkward& operator=(awkward&& other) noexcept(false)
        {
            value = std::exchange(other.value, -1);
            return *this;
        }
        int value;
    };

public:
    send_boxed()
    {
        static_cast<void>(ch.try_send(awkward{0}));
    }
    leat::task<> wait() override
    {
        awkward mine{7};
        leat::result<> sent;
        {
            auto sending = ch.send(std::move(mine));
            sent = co_await leat::as_result(sending);
        }
        kept_ = mine.value == 7;
        std::move(sent).value();
    }
    bool make() override
    {
        return ch.try_recv().has_value();
    }
    int left() const override
    {
        return static_cast<int>(ch.capacity() - ch.size());
    }
    bool intact() const override
    {
        return kept_;
    }
    leat::channel<awkward> ch{1};

private:
    bool kept_ = false;
};

class send_void : public awaitable_case {
public:
    send_void()
    {
        static_cast<void>(ch.try_send());
    }
    leat::task<> wait() override
    {
        co_await ch.send();
    }
    bool make() override
    {
        return ch.try_recv().has_value();
    }
    int left() const override
    {
        return static_cast<int>(ch.capacity() - ch.size());
    }
    leat::channel<void> ch{1};
};

class select_recv final : public recv {
public:
    leat::task<> wait() override
    {
        leat::channel<int> never;
        const auto picked = co_await leat::select(never.recv(), ch.recv(), leat::after(24h));
        expect(picked.index == 1 && std::get<1>(picked.value) == 7, "select took another case");
    }
};

/// Receives and sends on one and the same channel, and waits for everything else there is.
class select_mix final : public awaitable_case {
public:
    select_mix()
    {
        static_cast<void>(full.try_send(parcel{0}));
    }
    leat::task<> wait() override
    {
        leat::channel<int> never;
        leat::channel<int> idle;
        auto [other, cancel_other] = leat::with_cancel(leat::background());
        parcel mine{7};
        const leat::context deaf = leat::without_cancel(leat::background());
        const leat::join_handle<> endless = leat::spawn(
            [idle]() -> leat::task<> { static_cast<void>(co_await idle.recv()); }, {.context = deaf});
        try {
            const std::size_t chosen = co_await leat::select(
                leat::on(never.recv(), [](std::optional<int>) {}),
                leat::on(full.send(std::move(mine)), [] {}), leat::on(leat::after(24h), [] {}),
                leat::on(other.done(), [] {}), leat::on(endless, [] {}), leat::on(never.send(1), [] {}),
                leat::on_if(false, full.recv(), [](std::optional<parcel>) {}));
            idle.close();
            expect(chosen == 1 && !mine.full(), "select took another case");
        } catch (...) {
            kept_ = mine.full() && mine.value() == 7;
            idle.close();
            throw;
        }
    }
    bool make() override
    {
        return full.try_recv().has_value();
    }
    int left() const override
    {
        return static_cast<int>(full.capacity() - full.size());
    }
    bool intact() const override
    {
        return kept_;
    }
    leat::channel<parcel> full{1};

private:
    bool kept_ = false;
};

class select_with_coroutine final : public recv {
public:
    leat::task<> wait() override
    {
        int got = 0;
        auto keep = [&got](std::optional<int> value) -> leat::task<> {
            got = value.value_or(0);
            co_return;
        };
        static_cast<void>(
            co_await leat::select(leat::on(ch.recv(), keep), leat::on(leat::after(24h), [] {})));
        expect(got == 7, "the handler did not get the value");
    }
};

class select_done final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        leat::channel<int> never;
        const auto picked = co_await leat::select(never.recv(), other_.first.done());
        expect(picked.index == 1, "select took another case");
    }
    bool make() override
    {
        other_.second();
        return true;
    }

private:
    leat::cancellable_context other_ = leat::with_cancel(leat::background());
};

class select_range final : public recv {
public:
    leat::task<> wait() override
    {
        const std::vector<leat::channel<int>> from{leat::channel<int>{}, ch, leat::channel<int>{}};
        const auto picked = co_await leat::select_range(from);
        expect(picked.index == 1 && picked.value == 7, "select_range took another case");
    }
};

class sleep_for final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        co_await leat::sleep_for(time_until_happening());
    }
};

class sleep_until final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        co_await leat::sleep_until(leat::clock::now() + time_until_happening());
    }
};

class select_after final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        leat::channel<int> never;
        const auto picked = co_await leat::select(never.recv(), leat::after(time_until_happening()));
        expect(picked.index == 1, "select took another case");
    }
};

class timer_wait : public awaitable_case {
public:
    leat::task<> wait() override
    {
        static_cast<void>(co_await timer_.wait());
    }
    bool make() override
    {
        timer_.reset(0s);
        return true;
    }

protected:
    leat::timer timer_{24h};
};

class ticker_tick : public awaitable_case {
public:
    leat::task<> wait() override
    {
        static_cast<void>(co_await ticker_.tick());
    }

protected:
    leat::ticker ticker_{time_until_happening()};
};

class done : public awaitable_case {
public:
    leat::task<> wait() override
    {
        co_await other_.first.done();
    }
    bool make() override
    {
        other_.second();
        return true;
    }

protected:
    leat::cancellable_context other_ = leat::with_cancel(leat::background());
};

/// Joins a task that ends when it is told to, and nothing else.
class join : public awaitable_case {
public:
    leat::task<> set_up() override
    {
        const leat::context deaf = leat::without_cancel(leat::background());
        joined = leat::spawn([this]() -> leat::task<> { static_cast<void>(co_await end.recv()); },
                             {.context = deaf});
        co_return;
    }
    leat::task<> wait() override
    {
        co_await joined;
    }
    bool make() override
    {
        return end.try_send(1).has_value();
    }
    leat::task<> tear_down() override
    {
        end.close();
        co_return;
    }
    leat::channel<int> end{1};
    leat::join_handle<> joined;
};

class select_join final : public join {
public:
    leat::task<> wait() override
    {
        leat::channel<int> never;
        const auto picked = co_await leat::select(never.recv(), joined.join());
        expect(picked.index == 1, "select took another case");
    }
};

/// Waits for the only thread that there is for blocking calls. The runtime must have one.
class blocking : public awaitable_case {
public:
    leat::task<> set_up() override
    {
        const leat::context deaf = leat::without_cancel(leat::background());
        occupant_ = leat::spawn(
            [this]() -> leat::task<> {
                auto hold = [this] {
                    occupied_.set();
                    free_.wait(false);
                };
                co_await leat::blocking(std::ref(hold));
            },
            {.context = deaf});
        co_await occupied_.wait();
    }
    leat::task<> wait() override
    {
        auto count = [this] { runs_.fetch_add(1); };
        const int before = runs_.load();
        try {
            co_await leat::blocking(std::ref(count));
        } catch (...) {
            kept_ = runs_.load() == before;
            throw;
        }
        expect(runs_.load() == before + 1, "a blocking call did not run once");
    }
    bool make() override
    {
        free_.store(true);
        free_.notify_all();
        return true;
    }
    bool intact() const override
    {
        return kept_;
    }
    leat::task<> tear_down() override
    {
        make();
        co_await occupant_;
    }

protected:
    leat::event occupied_;
    std::atomic<bool> free_{false};
    std::atomic<int> runs_{0};
    bool kept_ = false;
    leat::join_handle<> occupant_;
};

class yield : public awaitable_case {
public:
    leat::task<> wait() override
    {
        co_await leat::this_task::yield();
    }
};

/// To a world of its own and back.
class resume_on : public awaitable_case {
public:
    leat::task<> wait() override
    {
        const leat::executor home = leat::this_task::executor();
        co_await leat::this_task::resume_on(there_.get_executor());
        expect(leat::this_task::executor() == there_.get_executor(), "the task did not go there");
        const leat::context deaf = leat::without_cancel(leat::this_task::context());
        co_await leat::with_context(deaf, leat::this_task::resume_on(home));
        expect(leat::this_task::executor() == home, "the task did not come back");
    }
    void elsewhere() override
    {
        there_.settle();
    }

protected:
    leat::sim::world there_{1};
};

/// For a place in a full group, from a task that is not of the group.
class group_spawn : public awaitable_case {
public:
    leat::task<> set_up() override
    {
        const leat::context deaf = leat::without_cancel(leat::background());
        host_ = leat::spawn([this] { return host(); }, {.context = deaf});
        static_cast<void>(co_await up_.recv());
    }
    leat::task<> wait() override
    {
        const int before = runs_.load();
        leat::join_handle<> child;
        try {
            child = co_await group_->spawn([this] { runs_.fetch_add(1); });
        } catch (...) {
            kept_ = runs_.load() == before;
            throw;
        }
        const leat::context deaf = leat::without_cancel(leat::this_task::context());
        co_await leat::with_context(deaf, std::move(child));
        expect(runs_.load() == before + 1, "the child did not run once");
    }
    bool make() override
    {
        return leave_.try_send(1).has_value();
    }
    bool intact() const override
    {
        return kept_;
    }
    leat::task<> tear_down() override
    {
        leave_.close();
        over_.close();
        co_await host_;
    }

protected:
    virtual leat::task<> host()
    {
        co_await leat::with_group({.limit = 1}, [this](leat::task_group& group) -> leat::task<> {
            auto occupy = [this]() -> leat::task<> { static_cast<void>(co_await leave_.recv()); };
            static_cast<void>(co_await group.spawn(occupy));
            group_ = &group;
            co_await up_.send(1);
            static_cast<void>(co_await over_.recv());
        });
    }

    leat::task_group* group_ = nullptr;
    leat::channel<int> up_{1};
    leat::channel<int> leave_{1};
    leat::channel<int> over_;
    std::atomic<int> runs_{0};
    bool kept_ = false;
    leat::join_handle<> host_;
};

class with_group final : public recv {
public:
    leat::task<> wait() override
    {
        std::optional<int> got;
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            auto child = [&]() -> leat::task<> { got = co_await ch.recv(); };
            static_cast<void>(co_await group.spawn(child));
        });
        expect(got == 7, "the child received something else");
    }
};

class when_all final : public recv {
public:
    leat::task<> wait() override
    {
        const auto [got, one] = co_await leat::when_all(ch.recv(), at_once());
        expect(got == 7 && one == 1, "when_all gave something else");
    }

private:
    static leat::task<int> at_once()
    {
        co_return 1;
    }
};

class when_any final : public recv {
public:
    leat::task<> wait() override
    {
        leat::channel<int> never;
        const auto first = co_await leat::when_any(take(never), take(ch));
        expect(first.index == 1 && std::get<1>(first.value) == 7, "when_any gave something else");
    }

private:
    static leat::task<int> take(leat::channel<int> from)
    {
        const std::optional<int> got = co_await from.recv();
        co_return got.value_or(0);
    }
};

class when_any_range final : public recv {
public:
    leat::task<> wait() override
    {
        std::vector<leat::task<int>> all;
        all.push_back(take(leat::channel<int>{}));
        all.push_back(take(ch));
        const auto first = co_await leat::when_any(std::move(all));
        expect(first.index == 1 && first.value == 7, "when_any gave something else");
    }

private:
    static leat::task<int> take(leat::channel<int> from)
    {
        const std::optional<int> got = co_await from.recv();
        co_return got.value_or(0);
    }
};

class timeout final : public recv {
public:
    leat::task<> wait() override
    {
        const std::optional<int> got = co_await leat::timeout(24h, ch.recv());
        expect(got == 7, "recv gave something else");
    }
};

class with_context final : public recv {
public:
    leat::task<> wait() override
    {
        const leat::context inner = leat::with_value(leat::this_task::context(), 1);
        const std::optional<int> got = co_await leat::with_context(inner, ch.recv());
        expect(got == 7, "recv gave something else");
    }
};

class with_cancellable_context final : public recv {
public:
    leat::task<> wait() override
    {
        const auto [inner, cancel] = leat::with_cancel();
        const std::optional<int> got = co_await leat::with_context(inner, ch.recv());
        expect(got == 7, "recv gave something else");
    }
};

class nested final : public recv {
public:
    leat::task<> wait() override
    {
        co_await deeper(20);
    }

private:
    leat::task<> deeper(int levels)
    {
        if (levels == 0) {
            const std::optional<int> got = co_await ch.recv();
            expect(got == 7, "recv gave something else");
        } else {
            co_await deeper(levels - 1);
        }
    }
};

// -- the same, with failure as a value: as_result() of each kind of operation --------------------------------

class send_result final : public send_rvalue {
public:
    leat::task<> wait() override
    {
        parcel mine{7};
        leat::result<> sent = co_await leat::as_result(ch.send(std::move(mine)));
        kept_ = mine.full() && mine.value() == 7;
        std::move(sent).value();
        expect(!mine.full(), "a value that was sent is still here");
    }
};

class send_void_result final : public send_void {
public:
    leat::task<> wait() override
    {
        leat::result<> sent = co_await leat::as_result(ch.send());
        std::move(sent).value();
    }
};

class select_result final : public recv {
public:
    leat::task<> wait() override
    {
        leat::channel<int> never;
        auto picked = co_await leat::as_result(leat::select(never.recv(), ch.recv(), leat::after(24h)));
        auto happened = std::move(picked).value();
        expect(happened.index == 1 && std::get<1>(happened.value) == 7, "select took another case");
    }
};

class select_range_result final : public recv {
public:
    leat::task<> wait() override
    {
        const std::vector<leat::channel<int>> from{leat::channel<int>{}, ch, leat::channel<int>{}};
        auto picked = co_await leat::as_result(leat::select_range(from));
        auto happened = std::move(picked).value();
        expect(happened.index == 1 && happened.value == 7, "select_range took another case");
    }
};

class sleep_result final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        leat::result<> slept = co_await leat::as_result(leat::sleep_for(time_until_happening()));
        std::move(slept).value();
    }
};

class timer_result final : public timer_wait {
public:
    leat::task<> wait() override
    {
        auto fired = co_await leat::as_result(timer_.wait());
        static_cast<void>(std::move(fired).value());
    }
};

class ticker_result final : public ticker_tick {
public:
    leat::task<> wait() override
    {
        auto ticked = co_await leat::as_result(ticker_.tick());
        static_cast<void>(std::move(ticked).value());
    }
};

class done_result final : public done {
public:
    leat::task<> wait() override
    {
        leat::result<> ended = co_await leat::as_result(other_.first.done());
        std::move(ended).value();
    }
};

class handle_result final : public join {
public:
    leat::task<> wait() override
    {
        leat::result<> ended = co_await leat::as_result(joined);
        std::move(ended).value();
    }
};

class join_result final : public join {
public:
    leat::task<> wait() override
    {
        leat::result<> ended = co_await leat::as_result(joined.join());
        std::move(ended).value();
    }
};

class blocking_result final : public blocking {
public:
    leat::task<> wait() override
    {
        auto count = [this] { runs_.fetch_add(1); };
        const int before = runs_.load();
        leat::result<> ran = co_await leat::as_result(leat::blocking(std::ref(count)));
        kept_ = runs_.load() == before;
        std::move(ran).value();
        expect(!kept_, "a blocking call did not run");
    }
};

class yield_result final : public yield {
public:
    leat::task<> wait() override
    {
        leat::result<> yielded = co_await leat::as_result(leat::this_task::yield());
        std::move(yielded).value();
    }
};

class resume_on_result final : public resume_on {
public:
    leat::task<> wait() override
    {
        const leat::executor home = leat::this_task::executor();
        leat::result<> moved = co_await leat::as_result(leat::this_task::resume_on(there_.get_executor()));
        std::move(moved).value();
        expect(leat::this_task::executor() == there_.get_executor(), "the task did not go there");
        const leat::context deaf = leat::without_cancel(leat::this_task::context());
        co_await leat::with_context(deaf, leat::this_task::resume_on(home));
    }
};

class group_spawn_result final : public group_spawn {
public:
    leat::task<> wait() override
    {
        const int before = runs_.load();
        auto child = co_await leat::as_result(group_->spawn([this] { runs_.fetch_add(1); }));
        kept_ = runs_.load() == before;
        leat::join_handle<> started = std::move(child).value();
        const leat::context deaf = leat::without_cancel(leat::this_task::context());
        co_await leat::with_context(deaf, std::move(started));
        expect(runs_.load() == before + 1, "the child did not run once");
    }
};

class task_result final : public recv {
public:
    leat::task<> wait() override
    {
        leat::result<> ended = co_await leat::as_result(recv::wait());
        std::move(ended).value();
    }
};

// -- several at once -----------------------------------------------------------------------------------------

class when_all_range final : public recv {
public:
    leat::task<> wait() override
    {
        std::vector<leat::task<int>> all;
        all.push_back(take(ch));
        all.push_back(at_once());
        const std::vector<int> got = co_await leat::when_all(std::move(all));
        expect(got.size() == 2 && got[0] == 7 && got[1] == 1, "when_all gave something else");
    }

private:
    static leat::task<int> at_once()
    {
        co_return 1;
    }
    static leat::task<int> take(leat::channel<int> from)
    {
        const std::optional<int> got = co_await from.recv();
        co_return got.value_or(0);
    }
};

class when_all_settled final : public recv {
public:
    leat::task<> wait() override
    {
        auto [got, failed] = co_await leat::when_all_settled(ch.recv(), fails());
        expect(!failed.has_value() && failed.error() == leat::errc::failed, "a failure was lost");
        const std::optional<int> value = std::move(got).value();
        expect(value == 7, "when_all_settled gave something else");
    }

private:
    static leat::task<> fails()
    {
        throw std::domain_error{"on purpose"};
        co_return;
    }
};

class when_all_settled_range final : public recv {
public:
    leat::task<> wait() override
    {
        std::vector<leat::task<>> all;
        all.push_back(recv::wait());
        std::vector<leat::result<>> got = co_await leat::when_all_settled(std::move(all));
        std::move(got.at(0)).value();
    }
};

class with_results final : public recv {
public:
    leat::task<> wait() override
    {
        const std::vector<int> got =
            co_await leat::with_results<int>([this](leat::result_group<int>& group) -> leat::task<> {
                co_await group.spawn([] { return 1; });
                co_await group.spawn(take(ch));
            });
        expect(got.size() == 2 && got[0] == 1 && got[1] == 7, "with_results gave something else");
    }

private:
    static leat::task<int> take(leat::channel<int> from)
    {
        const std::optional<int> got = co_await from.recv();
        co_return got.value_or(0);
    }
};

/// Cleans up under shield(), whatever has ended the wait.
class shielded_cleanup final : public recv {
public:
    leat::task<> wait() override
    {
        std::exception_ptr failed;
        kept_ = false;
        try {
            co_await recv::wait();
        } catch (...) {
            failed = std::current_exception();
        }
        const leat::channel<int> log{1};
        co_await leat::shield(24h, tidy(log));
        kept_ = log.size() == 1;
        if (failed)
            std::rethrow_exception(failed);
        expect(kept_, "the cleanup was cut short");
    }
    bool intact() const override
    {
        return kept_;
    }

private:
    static leat::task<> tidy(leat::channel<int> log)
    {
        co_await leat::this_task::yield();
        co_await log.send(1);
    }
    bool kept_ = true;
};

/// Of a bucket that is empty when the wait begins.
class limiter_wait : public awaitable_case {
public:
    leat::task<> wait() override
    {
        leat::rate_limiter limiter{leat::rate::every(time_until_happening()), 1};
        limiter.allow();
        co_await limiter.wait();
    }
};

class limiter_wait_result final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        leat::rate_limiter limiter{leat::rate::every(time_until_happening()), 1};
        limiter.allow();
        leat::result<> waited = co_await leat::as_result(limiter.wait());
        std::move(waited).value();
    }
};

// -- locks ---------------------------------------------------------------------------------------------------

/// On a mutex that somebody has: what is made is its being free.
class mutex_lock : public awaitable_case {
public:
    leat::task<> wait() override
    {
        const leat::mutex_guard mine = co_await mutex.lock();
        expect(mine.owns_lock(), "a lock gave nothing");
    }
    bool make() override
    {
        keep_.unlock();
        return true;
    }
    leat::mutex mutex;

protected:
    leat::mutex_guard keep_ = mutex.try_lock();
};

class mutex_lock_result final : public mutex_lock {
public:
    leat::task<> wait() override
    {
        auto got = co_await leat::as_result(mutex.lock());
        const leat::mutex_guard mine = std::move(got).value();
        expect(mine.owns_lock(), "a lock gave nothing");
    }
};

class select_lock final : public mutex_lock {
public:
    leat::task<> wait() override
    {
        leat::channel<int> never;
        const auto picked = co_await leat::select(never.recv(), mutex.lock(), leat::after(24h));
        expect(picked.index == 1, "select took another case");
    }
};

class guarded_lock final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        auto mine = co_await value.lock();
        expect(++*mine == 1, "a value was changed by another");
        --*mine;
    }
    bool make() override
    {
        keep_.unlock();
        return true;
    }
    leat::guarded<int> value;

private:
    leat::guarded_guard<int> keep_ = value.try_lock();
};

class guarded_with final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        const int got = co_await value.with([](int& v) { return v; });
        expect(got == 7, "another value");
    }
    bool make() override
    {
        keep_.unlock();
        return true;
    }
    leat::guarded<int> value{7};

private:
    leat::guarded_guard<int> keep_ = value.try_lock();
};

class rw_lock : public awaitable_case {
public:
    leat::task<> wait() override
    {
        const leat::shared_mutex::guard mine = co_await mutex.lock();
    }
    bool make() override
    {
        keep_.unlock();
        return true;
    }
    leat::shared_mutex mutex;

protected:
    leat::shared_mutex::shared_guard keep_ = mutex.try_lock_shared();
};

class rw_lock_shared final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        const leat::shared_mutex::shared_guard mine = co_await mutex.lock_shared();
    }
    bool make() override
    {
        keep_.unlock();
        return true;
    }
    leat::shared_mutex mutex;

private:
    leat::shared_mutex::guard keep_ = mutex.try_lock();
};

class rw_upgrade final : public rw_lock {
public:
    leat::task<> wait() override
    {
        leat::shared_mutex::shared_guard reads = co_await mutex.lock_shared();
        try {
            const leat::shared_mutex::guard writes = co_await reads.upgrade();
            expect(!reads.owns_lock(), "still a reader");
        } catch (...) {
            kept_ = reads.owns_lock();
            throw;
        }
    }
    bool intact() const override
    {
        return kept_;
    }

private:
    bool kept_ = true;
};

class select_rw_lock final : public rw_lock {
public:
    leat::task<> wait() override
    {
        leat::channel<int> never;
        leat::semaphore taken{1};
        const auto held = taken.try_acquire();
        const auto picked =
            co_await leat::select(never.recv(), taken.acquire(), mutex.lock(), leat::after(24h));
        expect(picked.index == 2, "select took another case");
    }
};

class acquire : public awaitable_case {
public:
    leat::task<> wait() override
    {
        const leat::semaphore_permit mine = co_await permits.acquire(2);
        expect(mine.count() == 2, "another number of permits");
    }
    bool make() override
    {
        keep_.release();
        return true;
    }
    leat::semaphore permits{3};

protected:
    leat::semaphore_permit keep_ = permits.try_acquire(2);
};

class acquire_result final : public acquire {
public:
    leat::task<> wait() override
    {
        auto got = co_await leat::as_result(permits.acquire(2));
        const leat::semaphore_permit mine = std::move(got).value();
        expect(mine.count() == 2, "another number of permits");
    }
};

class select_acquire final : public acquire {
public:
    leat::task<> wait() override
    {
        leat::channel<int> never;
        const auto picked = co_await leat::select(never.recv(), permits.acquire(2), leat::after(24h));
        expect(picked.index == 1, "select took another case");
    }
};

/// What is made is that the condition is true, of which somebody is told; who sees it makes it false again.
class condition : public awaitable_case {
public:
    leat::task<> wait() override
    {
        leat::mutex_guard held = co_await mutex.lock();
        try {
            co_await changed.wait(held, [this] { return truths_ != 0; });
        } catch (...) {
            kept_ = held.owns_lock();
            throw;
        }
        expect(held.owns_lock(), "a wait that ended without the mutex");
        --truths_;
    }
    bool make() override
    {
        // Nobody keeps it over a suspension but by waiting.
        leat::mutex_guard held = mutex.try_lock();
        while (!held)
            held = mutex.try_lock();
        ++truths_;
        changed.notify_one();
        return true;
    }
    bool intact() const override
    {
        return kept_;
    }
    leat::mutex mutex;
    leat::condition_variable changed;

protected:
    int truths_ = 0;
    bool kept_ = true;
};

class condition_result final : public condition {
public:
    leat::task<> wait() override
    {
        leat::mutex_guard held = co_await mutex.lock();
        while (truths_ == 0) {
            auto waiting = changed.wait(held);
            leat::result<> told = co_await leat::as_result(waiting);
            kept_ = held.owns_lock();
            std::move(told).value();
        }
        --truths_;
    }
};

// -- what synchronizes ---------------------------------------------------------------------------------------

class event_wait : public awaitable_case {
public:
    leat::task<> wait() override
    {
        co_await happened.wait();
    }
    bool make() override
    {
        happened.set();
        return true;
    }
    leat::event happened;
};

class event_result final : public event_wait {
public:
    leat::task<> wait() override
    {
        leat::result<> waited = co_await leat::as_result(happened.wait());
        std::move(waited).value();
    }
};

class auto_event_wait : public awaitable_case {
public:
    leat::task<> wait() override
    {
        co_await happened.wait();
    }
    bool make() override
    {
        happened.set();
        return true;
    }
    int left() const override
    {
        return happened.is_set() ? 1 : 0;
    }
    leat::event happened{leat::event::auto_reset};
};

class select_event final : public auto_event_wait {
public:
    leat::task<> wait() override
    {
        leat::channel<int> never;
        leat::latch closed{1};
        const auto picked =
            co_await leat::select(never.recv(), happened.wait(), closed.wait(), leat::after(24h));
        expect(picked.index == 1, "select took another case");
    }
};

class latch_wait final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        co_await gate.wait();
    }
    bool make() override
    {
        gate.count_down();
        return true;
    }
    leat::latch gate{1};
};

class wait_group_wait final : public awaitable_case {
public:
    wait_group_wait()
    {
        group.add();
    }
    leat::task<> wait() override
    {
        co_await group.wait();
    }
    bool make() override
    {
        group.done();
        return true;
    }
    leat::wait_group group;
};

class barrier_wait : public awaitable_case {
public:
    leat::task<> wait() override
    {
        co_await both.arrive_and_wait();
    }
    bool make() override
    {
        both.arrive();
        return true;
    }
    leat::barrier both{2};
};

class select_barrier final : public barrier_wait {
public:
    leat::task<> wait() override
    {
        leat::channel<int> never;
        const auto picked = co_await leat::select(never.recv(), both.arrive_and_wait());
        expect(picked.index == 1, "select took another case");
    }
};

class barrier_token final : public barrier_wait {
public:
    leat::task<> wait() override
    {
        co_await both.wait(since_);
    }

private:
    leat::barrier::arrival_token since_ = both.arrive();
};

/// Work that ends when it is told to.
class gated : public awaitable_case {
public:
    bool make() override
    {
        gate_->set();
        return true;
    }

protected:
    /// It may go on when the case has gone: nobody waits for it to end after it has been cancelled.
    auto work() const
    {
        return [gate = gate_]() -> leat::task<int> {
            co_await gate->wait();
            co_return 7;
        };
    }

private:
    std::shared_ptr<leat::event> gate_ = std::make_shared<leat::event>();
};

class once_call final : public gated {
public:
    leat::task<> wait() override
    {
        co_await first.call(work());
    }
    leat::once first;
};

class select_once final : public gated {
public:
    leat::task<> wait() override
    {
        leat::channel<int> never;
        const auto picked = co_await leat::select(never.recv(), first.get(work()));
        expect(picked.index == 1 && std::get<1>(picked.value).get() == 7, "select took another case");
    }
    leat::once_value<int> first;
};

class once_value_get : public gated {
public:
    leat::task<> wait() override
    {
        const int& got = co_await first.get(work());
        expect(got == 7, "once_value gave something else");
    }
    leat::once_value<int> first;
};

class once_value_result final : public once_value_get {
public:
    leat::task<> wait() override
    {
        leat::result<int&> got = co_await leat::as_result(first.get(work()));
        const int value = std::move(got).value();
        expect(value == 7, "once_value gave something else");
    }
};

class single_flight_run final : public gated {
public:
    leat::task<> wait() override
    {
        const auto got = co_await flights.run("key", work());
        expect(got.value == 7, "the flight gave something else");
    }
    leat::single_flight<std::string, int> flights;
};

class load_or_compute final : public gated {
public:
    leat::task<> wait() override
    {
        const int got = co_await map.load_or_compute(1, work());
        expect(got == 7, "the map gave something else");
    }
    leat::concurrent_map<int, int> map;
};

class oneshot_future : public awaitable_case {
public:
    leat::task<> wait() override
    {
        const parcel got = co_await one.future;
        expect(got.value() == 7, "the future gave something else");
    }
    bool make() override
    {
        one.promise.set_value(7);
        return true;
    }
    leat::oneshot<parcel> one;
};

class oneshot_result final : public oneshot_future {
public:
    leat::task<> wait() override
    {
        leat::result<parcel> got = co_await leat::as_result(one.future);
        const parcel mine = std::move(got).value();
        expect(mine.value() == 7, "the future gave something else");
    }
};

class select_oneshot final : public oneshot_future {
public:
    leat::task<> wait() override
    {
        leat::channel<int> never;
        const auto picked = co_await leat::select(never.recv(), one.future);
        expect(picked.index == 1 && std::get<1>(picked.value).value() == 7, "select took another case");
    }
};

// -- flow ------------------------------------------------------------------------------------------------------

class subscription_recv final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        const std::optional<int> got = co_await reader_.recv();
        expect(got.has_value() && *got == 7, "a subscription gave something else");
    }
    bool make() override
    {
        return news_.try_send(7) == 1;
    }
    int left() const override
    {
        return static_cast<int>(reader_.size());
    }

private:
    leat::broadcast<int> news_;
    leat::broadcast_subscription<int> reader_ = news_.subscribe({.capacity = 1});
};

/// To a full subscription: what is made is room.
class publish_to_full final : public awaitable_case {
public:
    publish_to_full()
    {
        broker_.try_publish(1, 0);
    }
    leat::task<> wait() override
    {
        const std::uint64_t dropped = reader_.dropped();
        try {
            static_cast<void>(co_await broker_.publish(1, 7));
        } catch (...) {
            // If it was offered at all it is counted.
            kept_ = reader_.dropped() - dropped == reader_.published() - published_;
            published_ = reader_.published();
            throw;
        }
        ++published_;
    }
    bool make() override
    {
        return reader_.try_recv().has_value();
    }
    int left() const override
    {
        return static_cast<int>(reader_.capacity() - reader_.size());
    }
    bool intact() const override
    {
        return kept_;
    }

private:
    leat::broker<int, int> broker_;
    leat::subscription<int, int> reader_ = broker_.subscribe(1, {.capacity = 1});
    std::uint64_t published_ = 1;
    bool kept_ = false;
};

/// To a pool whose only worker is busy, and that has no queue: what is made is a worker who waits.
class pool_submit : public group_spawn {
public:
    leat::task<> wait() override
    {
        const int before = runs_.load();
        leat::job_handle<> job;
        try {
            job = co_await pool_->submit([this] { runs_.fetch_add(1); });
        } catch (...) {
            kept_ = runs_.load() == before;
            throw;
        }
        const leat::context deaf = leat::without_cancel(leat::this_task::context());
        co_await leat::with_context(deaf, std::move(job));
        expect(runs_.load() == before + 1, "a job did not run once");
    }

protected:
    leat::task<> host() override
    {
        co_await leat::with_group([this](leat::task_group& group) -> leat::task<> {
            leat::worker_pool pool{group, {.workers = 1, .queue = 0}};
            pool_ = &pool;
            auto occupy = [this]() -> leat::task<> { static_cast<void>(co_await leave_.recv()); };
            occupied_ = co_await pool.submit(occupy);
            co_await up_.send(1);
            static_cast<void>(co_await over_.recv());
        });
    }

    leat::worker_pool* pool_ = nullptr;
    leat::job_handle<> occupied_;
};

/// The handle of that worker's job.
class pool_job final : public pool_submit {
public:
    leat::task<> wait() override
    {
        co_await occupied_;
    }
    bool intact() const override
    {
        return true;
    }
};

class bulkhead_enter final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        place_ = co_await calls_.enter();
    }
    bool make() override
    {
        place_.release();
        return true;
    }
    int left() const override
    {
        return static_cast<int>(calls_.available());
    }

private:
    leat::bulkhead calls_{{.concurrent = 1, .queue = 8}};
    leat::semaphore_permit place_ = calls_.try_enter();
};

class watch_changed final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        const std::optional<int> got = co_await reader_.changed();
        expect(got == 7, "a watch gave something else");
    }
    bool make() override
    {
        return level_.set(7);
    }
    int left() const override
    {
        return reader_.has_changed() ? 1 : 0;
    }

private:
    leat::watch<int> level_{0};
    leat::watcher<int> reader_ = level_.subscribe();
};

}  // namespace cases

/// The table.
inline std::vector<awaitable_entry> awaitables()
{
    using namespace cases;
    return {
        {"recv", happens::once, create_case<recv>},
        {"recv, unbuffered", happens::once, create_case<recv_rendezvous>, false},
        {"recv, unbounded", happens::once, create_case<recv_unbounded>},
        {"recv, void", happens::once, create_case<recv_void>},
        {"as_result(recv)", happens::once, create_case<recv_result>},
        {"send, rvalue", happens::once, create_case<send_rvalue>},
        {"send, unbuffered", happens::once, create_case<send_rendezvous>, false},
        {"send, lvalue", happens::once, create_case<send_lvalue>},
        {"send, throwing move", happens::once, create_case<send_boxed>},
        {"send, void", happens::once, create_case<send_void>},
        {"select, recv", happens::once, create_case<select_recv>},
        {"select, mixed", happens::once, create_case<select_mix>},
        {"select, coroutine", happens::once, create_case<select_with_coroutine>},
        {"select, done", happens::for_good, create_case<select_done>, true, true, true, true, true},
        {"select, after", happens::by_itself, create_case<select_after>},
        {"select, join", happens::once, create_case<select_join>, true, true, false},
        {"select_range", happens::once, create_case<select_range>},
        {"sleep_for", happens::by_itself, create_case<sleep_for>},
        {"sleep_until", happens::by_itself, create_case<sleep_until>},
        {"timer::wait", happens::once, create_case<timer_wait>, true, true, false, true, false, true},
        {"ticker::tick", happens::by_itself, create_case<ticker_tick>, true, true, false},
        {"done", happens::for_good, create_case<done>, true, true, true, true, true},
        {"join", happens::once, create_case<join>, true, true, false},
        {"blocking", happens::for_good, create_case<blocking>, true, false, false},
        {"yield", happens::at_once, create_case<yield>},
        {"resume_on", happens::at_once, create_case<resume_on>, true, true, false, false},
        {"task_group::spawn", happens::once, create_case<group_spawn>, true, true, false},
        {"with_group", happens::once, create_case<with_group>},
        {"when_all", happens::once, create_case<when_all>},
        {"when_any", happens::once, create_case<when_any>},
        {"when_any, range", happens::once, create_case<when_any_range>},
        {"timeout", happens::once, create_case<timeout>},
        {"with_context", happens::once, create_case<with_context>},
        {"with_context, cancellable", happens::once, create_case<with_cancellable_context>},
        {"nested tasks", happens::once, create_case<nested>},
        {"as_result(send)", happens::once, create_case<send_result>},
        {"as_result(send, void)", happens::once, create_case<send_void_result>},
        {"as_result(select)", happens::once, create_case<select_result>},
        {"as_result(select_range)", happens::once, create_case<select_range_result>},
        {"as_result(sleep_for)", happens::by_itself, create_case<sleep_result>},
        {"as_result(timer::wait)", happens::once, create_case<timer_result>, true, true, false, true, false,
         true},
        {"as_result(ticker::tick)", happens::by_itself, create_case<ticker_result>, true, true, false},
        {"as_result(done)", happens::for_good, create_case<done_result>, true, true, true, true, true},
        {"as_result(join_handle)", happens::once, create_case<handle_result>, true, true, false},
        {"as_result(join)", happens::once, create_case<join_result>, true, true, false},
        {"as_result(blocking)", happens::for_good, create_case<blocking_result>, true, false, false},
        {"as_result(yield)", happens::at_once, create_case<yield_result>},
        {"as_result(resume_on)", happens::at_once, create_case<resume_on_result>, true, true, false, false},
        {"as_result(task_group::spawn)", happens::once, create_case<group_spawn_result>, true, true, false},
        {"as_result(task)", happens::once, create_case<task_result>},
        {"when_all, range", happens::once, create_case<when_all_range>},
        {"when_all_settled", happens::once, create_case<when_all_settled>},
        {"when_all_settled, range", happens::once, create_case<when_all_settled_range>},
        {"with_results", happens::once, create_case<with_results>},
        {"shield, cleaning up", happens::once, create_case<shielded_cleanup>},
        {"rate_limiter::wait", happens::by_itself, create_case<limiter_wait>},
        {"as_result(rate_limiter::wait)", happens::by_itself, create_case<limiter_wait_result>},
        {"mutex::lock", happens::for_good, create_case<mutex_lock>},
        {"as_result(mutex::lock)", happens::for_good, create_case<mutex_lock_result>},
        {"select, mutex::lock", happens::for_good, create_case<select_lock>},
        {"guarded::lock", happens::for_good, create_case<guarded_lock>},
        {"guarded::with", happens::for_good, create_case<guarded_with>},
        {"shared_mutex::lock", happens::for_good, create_case<rw_lock>},
        {"shared_mutex::lock_shared", happens::for_good, create_case<rw_lock_shared>},
        {"shared_mutex, upgrade", happens::for_good, create_case<rw_upgrade>},
        {"select, shared_mutex::lock", happens::for_good, create_case<select_rw_lock>},
        {"semaphore::acquire", happens::for_good, create_case<acquire>},
        {"as_result(semaphore::acquire)", happens::for_good, create_case<acquire_result>},
        {"select, semaphore::acquire", happens::for_good, create_case<select_acquire>},
        {"condition_variable::wait", happens::once, create_case<condition>},
        {"as_result(condition_variable::wait)", happens::once, create_case<condition_result>},
        {"event::wait", happens::for_good, create_case<event_wait>},
        {"as_result(event::wait)", happens::for_good, create_case<event_result>},
        {"event::wait, auto_reset", happens::once, create_case<auto_event_wait>},
        {"select, event", happens::once, create_case<select_event>},
        {"latch::wait", happens::for_good, create_case<latch_wait>},
        {"wait_group::wait", happens::for_good, create_case<wait_group_wait>},
        {"barrier::arrive_and_wait", happens::once, create_case<barrier_wait>},
        {"select, barrier", happens::once, create_case<select_barrier>},
        {"barrier::wait", happens::for_good, create_case<barrier_token>},
        {"once::call", happens::for_good, create_case<once_call>},
        {"select, once", happens::for_good, create_case<select_once>},
        {"once_value::get", happens::for_good, create_case<once_value_get>},
        {"as_result(once_value::get)", happens::for_good, create_case<once_value_result>},
        {"single_flight::run", happens::for_good, create_case<single_flight_run>},
        {"concurrent_map::load_or_compute", happens::for_good, create_case<load_or_compute>},
        {"oneshot", happens::once, create_case<oneshot_future>},
        {"as_result(oneshot)", happens::once, create_case<oneshot_result>},
        {"select, oneshot", happens::once, create_case<select_oneshot>},
        {"use_task", happens::once, create_case<fake_read>},
        {"use_task, socket read", happens::once, create_case<socket_read>, true, false, false},
        {"use_task, accept", happens::once, create_case<socket_accept>, true, false, false},
        {"use_task, socket write", happens::for_good, create_case<socket_write>, true, false, false},
        {"use_task, connect", happens::at_once, create_case<socket_connect>, true, false, false},
        {"use_task, resolve", happens::at_once, create_case<resolve>, true, false, false},
        {"use_task, signal", happens::once, create_case<asio_signal>, true, false, false},
        {"race_to_connect", happens::for_good, create_case<connect_race>},
        {"use_task, timer", happens::by_itself, create_case<asio_timer>, true, false, false},
        {"stream::read_line", happens::once, create_case<stream_line>},
        {"stream::read_frame", happens::once, create_case<stream_frame>},
        {"stream::read_exactly", happens::once, create_case<stream_exact>},
        {"stream, read with timeouts", happens::once, create_case<stream_with_limits>},
        {"stream::write", happens::once, create_case<stream_write>},
        {"stream::while_connected", happens::once, create_case<while_connected>},
        {"unless_draining", happens::once, create_case<not_draining>},
        {"subscription::recv", happens::once, create_case<subscription_recv>},
        {"broker::publish", happens::once, create_case<publish_to_full>},
        {"watcher::changed", happens::once, create_case<watch_changed>},
        {"worker_pool::submit", happens::once, create_case<pool_submit>, true, true, false},
        {"job_handle", happens::once, create_case<pool_job>, true, true, false},
        {"bulkhead::enter", happens::once, create_case<bulkhead_enter>},
    };
}

}  // namespace test
