// Pointers that own.
//
// What std::unique_ptr and std::shared_ptr are for, without what those cost to compile: libstdc++'s make tuples of
// themselves, and all of <ostream> comes with them. Nearly a fifth of what <leat/leat.hpp> costs was that.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace leat::detail {

struct deleting {
    template <class T>
    void operator()(T* object) const noexcept
    {
        static_assert(sizeof(T) != 0, "leat: T has to be complete where it is destroyed");
        delete object;
    }
};

/// The owner of an object; T[]: of an array of them. What it had is destroyed when it no longer points to it.
template <class T, class Drop = deleting>
class owned {
    using element = std::remove_extent_t<T>;

public:
    constexpr owned() noexcept = default;
    constexpr owned(std::nullptr_t) noexcept
    {
    }
    explicit owned(element* object) noexcept : object_{object}
    {
    }
    owned(owned&& other) noexcept : object_{other.release()}
    {
    }
    template <class U>
        requires(!std::is_same_v<U, T> && std::is_convertible_v<U*, element*>)
    owned(owned<U>&& other) noexcept : object_{other.release()}
    {
    }
    owned& operator=(owned&& other) noexcept
    {
        reset(other.release());
        return *this;
    }
    ~owned()
    {
        reset();
    }

    element* get() const noexcept
    {
        return object_;
    }
    element& operator*() const noexcept
    {
        return *object_;
    }
    element* operator->() const noexcept
    {
        return object_;
    }
    element& operator[](std::size_t at) const noexcept
    {
        return object_[at];
    }
    explicit operator bool() const noexcept
    {
        return object_ != nullptr;
    }
    [[nodiscard]] element* release() noexcept
    {
        element* const given = object_;
        object_ = nullptr;
        return given;
    }
    void reset(element* to = nullptr) noexcept
    {
        element* const before = object_;
        object_ = to;
        if (before == nullptr)
            return;
        if constexpr (std::is_array_v<T>)
            delete[] before;
        else
            Drop{}(before);
    }

private:
    element* object_ = nullptr;
};

template <class T, class... Args>
owned<T> make_owned(Args&&... args)
{
    return owned<T>{new T(std::forward<Args>(args)...)};
}
/// `size` objects as T{} makes them.
template <class T>
owned<T[]> make_owned_array(std::size_t size)
{
    return owned<T[]>{new T[size]{}};
}

/// Counts those who share something.
class share_count {
public:
    using drop = void (*)(share_count*) noexcept;

    explicit share_count(drop how) noexcept : drop_{how}
    {
    }
    void ref() noexcept
    {
        refs_.fetch_add(1, std::memory_order_relaxed);
    }
    void unref() noexcept
    {
        if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            drop_(this);
    }

private:
    std::atomic<std::uint32_t> refs_{1};
    const drop drop_;
};

/// One of the owners of an object that share it. Threads: as any value; different ones any, concurrently.
template <class T>
class shared {
public:
    constexpr shared() noexcept = default;
    shared(const shared& other) noexcept : object_{other.object_}, count_{other.count_}
    {
        if (count_ != nullptr)
            count_->ref();
    }
    shared(shared&& other) noexcept : object_{other.object_}, count_{other.count_}
    {
        other.count_ = nullptr;
        other.object_ = nullptr;
    }
    template <class U>
        requires(!std::is_same_v<U, T> && std::is_convertible_v<U*, T*>)
    shared(shared<U> other) noexcept : object_{other.object_}, count_{other.count_}
    {
        other.count_ = nullptr;
        other.object_ = nullptr;
    }
    shared& operator=(shared other) noexcept
    {
        std::swap(object_, other.object_);
        std::swap(count_, other.count_);
        return *this;
    }
    ~shared()
    {
        if (count_ != nullptr)
            count_->unref();
    }

    T* get() const noexcept
    {
        return object_;
    }
    template <class U = T>
    U& operator*() const noexcept
    {
        return *object_;
    }
    T* operator->() const noexcept
    {
        return object_;
    }
    explicit operator bool() const noexcept
    {
        return object_ != nullptr;
    }
    friend bool operator==(const shared& a, const shared& b) noexcept
    {
        return a.object_ == b.object_;
    }

private:
    template <class U>
    friend class shared;
    template <class U, class... Args>
    friend shared<U> make_shared_object(Args&&... args);
    template <class U>
    friend shared<U> one_more_owner(U& counted) noexcept;
    shared(T* object, share_count* adopted) noexcept : object_{object}, count_{adopted}
    {
    }

    T* object_ = nullptr;
    share_count* count_ = nullptr;
};

/// An object and the count of its owners.
template <class T>
class shared_object : public share_count {
public:
    template <class... Args>
    explicit shared_object(Args&&... args)
        : share_count{[](share_count* self) noexcept { delete static_cast<shared_object*>(self); }},
          object(std::forward<Args>(args)...)
    {
    }
    T object;
};

/// The base of a T that counts its owners itself, so that it can give itself another.
template <class T>
class counts_owners : public share_count {
protected:
    counts_owners() noexcept : share_count{[](share_count* self) noexcept { delete static_cast<T*>(self); }}
    {
    }
    ~counts_owners() = default;
};

template <class T, class... Args>
shared<T> make_shared_object(Args&&... args)
{
    if constexpr (std::is_base_of_v<share_count, T>) {
        auto* const made = new T(std::forward<Args>(args)...);
        return shared<T>{made, made};
    } else {
        auto* const made = new shared_object<T>(std::forward<Args>(args)...);
        return shared<T>{&made->object, made};
    }
}

/// Precondition: it counts its owners itself, and has one.
template <class T>
shared<T> one_more_owner(T& counted) noexcept
{
    counted.ref();
    return shared<T>{&counted, &counted};
}

}  // namespace leat::detail
