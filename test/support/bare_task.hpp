// The least coroutine there can be, for questions to the compiler in which leat must play no part: whatever goes
// wrong with a bare::task goes wrong with every coroutine type.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

namespace bare {

template <class T>
class [[nodiscard]] task {
public:
    struct promise_type {
        task get_return_object() noexcept
        {
            return task{std::coroutine_handle<promise_type>::from_promise(*this)};
        }
        std::suspend_always initial_suspend() const noexcept
        {
            return {};
        }
        auto final_suspend() const noexcept
        {
            struct resume_parent {
                bool await_ready() const noexcept
                {
                    return false;
                }
                std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) const noexcept
                {
                    return self.promise().parent;
                }
                void await_resume() const noexcept
                {
                }
            };
            return resume_parent{};
        }
        void return_value(T value)
        {
            result.emplace(std::move(value));
        }
        void unhandled_exception() noexcept
        {
            thrown = std::current_exception();
        }

        std::optional<T> result;
        std::exception_ptr thrown;
        std::coroutine_handle<> parent = std::noop_coroutine();
    };

    task(task&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)}
    {
    }
    ~task()
    {
        if (frame_)
            frame_.destroy();
    }

    auto operator co_await() && noexcept
    {
        class awaiter {
        public:
            explicit awaiter(std::coroutine_handle<promise_type> child) noexcept : child_{child}
            {
            }
            bool await_ready() const noexcept
            {
                return false;
            }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<> parent) const noexcept
            {
                child_.promise().parent = parent;
                return child_;
            }
            T await_resume() const
            {
                return take(child_.promise());
            }

        private:
            std::coroutine_handle<promise_type> child_;
        };
        return awaiter{frame_};
    }

    /// Resumes the coroutine; what it returned, or nothing if it did not get as far as its end.
    std::optional<T> run()
    {
        frame_.resume();
        promise_type& promise = frame_.promise();
        if (!promise.result && !promise.thrown)
            return std::nullopt;
        return take(promise);
    }

    std::coroutine_handle<> frame() const noexcept
    {
        return frame_;
    }

private:
    explicit task(std::coroutine_handle<promise_type> frame) noexcept : frame_{frame}
    {
    }

    static T take(promise_type& promise)
    {
        if (promise.thrown)
            std::rethrow_exception(promise.thrown);
        return std::move(*promise.result);
    }

    std::coroutine_handle<promise_type> frame_;
};

}  // namespace bare
