// What a line in the table of awaitables (awaitables.hpp) says.
#pragma once

#include <leat/task.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>

namespace test {

using namespace std::chrono_literals;

class awaitable_case {
public:
    awaitable_case() = default;
    awaitable_case(const awaitable_case&) = delete;
    awaitable_case& operator=(const awaitable_case&) = delete;
    virtual ~awaitable_case() = default;

    /// Waits once. At most one wait at a time.
    virtual leat::task<> wait() = 0;
    /// Makes it happen, once, without waiting, from anywhere. False if that was only possible while somebody
    /// waited, and nobody did.
    virtual bool make()
    {
        return true;
    }
    /// How much that was made nobody has had, if that can be told without waiting.
    virtual int left() const
    {
        return 0;
    }
    /// After a wait that failed: the caller still has what it wanted to give away.
    virtual bool intact() const
    {
        return true;
    }
    /// What has to run beside it. In a task, before and after everything else.
    virtual leat::task<> set_up()
    {
        co_return;
    }
    virtual leat::task<> tear_down()
    {
        co_return;
    }
    /// Lets happen what happens outside of the world in which the case is used.
    virtual void elsewhere()
    {
    }
};

enum class happens : unsigned char {
    once,       ///< one wait has it
    for_good,   ///< every later wait has it too
    by_itself,  ///< after time(), on the clock of the task
    at_once,    ///< the wait lets others run, but cannot be made to park
};

struct awaitable_entry {
    const char* name;
    happens how;
    std::unique_ptr<awaitable_case> (*create)();
    bool ready_ahead = true;  ///< make() before the wait counts
    bool in_world = true;     ///< parks in a sim::world
    bool outlives = true;     ///< what it waits for does not belong to a runtime
    bool on_pool = true;
    bool if_ended = false;      ///< what has happened is had even under a context that has ended: done()
    bool on_the_clock = false;  ///< even when made, it takes a turn of the clock
};

/// How long what happens by itself takes. Set before the case is made.
inline std::chrono::nanoseconds& time_until_happening()
{
    static std::chrono::nanoseconds span = 1h;
    return span;
}

inline void expect(bool truth, const char* what)
{
    if (!truth)
        throw std::logic_error{what};
}

template <class Case>
std::unique_ptr<awaitable_case> create_case()
{
    return std::make_unique<Case>();
}

}  // namespace test
