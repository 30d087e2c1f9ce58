// What locks have in common.
#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/eager.hpp>
#include <leat/detail/park.hpp>

#include <cstdint>

namespace leat::detail {

/// The id of the task that runs on this thread, or 0.
std::uint64_t running_task_id() noexcept;

/// Says what is wrong with the end of a lock, and ends the program.
[[noreturn]] void report_destroyed_in_use(const char* kind, const char* name) noexcept;

/// Who holds a lock alone, for reports. Out of date at once; nobody is known without the registry.
class lock_holder {
public:
#if LEAT_REGISTRY
    void held_by(std::uint64_t task) noexcept
    {
        holder_.store(task, std::memory_order_relaxed);
    }
    std::uint64_t holder() const noexcept
    {
        return holder_.load(std::memory_order_relaxed);
    }
    void held_by_caller() noexcept
    {
        held_by(running_task_id());
    }

private:
    atomic<std::uint64_t> holder_{0};
#else
    void held_by(std::uint64_t) noexcept
    {
    }
    std::uint64_t holder() const noexcept
    {
        return 0;
    }
    void held_by_caller() noexcept
    {
    }
#endif
};

/// What lock() and its like give. Operation::take_now(core, root) locks for the
/// running task if that is possible at once.
template <class Operation>
class lock_request {
public:
    using operation_type = Operation;
    using value_type = typename Operation::value_type;
    using owner_type = typename Operation::owner_type;
    using kept_type = owner_type*;

    explicit lock_request(owner_type& owner) noexcept : owner_{&owner}
    {
    }
    bool try_now(task_root& root, owner_type*& taken) noexcept
    {
        turn& here = *root.now;
        if (!may_take(root, here) || !Operation::take_now(value_type::core_of(*owner_), root))
            return false;
        --here.budget;
        taken = owner_;
        return true;
    }
    static value_type take(owner_type* locked) noexcept
    {
        return value_type{*locked};
    }
    operation_type make() noexcept
    {
        return {value_type::core_of(*owner_), *owner_};
    }

private:
    owner_type* owner_;
};

}  // namespace leat::detail
