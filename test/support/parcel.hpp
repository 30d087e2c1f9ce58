// A move-only value that knows how many of its kind hold something, so that a value lost, doubled or leaked shows.
#pragma once

#include <atomic>
#include <utility>

namespace test {

class parcel {
public:
    explicit parcel(int value) noexcept : value_{value}
    {
        live_.fetch_add(1, std::memory_order_relaxed);
    }
    parcel(parcel&& other) noexcept : value_{std::exchange(other.value_, none)}
    {
    }
    parcel& operator=(parcel&& other) noexcept
    {
        if (this != &other) {
            release();
            value_ = std::exchange(other.value_, none);
        }
        return *this;
    }
    ~parcel()
    {
        release();
    }

    /// False once it has been moved from.
    bool full() const noexcept
    {
        return value_ != none;
    }
    int value() const noexcept
    {
        return value_;
    }
    /// How many hold a value.
    static long live() noexcept
    {
        return live_.load(std::memory_order_relaxed);
    }

private:
    static constexpr int none = -1;

    void release() noexcept
    {
        if (full())
            live_.fetch_sub(1, std::memory_order_relaxed);
    }

    int value_;
    static inline std::atomic<long> live_{0};
};

}  // namespace test
