// What compilers and Asio get wrong around coroutines, item by item.
//
// A canary asks this compiler whether it has a fault that leat cannot hide from its users. It never fails: it says
// what is wrong, and what to write instead. A regression test is about a fault that leat does avoid: it must pass
// with every compiler and in every mode. What shows only while compiling, T5, T8, T15, T16 and T19, is in
// packaging/traps/.
#include "support/bare_task.hpp"
#include "support/in_child.hpp"
#include "support/scale.hpp"

#include <leat/detail/frame_pool.hpp>
#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace {

// ---- How a canary reports ----------------------------------------------------------------------

/// `wrong` is what this compiler does, `instead` what users should write.
void canary(const std::string& item, const std::string& wrong, const std::string& instead)
{
    MESSAGE("canary " << item << ": this compiler " << wrong << ". " << instead);
}

/// Counts how many of it are alive, so that a double or a missing destruction shows without doing harm.
struct tok {
    tok() noexcept
    {
        ++live;
    }
    tok(const tok&) noexcept
    {
        ++live;
    }
    tok(tok&&) noexcept
    {
        ++live;
    }
    tok& operator=(const tok&) noexcept = default;
    tok& operator=(tok&&) noexcept = default;
    ~tok()
    {
        --live;
    }
    static inline int live = 0;
};

/// How many tokens too many, or too few, are alive after f.
template <class F>
int tokens_left_by(F&& f)
{
    const int before = tok::live;
    f();
    return tok::live - before;
}

// The same questions are put to bare coroutines and to leat's: Task is bare::task or leat::task.
template <class T>
using bare_task = bare::task<T>;
template <class T>
using leat_task = leat::task<T>;

template <template <class> class Task>
Task<int> number(int n)
{
    co_return n;
}

template <template <class> class Task>
Task<bool> answer(bool b, int& evaluations)
{
    ++evaluations;
    co_return b;
}

}  // namespace

// ---- T1: symmetric transfer is not always a tail call ------------------------------------------

namespace {

template <template <class> class Task>
Task<long> many_awaits(int n)
{
    long sum = 0;
    for (int i = 0; i < n; ++i)
        sum += co_await number<Task>(1);
    co_return sum;
}

template <template <class> class Task>
Task<int> nested(int depth)
{
    int below = 0;
    if (depth > 0)
        below = co_await nested<Task>(depth - 1);
    co_return below + 1;
}

}  // namespace

TEST_CASE("T1 canary: symmetric transfer of a bare coroutine may grow the stack")
{
    const auto end =
        test::in_child([] { return many_awaits<bare_task>(300'000).run() == 300'000L ? 0 : 1; }, 5);
    if (end.status != 0)
        canary("T1", "overflows the stack in a loop of symmetric transfers (it " + end.words() + ")",
               "leat::task does not; for awaitables of your own let await_suspend return void or bool.");
}

TEST_CASE("T1: two million ready awaits do not grow the stack")
{
    CHECK(leat::run(many_awaits<leat_task>(2'000'000)) == 2'000'000L);
}

TEST_CASE("T1: a chain of completions does not grow the stack")
{
    CHECK(leat::run(nested<leat_task>(200'000)) == 200'001);
}

// ---- T2: a coroutine without locals that begins with a condition on co_await --------------------

namespace {

bare::task<int> if_without_locals(int n)
{
    if (co_await number<bare_task>(n))
        co_return 1;
    co_return 2;
}

bare::task<int> while_without_locals(int n)
{
    while (co_await number<bare_task>(n))
        co_return 1;
    co_return 2;
}

bare::task<int> switch_without_locals(int n)
{
    switch (co_await number<bare_task>(n)) {
    case 1: co_return 1;
    default: co_return 2;
    }
}

leat::task<int> leat_if_without_locals(int n)
{
    if (co_await number<leat_task>(n))
        co_return 1;
    co_return 2;
}

template <template <class> class Task>
Task<int> if_with_local(int n)
{
    [[maybe_unused]] int local = 0;
    if (co_await number<Task>(n))
        co_return 1;
    co_return 2;
}

template <template <class> class Task>
Task<int> value_first(int n)
{
    const int value = co_await number<Task>(n);
    if (value)
        co_return 1;
    co_return 2;
}

constexpr const char* t2_instead =
    "Write `auto v = co_await f(); if (v)`, or give the coroutine any local variable.";

}  // namespace

TEST_CASE("T2 canary: a condition on co_await in a coroutine without local variables")
{
    // The compiler goes from the condition to the end of the frame's life, which then ends twice.
    const auto ask = [](const char* condition, bare::task<int> (*coroutine)(int)) {
        const auto end = test::in_child([&] { return coroutine(1).run() == 1 ? 0 : 1; });
        if (end.status != 0)
            canary("T2",
                   std::string{"skips the body of a coroutine without locals that begins with `"} +
                       condition + " (co_await ...)` (it " + end.words() + ")",
                   t2_instead);
    };
    ask("if", if_without_locals);
    ask("while", while_without_locals);
    ask("switch", switch_without_locals);
}

TEST_CASE("T2: a task whose body the compiler has skipped is reported, and does not hang")
{
    const auto end = test::in_child([] { return leat::run(leat_if_without_locals(1)) == 1 ? 0 : 1; });
    CAPTURE(end.words());
    // Right; or an abort that names the fault; or the compiler has put a trap where the body should be, of
    // which ThreadSanitizer makes a report of its own.
    constexpr int thread_sanitizer_report = 66;
    const bool defined = end.status == 0 || end.signal == SIGABRT || end.signal == SIGILL ||
                         (test::under_tsan && end.status == thread_sanitizer_report);
    CHECK(defined);
    if (end.status != 0)
        canary("T2", "skips the body of a leat::task; it " + end.words(), t2_instead);
}

TEST_CASE("T2: the cures work with leat's tasks")
{
    CHECK(leat::run(if_with_local<leat_task>(1)) == 1);
    CHECK(leat::run(if_with_local<leat_task>(0)) == 2);
    CHECK(leat::run(value_first<leat_task>(1)) == 1);
    CHECK(leat::run(value_first<leat_task>(0)) == 2);
}

// ---- T3: aggregate temporaries in a full-expression with co_await -------------------------------

namespace {

template <template <class> class Task, class F>
Task<int> call(F f)
{
    co_return f();
}

template <template <class> class Task>
Task<int> temporary_lambda()
{
    tok t;
    const int result = co_await call<Task>([t] {
        (void)t;
        return 1;
    });
    co_return result;
}

template <template <class> class Task>
Task<int> named_lambda()
{
    tok t;
    auto lambda = [t] {
        (void)t;
        return 1;
    };
    const int result = co_await call<Task>(std::move(lambda));
    co_return result;
}

template <template <class> class Task>
Task<int> lambda_in_two_statements()
{
    tok t;
    auto task = call<Task>([t] {
        (void)t;
        return 1;
    });
    const int result = co_await std::move(task);
    co_return result;
}

struct aggregate {
    tok t;
    int n = 0;
};

template <template <class> class Task>
Task<int> takes_aggregate(aggregate a)
{
    co_return a.n;
}

template <template <class> class Task>
Task<int> temporary_aggregate()
{
    const int result = co_await takes_aggregate<Task>(aggregate{tok{}, 1});
    co_return result;
}

struct aggregate_awaiter {
    tok t;
    bool await_ready() const noexcept
    {
        return true;
    }
    void await_suspend(std::coroutine_handle<>) const noexcept
    {
    }
    int await_resume() const noexcept
    {
        return 1;
    }
};

bare::task<int> awaits_aggregate()
{
    const int result = co_await aggregate_awaiter{};
    co_return result;
}

/// Safe in one expression with a co_await: either the compiler does not take it for an aggregate, or it does not
/// matter how often it is destroyed.
template <class T>
constexpr bool safe_temporary = !std::is_aggregate_v<T> || std::is_trivially_destructible_v<T>;

static_assert(safe_temporary<leat::task<int>>);
static_assert(safe_temporary<leat::join_handle<int>>);
static_assert(safe_temporary<leat::spawn_options>);
static_assert(safe_temporary<leat::result<std::string>>);
static_assert(safe_temporary<leat::channel<std::string>>);
static_assert(safe_temporary<leat::sender<std::string>>);
static_assert(safe_temporary<leat::receiver<std::string>>);
static_assert(safe_temporary<leat::context>);
static_assert(safe_temporary<decltype(std::declval<leat::receiver<std::string>&>().recv())>);
static_assert(safe_temporary<decltype(std::declval<leat::sender<std::string>&>().send(std::string{}))>);
static_assert(safe_temporary<decltype(leat::sleep_for(1ms))>);
static_assert(safe_temporary<decltype(leat::as_result(leat::sleep_for(1ms)))>);

}  // namespace

TEST_CASE("T3 canary: aggregate temporaries beside a co_await")
{
    constexpr const char* name_it =
        "Give it a name: `auto job = [p] { ... }; co_await run(std::move(job));`.";
    if (tokens_left_by([] { (void)temporary_lambda<bare_task>().run(); }) != 0)
        canary("T3", "destroys a lambda with captures twice in `co_await f([t] { ... })`", name_it);
    if (tokens_left_by([] { (void)temporary_aggregate<bare_task>().run(); }) != 0)
        canary("T3", "destroys an aggregate twice in `co_await f(aggregate{...})`", name_it);
    if (tokens_left_by([] { (void)awaits_aggregate().run(); }) != 0)
        canary("T3", "destroys an awaiter twice if it is an aggregate", "Give the awaiter a constructor.");
}

TEST_CASE("T3: the cures work with leat's tasks")
{
    CHECK(tokens_left_by([] { CHECK(leat::run(named_lambda<leat_task>()) == 1); }) == 0);
    CHECK(tokens_left_by([] { CHECK(leat::run(lambda_in_two_statements<leat_task>()) == 1); }) == 0);
}

TEST_CASE("T3: what leat keeps for a task is destroyed once")
{
    const auto spawns = []() -> leat::task<int> {
        tok t;
        auto job = [t]() -> leat::task<int> {
            (void)t;
            co_return 7;
        };
        auto handle = leat::spawn(std::move(job));
        const int seven = co_await std::move(handle);
        co_return seven;
    };
    CHECK(tokens_left_by([&] { CHECK(leat::run(spawns()) == 7); }) == 0);
}

// ---- T4: co_await inside && || ?: ---------------------------------------------------------------

namespace {

template <template <class> class Task>
Task<int> and_in_while(int& evaluations)
{
    int n = 0;
    while (n < 3 && co_await answer<Task>(true, evaluations))
        ++n;
    co_return n;
}

template <template <class> class Task>
Task<bool> and_in_return(int& evaluations)
{
    bool no = false;
    co_return no&& co_await answer<Task>(true, evaluations);
}

template <template <class> class Task>
Task<int> conditional_argument(int& evaluations)
{
    bool no = false;
    const auto as_int = [](bool b) { return b ? 1 : 0; };
    co_return as_int(no && co_await answer<Task>(true, evaluations));
}

template <template <class> class Task>
Task<bool> and_in_if(int& evaluations)
{
    bool no = false;
    if (no && co_await answer<Task>(true, evaluations))
        co_return true;
    co_return false;
}

template <template <class> class Task>
Task<bool> and_in_initializer(int& evaluations)
{
    bool no = false;
    const bool both = no && co_await answer<Task>(true, evaluations);
    co_return both;
}

template <template <class> class Task>
Task<int> declaration_in_while(int& evaluations)
{
    int n = 0;
    while (const bool more = co_await answer<Task>(n < 3, evaluations))
        n += more ? 1 : 0;
    co_return n;
}

}  // namespace

TEST_CASE("T4 canary: co_await on the right of && and ||")
{
    constexpr const char* instead =
        "Write the condition as statements: `if (!a) break; if (!co_await b) break;`.";
    int evaluations = 0;
    (void)and_in_while<bare_task>(evaluations).run();
    if (evaluations != 3)
        canary("T4", "evaluates b although a is false in `while (a && co_await b)`", instead);
    evaluations = 0;
    (void)and_in_return<bare_task>(evaluations).run();
    if (evaluations != 0)
        canary("T4", "evaluates b although a is false in `co_return a && co_await b`", instead);
    evaluations = 0;
    (void)conditional_argument<bare_task>(evaluations).run();
    if (evaluations != 0)
        canary("T4", "evaluates b although a is false in `f(a && co_await b)`", instead);
}

TEST_CASE("T4: if, an initialised variable and a declaring while are right")
{
    int evaluations = 0;
    CHECK_FALSE(leat::run(and_in_if<leat_task>(evaluations)));
    CHECK(evaluations == 0);
    CHECK_FALSE(leat::run(and_in_initializer<leat_task>(evaluations)));
    CHECK(evaluations == 0);
    CHECK(leat::run(declaration_in_while<leat_task>(evaluations)) == 3);
    CHECK(evaluations == 4);
}

// ---- T5: initializer lists beside a co_await (the rest is in packaging/traps/) -------------------

TEST_CASE("T5: many awaitables are given one by one or as a range, without an initializer list")
{
    const auto both = []() -> leat::task<int> {
        auto [a, b] = co_await leat::when_all(number<leat_task>(1), number<leat_task>(2));
        co_return a + b;
    };
    CHECK(leat::run(both()) == 3);

    const auto range = []() -> leat::task<int> {
        std::vector<leat::task<int>> tasks;
        for (int i = 1; i <= 4; ++i)
            tasks.push_back(number<leat_task>(i));
        const std::vector<int> results = co_await leat::when_all(std::move(tasks));
        co_return std::accumulate(results.begin(), results.end(), 0);
    };
    CHECK(leat::run(range()) == 10);
}

// ---- T6: the frame is not written to after it was handed over ------------------------------------

namespace {

leat::task<> pass_on(leat::receiver<int> from, leat::sender<int> to)
{
    while (auto value = co_await from.recv())
        co_await to.send(*value);
    to.close();
}

leat::task<int> relay(int values)
{
    leat::channel<int> first, second;
    int sum = 0;
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        co_await group.spawn(pass_on(first, second));
        co_await group.spawn([&]() -> leat::task<> {
            for (int i = 0; i < values; ++i)
                co_await first.send(1);
            first.close();
        });
        while (auto value = co_await second.recv())
            sum += *value;
    });
    co_return sum;
}

}  // namespace

TEST_CASE("T6: frames that are handed to other threads are left alone afterwards")
{
    // What goes wrong here is seen by the sanitizers.
    CHECK(leat::run(relay(5'000)) == 5'000);
}

// ---- T7: what belongs to a thread, read before and after a suspension ----------------------------

namespace {

[[gnu::noinline]] std::thread::id this_thread_now()
{
    asm volatile("" ::: "memory");
    return std::this_thread::get_id();
}

/// Resumes the coroutine on a new thread, which `carrier` then owns.
class continue_on_new_thread {
public:
    explicit continue_on_new_thread(std::thread& carrier) noexcept : carrier_{carrier}
    {
    }
    bool await_ready() const noexcept
    {
        return false;
    }
    void await_suspend(std::coroutine_handle<> self) const
    {
        carrier_ = std::thread{self};
    }
    void await_resume() const noexcept
    {
    }

private:
    std::thread& carrier_;
};

bare::task<bool> notices_move(std::thread& carrier)
{
    const auto before = std::this_thread::get_id();
    co_await continue_on_new_thread{carrier};
    const auto after = std::this_thread::get_id();
    co_return before != after;
}

}  // namespace

TEST_CASE("T7 canary: the thread's identity is read afresh after a suspension")
{
    std::thread carrier;
    auto task = notices_move(carrier);
    task.frame().resume();
    carrier.join();
    const auto frame =
        std::coroutine_handle<bare::task<bool>::promise_type>::from_address(task.frame().address());
    if (frame.promise().result != true)
        canary("T7", "remembers std::this_thread::get_id() across a co_await",
               "Read it, and thread_local variables, in a [[gnu::noinline]] function.");
}

TEST_CASE("T7: a task that is resumed on another runtime's thread finds itself there")
{
    leat::runtime here{{.workers = 1}};
    leat::runtime there{{.workers = 1}};
    std::thread::id before, after, back;
    const auto travels = [&]() -> leat::task<> {
        before = this_thread_now();
        const auto home = leat::this_task::executor();
        co_await leat::this_task::resume_on(there.get_executor());
        after = this_thread_now();
        co_await leat::this_task::resume_on(home);
        back = this_thread_now();
    };
    here.block_on(travels());
    CHECK(before != after);
    CHECK(before == back);
}

// ---- T9: memory that only the winner of a race may read ------------------------------------------

TEST_CASE("T9: only the winner of a race touches what was delivered")
{
    const auto races = []() -> leat::task<int> {
        int won = 0;
        for (int round = 0; round < 200; ++round) {
            leat::channel<std::unique_ptr<int>> a, b;
            co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
                const auto offer = [](leat::sender<std::unique_ptr<int>> to) -> leat::task<> {
                    auto value = std::make_unique<int>(1);
                    (void)co_await leat::as_result(to.send(std::move(value)));
                };
                co_await group.spawn(offer(a));
                co_await group.spawn(offer(b));
                const auto take = [&](std::optional<std::unique_ptr<int>> value) { won += **value; };
                co_await leat::select(leat::on(a.recv(), take), leat::on(b.recv(), take));
                a.close();
                b.close();
            });
        }
        co_return won;
    };
    CHECK(leat::run(races()) == 200);
}

// ---- T10: std::source_location is missing from clang 14 ------------------------------------------

TEST_CASE("T10: a place in the source is known with every compiler")
{
    const auto here = leat::detail::location::current();
    CHECK(here.line() == __LINE__ - 1);
    CHECK(std::string{here.file()}.find("traps_test.cpp") != std::string::npos);
#if !defined(__cpp_lib_source_location)
    canary("T10", "has no std::source_location",
           "leat uses the compiler's builtins; your own code may have to.");
#endif
}

// ---- T11: a compiler may place a frame in its caller's ------------------------------------------

TEST_CASE("T11: frames are given back, however many of them were allocated")
{
    const std::size_t before = leat::detail::frame_pool_stats().live_bytes;
    CHECK(leat::run(nested<leat_task>(100)) == 101);
    CHECK(leat::detail::frame_pool_stats().live_bytes == before);
}

// ---- T12: a frame that is destroyed while it is suspended ----------------------------------------

namespace {

struct two {
    tok t;
    int n = 0;
};

class never {
public:
    never() noexcept
    {
    }
    bool await_ready() const noexcept
    {
        return false;
    }
    void await_suspend(std::coroutine_handle<>) const noexcept
    {
    }
    int await_resume() const noexcept
    {
        return 0;
    }
};

bare::task<int> half_built()
{
    const two both{tok{}, co_await never{}};
    co_return both.n;
}

}  // namespace

TEST_CASE("T12 canary: destroying a suspended coroutine destroys what was half built")
{
    if (tokens_left_by([] {
            auto task = half_built();
            task.frame().resume();
        }) != 0)
        canary("T12", "leaks a in `T{a, co_await b}` when the suspended coroutine is destroyed",
               "leat cancels tasks, which then run to their end; do not destroy handles of your own.");
}

TEST_CASE("T12: a cancelled task destroys what was half built")
{
    const auto half = []() -> leat::task<int> {
        leat::channel<int> silent;
        const auto wait = [](leat::receiver<int> from) -> leat::task<int> {
            auto value = co_await from.recv();
            co_return value.value_or(0);
        };
        const two both{tok{}, co_await wait(silent)};
        co_return both.n;
    };
    leat::sim::world world;
    const auto abandon = [&]() -> leat::task<bool> {
        auto late = co_await leat::as_result(leat::timeout(10ms, half()));
        co_return late.has_value();
    };
    CHECK(tokens_left_by([&] { CHECK_FALSE(world.run(abandon())); }) == 0);
    CHECK(world.live_tasks() == 0);
}

// ---- T13: a frame that is destroyed in its own await_suspend --------------------------------------

namespace {

class destroy_self {
public:
    destroy_self() noexcept
    {
    }
    bool await_ready() const noexcept
    {
        return false;
    }
    void await_suspend(std::coroutine_handle<> self) const noexcept
    {
        self.destroy();
    }
    void await_resume() const noexcept
    {
    }
};

// Owned by nobody.
struct loose {
    struct promise_type {
        loose get_return_object() const noexcept
        {
            return {};
        }
        std::suspend_never initial_suspend() const noexcept
        {
            return {};
        }
        std::suspend_never final_suspend() const noexcept
        {
            return {};
        }
        void return_void() const noexcept
        {
        }
        void unhandled_exception() const noexcept
        {
            std::terminate();
        }
    };
};

loose destroys_itself()
{
    tok t;
    co_await destroy_self{};
}

}  // namespace

TEST_CASE("T13 canary: a coroutine destroyed in its own await_suspend")
{
    const auto end = test::in_child([] { return tokens_left_by([] { destroys_itself(); }) == 0 ? 0 : 1; });
    if (end.status != 0)
        canary("T13",
               "does not survive a coroutine that is destroyed in its own await_suspend (it " + end.words() +
                   ")",
               "Let a coroutine end by running to its end.");
}

TEST_CASE("T13: detached tasks free themselves once they have ended")
{
    const auto detaches = []() -> leat::task<> {
        leat::channel<int> ended{1000};
        for (int i = 0; i < 1000; ++i) {
            auto job = [ended, t = tok{}]() mutable -> leat::task<> {
                co_await leat::this_task::yield();
                co_await ended.send(1);
            };
            leat::spawn(std::move(job)).detach();
        }
        for (int i = 0; i < 1000; ++i)
            (void)co_await ended.recv();
    };
    // tok is not made for several threads.
    leat::runtime one{{.workers = 1}};
    CHECK(tokens_left_by([&] {
              one.block_on(detaches());
              one.stop();
          }) == 0);
}

// ---- T14: the conditional operator ---------------------------------------------------------------

namespace {

template <template <class> class Task>
Task<tok> token()
{
    tok t;
    co_return t;
}

template <template <class> class Task>
Task<int> chosen_number(bool first)
{
    const int n = first ? co_await number<Task>(1) : co_await number<Task>(2);
    co_return n;
}

template <template <class> class Task>
Task<int> chosen_token(bool first)
{
    [[maybe_unused]] const tok t = first ? co_await token<Task>() : co_await token<Task>();
    co_return 1;
}

leat::task<int> token_by_if(bool first)
{
    tok t;
    if (first)
        t = co_await token<leat_task>();
    else
        t = co_await token<leat_task>();
    co_return 1;
}

}  // namespace

TEST_CASE("T14 canary: objects chosen by the conditional operator from the results of co_await")
{
    if (tokens_left_by([] { (void)chosen_token<bare_task>(true).run(); }) != 0)
        canary("T14", "destroys the result twice in `x = c ? co_await a : co_await b`",
               "Write `if (c) x = co_await a; else x = co_await b;`, unless the results are plain numbers.");
}

TEST_CASE("T14: numbers may be chosen by the conditional operator, objects by if")
{
    CHECK(chosen_number<bare_task>(true).run() == 1);
    CHECK(leat::run(chosen_number<leat_task>(true)) == 1);
    CHECK(leat::run(chosen_number<leat_task>(false)) == 2);
    CHECK(tokens_left_by([] { CHECK(leat::run(token_by_if(true)) == 1); }) == 0);
    CHECK(tokens_left_by([] { CHECK(leat::run(token_by_if(false)) == 1); }) == 0);
}

// ---- T17: the cost of a parameter ----------------------------------------------------------------

namespace {

struct counts_moves {
    explicit counts_moves(int& n) noexcept : moves{&n}
    {
    }
    counts_moves(counts_moves&& other) noexcept : moves{other.moves}
    {
        ++*moves;
    }
    int* moves;
};

template <template <class> class Task>
Task<int> takes_by_value(counts_moves parameter)
{
    co_return *parameter.moves;
}

}  // namespace

TEST_CASE("T17: a parameter by value costs two moves")
{
    int moves = 0;
    counts_moves argument{moves};
    CHECK(leat::run(takes_by_value<leat_task>(std::move(argument))) == 2);
}

// ---- T18: what has always worked -----------------------------------------------------------------

namespace {

leat::task<int> throws_at_once()
{
    if (true)
        throw std::runtime_error{"at once"};
    co_return 1;
}

leat::task<int> throws_below(int depth)
{
    int result = 0;
    if (depth == 0)
        throw std::runtime_error{"deep down"};
    result = co_await throws_below(depth - 1);
    co_return result;
}

template <class... Ns>
leat::task<int> sum_of(Ns... ns)
{
    const int sum = (0 + ... + co_await number<leat_task>(ns));
    co_return sum;
}

leat::task<std::vector<int>> some_numbers()
{
    std::vector<int> numbers{1, 2, 3};
    co_return numbers;
}

leat::task<int> one_of_each()
{
    int sum = 0;
    const std::vector<int> numbers = co_await some_numbers();
    for (int n : numbers)
        sum += n;
    for (int n : co_await some_numbers())
        sum += n;
    if (const int n = co_await number<leat_task>(4); n > 3)
        sum += n;
    sum += (co_await number<leat_task>(100), co_await number<leat_task>(5));
    sum += co_await number<leat_task>(co_await number<leat_task>(6)) + co_await number<leat_task>(7);
    co_return sum;
}

}  // namespace

TEST_CASE("T18: exceptions, packs, nested and summed awaits, generic lambdas")
{
    CHECK_THROWS_WITH_AS(leat::run(throws_at_once()), "at once", std::runtime_error);
    CHECK_THROWS_WITH_AS(leat::run(throws_below(100)), "deep down", std::runtime_error);
    CHECK(leat::run(sum_of(1, 2, 3)) == 6);
    CHECK(leat::run(one_of_each()) == 6 + 6 + 4 + 5 + 13);

    const auto generic = [](auto n) -> leat::task<decltype(n)> {
        auto twice = n + n;
        co_return twice;
    };
    CHECK(leat::run(generic(2)) == 4);
    CHECK(leat::run(generic(std::string{"ab"})) == "abab");
}

// ---- T20: frames on the stack are large without optimisation and under sanitizers -----------------

namespace {

[[gnu::noinline]] int stack_hungry(int depth)
{
    std::array<volatile char, 4096> space{};
    space[0] = static_cast<char>(depth & 1);
    return depth == 0 ? space[0] : stack_hungry(depth - 1) + space[0];
}

}  // namespace

TEST_CASE("T20: a task on a worker may use half a megabyte of stack, sanitizers included")
{
    const auto hungry = []() -> leat::task<int> {
        const int odd = stack_hungry(100);
        co_return odd;
    };
    CHECK(leat::run(hungry()) == 50);
}
