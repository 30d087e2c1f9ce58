// Ready tasks from threads that are no workers, and what overflows the workers' own queues: an intrusive list
// under a lock, with its length beside it for those who only want to know whether it is worth a look. The
// length is sequentially consistent because it is one half of the Dekker pair with a worker that goes to sleep;
// see pool.hpp.
#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/park.hpp>

#include <cstddef>
#include <mutex>

namespace leat::detail {

class injection_queue {
public:
    void push(task_root& root) noexcept
    {
        root.queued = nullptr;
        std::lock_guard hold{lock_};
        (last_ != nullptr ? last_->queued : first_) = &root;
        last_ = &root;
        length_.fetch_add(1, std::memory_order_seq_cst);
    }
    void push(task_root** roots, std::size_t count) noexcept
    {
        if (count == 0)
            return;
        for (std::size_t i = 0; i + 1 < count; ++i)
            roots[i]->queued = roots[i + 1];
        roots[count - 1]->queued = nullptr;
        std::lock_guard hold{lock_};
        (last_ != nullptr ? last_->queued : first_) = roots[0];
        last_ = roots[count - 1];
        length_.fetch_add(count, std::memory_order_seq_cst);
    }
    std::size_t take(task_root** into, std::size_t most) noexcept
    {
        if (empty())
            return 0;
        std::lock_guard hold{lock_};
        std::size_t count = 0;
        while (count < most && first_ != nullptr) {
            into[count++] = first_;
            first_ = first_->queued;
        }
        if (first_ == nullptr)
            last_ = nullptr;
        length_.fetch_sub(count, std::memory_order_seq_cst);
        return count;
    }
    bool empty() const noexcept
    {
        return length() == 0;
    }
    std::size_t length() const noexcept
    {
        return length_.load(std::memory_order_seq_cst);
    }

private:
    spinlock lock_;
    task_root* first_ = nullptr;
    task_root* last_ = nullptr;
    atomic<std::size_t> length_{0};
};

}  // namespace leat::detail
