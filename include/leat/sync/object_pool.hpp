// Objects that are used again.
//
//     shelf of a thread ◀──some at a time──▶ store, under its lock
//
// A shelf belongs to the thread with its number (thread_slots.hpp), and nobody else touches it, so taking from it and
// putting back need no atomic operation. What threads of the same number did before happened before: they hand the number
// on under a lock.
//
// Every idle object has a place, of which there are max_idle: in the store, on a shelf, or free. A shelf asks for free
// places when it has more to keep, and then has them whether something is on them or not, so the bound holds without a
// count that all would share. A shelf that is full gives half of its objects to the store, places and all; one that is
// empty gets some. An object for which there is no place is destroyed.
// (The road not taken is to steal from others' shelves: it would need an atomic operation on each. What other threads
// keep is at most a shelf each.)
#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/callback.hpp>
#include <leat/detail/memory.hpp>
#include <leat/detail/spinlock.hpp>
#include <leat/detail/thread_slots.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

namespace leat {

struct pool_options {
    std::size_t max_idle =
        1024;  ///< how many objects are kept for later; what is given back beyond that is destroyed
};

namespace detail {

/// What does not depend on T.
class pool_base {
public:
    explicit pool_base(std::size_t max_idle);
    pool_base(const pool_base&) = delete;
    pool_base& operator=(const pool_base&) = delete;

    /// An idle object, or null.
    void* take() noexcept
    {
        shelf* const mine = my_shelf();
        if (mine != nullptr && mine->count != 0) [[likely]]
            return mine->objects[--mine->count];
        return take_from_store(mine);
    }
    /// False if there is no place for it.
    [[nodiscard]] bool keep(void* object) noexcept
    {
        shelf* const mine = my_shelf();
        if (mine != nullptr && mine->count < mine->places) [[likely]] {
            mine->objects[mine->count++] = object;
            return true;
        }
        return keep_in_store(mine, object);
    }

protected:
    ~pool_base();
    /// By the destructor: hands out all that is idle, then null.
    void* take_any() noexcept;

private:
    static constexpr std::uint32_t shelves = 64;  ///< threads of higher numbers use the store
    static constexpr std::uint32_t room = 14;     ///< on a shelf

    class alignas(64) shelf {
    public:
        std::uint32_t count = 0;
        std::uint32_t places = 0;
        void* objects[room];
    };

    shelf* my_shelf() const noexcept
    {
        const std::uint32_t index = this_threads_slot().index;
        return index < shelves ? shelves_[index].load(std::memory_order_relaxed) : nullptr;
    }
    void* take_from_store(shelf* mine) noexcept;
    void take_place(shelf& mine) noexcept;
    bool keep_in_store(shelf* mine, void* object) noexcept;
    shelf* make_shelf() noexcept;

    atomic<shelf*> shelves_[shelves]{};  ///< each written once, by its thread
    spinlock lock_;
    std::vector<void*> store_;  ///< under lock_; of these each has a place
    std::size_t free_places_;   ///< under lock_
};

}  // namespace detail

/// Keeps objects that are costly to make, for whoever needs one next.
///
/// get() never waits: if none is idle, one is made. Each thread has some at hand, so that tasks of one worker use them
/// again without meeting others.
///
/// Threads  any, concurrently, also those of no runtime.
/// Life     has to live until every lease has been given back.
template <class T>
class object_pool : private detail::pool_base {
public:
    using value_type = T;

    /// An object on loan, which goes back when this goes.
    class [[nodiscard]] lease {
    public:
        /// An empty one.
        lease() noexcept = default;
        lease(lease&& other) noexcept : from_{other.from_}, object_{std::exchange(other.object_, nullptr)}
        {
        }
        lease& operator=(lease&& other) noexcept
        {
            if (this != &other) {
                reset();
                from_ = other.from_;
                object_ = std::exchange(other.object_, nullptr);
            }
            return *this;
        }
        ~lease()
        {
            reset();
        }

        T& operator*() const noexcept
        {
            return *object_;
        }
        T* operator->() const noexcept
        {
            return object_;
        }
        T* get() const noexcept
        {
            return object_;
        }
        explicit operator bool() const noexcept
        {
            return object_ != nullptr;
        }
        /// Gives it back now.
        void reset() noexcept
        {
            if (object_ != nullptr)
                from_->give_back(std::exchange(object_, nullptr));
        }
        /// Keeps it: it never goes back. Include <memory> for that.
        [[nodiscard]] detail::std_unique_ptr<T> release() noexcept
        {
            return detail::std_unique_ptr<T>{std::exchange(object_, nullptr)};
        }

    private:
        friend class object_pool;
        lease(object_pool& from, T* object) noexcept : from_{&from}, object_{object}
        {
        }

        object_pool* from_ = nullptr;
        T* object_ = nullptr;
    };

    /// Objects are made by their default constructor.
    explicit object_pool(const pool_options& options = {})
        requires std::default_initializable<T>
        : object_pool{[] { return T(); }, options}
    {
    }
    /// Objects are made by `make()`, which gives a T. Called by get(), without locks, by several threads at once.
    template <class Make>
        requires std::is_invocable_r_v<T, Make&>
    explicit object_pool(Make make, const pool_options& options = {})
        : pool_base{options.max_idle}, make_{[f = std::move(make)](T** into) mutable { *into = new T(f()); }}
    {
    }
    /// `reset(T&)` is called with every object that is given back, before the next has it: without locks, by several
    /// threads at once. If it throws, the object is destroyed instead.
    template <class Make, std::invocable<T&> Reset>
        requires std::is_invocable_r_v<T, Make&>
    object_pool(Make make, Reset reset, const pool_options& options = {})
        : object_pool{std::move(make), options}
    {
        reset_ = [f = std::move(reset)](T& object) mutable { static_cast<void>(f(object)); };
    }
    ~object_pool()
    {
        while (void* const idle = take_any())
            delete static_cast<T*>(idle);
    }

    /// An object: one that has been given back, or a new one.
    ///
    /// Throws  what making one throws; std::bad_alloc.
    /// Cost    some loads and stores if this thread has an idle one.
    lease get()
    {
        if (void* const idle = take()) [[likely]]
            return lease{*this, static_cast<T*>(idle)};
        T* made = nullptr;
        make_(&made);
        return lease{*this, made};
    }
    /// Adds an object that was made elsewhere; destroys it if there is no place. Include <memory> for that.
    void put(detail::std_unique_ptr<T> object) noexcept
    {
        if (object)
            give_back(object.release());
    }

private:
    void give_back(T* object) noexcept
    {
        if (reset_)
            try {
                reset_(*object);
            } catch (...) {
                delete object;
                return;
            }
        if (!keep(object))
            delete object;
    }

    detail::callback<void(T**)> make_;
    detail::callback<void(T&)> reset_;
};

}  // namespace leat
