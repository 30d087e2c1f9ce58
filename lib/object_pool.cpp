#include <leat/sync/object_pool.hpp>

#include <algorithm>
#include <new>

namespace leat::detail {
namespace {

/// How many objects, or places, go from the store to a shelf at a time.
constexpr std::uint32_t at_a_time = 7;

}  // namespace

pool_base::pool_base(std::size_t max_idle) : free_places_{max_idle}
{
}

pool_base::~pool_base()
{
    for (auto& each : shelves_)
        delete each.load(std::memory_order_relaxed);
}

/// For a thread that has none yet.
pool_base::shelf* pool_base::make_shelf() noexcept
{
    const std::uint32_t index = this_threads_slot().index;
    if (index >= shelves)
        return nullptr;
    auto* const made = new (std::nothrow) shelf;
    shelves_[index].store(made, std::memory_order_relaxed);
    return made;
}

void* pool_base::take_from_store(shelf* mine) noexcept
{
    const spin_guard hold{lock_};
    if (store_.empty())
        return nullptr;
    void* const object = store_.back();
    store_.pop_back();
    if (mine == nullptr) {
        ++free_places_;
        return object;
    }
    // The object that is taken leaves its place to the shelf, for it will come back; others come along.
    take_place(*mine);
    while (mine->count < at_a_time && !store_.empty()) {
        take_place(*mine);
        mine->objects[mine->count++] = store_.back();
        store_.pop_back();
    }
    return object;
}

/// The place of an object that has left the store: the shelf's, if there is room.
void pool_base::take_place(shelf& mine) noexcept
{
    if (mine.places < room)
        ++mine.places;
    else
        ++free_places_;
}

bool pool_base::keep_in_store(shelf* mine, void* object) noexcept
{
    if (mine == nullptr)
        mine = make_shelf();
    try {
        const spin_guard hold{lock_};
        if (mine != nullptr && mine->places == room) {
            if (store_.capacity() - store_.size() < at_a_time)
                store_.reserve(std::max<std::size_t>(2 * store_.capacity(), store_.size() + at_a_time));
            for (std::uint32_t i = 0; i < at_a_time; ++i)
                store_.push_back(mine->objects[--mine->count]);
            mine->places -= at_a_time;
        }
        if (free_places_ == 0)
            return false;
        if (mine == nullptr) {
            store_.push_back(object);
            --free_places_;
            return true;
        }
        const std::size_t more =
            std::min({std::size_t{at_a_time}, std::size_t{room - mine->places}, free_places_});
        free_places_ -= more;
        mine->places += static_cast<std::uint32_t>(more);
        mine->objects[mine->count++] = object;
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

void* pool_base::take_any() noexcept
{
    for (auto& each : shelves_) {
        shelf* const of = each.load(std::memory_order_acquire);
        if (of != nullptr && of->count != 0)
            return of->objects[--of->count];
    }
    if (store_.empty())
        return nullptr;
    void* const object = store_.back();
    store_.pop_back();
    return object;
}

}  // namespace leat::detail
