// The parts of a park without coroutines, so that a test can be the task.
#pragma once

#include <leat/detail/context_node.hpp>
#include <leat/detail/park.hpp>
#include <leat/detail/timers.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <vector>

namespace test {

/// A stop state that can be set, and keeps those it has to tell in an ordinary list.
class test_stop final : public leat::detail::stop_state {
public:
    void enroll(leat::detail::task_root&) noexcept override
    {
    }
    void expel(leat::detail::task_root&) noexcept override
    {
    }
    void set() noexcept
    {
        error_.store(static_cast<int>(leat::errc::cancelled), std::memory_order_seq_cst);
    }
};

class no_scheduler : public leat::detail::scheduler {
public:
    void ready(leat::detail::task_root&, leat::detail::turn*) noexcept override
    {
    }
    void ready_later(leat::detail::task_root&, leat::detail::turn*) noexcept override
    {
    }
    void task_created(leat::detail::turn*) noexcept override
    {
    }
    void task_ended(leat::detail::turn*) noexcept override
    {
    }
    std::int64_t now() noexcept override
    {
        return 0;
    }
    leat::detail::timer_shard& timers(leat::detail::turn*) noexcept override
    {
        std::terminate();
    }
    void timer_armed(leat::detail::timer_shard&, std::int64_t, leat::detail::turn*) noexcept override
    {
    }
    leat::detail::blocking_queue& blocking() noexcept override
    {
        std::terminate();
    }
    void unhandled(leat::detail::task_root&, std::exception_ptr) noexcept override
    {
        std::terminate();
    }
    std::uint32_t choose(std::uint32_t) noexcept override
    {
        return 0;
    }
    std::uint64_t new_id(leat::detail::turn*, std::uint64_t) noexcept override
    {
        return ++ids_;
    }

private:
    std::uint64_t ids_ = 0;
};

/// A root without coroutines: its task is the code of a model thread.
/// Addresses that stand for tasks where nobody looks at what is there.
class root_names {
public:
    explicit root_names(std::size_t count) : places_(count)
    {
    }

    leat::detail::task_root& operator[](std::size_t i) noexcept
    {
        return *reinterpret_cast<leat::detail::task_root*>(&places_[i]);
    }
    std::size_t index_of(const leat::detail::task_root* root) const noexcept
    {
        return static_cast<std::size_t>(reinterpret_cast<const place*>(root) - places_.data());
    }

private:
    struct alignas(leat::detail::task_root) place {
        std::byte bytes[sizeof(leat::detail::task_root)];
    };
    std::vector<place> places_;
};

class test_root final : public leat::detail::task_root {
public:
    test_root(leat::detail::scheduler& sched, leat::detail::stop_state& stop) noexcept
        : leat::detail::task_root{sched, leat::detail::background_node(), stop, 1}
    {
        enroll();
    }
    void finished(leat::detail::turn&) noexcept override
    {
    }
    void abandoned() noexcept override
    {
    }
    int times_scheduled = 0;
};

class test_waiter final : public leat::detail::waiter {
public:
    explicit test_waiter(test_root& of, leat::detail::spinlock& at) noexcept : at_{at}
    {
        root = &of;
    }
    leat::detail::spinlock& source() noexcept override
    {
        return at_;
    }
    bool try_complete(leat::detail::wake_list&) noexcept override
    {
        return false;
    }
    void link() noexcept override
    {
        linked = true;
    }
    void unlink() noexcept override
    {
        linked = false;
    }
    const char* kind() const noexcept override
    {
        return "test";
    }

private:
    leat::detail::spinlock& at_;
};

}  // namespace test
