// Counts how many of it are alive, on whatever thread they live.
#pragma once

#include <atomic>

namespace test {

/// Copyable; `value` tells them apart, a moved-from one has -1.
class counted {
public:
    explicit counted(int v = 0) noexcept : value{v}
    {
        ++live_;
    }
    counted(const counted& other) noexcept : value{other.value}
    {
        ++live_;
        ++copies_;
    }
    counted(counted&& other) noexcept : value{other.value}
    {
        other.value = -1;
        ++live_;
    }
    counted& operator=(const counted& other) noexcept
    {
        value = other.value;
        ++copies_;
        return *this;
    }
    counted& operator=(counted&& other) noexcept
    {
        if (this != &other) {
            value = other.value;
            other.value = -1;
        }
        return *this;
    }
    ~counted()
    {
        --live_;
    }

    static int live() noexcept
    {
        return live_.load();
    }
    static int copies() noexcept
    {
        return copies_.load();
    }

    int value;

private:
    static inline std::atomic<int> live_{0};
    static inline std::atomic<int> copies_{0};
};

/// Notes the number of live objects, to be compared with later.
class no_more_than_before {
public:
    no_more_than_before() noexcept : before_{counted::live()}
    {
    }
    /// Objects too many (or, negative, destroyed too often).
    int excess() const noexcept
    {
        return counted::live() - before_;
    }

private:
    int before_;
};

}  // namespace test
